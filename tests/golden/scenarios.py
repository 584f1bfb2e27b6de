"""Small fixed-seed scenarios, one for every way of serving, whose every number is kept in golden.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from unittest.mock import patch

from sim.scenarios import compose_config, parse
from sim.simulation import simulate
from sim.study.played import Result
from sim.study.replicate import replicate

GOLDEN = Path(__file__).with_name("golden.json")
HORIZON_S = 3600.0
SCENARIOS = {
    "steady_on_always_on": ["arrivals=steady"],
    "bursty_on_scale_to_zero": ["arrivals=bursty", "fleet=scale_to_zero", "cold_start=cold_node"],
    "diurnal_on_warm_floor": ["arrivals=diurnal", "arrivals.rate_per_s=2", "fleet=warm_floor"],
    "agents_on_short_memory": ["tasks=agent", "gpu=rtx_4090", "arrivals.rate_per_s=0.2"],
    "agents_overflowing": [
        "tasks=support", "model=llama_3_3_70b", "engine.tensor_parallel=4", "fleet=hybrid_overflow",
        "arrivals.rate_per_s=1",
    ],
    "api_with_limits": ["fleet=api_only", "model=llama_3_3_70b", "api=rate_limited", "queue.patience_s=20"],
    "four_replicas_in_turn": [
        "scaling.n_replicas=4", "placement=round_robin", "arrivals=bursty", "arrivals.rate_per_s=3",
    ],
}  # fmt: skip


def played(name: str, replications: int = 2, horizon_s: float = HORIZON_S) -> Result:
    """The scenario's result."""
    words = ("seed=7", f"horizon_s={horizon_s:g}", "warmup_s=300")
    return replicate(parse(compose_config(*words, *SCENARIOS[name])), replications)


def first_rows(horizon_s: float, measure_peak: bool) -> dict[str, dict]:
    """The first replication of every scenario, with the saturated rate of its servers or without."""
    with patch("sim.study.replicate.play", partial(simulate, measure_peak=measure_peak)):
        return {name: plain(played(name, 1, horizon_s).per_replication[0]) for name in SCENARIOS}


@cache
def on_record(name: str) -> Result:
    """The same, played once in a process: callers change nothing in it."""
    return played(name)


def plain(numbers: Mapping[str, object]) -> dict[str, float | None]:
    """Numbers as JSON has them, to the last bit."""
    return json.loads(json.dumps(numbers, default=float))


def numbers(name: str) -> dict[str, float | None]:
    """Every number of the scenario's summary."""
    return plain(on_record(name).summary)


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps({name: numbers(name) for name in SCENARIOS}, indent=1) + "\n", encoding="utf-8")
