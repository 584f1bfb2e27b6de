"""A small request log in Azure's format, drawn from the project's own workload.

For trying out replay without anybody's data. The file is a function of --requests and --seed.
"""

from __future__ import annotations

import argparse
import sys
from datetime import datetime, timedelta
from pathlib import Path

from sim.randomness import Streams
from sim.schema import SimError
from sim.workload.arrivals.cox import Bursty
from sim.workload.lengths.lengths import Lognormal, TokenSpread
from sim.workload.logs.request_log import AZURE_COLUMNS
from sim.workload.tasks.shapes import SingleCall
from sim.workload.workload import Workload

_RATE_PER_S = 2.0
_BEGINS = datetime(2025, 1, 6, 9)  # a Monday morning
_CHAT = Lognormal(input=TokenSpread(mean_tokens=1155, cv=0.96), output=TokenSpread(mean_tokens=211, cv=0.771))


def write_sample_log(path: str | Path, requests: int = 2000, seed: int = 1) -> None:
    """Write a log of exactly `requests` rows (2 per second on average) to `path`, whole or not at all."""
    arrivals = Bursty(
        rate_per_s=_RATE_PER_S, burst_factor=3, mean_burst_s=30, burst_time_fraction=0.2, exact_tasks=requests
    )
    path, lines = Path(path), [",".join(AZURE_COLUMNS)]
    for block in Workload(arrivals, _CHAT, SingleCall()).task_blocks(Streams(seed), requests / _RATE_PER_S):
        for task in block:
            call, whole_s = task.calls[0], int(task.arrived_s)
            fraction = int((task.arrived_s - whole_s) * 1e7)
            stamp = f"{_BEGINS + timedelta(seconds=whole_s):%Y-%m-%d %H:%M:%S}.{fraction:07d}"
            lines.append(f"{stamp},{call.input_tokens},{call.output_tokens}")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text("\n".join(lines) + "\n")
    partial.replace(path)


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code: 0, or 2 where the file cannot be written."""
    parser = argparse.ArgumentParser(prog="python -m sim.workload.logs.sample_log", description=__doc__.splitlines()[0])
    parser.add_argument("path", metavar="OUT.csv", help="file to write")
    parser.add_argument("--requests", type=int, default=2000, help="number of rows (default 2000)")
    parser.add_argument("--seed", type=int, default=1, help="another seed, another log (default 1)")
    args = parser.parse_args(argv)
    if args.requests < 1 or args.seed < 0:
        parser.error(f"--requests must be >= 1 and --seed >= 0, not {args.requests} and {args.seed}")
    try:
        write_sample_log(args.path, args.requests, args.seed)
    except (OSError, SimError) as error:
        print(f"{args.path}: {getattr(error, 'strerror', None) or error}", file=sys.stderr)
        return 2
    print(f"{args.path}: {args.requests} requests")
    return 0


if __name__ == "__main__":
    sys.exit(main())
