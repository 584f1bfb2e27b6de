"""The least that replicas could have cost: by brute force in small cases, and never above what a policy paid."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sim
from sim.hardware.least_work import least_work, per_prompt_token_s
from sim.hardware.step_time.affine import AffineStepTime
from sim.ledger.replica_path import Jobs, Needs, Terms, _by_levels, _by_lives, cheapest_path, in_slots
from sim.records import Window
from sim.study.hindsight import KEYS
from tests.proofs import hindsight as worlds

N_SLOTS = 5
small_needs = st.lists(st.integers(0, 2), min_size=N_SLOTS, max_size=N_SLOTS)


def moments(replicas) -> Needs:
    """So many replicas at each whole second from second 10 on, 10 s apart: a need at a moment has no choice of time."""
    rows = np.flatnonzero(replicas)
    at_s = 10.0 * (rows + 1)
    return Needs(at_s, at_s, np.array(replicas, np.int64)[rows], np.zeros(len(rows)))


def brute_force(replicas, billed_s) -> float:
    """The cheapest lives that hold so many replicas at each moment, over all ways to cover the moments with lives."""
    lives = [(a, b) for a in range(N_SLOTS) for b in range(a, N_SLOTS)]
    best = {tuple([0] * N_SLOTS): 0.0}
    for (a, b), cost_s in ((life, billed_s(10.0 * (life[1] - life[0]))) for life in lives):
        for held, so_far in list(best.items()):
            for times in (1, 2):
                more = tuple(min(2, h + times * (a <= i <= b)) for i, h in enumerate(held))
                if so_far + times * cost_s < best.get(more, math.inf):
                    best[more] = so_far + times * cost_s
    enough = [cost for held, cost in best.items() if all(h >= n for h, n in zip(held, replicas, strict=True))]
    return min(enough)


FAR = Window(-1e6, 1e6)


@settings(max_examples=20, deadline=None)
@given(small_needs, st.sampled_from([0.0, 5.0, 15.0, 25.0, 100.0]))
def test_levels_are_as_cheap_as_the_cheapest_lives(replicas, start_s):
    found = _by_levels([moments(replicas)], start_s, FAR)
    assert found.replica_s == pytest.approx(brute_force(replicas, lambda ready_s: start_s + ready_s))


@settings(max_examples=15, deadline=None)
@given(small_needs, st.sampled_from([Terms(5.0, 30.0), Terms(5.0, 0.0, 25.0), Terms(0.0, 12.0, 20.0)]))
def test_lives_with_a_minimum_or_rounded_up_are_the_cheapest(replicas, terms):
    found = _by_lives(moments(replicas), terms, FAR)
    cheapest = brute_force(replicas, lambda ready_s: float(terms.billed_s(np.array(ready_s))))
    assert found.replica_s == pytest.approx(cheapest)


def test_a_level_by_level_purchase_is_too_dear_where_lives_have_a_minimum():
    """The wrong twin: two replicas for 10 s in the middle of one for 40 s. Two lives that cross share the minimum."""
    replicas = [1, 1, 2, 1, 1]
    whole_life, middle = 40.0, 30.0
    assert _by_lives(moments(replicas), Terms(0.0, 30.0), FAR).replica_s < whole_life + middle


def jobs(*rows) -> Jobs:
    """Each (released, deadline, seconds alone, replica-seconds in a full batch)."""
    return Jobs(*np.array(rows, float).T)


def test_a_pause_shorter_than_a_start_is_waited_for():
    for pause_s, paid_s in ((50.0, 60 + 5 + 50 + 5), (200.0, 60 + 5 + 60 + 5)):
        two = jobs((0, 5, 5, 1), (5 + pause_s, 10 + pause_s, 5, 1))
        assert cheapest_path([two], Terms(60.0), Window(-1000, 1000)).replica_s == pytest.approx(paid_s)


def test_work_that_one_replica_cannot_do_in_time_needs_four():
    """For five minutes four replica-seconds of work arrive every second: four replicas, or one if there is an hour."""
    released_s = np.repeat(np.arange(300.0), 4)
    for slack_s, at_once in ((10.0, 4), (3600.0, 1)):
        many = Jobs(released_s, released_s + slack_s, np.full(1200, 0.5), np.ones(1200))
        assert cheapest_path([many], Terms(100.0), Window(-3600, 7200)).start_s == 100.0 * at_once


def test_a_slot_needs_the_replicas_for_what_cannot_be_done_outside_it():
    """250 replica-seconds that may take from 0 to 100 s, and at the fastest 50: three replicas over the whole, none in
    a half, as the other half could do it all; at the fastest 80 s, 3/8 of it falls into each half."""
    window = Window(0, 100)
    whole = in_slots(jobs((0, 100, 50, 250)), window, 100.0)
    assert (whole.start_s, whole.end_s, whole.replicas) == ([0], [100], [3])
    assert not len(in_slots(jobs((0, 100, 50, 250)), window, 50.0).replicas)
    halves = in_slots(jobs((0, 100, 80, 250)), window, 50.0)
    assert [column.tolist() for column in halves[:3]] == [[0, 50], [50, 100], [2, 2]]
    assert len(in_slots(jobs((0, 100, 50, 250)), window, 250.0).replicas) == 1, (
        "a slot longer than the window is the window"
    )


def test_starts_before_the_window_are_free():
    early = jobs((0, 10, 10, 1))
    assert cheapest_path([early], Terms(60.0), Window(0, 100)).replica_s == pytest.approx(10.0)


@settings(max_examples=30, deadline=None)
@given(
    st.tuples(*[st.floats(0, 0.1)] * 4), st.integers(1, 64), st.integers(1, 400),
    st.lists(st.integers(1, 60), max_size=6), st.integers(0, 64), st.integers(1, 100),
)  # fmt: skip
def test_no_step_is_shorter_than_the_parts_of_its_tokens(constants, cap, budget, chunks, n, context_each):
    """Whatever is in a step: its decoding sequences and its prompt tokens, each by itself, are within the step."""
    step = AffineStepTime(constants[0] + 1e-4, *constants[1:])
    n, chunks = min(n, cap), chunks if sum(chunks) <= budget else []
    step_s = step.step_s(n, n * context_each, [(new, 0, True) for new in chunks])
    kv_tokens = max(1, n * context_each)
    for least in least_work(step, cap, budget, kv_tokens, False):
        assert n * (least.per_token_s + least.per_context_token_s * context_each) <= step_s * (1 + 1e-9)
        assert sum(chunks) * least.per_prompt_token_s <= step_s * (1 + 1e-9)


def test_the_part_of_a_prompt_token_holds_for_the_roofline():
    """Against every split of 512 tokens into equal and unequal chunks that a step could compute."""
    one = sim.scenario("gpu=h100_sxm", "model=llama_3_1_8b")
    step = one.engine.step_time.build(one.gpu, one.model, one.engine)
    least_s = per_prompt_token_s(step, 512)
    for first, parts in itertools.product((1, 37, 200, 512), (1, 2, 5, 50)):
        rest = 512 - first
        chunks = [(first, 0, False)] + [(rest // parts, 0, True)] * parts if rest >= parts else [(first, 0, False)]
        assert step.step_s(0, 0, chunks) >= least_s * sum(new for new, _, _ in chunks)


def test_no_policy_in_random_worlds_costs_less_than_the_bound():
    violations, shares = worlds.too_high(6)
    assert not violations
    assert max(shares) > 0.8, "a bound that is never near a bill says nothing"


def test_a_bound_as_if_every_request_had_a_replica_to_itself_is_caught(monkeypatch):
    """The wrong twin: one replica serves ten requests at a time, and was not the cheapest that could have."""
    busy = sim.scenario(
        "engine=linear_server", "cold_start.spread_sigma=0", horizon_s=300, **{"arrivals.rate_per_s": 5}
    )
    assert worlds.played(busy).bound.usd <= worlds.played(busy).usd_gpu
    monkeypatch.setattr("sim.study.hindsight._own_s", lambda least, requests: least.alone_s + 0.0)
    assert worlds.played(busy).bound.usd > worlds.played(busy).usd_gpu


def test_the_parts_of_a_bill_add_up_and_are_said_in_one_line():
    run = sim.simulate(sim.scenario("arrivals=bursty", "fleet=scale_to_zero", horizon_s=1800))
    found, bill = run.hindsight, run.summary
    assert found.usd + found.regret_usd == pytest.approx(bill["usd_gpu"])
    assert 0 <= found.work_usd <= found.usd and 0 <= found.regret_cold_start_usd + found.regret_idle_usd
    assert found.regret_cold_start_usd + found.regret_idle_usd <= found.regret_usd + 1e-12
    assert [bill[key] for key in KEYS] == list(found) and str(found).startswith("in hindsight, GPUs for $")


@pytest.mark.parametrize(
    "words", [["fleet=api_only", "model=llama_3_3_70b"], ["pools=spot_a100", "prices=reserved_and_spot"]]
)
def test_no_bound_where_none_is_known(words):
    run = sim.simulate(sim.scenario(*words, horizon_s=60))
    assert run.hindsight is None and all(run.summary[key] is None for key in KEYS)


def test_a_commitment_is_paid_whatever_is_needed():
    """Two GPUs held for an hour cost what they cost; so the bound is the bill, and nothing is regret."""
    run = sim.simulate(
        sim.scenario("prices=lambda_h200_one_year", "gpu=h200_sxm", horizon_s=3600, **{"prices.gpu.gpus": 2})
    )
    assert run.hindsight.usd == pytest.approx(run.summary["usd_gpu"]) and run.hindsight.regret_usd == 0
