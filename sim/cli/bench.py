"""Measure the speed and memory of the simulator on one core.

Every case and size is played in a process of its own, over the whole ordinary path: simulate, audit, usage, bill,
metrics. CPU seconds of one core; beside them the rate of bare SimPy timeouts in the same process, which is the wall.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str]) -> int:
    """Measure, print the table and write it as JSON."""
    parser = argparse.ArgumentParser(prog="llm-traffic-sim bench", description=__doc__)
    parser.add_argument("--case", action="append", metavar="CASE", help="only this case (may be repeated)")
    parser.add_argument("--requests", type=int, action="append", metavar="N", help="only this size (may be repeated)")
    parser.add_argument("--out", type=Path, default=Path("outputs/bench.json"), help="default: %(default)s")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    from sim.study.benchmark import CASES, SIZES, measure, table_of
    from sim.study.folder import write_json

    cases, sizes = given.case or list(CASES), given.requests or list(SIZES)
    if unknown := [case for case in cases if case not in CASES]:
        parser.error(f"--case {unknown[0]}: is not one of {', '.join(CASES)}")
    if given.one:
        print(json.dumps(measure(cases[0], sizes[0])))
        return 0
    rows = []
    for case in cases:
        for size in sizes:
            command = [sys.executable, "-m", "sim", "bench", "--one", "--case", case, "--requests", str(size)]
            rows.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout))
    write_json(given.out, {"rows": rows})
    from rich.console import Console

    Console(width=120).print(table_of(rows))
    return 0
