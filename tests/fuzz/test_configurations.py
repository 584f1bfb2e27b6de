"""Any pair of choices, and any value for any key: played, or refused with one line before anything is written."""

from __future__ import annotations

from functools import cache
from itertools import combinations
from pathlib import Path
from random import Random

from hypothesis import given
from hypothesis import strategies as st

import sim
from sim.composer import composed
from sim.hydra_door import plain
from sim.ledger.audit import audit
from sim.scenarios import parse
from sim.schema import AuditError, SimError
from sim.simulation import simulate
from tests.fuzz.mutations import changed, examples

CONF = Path(__file__).parents[2] / "conf"
GROUPS = sorted(
    path.name for path in CONF.iterdir() if path.is_dir() and path.name not in ("hydra", "experiment", "log")
)


def choices(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


@cache
def base(*words: str) -> dict:
    return plain(composed(words))


def pair(rng: Random) -> list[str]:
    groups = rng.choice(list(combinations(GROUPS, 2)))
    return [f"{group}={rng.choice(choices(group))}" for group in groups]


@given(st.randoms(use_true_random=False))
@examples(5)
def test_a_pair_of_choices_is_played_or_refused(rng):
    words = pair(rng)
    try:
        scenario = sim.scenario(*words, horizon_s=20, drain_s=20, warmup_s=0)
        audit(simulate(scenario, measure_peak=False).facts)
    except SimError as refused:
        assert not isinstance(refused, AuditError) and "\n" not in str(refused), words


@given(st.randoms(use_true_random=False))
@examples(40)
def test_any_value_of_any_key_is_parsed_or_refused(rng):
    config = base(*rng.choice(((), ("fleet=hybrid_overflow",), ("tasks=agent", "arrivals=bursty"))))
    for _ in range(rng.choice((1, 1, 2))):
        key = rng.choice(list(config))
        config = config | {key: changed(config[key], rng)}
    try:
        parse(config)
    except SimError as refused:
        assert str(refused)
