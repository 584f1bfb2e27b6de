"""A small request log in Azure's format, drawn from the project's own workload.

For trying out replay without a log of one's own (`llm-traffic-sim sample-log`).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from sim.randomness import Streams
from sim.workload.arrivals.bursty import Bursty
from sim.workload.lengths.lognormal import Lognormal, TokenSpread
from sim.workload.tasks.single_call import SingleCall
from sim.workload.workload import Workload

_RATE_PER_S = 2.0
_BEGINS = datetime(2025, 1, 6, 9)  # a Monday morning
_CHAT = Lognormal(input=TokenSpread(mean_tokens=1155, cv=0.96), output=TokenSpread(mean_tokens=211, cv=0.771))


def write_sample_log(path: str | Path, requests: int = 2000, seed: int = 1) -> None:
    """Write a log of exactly `requests` rows (2 per second on average) to `path`, whole or not at all."""
    arrivals = Bursty(
        rate_per_s=_RATE_PER_S, burst_factor=3, mean_burst_s=30, burst_time_fraction=0.2, exact_tasks=requests
    )
    path, lines = Path(path), ["TIMESTAMP,ContextTokens,GeneratedTokens"]
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
