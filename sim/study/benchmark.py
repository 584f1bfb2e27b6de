"""How fast the simulator is and how much memory it takes, over the whole ordinary path (`llm-traffic-sim bench`).

`measure` plays one case and size: simulate, audit, usage, bill, metrics. It counts CPU seconds of one core and, in the
same process, the rate of bare SimPy timeouts, which is the wall.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from tempfile import TemporaryDirectory
from typing import Any

import simpy
from rich.table import Table

from sim.hot_path import is_compiled
from sim.randomness import Streams
from sim.scenarios import Scenario, compose_config, parse
from sim.simulation import peak_tokens_per_s
from sim.study.replicate import replicate
from sim.workload.arrivals.markov_modulated import MarkovModulated
from sim.workload.workload import Workload

SIZES = (10_000, 100_000, 1_000_000)
_LOAD = 0.7  # of what the replicas serve when saturated
_8B = ["gpu=h100_sxm", "model=llama_3_1_8b", "name=bench"]
_SHORT = ["lengths=fixed", "lengths.input_tokens=512", "lengths.output_tokens=256"]
CASES = {
    "one_replica": [*_8B, *_SHORT],
    "eight_replicas": [*_8B, *_SHORT, "scaling.n_replicas=8"],
    "agents": [*_8B, "tasks=agent"],
    "bursty_scale_to_zero": [*_8B, *_SHORT, "arrivals=bursty", "scaling=scale_to_zero"],
}
SWEEPS = {"sweep_500": 500}
"""Scenarios of each sweep: one-minute runs of a few dozen requests, every one with a seed and a load of its own."""
_TIMEOUTS = 300_000
_MEMORY = ("peak_mb", "bytes_per_request")


def scenario_of(case: str, n_requests: int) -> Scenario:
    """The case at 70 % of the saturated rate, about `n_requests` requests long."""
    plain = parse(compose_config(*CASES[case], "horizon_s=1000"))
    workload = Workload(plain.arrivals, plain.lengths, plain.tasks)
    calls, tokens = _calls_and_tokens(workload)
    rate_per_s = _LOAD * plain.scaling.max_replicas * peak_tokens_per_s(plain, workload) / tokens
    if isinstance(plain.arrivals, MarkovModulated):
        rate_per_s /= plain.arrivals.burst_factor  # 70 % in the bursts
    tasks = round(n_requests / calls)
    traffic = [f"arrivals.rate_per_s={rate_per_s}", f"arrivals.exact_tasks={tasks}", f"horizon_s={tasks / rate_per_s}"]
    return parse(compose_config(*CASES[case], *traffic))


def _calls_and_tokens(workload: Workload, n_tasks: int = 2000) -> tuple[float, float]:
    """Mean calls and tokens of a task of the mix."""
    tasks = workload.saturating_tasks(Streams(0))
    drawn = [next(tasks) for _ in range(n_tasks)]
    calls = sum(len(t.calls) for t in drawn)
    tokens = sum(c.input_tokens + c.output_tokens for t in drawn for c in t.calls)
    return calls / n_tasks, tokens / n_tasks


def simpy_timeouts_per_cpu_s() -> float:
    """Bare SimPy: one process that waits again and again."""

    def ticker(env):
        while True:
            yield env.timeout(1)

    env = simpy.Environment()
    env.process(ticker(env))
    start = time.process_time()
    env.run(until=_TIMEOUTS)
    return _TIMEOUTS / (time.process_time() - start)


def measure(case: str, n_requests: int) -> dict:
    """One row: play the case once and count everything from config to summary."""
    play(scenario_of(case, 1000))  # imports, caches, the saturated rate
    scenario = scenario_of(case, n_requests)
    simpy_rate = simpy_timeouts_per_cpu_s()
    before_bytes = _peak_rss_bytes()
    start = time.process_time()
    summary = play(scenario)
    cpu_s = time.process_time() - start
    peak_bytes = _peak_rss_bytes()
    grown_bytes = None if before_bytes is None or peak_bytes is None else peak_bytes - before_bytes
    served = summary["requests_finished"]
    return {
        "case": case,
        "requests": int(summary["requests"]),
        "requests_per_cpu_s": round(served / cpu_s),
        "tokens_per_cpu_s": round((summary["input_tokens"] + summary["output_tokens"]) / cpu_s),
        "simpy_timeouts_per_cpu_s": round(simpy_rate),
        "peak_mb": None if peak_bytes is None else round(peak_bytes / 1e6, 1),
        "bytes_per_request": None if grown_bytes is None else round(grown_bytes / served),
    }


def play(scenario: Scenario) -> dict:
    """The ordinary path of one replication; returns its summary."""
    return replicate(scenario).summary


def _peak_rss_bytes() -> int | None:
    """Most memory this process has had; None on Windows, whose Python does not tell."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, Linux kibibytes


def measure_sweep(case: str) -> dict:
    """One row: play the sweep on all cores in an empty folder, then give the same command again, all done by then."""
    n = SWEEPS[case]
    words = ["lengths=fixed", "horizon_s=60", "arrivals.rate_per_s=0.2,0.5", f"seed=range(0,{n // 2})"]
    row: dict[str, Any] = {"case": case, "scenarios": n}
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "sim", "-m", *words, f"output.dir={folder}"]
        for prefix in ("", "again_"):
            before, start_s = os.times(), time.monotonic()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            after = os.times()
            cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
            row |= {f"{prefix}wall_s": round(time.monotonic() - start_s, 1), f"{prefix}cpu_s": round(cpu_s, 1)}
    return row


def table_of_sweeps(rows: list[dict]) -> Table:
    """The rows of `measure_sweep` for a terminal."""
    table = Table(title=f"sweeps of short scenarios, all in, on {os.cpu_count()} cores")
    for column in ("case", "scenarios", "wall s", "CPU s", "CPU ms / scenario", "again: wall s", "CPU s"):
        table.add_column(column, justify="left" if column == "case" else "right")
    for r in rows:
        each_ms = 1000 * r["cpu_s"] / r["scenarios"]
        cells = (r["scenarios"], r["wall_s"], r["cpu_s"], round(each_ms), r["again_wall_s"], r["again_cpu_s"])
        table.add_row(r["case"], *map(str, cells))
    return table


def table_of(rows: list[dict]) -> Table:
    """The rows of `measure` for a terminal."""
    table = Table(title=f"speed on one core, whole path, hot path {'compiled' if is_compiled() else 'interpreted'}")
    for column in ("case", "requests", "requests / CPU s", "of SimPy", "tokens / CPU s", "peak MB", "bytes / request"):
        table.add_column(column, justify="left" if column == "case" else "right")
    for r in rows:
        share = r["requests_per_cpu_s"] / r["simpy_timeouts_per_cpu_s"]
        table.add_row(
            r["case"], f"{r['requests']:,}", f"{r['requests_per_cpu_s']:,}", f"{share:.3f}",
            f"{r['tokens_per_cpu_s']:,}", *("-" if r[key] is None else f"{r[key]:,.0f}" for key in _MEMORY),
        )  # fmt: skip
    return table
