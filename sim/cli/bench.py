"""Measure the speed and memory of the simulator on one core.

Every case and size is played in a process of its own, over the whole ordinary path: simulate, audit, usage, bill,
metrics. CPU seconds of one core; beside them the rate of bare SimPy timeouts in the same process, which is the wall.
Sweeps of short scenarios are played on all cores, into an empty folder and once more.
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
    from sim.study.benchmark import CASES, SIZES, SWEEPS, measure, measure_sweep, table_of, table_of_sweeps
    from sim.study.folder import write_json

    asked, sizes = given.case or [*CASES, *SWEEPS], given.requests or list(SIZES)
    if unknown := [case for case in asked if case not in CASES and case not in SWEEPS]:
        parser.error(f"--case {unknown[0]}: is not one of {', '.join([*CASES, *SWEEPS])}")
    cases = [case for case in asked if case in CASES]
    if given.one:
        print(json.dumps(measure(cases[0], sizes[0])))
        return 0
    rows = []
    for case in cases:
        for size in sizes:
            command = [sys.executable, "-m", "sim", "bench", "--one", "--case", case, "--requests", str(size)]
            rows.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout))
    sweeps = [measure_sweep(case) for case in asked if case in SWEEPS]
    write_json(given.out, {"rows": rows, "sweeps": sweeps})
    from rich.console import Console

    for table in [table_of(rows)] * bool(rows) + [table_of_sweeps(sweeps)] * bool(sweeps):
        Console(width=120).print(table)
    return 0
