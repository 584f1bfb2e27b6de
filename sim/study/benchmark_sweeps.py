"""How long many short scenarios take, all in: to play, to find all done, and to collect (`llm-traffic-sim bench`)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.table import Table

from sim.study.benchmark import Earlier, shown
from sim.study.folder import ROW
from sim.study.manifest import Manifest, read_manifest, write_manifest
from sim.study.scenario_folders import folders_in

SWEEPS = {"sweep_500": 500}
"""Scenarios of each sweep: one-minute runs of a few dozen requests, every one with a seed and a load of its own."""
COLLECTS = {"collect_10000": 10_000}
"""Scenarios of each folder that is collected: twenty such runs, copied."""
_PLAYED = 20


def measure_sweep(case: str) -> dict:
    """One row: play the sweep on all cores in an empty folder, then give the same command again, all done by then."""
    row: dict[str, Any] = {"case": case, "scenarios": SWEEPS[case]}
    with TemporaryDirectory() as folder:
        for prefix in ("", "again_"):
            row |= {f"{prefix}{key}": value for key, value in _timed(*_sweep(SWEEPS[case], folder)).items()}
    return row


def measure_collect(case: str) -> dict:
    """One row: collect a folder of copies. What they take on disk is counted in its blocks, folders included."""
    n = COLLECTS[case]
    with TemporaryDirectory() as folder:
        _timed(*_sweep(_PLAYED, folder))
        study = Path(folder) / "few"
        copies = _copies(study, Path(folder) / "many", n)
        size_bytes = sum(_on_disk_bytes(path) for path in (*copies.glob("*"), *copies.glob("*/*")))
        row = {"case": case, "scenarios": n} | _timed("collect", str(copies))
        return row | {"kb_each": round(size_bytes / n / 1000, 1)}


def _sweep(n: int, folder: str) -> list[str]:
    words = ["lengths=fixed", "horizon_s=60", "arrivals.rate_per_s=0.2,0.5", f"seed=range(0,{n // 2})"]
    return ["-m", *words, f"output.dir={folder}", "output.study=few"]


def _copies(study: Path, into: Path, n: int) -> Path:
    """`n` copies of the scenarios of a study, each a question of its own."""
    manifest = read_manifest(study)
    assert manifest is not None  # as just played
    names, played = [f"{number:012x}" for number in range(n)], folders_in(study)
    for number, name in enumerate(names):
        copy = into / f"seed={number}-{name}"
        shutil.copytree(played[manifest.digests[number % len(manifest.digests)]], copy)
        row = json.loads((copy / ROW).read_text())
        overrides = row["overrides"] | {"seed": str(number)}
        (copy / ROW).write_text(json.dumps(row | {"digest": name, "question": name, "overrides": overrides}))
    write_manifest(into, Manifest(digests=names))
    return into


def _on_disk_bytes(path: Path) -> int:
    stat = path.stat()
    return 512 * stat.st_blocks if hasattr(stat, "st_blocks") else stat.st_size  # Windows tells no blocks


def _timed(*words: str) -> dict[str, Any]:
    """Seconds that a command takes, all its processes counted, and the most memory that its first one has in MB."""
    before, start_s = os.times(), time.monotonic()
    command = [sys.executable, "-m", "sim", *words]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak_mb = _waited_for(process)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    after = os.times()
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    return {"wall_s": round(time.monotonic() - start_s, 1), "cpu_s": round(cpu_s, 1), "peak_mb": peak_mb}


def _waited_for(process: subprocess.Popen) -> int | None:
    """The peak of a process at its end, in MB; None on Windows, which does not tell."""
    if not hasattr(os, "wait4"):
        process.wait()
        return None
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return round((usage.ru_maxrss if sys.platform == "darwin" else usage.ru_maxrss * 1024) / 1e6)


def table_of_sweeps(rows: list[dict], before: Earlier) -> Table:
    """The rows of `measure_sweep` for a terminal, with what there was `before` beside."""
    table = _table(f"sweeps of short scenarios, all in, on {os.cpu_count()} cores")
    for column in ("wall s", "CPU s", "CPU ms / scenario", "before", "again: wall s", "CPU s"):
        table.add_column(column, justify="right")
    for r in rows:
        each_ms, before_s = 1000 * r["cpu_s"] / r["scenarios"], before(r, "cpu_s")
        before_ms = None if before_s is None else 1000 * before_s / r["scenarios"]
        ms = (round(each_ms), shown(before_ms, ".0f"))
        cells = (r["scenarios"], r["wall_s"], r["cpu_s"], *ms, r["again_wall_s"], r["again_cpu_s"])
        table.add_row(r["case"], *map(str, cells))
    return table


def table_of_collects(rows: list[dict], before: Earlier) -> Table:
    """The rows of `measure_collect` for a terminal, with what there was `before` beside."""
    table = _table("one table of many scenarios")
    for column in ("wall s", "CPU s", "before", "peak MB", "kB / scenario", "before"):
        table.add_column(column, justify="right")
    for r in rows:
        earlier_s, earlier_kb = shown(before(r, "cpu_s"), ""), shown(before(r, "kb_each"), "")
        cells = (r["scenarios"], r["wall_s"], r["cpu_s"], earlier_s, r["peak_mb"] or "-", r["kb_each"], earlier_kb)
        table.add_row(r["case"], *map(str, cells))
    return table


def _table(title: str) -> Table:
    table = Table(title=title)
    table.add_column("case")
    table.add_column("scenarios", justify="right")
    return table
