"""`make bench`: how fast the simulator is and how much memory it takes, over the whole ordinary path.

One case and size at a time, each in a process of its own: simulate, audit, usage, bill, metrics. CPU seconds of one
core; beside it, in the same process, the rate of bare SimPy timeouts, which is the wall.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import simpy
from rich.console import Console
from rich.table import Table

from sim.hot_path import is_compiled
from sim.randomness import Streams
from sim.scenarios import Scenario, compose_config, parse
from sim.simulation import peak_tokens_per_s
from sim.study.folder import write_json
from sim.study.replicate import replicate
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
_TIMEOUTS = 300_000


def scenario_of(case: str, n_requests: int) -> Scenario:
    """The case at 70 % of the saturated rate, about `n_requests` requests long."""
    plain = parse(compose_config(*CASES[case], "horizon_s=1000"))
    workload = Workload(plain.arrivals, plain.lengths, plain.tasks)
    calls, tokens = _calls_and_tokens(workload)
    rate_per_s = _LOAD * plain.scaling.max_replicas * peak_tokens_per_s(plain, workload) / tokens
    if case == "bursty_scale_to_zero":
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
    served = summary["requests_finished"]
    return {
        "case": case,
        "requests": int(summary["requests"]),
        "requests_per_cpu_s": round(served / cpu_s),
        "tokens_per_cpu_s": round((summary["input_tokens"] + summary["output_tokens"]) / cpu_s),
        "simpy_timeouts_per_cpu_s": round(simpy_rate),
        "peak_mb": round(peak_bytes / 1e6, 1),
        "bytes_per_request": round((peak_bytes - before_bytes) / served),
    }


def play(scenario: Scenario) -> dict:
    """The ordinary path of one replication; returns its summary."""
    return replicate(scenario).summary


def _peak_rss_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _table(rows: list[dict]) -> Table:
    table = Table(title=f"speed on one core, whole path, hot path {'compiled' if is_compiled() else 'interpreted'}")
    for column in ("case", "requests", "requests / CPU s", "of SimPy", "tokens / CPU s", "peak MB", "bytes / request"):
        table.add_column(column, justify="left" if column == "case" else "right")
    for r in rows:
        share = r["requests_per_cpu_s"] / r["simpy_timeouts_per_cpu_s"]
        table.add_row(
            r["case"], f"{r['requests']:,}", f"{r['requests_per_cpu_s']:,}", f"{share:.3f}",
            f"{r['tokens_per_cpu_s']:,}", f"{r['peak_mb']:,.0f}", f"{r['bytes_per_request']:,}",
        )  # fmt: skip
    return table


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m sim.study.bench", description=__doc__)
    parser.add_argument("--case", choices=CASES, action="append", help="only this case (may be repeated)")
    parser.add_argument("--requests", type=int, action="append", help="only this size (may be repeated)")
    parser.add_argument("--out", type=Path, default=Path("outputs/bench.json"))
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    cases, sizes = args.case or list(CASES), args.requests or list(SIZES)
    if args.one:
        print(json.dumps(measure(cases[0], sizes[0])))
        return
    rows = []
    for case in cases:
        for size in sizes:
            command = [sys.executable, "-m", "sim.study.bench", "--one", "--case", case, "--requests", str(size)]
            rows.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    write_json(args.out, {"rows": rows})
    Console(width=120).print(_table(rows))


if __name__ == "__main__":
    main()
