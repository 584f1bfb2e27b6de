"""Measure the speed and memory of the simulator on one core.

Every case and size is played in a process of its own, over the whole ordinary path: simulate, audit, usage, bill,
metrics. CPU seconds of one core; beside them the rate of bare SimPy timeouts in the same process, which is the wall.
Sweeps of short scenarios are played on all cores, into an empty folder and once more, and a large one is collected.
What an earlier measurement found, on this machine or another, is printed beside.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def main(argv: Sequence[str]) -> int:
    """Measure, print the tables and write them as JSON."""
    parser = argparse.ArgumentParser(prog="llm-traffic-sim bench", description=__doc__)
    parser.add_argument("--case", action="append", metavar="CASE", help="only this case (may be repeated)")
    parser.add_argument("--requests", type=int, action="append", metavar="N", help="only this size (may be repeated)")
    parser.add_argument("--log", type=Path, metavar="FILE", help="the log that the case mooncake replays")
    parser.add_argument("--out", type=Path, default=Path("outputs/bench.json"), help="default: %(default)s")
    parser.add_argument("--before", type=Path, metavar="FILE", help="earlier figures (default: what --out held)")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    from sim.study.benchmark import CASES, LOGS, SIZES, SIZES_OF, earlier, measure, table_of
    from sim.study.benchmark_sweeps import (
        COLLECTS,
        SWEEPS,
        measure_collect,
        measure_sweep,
        table_of_collects,
        table_of_sweeps,
    )
    from sim.study.folder import read_json, write_json

    known = [*CASES, *LOGS, *SWEEPS, *COLLECTS]
    asked = given.case or known
    if unknown := [case for case in asked if case not in known]:
        parser.error(f"--case {unknown[0]}: is not one of {', '.join(known)}")
    if given.one:
        print(json.dumps(measure(asked[0], (given.requests or SIZES)[0], given.log)))
        return 0
    rows = [
        _in_a_process("--case", case, "--requests", str(n))
        for case in asked if case in CASES for n in given.requests or SIZES_OF.get(case, SIZES)
    ]  # fmt: skip
    rows += [_in_a_process("--case", case, "--log", str(given.log)) for case in _with_log(asked, given.log)]
    sweeps = [measure_sweep(case) for case in asked if case in SWEEPS]
    collects = [measure_collect(case) for case in asked if case in COLLECTS]
    before = read_json(given.before or given.out)
    write_json(given.out, {"rows": rows, "sweeps": sweeps, "collects": collects})
    from rich.console import Console

    for table, some in ((table_of, rows), (table_of_sweeps, sweeps), (table_of_collects, collects)):
        if some:
            Console(width=132).print(table(some, earlier(before)))
    return 0


def _in_a_process(*words: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "sim", "bench", "--one", *words]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return found


def _with_log(asked: list[str], log: Path | None) -> list[str]:
    """The cases that replay a log, if it is there; a line on each that does not find its own."""
    from sim.study.benchmark import LOGS, WHERE

    cases = [case for case in asked if case in LOGS]
    if log is not None and log.is_file():
        return cases
    for case in cases:
        print(f"{case}: not measured: --log names its log ({WHERE[case]})", file=sys.stderr)
    return []
