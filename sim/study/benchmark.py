"""How fast the simulator is and how much memory it takes, over the whole ordinary path (`llm-traffic-sim bench`).

`measure` plays one case and size: simulate, audit, usage, bill, metrics. It counts CPU seconds of one core and, in the
same process, the rate of bare SimPy timeouts, which is the wall.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
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
    "replicas_1000": [*_8B, *_SHORT, "scaling.n_replicas=1000"],
    "agents": [*_8B, "tasks=agent"],
    "bursty_scale_to_zero": [*_8B, *_SHORT, "arrivals=bursty", "scaling=scale_to_zero"],
    "ten_million": [*_8B, *_SHORT],
}
SIZES_OF = {"ten_million": (10_000_000,)}
"""Sizes of cases that have their own."""
LOGS = {
    "mooncake": [
        *_8B, "arrivals=replay", "placement=round_robin", "scaling.n_replicas=8", "engine.kv_cache_blocks=16384",
        "engine.block_tokens=64", "engine.max_num_batched_tokens=8192", "queue.max_requests_per_replica=100000",
    ],
}  # fmt: skip
"""Cases that replay a log of one size: Mooncake's conversation trace on eight replicas with prefix caches."""
WHERE = {"mooncake": "github.com/kvcache-ai/Mooncake, FAST25-release/traces/conversation_trace.jsonl"}
_TIMEOUTS = 300_000
_PLAYED_REQUESTS, _MOST_TIMES = 300_000, 5  # A case is played again, up to five times, until it served 300,000.


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


def scenario_of_log(case: str, log: Path) -> Scenario:
    """A case that replays a log."""
    return parse(compose_config(*LOGS[case], f"arrivals.path={log}"))


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


def measure(case: str, n_requests: int, log: Path | None = None) -> dict:
    """One row: play the case and count everything from config to summary; `log` is the one that a case replays.

    A machine that others use, too, changes its speed from one second to the next. So the wall is measured before and
    after, a short case is played several times, and the fastest of each counts. A log is played once, since it is
    read, and its saturated rate measured, but once in a process. Raises ConfigError, and TraceError, for a log that
    cannot be replayed.
    """
    play(scenario_of("one_replica" if log else case, 1000))  # imports, caches, the saturated rate
    scenario = scenario_of(case, n_requests) if log is None else scenario_of_log(case, log)
    if log is not None:
        import_module("sim.workload.logs.request_log")  # No case counts what it takes to load the program.
    before_bytes, simpy_rates, cpu_s = _peak_rss_bytes(), [simpy_timeouts_per_cpu_s()], []
    for _ in range(1 if log else min(_MOST_TIMES, max(1, _PLAYED_REQUESTS // n_requests))):
        start = time.process_time()
        summary = play(scenario)
        cpu_s.append(time.process_time() - start)
        simpy_rates.append(simpy_timeouts_per_cpu_s())
    peak_bytes = _peak_rss_bytes()
    grown_bytes = None if before_bytes is None or peak_bytes is None else peak_bytes - before_bytes
    served = summary["requests_finished"]
    return {
        "case": case,
        "requests": int(summary["requests"]),
        "requests_per_cpu_s": round(served / min(cpu_s)),
        "tokens_per_cpu_s": round((summary["input_tokens"] + summary["output_tokens"]) / min(cpu_s)),
        "simpy_timeouts_per_cpu_s": round(max(simpy_rates)),
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


Earlier = Callable[[dict, str], float | None]
"""A figure that an earlier measurement found in the place of a row's; None if it did not measure that."""


def earlier(content: Any) -> Earlier:
    """What a file of an earlier `bench` holds: row by row, by case and size. {} or anything else: nothing.

    >>> before = earlier({"rows": [{"case": "agents", "requests": 5, "peak_mb": 7.0}]})
    >>> before({"case": "agents", "requests": 5}, "peak_mb"), before({"case": "agents", "requests": 9}, "peak_mb")
    (7.0, None)
    """
    lists = [rows for rows in content.values() if isinstance(rows, list)] if isinstance(content, dict) else []
    known = {_name(row): row for rows in lists for row in rows if isinstance(row, dict)}
    return lambda row, key: known.get(_name(row), {}).get(key)


def _name(row: dict) -> tuple[Any, Any]:
    return row.get("case"), row.get("requests", row.get("scenarios"))


def of_simpy(row: dict) -> float:
    """Requests per event of bare SimPy, which differs less between machines than requests per second."""
    return float(row["requests_per_cpu_s"] / row["simpy_timeouts_per_cpu_s"])


def table_of(rows: list[dict], before: Earlier) -> Table:
    """The rows of `measure` for a terminal, with what there was `before` beside."""
    table = Table(title=f"speed on one core, whole path, hot path {'compiled' if is_compiled() else 'interpreted'}")
    columns = ("case", "requests", "requests / CPU s", "of SimPy", "before", "tokens / CPU s", "peak MB", "before",
               "bytes / request")  # fmt: skip
    for column in columns:
        table.add_column(column, justify="left" if column == "case" else "right")
    for r in rows:
        requests, timeouts = before(r, "requests_per_cpu_s"), before(r, "simpy_timeouts_per_cpu_s")
        table.add_row(
            r["case"], f"{r['requests']:,}", f"{r['requests_per_cpu_s']:,}", f"{of_simpy(r):.3f}",
            f"{requests / timeouts:.3f}" if requests and timeouts else "-", f"{r['tokens_per_cpu_s']:,}",
            *(shown(found, ",.0f") for found in (r["peak_mb"], before(r, "peak_mb"), r["bytes_per_request"])),
        )  # fmt: skip
    return table


def shown(figure: float | None, form: str) -> str:
    """A figure for a table; "-" without one."""
    return "-" if figure is None else format(figure, form)
