"""How far an answer can be trusted: where it flips, and what its errors add up to."""

from __future__ import annotations

import math
from datetime import date
from types import SimpleNamespace

import pytest

import sim
from sim.ledger.prices import age_days
from sim.measured.model_error import ModelError, model_error
from sim.report.attainment import Verdict
from sim.report.estimators import Interval
from sim.study.search import error_parts
from sim.study.search.budget import Part, age_in_words, drift, in_squares
from sim.study.search.contest import Contender, Contest
from sim.study.search.error_parts import _engine, _seeds, engine_uncertainty
from sim.study.search.evidence import SLO_FACTORS, Sample
from sim.study.search.flip import nearest_first, played_flips, slo_flips
from sim.study.search.inputs import Input, inputs, slower_steps
from sim.study.search.variation import Varied, changed
from sim.study.search.wording import costs

SLOWEST_S = {"small": 0.8, "large": 0.4, "api": 0.5}
"""Of 1,000 requests the slowest takes this long at a volume of 1, and the others evenly less; the limit is 1 s."""


class Scripted:
    """Two owned fleets that slow down with the volume, and an API that is paid by it; replications differ a little."""

    def __init__(self, luck=(0.0,)):
        self.luck, self.n_played = luck, 0

    def play(self, wanted):
        self.n_played += len(wanted)
        return [self._sample(candidate, number) for candidate, number in wanted]

    def _sample(self, candidate, number):
        changes = dict(candidate.changes) if isinstance(candidate, Varied) else {}
        name = candidate.candidate if isinstance(candidate, Varied) else candidate
        volume = changes.get("users", 1.0) * (1 + self.luck[number % len(self.luck)])
        usd = {"small": 100.0, "large": 180.0, "api": 120.0 * volume}[name]
        slowest_s = SLOWEST_S[name] * (1 if name == "api" else volume)
        attained = [min(1000, int(1000 * factor / slowest_s)) for factor in SLO_FACTORS]
        return Sample(usd, attained[SLO_FACTORS.index(1.0)], 1000, 1.0, slowest_s + usd, None, tuple(attained))


def a_contest(world, replications=1):
    config = {"users": 1.0}
    contenders = [Contender(name, config, usd) for name, usd in (("small", 100.0), ("large", 180.0), ("api", None))]
    return Contest(world, contenders, 0.99, replications)


VOLUME = Input("users", "volume", 1.0, "x", "all else", lambda factor, config: (("users", config["users"] * factor),))


def test_the_flips_are_where_the_world_turns():
    world = Scripted()
    up, down = played_flips(a_contest(world), VOLUME, str)
    assert up.low < 1.0 / 0.8 / 0.99 <= up.flips_at <= 1.04 * up.low and up.because == "the winner misses the SLO"
    assert down.flips_at < 100 / 120 < down.low and down.to == "api" and down.because == "costs less"
    assert up.to == "api" and (up.high, down.high) == (up.flips_at, down.flips_at)
    assert nearest_first([up, down])[0] is down and world.n_played <= 40


@pytest.mark.parametrize("side", [0, 1])
def test_at_the_flip_and_five_per_cent_beyond_another_wins_and_nearer_none_does(side):
    flip = played_flips(a_contest(Scripted()), VOLUME, str)[side]
    outwards = 1 if flip.flips_at > 1 else -1
    contest = a_contest(Scripted())

    def winner_at(factor):
        return contest.standing(lambda config: VOLUME.changes(factor, config)).leader

    assert winner_at(flip.flips_at * (1 + 0.05 * outwards)) == flip.to != contest.incumbent
    assert winner_at(flip.flips_at * (1 - 0.05 * outwards)) == contest.incumbent


def test_whether_an_answer_holds_is_asked_of_one_replication_and_the_same_one_of_all():
    """The first makes 30 % more traffic, the second 30 % less: the small fleet has room for 25 % more."""
    contest = a_contest(Scripted(luck=(0.3, -0.3)), replications=2)
    assert not contest.holds(lambda config: VOLUME.changes(1.0, config))
    assert a_contest(Scripted(luck=(-0.1, 0.3)), replications=2).holds(lambda config: VOLUME.changes(1.0, config))


def test_replications_that_flip_at_other_values_make_an_interval():
    up, down = played_flips(a_contest(Scripted(luck=(0.0, 0.08, -0.08)), 3), VOLUME, str)
    for flip, (first, last) in ((up, (1.2626 / 1.08, 1.2626 / 0.92)), (down, (0.8333 / 0.92, 0.8333 / 1.08))):
        near, far = sorted((first, last), key=lambda value: abs(value - 1))
        assert abs(flip.low - 1) <= abs(near - 1), "nearer no replication has turned"
        assert flip.high is None or abs(flip.high - 1) >= abs(far - 1) - 1e-3, "beyond all have"
        assert abs(flip.low - 1) < abs(flip.flips_at - 1)


def test_what_never_flips_says_how_far_was_looked_and_what_was_not_searched_why():
    dull = Input("x", "x", 2.0, "", "", lambda factor, config: (("dull", factor),))
    (never,) = played_flips(a_contest(Scripted()), dull, str)
    assert never.change is None and never.searched == (0.5, 8.0)
    shut = Input("x", "x", 2.0, "", "", dull.changes, why_not="no such thing in the log")
    world = Scripted()
    (skipped,) = played_flips(a_contest(world), shut, str)
    assert skipped.why_not and world.n_played == 0 and skipped.as_dict()["change_fraction"] is None


def test_limits_and_share_of_the_slo_are_counted_without_a_simulation():
    world = Scripted()
    contest = a_contest(world)
    base = contest.standing(lambda _config: (), slack=math.inf)
    before = world.n_played
    limits, share = slo_flips(base, 0.99, "small", str)
    assert world.n_played == before
    assert limits.key == "slo" and 0.77 < limits.flips_at < 0.8 * 0.99 and limits.to == "api"
    assert share.flips_at is None, "the winner attains it for all, and nothing is cheaper"


def test_errors_add_in_squares_and_an_unknown_one_makes_the_sum_unknown():
    parts = [Part("a", -0.03, 0.03, True, ""), Part("b", -0.04, 0.04, True, "")]
    assert in_squares(parts) == pytest.approx((-0.05, 0.05))
    assert in_squares([*parts, Part("c", 0.0, None, False, "")]) == (pytest.approx(-0.05), None)


def test_no_error_makes_an_answer_cost_less_than_nothing():
    """Of few skewed replications an interval of 100 dollars may reach up by 200; down it reaches to 0 at the most."""
    wide = [Part("a", -0.8, 2.0, True, ""), Part("b", -0.9, 0.9, True, "")]
    assert in_squares(wide) == (-1.0, pytest.approx(math.hypot(2.0, 0.9)))
    cost = Interval(100.0, 40.0, 300.0, 12)
    winner = SimpleNamespace(cost=cost, repeats=False, judgement=SimpleNamespace(meets=True, verdict=Verdict.MEETS))
    seeds = _seeds(SimpleNamespace(winner=winner, answer=SimpleNamespace(difference=None, finals=[winner])))
    assert (seeds.low_fraction, seeds.high_fraction, seeds.survives) == (pytest.approx(-0.6), pytest.approx(2.0), True)
    assert costs(cost) == "$100 ($40.00 to $300) a month"
    winner.judgement = SimpleNamespace(meets=None, verdict=Verdict.NOT_RESOLVED)
    open_slo = _seeds(SimpleNamespace(winner=winner, answer=SimpleNamespace(difference=None, finals=[winner])))
    assert not open_slo.survives and open_slo.basis.endswith("the SLO is not resolved")


def test_the_engines_part_is_what_serving_costs_with_faster_and_slower_steps(monkeypatch):
    """Errors of 8 % on runs of others: steps are 20 % longer or shorter, and at both ends the answer is played."""
    monkeypatch.setattr(error_parts, "slower_steps", lambda factor, config: factor)
    found = ModelError(
        "l4",
        "borrowed",
        {"itl": (0.08, SimpleNamespace(tuned_on=False)), "ttft": (0.9, SimpleNamespace(tuned_on=False))},
    )
    spread = 1.96 * math.sqrt(math.pi / 2) * 0.08

    def parts(error=found, leaders=("small", "small")):
        played = {}

        def standing(change):
            played[change({})] = len(played)
            leader = leaders[len(played) - 1]
            return SimpleNamespace(leader=leader, usd=lambda _: 100.0 * change({}))

        contest = SimpleNamespace(standing=standing, incumbent="small")
        asked = SimpleNamespace(error=error, winner=SimpleNamespace(cost=Interval(100.0)), name_of=str)
        return _engine(asked, contest), list(played)

    (part,), factors = parts()
    assert factors == pytest.approx([1 / (1 + spread), 1 + spread])
    assert (part.low_fraction, part.high_fraction) == (pytest.approx(1 / (1 + spread) - 1), pytest.approx(spread))
    assert (
        part.survives
        and part.basis == f"steps {100 * spread:.0f} % shorter to longer, by measured errors of l4 (constants borrowed)"
    )
    own = SimpleNamespace(tuned_on=True)
    (tuned,), _ = parts(ModelError("l4", "measured", {"itl": (0.08, own)}))
    assert tuned.basis.endswith("errors of l4 on runs that its constants were set by, so at least")
    (lost,), _ = parts(leaders=("small", "api"))
    assert not lost.survives and lost.high_fraction == pytest.approx(spread) and "faster, api wins" in lost.basis
    (none,), _ = parts(leaders=("small", None))
    assert none.high_fraction is None and not none.survives and none.basis.endswith("none wins")
    assert parts(error=None)[0] == [], "an API alone has no steps"


def test_a_list_has_an_age_and_drifts_with_its_root():
    today = date(2026, 11, 29)
    assert age_days("2026-03 to 2026-06", today) == 273 and age_days("undated (2026)", today) is None
    assert age_in_words("2026-10-27", today) == "" and age_in_words("2026-03", today) == "273 days old"
    assert age_in_words("undated (docs commit da63d280)", today) == "undated"
    assert drift("2022-11-29", today) == pytest.approx(2 * drift("2025-11-29", today), rel=1e-3)
    assert drift("2026-11-29", today) == 0


def test_every_part_of_a_step_takes_longer_by_the_factor():
    config = sim.scenario("gpu=h100_sxm", "model=gpt_oss_120b", "engine.tensor_parallel=2").composition.config
    config = {name: config[name] for name in ("gpu", "model", "engine")}
    slow = changed(config, slower_steps(1.3, config))
    half = changed(config, tuple(change for change in slower_steps(1.3, config) if "_us" not in change[0]))
    times = []
    for one in (config, slow, half):
        scenario = sim.scenario("gpu=h100_sxm", "model=gpt_oss_120b", "engine.tensor_parallel=2", **{
            f"{group}.{key}": value for group in ("gpu", "engine") for key, value in one[group].items()
            if value is not None and config[group][key] != value
        })  # fmt: skip
        step = scenario.engine.step_time.build(scenario.gpu, scenario.model, scenario.engine)
        times.append([step.step_s(n, 1000.0 * n, chunks) for n in (1, 64) for chunks in ((), ((512, 0, True),))])
    assert times[1] == pytest.approx([1.3 * s for s in times[0]], rel=1e-9)
    assert max(b / a for a, b in zip(times[0], times[2], strict=True)) < 1.29, "overheads count"


def test_the_uncertainty_of_an_engine_is_that_of_the_nearest_measured_family():
    one = sim.scenario("gpu=a100_80gb_sxm", "model=llama_3_1_8b")
    found = model_error(one.gpu, one.model, one.engine)
    largest = max(found.errors[name][0] for name in ("throughput", "itl"))
    assert engine_uncertainty(found) == pytest.approx(math.sqrt(math.pi / 2) * largest)
    assert engine_uncertainty(None) == 0


def test_inputs_that_this_log_or_these_fleets_do_not_have_say_so():
    config = sim.scenario("arrivals=replay", "arrivals.path=x.csv").composition.config
    found = {one.name: one for one in inputs(config, None, starts_cold=False)}
    assert found["context reuse"].why_not and found["cold-start time"].why_not and not found["volume"].why_not
    assert dict(found["volume"].changes(2.0, config)) == {"arrivals.scale.more_users": 2.0}
    cold = dict(found["cold-start time"].changes(2.0, config))
    assert cold["cold_start.engine_start_s"] == 2 * config["cold_start"]["engine_start_s"]
    assert cold["cold_start.bandwidth_gb_per_s"] == config["cold_start"]["bandwidth_gb_per_s"] / 2
