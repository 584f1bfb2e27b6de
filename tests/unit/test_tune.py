"""Thresholds and timeouts are searched within the SLO: near the true best, on equal traffic, and without Optuna not."""

from __future__ import annotations

import itertools
import json
import math
from typing import Annotated, ClassVar, Literal

import numpy as np
import pytest
from pydantic import TypeAdapter

import sim
from sim.knob import Found, Knob, knob_of, knobs_in
from sim.schema import Config, kinds_of
from sim.study.search import lab as labs
from sim.study.search import ranges, tune
from sim.study.search.evidence import Evidence, Sample
from tests.unit.cli import TINY

CALLS, TARGET = 20_000, 0.99
QUEUE, WAIT = Knob(0, 64, 1), Knob(0, 60, 0.5)


def cost_and_share(queue, wait=0.0):
    """A higher threshold sends less to the API, and more calls come late; the wait is best in the middle."""
    usd = 1000 * (0.5 + 0.5 * math.exp(-queue / 6)) + 400 * (WAIT.place(wait) - 0.4) ** 2
    return usd, 1 - 0.01 * (queue / 3.3) ** 1.5 - 0.004 * WAIT.place(wait)


class Curve:
    """A world of that cost; most of a replication's chance is the same for all candidates."""

    def __init__(self):
        self.played = []

    def play(self, wanted):
        self.played += wanted
        return [self._sample(values, number) for values, number in wanted]

    def _sample(self, values, number):
        usd, share = cost_and_share(*values)
        noise = np.random.default_rng(number).normal(0, 0.05)
        own = np.random.default_rng([number, *(int(1e6 * v) for v in values)]).normal(0, 1e-3)
        return Sample(usd * (1 + noise + own), round(CALLS * max(0.0, share)), CALLS, fingerprint=number)


def tuned(knobs, seed):
    """(the tuning's best, the candidate that it began with, the world)."""
    world, start = Curve(), tuple(found.value for found in knobs)
    evidence = Evidence(world, TARGET, 20)
    trials = tune.tune(start, knobs, lambda values: tuple(values.values()), evidence, seed)
    return tune.cheapest(trials, evidence, than=start), trials, world


ONE, TWO = [Found("queue", QUEUE, 0.0)], [Found("queue", QUEUE, 0.0), Found("wait", WAIT, 30.0)]


@pytest.mark.parametrize(("knobs", "worst"), [(ONE, 1.01), pytest.param(TWO, 1.03, marks=pytest.mark.slow)])
def test_the_best_value_within_the_slo_is_found_to_a_percent(knobs, worst):
    grid = [[found.knob.at(place) for place in np.linspace(0, 1, 401)] for found in knobs]
    points = [cost_and_share(*values) for values in itertools.product(*grid)]
    least_usd = min(usd for usd, share in points if share >= TARGET)
    assert min(usd for usd, _ in points) < 0.9 * least_usd, "the SLO must matter"
    ratios = []
    for seed in range(3):
        best, trials, world = tuned(knobs, seed)
        usd, share = cost_and_share(*best.candidate)
        assert share >= TARGET - 1e-4
        ratios.append(usd / least_usd)
        assert trials[0].candidate == tuple(found.value for found in knobs) and len(trials) == tune.n_trials(len(knobs))
        assert {number for candidate, number in world.played if candidate == trials[1].candidate} == {0, 1, 2}
    assert np.median(ratios) <= 1.01 and max(ratios) <= worst


def test_where_nothing_is_cheaper_the_configured_value_stays():
    """At the border of what meets the SLO, and of a knob that changes nothing."""
    at_the_border = [Found("queue", QUEUE, 3.29)]
    assert tuned(at_the_border, 1)[0] is None
    idle = [Found("queue", Knob(1, 1 + 1e-9), 1.0)]
    assert tuned(idle, 1)[0] is None


def all_configs(cls=Config):
    return {cls}.union(*(all_configs(sub) for sub in cls.__subclasses__()))


def test_the_ends_of_every_knob_are_values_that_its_field_takes():
    assert kinds_of(sim.Router) and kinds_of(sim.Scaler), "imports them"
    declared = [
        (cls, name, field, knob)
        for cls in all_configs() if cls.__module__.startswith("sim.")
        for name, field in cls.model_fields.items() if (knob := knob_of(field)) is not None
    ]  # fmt: skip
    assert len(declared) > 20
    for cls, name, field, knob in declared:
        taken = TypeAdapter(Annotated[field.annotation, *field.metadata])
        assert [taken.validate_python(end) for end in knob[:2]] == list(knob[:2]), (cls, name)
        places = [knob.place(knob.at(place)) for place in np.linspace(0, 1, 11)]
        assert np.allclose(places, np.linspace(0, 1, 11), atol=0.01), (cls, name)


def test_a_policy_of_ones_own_declares_a_knob_and_a_limit_that_is_null_has_none():
    class Patient(sim.Router):
        kind: Literal["patient"] = "patient"
        needs_fleet: ClassVar[bool] = True
        needs_api: ClassVar[bool] = True
        patience_s: Annotated[float, Knob(0, 30, 1)] = 2.0
        limit: Annotated[float | None, Knob(0, 1)] = None

    scenario = sim.scenario("fleet=hybrid_overflow", routing=Patient(), horizon_s=60)
    assert list(knobs_in(scenario)) == [("routing.patience_s", Knob(0, 30, 1), 2.0)]


OVERFLOW = [*TINY, "gpu=l4", "fleet=hybrid_overflow", "--jobs", "1", "--most", "10"]


def test_without_optuna_a_range_says_what_to_type(monkeypatch, play):
    monkeypatch.setattr(ranges, "is_installed", lambda: False)
    said = play("plan", *OVERFLOW, "--over", "routing.queue_per_replica=0.5..8")
    assert said.code == 2 and said.line == (
        "error: --over routing.queue_per_replica=0.5..8: a range is searched by Optuna: "
        f"{tune.INSTALL}; or list values: routing.queue_per_replica=A,B,C"
    )


@pytest.fixture
def made_up(monkeypatch):
    """Scenarios are not simulated: they cost, and attain, what the curve says of their threshold and their number."""
    played = []

    def play_one(config, number):
        n, queue = config["scaling"]["n_replicas"], config["routing"]["queue_per_replica"]
        played.append((n, queue, config["seed"], number))
        usd, share = cost_and_share(queue / n)
        samples = Sample(usd * (1 + n / 9) * (1 + 1e-3 * number), round(CALLS * max(share, 0.0)), CALLS, 1.0, number)
        return samples._replace(attained_within=())

    monkeypatch.setattr(labs, "play_one", play_one)
    return played


ASK = ["plan", *OVERFLOW, "--over", "routing.queue_per_replica=0.5..16", "--over", "scaling.n_replicas=1..2", "--json"]


def test_a_range_of_plan_is_searched_with_counts_and_goes_on_after_an_interruption(
    made_up, monkeypatch, play, tmp_path
):
    whole = play(*ASK, "output.dir=whole")
    told = json.loads(whole.out)
    assert (
        told["winner"]["words"][0] == "scaling.n_replicas=1"
        and tune.n_trials(2) <= told["trials"] <= tune.n_trials(2) + 2
    )
    queue = float(told["winner"]["words"][1].partition("=")[2])
    assert cost_and_share(queue)[0] <= 1.01 * cost_and_share(3.3)[0]
    n_whole = len(made_up)
    made_up.clear()
    real = labs.play_one

    def interrupted(config, number):
        if len(made_up) == 50:
            raise KeyboardInterrupt
        return real(config, number)

    monkeypatch.setattr(labs, "play_one", interrupted)
    assert play(*ASK, "output.dir=parts").code == 130
    monkeypatch.setattr(labs, "play_one", real)
    again = json.loads(play(*ASK, "output.dir=parts").out)
    assert again["winner"] == told["winner"] and len(made_up) <= n_whole + 6


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("scaling.n_replicas=0.5..8", "scaling.n_replicas takes no numbers between whole ones; say a range of whole"),
        ("routing.queue_per_replica=8..0.5", "8..0.5 must rise"),
        ("routing.nonsense=0.5..8", "routing.nonsense = "),
    ],
)
def test_bad_ranges_are_one_line(play, word, line):
    said = play("plan", *OVERFLOW, "--over", word)
    assert said.code == 2 and line in said.line, said.err
