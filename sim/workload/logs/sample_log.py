"""Small request logs, drawn from the project's own workload: chats in Azure's format, or sessions of coding agents.

For trying out replay without a log of one's own (`llm-traffic-sim sample-log`).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from sim.randomness import Streams
from sim.workload.arrivals.bursty import Bursty
from sim.workload.lengths.lognormal import Lognormal, TokenSpread
from sim.workload.tasks.agent_session import AgentSession
from sim.workload.tasks.single_call import SingleCall
from sim.workload.workload import Workload

_RATE_PER_S = 2.0
_BEGINS = datetime(2025, 1, 6, 9)  # a Monday morning
_DAYS, _SESSIONS_A_DAY, _AT_WEEKENDS = 7, 3.0, 0.2
_FROM_HOUR, _TO_HOUR = 9.0, 17.5
_FIRST_TOKEN_S, _TOKENS_PER_S = 1.0, 70.0
_CODING = AgentSession(
    turns_per_session={"median": 2, "sigma": 1.0, "min": 1, "max": 20},
    steps_per_turn={"median": 3, "sigma": 1.0, "min": 1, "max": 40},
    first_input_tokens={"median": 16_000, "sigma": 0.3, "min": 8_000, "max": 30_000},
    turn_input_tokens={"median": 250, "sigma": 1.0, "min": 1, "max": 4_000},
    step_input_tokens={"median": 800, "sigma": 1.2, "min": 1, "max": 12_000},
    output_tokens={"median": 225, "sigma": 1.0, "min": 1, "max": 4_000},
    tool_wait_s={"median": 1.0, "sigma": 1.5, "max": 600}, human_wait_s={"median": 90, "sigma": 1.2, "max": 3_600},
    max_context_tokens=120_000, summary_tokens=2_000,
)  # fmt: skip
_CHAT = Lognormal(input=TokenSpread(mean_tokens=1155, cv=0.96), output=TokenSpread(mean_tokens=211, cv=0.771))


def write_sample_log(path: str | Path, requests: int = 2000, seed: int = 1) -> None:
    """Write a log of exactly `requests` rows (2 per second on average) to `path`, whole or not at all."""
    arrivals = Bursty(
        rate_per_s=_RATE_PER_S, burst_factor=3, mean_burst_s=30, burst_time_fraction=0.2, exact_tasks=requests
    )
    lines = ["TIMESTAMP,ContextTokens,GeneratedTokens"]
    for block in Workload(arrivals, _CHAT, SingleCall()).task_blocks(Streams(seed), requests / _RATE_PER_S):
        for task in block:
            call = task.calls[0]
            lines.append(f"{_stamp(task.arrived_s)},{call.input_tokens},{call.output_tokens}")
    _write(Path(path), lines)


def write_sample_sessions(path: str | Path, users: int = 20, seed: int = 1) -> tuple[int, int]:
    """Write a week of sessions of `users` developers with a coding agent to `path`, whole or not at all.

    About three sessions a person and working day, hardly any at weekends; a row per call, with its user, its session
    and the wait for a tool or a human before it. Returns (calls, sessions).
    """
    rng = np.random.default_rng(seed)
    begins: list[tuple[float, int]] = []
    for day in range(_DAYS):
        mean = _SESSIONS_A_DAY * (_AT_WEEKENDS if (_BEGINS + timedelta(days=day)).weekday() >= 5 else 1.0)
        for user, n in enumerate(rng.poisson(mean, users).tolist()):
            hours = 24.0 * day - _BEGINS.hour + rng.uniform(_FROM_HOUR, _TO_HOUR, n)
            begins += [(3600.0 * hour, user) for hour in hours.tolist()]
    drawn = _CODING.draw(rng, rng, None, len(begins))
    assert drawn.wait_s is not None, "sessions wait for tools and humans"
    rows: list[tuple[float, str]] = []
    for session, (now_s, user) in enumerate(sorted(begins)):
        for call in range(int(drawn.offsets[session]), int(drawn.offsets[session + 1])):
            wait_s, tokens = round(float(drawn.wait_s[call]), 3), int(drawn.output_tokens[call])
            now_s += wait_s
            rest = f"user-{user + 1},session-{session + 1},{drawn.input_tokens[call]},{tokens},{wait_s:g}"
            rows.append((now_s, rest))
            now_s += _FIRST_TOKEN_S + tokens / _TOKENS_PER_S
    heads = "timestamp,user,session_id,input_tokens,output_tokens,wait_s"
    _write(Path(path), [heads, *(f"{_stamp(begun_s)},{rest}" for begun_s, rest in sorted(rows))])
    return len(rows), len(begins)


def _stamp(second: float) -> str:
    whole_s = int(second)
    return f"{_BEGINS + timedelta(seconds=whole_s):%Y-%m-%d %H:%M:%S}.{int((second - whole_s) * 1e7):07d}"


def _write(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text("\n".join(lines) + "\n")
    partial.replace(path)
