"""Overflow, trigger by trigger; with a memory, with old metrics, with a budget; and in whole runs."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import simpy

from sim.engine.replica import Replica
from sim.hardware.step_time.affine import AffineStepTime
from sim.ledger.audit import audit
from sim.ledger.bill import bill
from sim.ledger.request_prices import RequestPrices
from sim.ledger.tariffs.flat import TokenTariff
from sim.ledger.usage import Usage
from sim.moment_zero import MONDAY
from sim.records import Backend
from sim.routing.budget import Budget
from sim.routing.by_task import ByTask
from sim.routing.forecast import predicted_ttft_s
from sim.routing.overflow import Overflow
from sim.scenarios import compose_config, parse
from sim.schema import ConfigError, parse_config
from sim.simulation import simulate
from sim.work import ApiExtra, Call, Outcome, PreviousCall, Request, Task, TaskProfile
from tests.at_work import start
from tests.unit.test_placements import Shown

FLEET, API = Backend.FLEET, Backend.API


def request(call_index=0, backend=FLEET, input_tokens=1000, profile=None):
    calls = (Call(input_tokens, 10),) * 3
    previous = PreviousCall(backend) if call_index else None
    return Request(Task(0, 0.0, calls, profile=profile or TaskProfile()), call_index, 0.0, previous)


class ShownFleet(SimpleNamespace):
    """A fleet as routers see it: one ready and idle replica unless said otherwise."""

    n_ready = 1
    n_waiting = n_starting = n_outstanding = queued_prompt_tokens = 0
    oldest_wait_s = predicted_wait_s = 0.0
    replicas = ()

    def placed(self, request):
        return self.replicas[0] if self.replicas else None


def system(**fleet):
    return SimpleNamespace(fleet=ShownFleet(**fleet), api=SimpleNamespace())


@pytest.mark.parametrize(
    ("trigger", "at_the_limit", "above"),
    [
        ({"oldest_wait_s": 3}, {"oldest_wait_s": 3.0}, {"oldest_wait_s": 3.1}),
        ({"predicted_wait_s": 3}, {"predicted_wait_s": 3.0}, {"predicted_wait_s": 3.1}),
        ({"queue_per_replica": 5}, {"n_waiting": 10, "n_ready": 2}, {"n_waiting": 11, "n_ready": 2}),
        ({"when_cold": True}, {"n_ready": 1, "n_waiting": 999}, {"n_ready": 0, "n_starting": 1}),
        (
            {"kv_used_fraction": 0.8},
            {"replicas": (Shown(kv_used_fraction=0.99), Shown(kv_used_fraction=0.8))},
            {"replicas": (Shown(kv_used_fraction=0.99), Shown(kv_used_fraction=0.81))},
        ),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else None,
)
def test_a_trigger_fires_above_its_limit_alone_or_beside_others(trigger, at_the_limit, above):
    alone, beside = Overflow(**trigger), Overflow(**{"oldest_wait_s": 100} | trigger)
    assert alone.choose(request(), system(**at_the_limit)) is FLEET
    assert alone.choose(request(), system(**above)) is API
    assert beside.choose(request(), system(**above)) is API
    assert Overflow(on_refusal=True).choose(request(), system(**above)) is FLEET, "nothing was refused yet"


def test_a_fleet_without_replicas_has_no_memory_to_press_on():
    assert Overflow(kv_used_fraction=0.8).choose(request(), system(n_ready=0)) is FLEET


def test_overflow_starts_above_the_limit_and_ends_below_a_share_of_it():
    queue = [3, 5, 6, 5, 3, 2, 3, 5, 6, 2, 0]
    without = start(Overflow(queue_per_replica=5))
    with_memory = start(Overflow(queue_per_replica=5, resume_fraction=0.5))

    def went(router):
        return "".join("A" if router.choose(request(), system(n_waiting=n)) is API else "f" for n in queue)

    assert went(without) == "ffAfffffAff"
    assert went(with_memory) == "ffAAAfffAff", "from 6 on until no more than 2.5 wait"


def test_the_memory_belongs_to_one_run():
    rule = Overflow(queue_per_replica=5, resume_fraction=0.5)
    assert start(rule).choose(request(), system(n_waiting=6)) is API
    assert start(rule).choose(request(), system(n_waiting=4)) is FLEET


def test_a_router_with_old_metrics_overflows_too_late_and_too_long():
    env, world = simpy.Environment(), system(n_outstanding=1)
    router = start(Overflow(queue_per_replica=5, refresh_s=10), env)
    told = []

    def story():
        for second, n_waiting in ((1, 0), (2, 9), (9, 9), (11, 9), (12, 0), (19, 0), (21, 0)):
            yield env.timeout(second - env.now)
            world.fleet.n_waiting = n_waiting
            told.append((second, router.choose(request(), world)))

    env.run(env.process(story()))
    assert told == [(1, FLEET), (2, FLEET), (9, FLEET), (11, API), (12, API), (19, API), (21, FLEET)]


# --- a spending cap -------------------------------------------------------------------------------------

PENNY = TokenTariff(
    provider="Penny", as_of="2026-01", usd_per_mtok_input=10, usd_per_mtok_cached_input=1, usd_per_mtok_output=20
)  # 1000 in and 500 out: 0.01 + 0.01 USD


def budget_of(usd, per):
    return Budget(usd=usd, per=per, output_tokens_reserved=500).at(RequestPrices(PENNY, "any model", MONDAY))


def finished(made, cached=0, output=250, outcome=Outcome.FINISHED):
    made.outcome, made.cached_input_tokens, made.output_tokens = outcome, cached, output
    return made


def test_the_budget_reserves_settles_and_is_new_every_hour():
    env, full = simpy.Environment(), system(n_waiting=99)
    router = start(Overflow(queue_per_replica=5, budget=budget_of(0.05, "hour")), env)
    first, second, third = request(), request(), request()
    assert [router.choose(r, full) for r in (first, second, third)] == [API, API, FLEET], "0.02, 0.04, not 0.06"
    router.settled(finished(first))  # 0.01 + 0.005 in place of 0.02: 0.035 in all
    assert router.choose(third, full) is FLEET
    router.settled(finished(second, cached=900))  # 0.001 + 0.0009 + 0.005 in place of 0.02: 0.0219
    assert router.choose(third, full) is API
    router.settled(finished(third, outcome=Outcome.REFUSED))  # costs nothing
    fourth = request()
    assert router.choose(fourth, full) is API
    env.run(until=3600)
    assert [router.choose(request(), full) for _ in range(3)] == [API, API, FLEET]
    router.settled(finished(fourth, output=0))
    assert router.choose(request(), full) is FLEET, "it was paid for in the hour before"


def test_a_spent_budget_takes_even_moved_tasks_and_refused_requests_back():
    router = start(Overflow(when_cold=True, on_refusal=True, budget=budget_of(0.02, "day")))
    cold = system(n_ready=0)
    assert router.choose(request(), cold) is API
    assert router.choose(request(call_index=1, backend=API), cold) is FLEET
    assert not router.second_try(request(), cold)


def test_no_hour_of_a_run_costs_more_than_the_cap():
    words = [
        "arrivals.rate_per_s=2", "tasks=support", "lengths=chat", "fleet=hybrid_overflow", "horizon_s=7200",
        "routing=overflow_within_budget", "routing.queue_per_replica=0", "gpu=l4", "routing.budget.usd=2.5",
        "routing.budget.output_tokens_reserved=8192",
    ]  # fmt: skip
    scenario = parse(compose_config(*words))
    requests = simulate(scenario, measure_peak=False).facts.requests
    budget, rates = scenario.routing.budget, scenario.prices.api.rates("llama_3_1_8b")
    bought = requests["backend"] == API
    usd = requests["input_tokens"] * rates.usd_per_mtok_input + requests["output_tokens"] * rates.usd_per_mtok_output
    usd = usd / 1e6
    hour = requests["arrived_s"] // 3600
    for i in range(2):
        assert 0.9 * budget.usd < usd[bought & (hour == i)].sum() <= budget.usd
    assert usd.sum() > 3 * budget.usd, "there was more to overflow"


# --- the predicted first token --------------------------------------------------------------------------

STEP = AffineStepTime(base_s=0.01, per_sequence_s=0.001, per_context_token_s=1e-7, per_prefill_token_s=2e-5)


def replica(env, finished=None, **options):
    options = dict(kv_blocks=100_000, max_num_seqs=64, max_num_batched_tokens=2048) | options
    return Replica(env, STEP, on_done=(finished if finished is not None else []).append, **options)


def test_on_an_idle_replica_the_first_token_comes_as_predicted():
    for tokens in (1, 700, 2048, 5000):
        env, done = simpy.Environment(), []
        one = replica(env, done)
        asked = request(input_tokens=tokens)
        predicted_s = predicted_ttft_s(asked, ShownFleet(replicas=(one,)))
        full, rest = divmod(tokens, 2048)
        by_hand_s = full * (0.011 + 2e-5 * 2048) + (0.011 + 2e-5 * rest if rest else 0.0)
        one.submit(asked)
        env.run()
        assert predicted_s == pytest.approx(by_hand_s)
        assert asked.first_token_s == pytest.approx(predicted_s, rel=0.01), "but for reading its own context"


def test_behind_other_prompts_it_counts_their_prefill_and_what_is_left_of_the_step():
    env = simpy.Environment()
    one = replica(env)
    for _ in range(4):
        one.submit(request(input_tokens=2048))
    env.run(until=0.02)
    asked = request(input_tokens=2048)
    # The first of four is computed until 0.05196; three more and its own take 0.05196 each, or a little more: those
    # done decode beside them.
    assert one.prefill_tokens_ahead == 3 * 2048 and not one.is_blocked
    predicted_s = predicted_ttft_s(asked, ShownFleet(replicas=(one,)))
    assert predicted_s == pytest.approx(0.05196 - 0.02 + 4 * 0.05196, rel=1e-6)
    one.submit(asked)
    env.run()
    assert asked.first_token_s - 0.02 == pytest.approx(predicted_s, rel=0.15), (
        "they share the token budget: a step more"
    )


def test_a_line_for_slots_is_known_by_how_long_it_has_lasted():
    env = simpy.Environment()
    one = replica(env, max_num_seqs=1)
    one.submit(Request(Task(0, 0.0, (Call(100, 2000),)), 0, 0.0))
    one.submit(request(input_tokens=1000))
    env.run(until=7.0)
    assert one.is_blocked
    own_s = one.prefill_s(1000)
    assert predicted_ttft_s(request(), ShownFleet(replicas=(one,))) == pytest.approx(7.0 + own_s)
    queued = ShownFleet(n_waiting=9, predicted_wait_s=4.0, replicas=(one,), placed=lambda request: None)
    assert predicted_ttft_s(request(), queued) == pytest.approx(4.0 + own_s)
    queued.queued_prompt_tokens = 10**6
    assert predicted_ttft_s(request(), queued) == pytest.approx(one.prefill_s(10**6) + own_s), "a sudden crowd"
    assert predicted_ttft_s(request(), ShownFleet(n_ready=0, predicted_wait_s=55.0)) == 55.0


def test_what_is_cached_need_not_be_computed():
    env = simpy.Environment()
    one = replica(env)
    shared = (("manual", 1600),)
    one.submit(Request(Task(0, 0.0, (Call(1600, 5, segments=shared),)), 0, 0.0))
    env.run()
    asked = Request(Task(1, 0.0, (Call(2000, 5, segments=shared),)), 0, env.now)
    assert predicted_ttft_s(asked, ShownFleet(replicas=(one,))) == pytest.approx(0.011 + 2e-5 * 400)


# --- whole runs -----------------------------------------------------------------------------------------


def played(*words):
    run = simulate(parse(compose_config("horizon_s=1800", "lengths=chat", *words)), measure_peak=False)
    audit(run.facts)
    return run.facts


def test_what_the_fleet_refuses_is_served_by_the_api_and_on_record_once():
    crowd = ["arrivals=bursty", "arrivals.rate_per_s=2", "engine.max_num_seqs=4", "+engine.max_queue=2"]
    plain = played(*crowd).requests
    refused = set(plain["task_id"][plain["outcome"] == Outcome.REFUSED].tolist())
    facts = played(*crowd, "fleet=hybrid_overflow", "routing=overflow_within_budget", "routing.queue_per_replica=null",
                   "routing.budget=null")  # fmt: skip
    again = facts.requests
    assert len(refused) > 50 and (again["outcome"] == Outcome.FINISHED).all()
    retried = again["retries"] > 0
    assert set(again["task_id"][retried].tolist()) == refused
    assert (again["backend"][retried] == API).all() and (again["backend"][~retried] == FLEET).all()
    assert (again["finished_s"][retried] > again["arrived_s"][retried]).all()


def test_while_the_fleet_starts_the_api_serves_and_the_fleet_still_wakes():
    quiet = ["arrivals=bursty", "arrivals.rate_per_s=0.5", "fleet=scale_to_zero", "api=ideal"]
    waited = played(*quiet).requests["cold_start_wait_s"]
    facts = played(*quiet, "routing=overflow_when_cold")
    requests = facts.requests
    assert waited.max() > 5 and not requests["cold_start_wait_s"].any(), "no request waits for a cold start"
    assert (requests["backend"] == FLEET).sum() > 100 and (requests["backend"] == API).any()
    assert (facts.spans["state"] == 3).sum() > 0, "and yet it starts"


@pytest.mark.parametrize("scaler", ["knative_kpa", "keda", "scale_to_zero", "ray_serve", "modal"])
def test_every_scaler_hears_of_those_who_went_elsewhere(scaler):
    facts = played("arrivals.rate_per_s=2", f"scaling={scaler}", "api=ideal", "routing=overflow_when_cold")
    assert (facts.requests["backend"] == FLEET).sum() > 1000


def test_the_ttft_trigger_keeps_the_promise_where_the_wait_comes_from_prompts():
    words = ["arrivals.rate_per_s=3", "gpu=l4", "lengths=code", "slo.ttft_s=1.5", "api=ideal", "horizon_s=600"]

    def p50_p90_p99(*more):
        requests = played(*words, *more).requests
        served = requests["backend"] == FLEET
        assert served.mean() > 0.6
        return np.quantile((requests["first_token_s"] - requests["arrived_s"])[served], [0.5, 0.9, 0.99])

    assert p50_p90_p99()[0] > 20, "without help most wait too long"
    helped, lagging = (
        p50_p90_p99("routing=overflow_on_ttft"),
        p50_p90_p99("routing=overflow_on_ttft", "routing.refresh_s=1"),
    )
    assert helped[1] < 1.7 and helped[2] < 2.2, "1.5 promised: answers under way slow the prompts a little"
    assert lagging[2] > helped[2] + 0.5, "with metrics a second old the promise is broken more often"


# --- by task --------------------------------------------------------------------------------------------

CHAT, CODING = TaskProfile("chat", (1.6, 3.0, 4.5)), TaskProfile("coding", (21.9, 22.5, 23.2))


def test_short_tasks_are_bought_and_long_ones_run_on_the_gpus():
    rule = ByTask(api_below_calls=2)
    assert rule.choose(request(profile=CHAT), system()) is API
    assert rule.choose(request(profile=CODING), system()) is FLEET
    assert rule.choose(request(), system()) is API, "of an unknown kind, one call is all one may expect"
    assert rule.choose(request(2, profile=CHAT), system()) is API, "the first call has decided"
    anew = ByTask(api_below_calls=2, stay_with_task=False)
    assert anew.choose(request(0, profile=CHAT), system()) is API
    assert anew.choose(request(1, profile=CHAT), system()) is FLEET, "of those with a second call: 3 - 1 to come"
    assert anew.choose(request(2, profile=CHAT), system()) is FLEET, "4.5 - 2"


def test_applications_are_told_apart_by_name_and_the_rest_has_a_router_of_its_own():
    rule = ByTask(api_applications=["chat"], rest={"kind": "overflow", "queue_per_replica": 5, "on_refusal": True})
    assert rule.choose(request(profile=CHAT), system()) is API
    assert rule.choose(request(profile=CODING), system()) is FLEET
    assert rule.choose(request(profile=CODING), system(n_waiting=6)) is API
    assert rule.retries and rule.second_try(request(), system())
    assert not rule.is_demand(request(profile=CHAT)) and rule.is_demand(request(profile=CODING))
    capped = {"kind": "overflow", "queue_per_replica": 5, "resume_fraction": 0.5}
    at_work = start(ByTask(api_applications=["chat"], rest=capped))
    went = [at_work.choose(request(profile=CODING), system(n_waiting=n)) for n in (6, 4, 2, 4)]
    assert went == [API, API, FLEET, FLEET] and at_work.choose(request(profile=CHAT), system()) is API
    with pytest.raises(ConfigError, match="no task would go to the API"):
        parse_config(ByTask, {})


def test_a_router_is_told_what_its_tasks_are_like():
    words = ["tasks=agent", "arrivals.rate_per_s=0.2", "api=ideal", "horizon_s=300"]
    by_calls = played(*words, "routing=by_calls").requests
    assert (by_calls["backend"] == FLEET).all(), "6.3 calls are expected"
    assert (played(*words, "routing=by_calls", "routing.api_below_calls=7").requests["backend"] == API).all()
    single = played("arrivals.rate_per_s=0.2", "api=ideal", "horizon_s=300", "routing=by_calls").requests
    assert (single["backend"] == API).all()
    assert np.isin(by_calls["call_index"], range(12)).all()


def test_the_bill_keeps_within_the_budget_at_the_users_own_prices(tmp_path):
    """300 requests at once, each hour for two hours, and $0.05 an hour. By the bill's prices a request of 1,000 and 100
    tokens costs 0.75 cents, so that six an hour overflow; at twice the prices three, and at the hour's double six and
    three."""
    log = "arrived_s,input_tokens,output_tokens\n" + "0,1000,100\n" * 300 + "3600,1000,100\n" * 300
    (tmp_path / "burst.csv").write_text(log)
    base = [
        "arrivals=replay", f"arrivals.path={tmp_path / 'burst.csv'}", "gpu=l40s", "engine.max_num_seqs=4", "api=ideal",
        "prices=claude_opus_5_cache_write", "routing=overflow_within_budget", "routing.budget.usd=0.05",
        "routing.budget.output_tokens_reserved=100",
    ]  # fmt: skip
    twice = ["prices.api.usd_per_mtok_input=10", "prices.api.usd_per_mtok_output=50"]
    from_one = ["+prices.api.timed=[{from_hour:1,to_hour:24,multiplier:2}]"]
    for words, bought, cents in (([], [6, 6], 9.0), (twice, [3, 3], 9.0), (from_one, [6, 3], 9.0)):
        scenario = parse(compose_config(*base, *words))
        facts = simulate(scenario, measure_peak=False).facts
        at_api = facts.requests["arrived_s"][facts.requests["backend"] == API]
        assert [(at_api == second).sum() for second in (0, 3600)] == bought
        lines = bill(Usage.from_facts(facts), scenario.prices, "l40s", scenario.model.name).set_index("item")["usd"]
        assert 100 * lines.filter(like="api").sum() == pytest.approx(cents)


def test_a_hedged_request_reserves_both_of_its_copies_and_pays_for_them():
    prices = RequestPrices(PENNY, "any model", MONDAY, copies=2)
    asked = request()
    assert prices.most_usd(asked, 500) == pytest.approx(0.04)
    finished(asked).api_extra = extra = ApiExtra()
    extra.is_hedged, extra.lost_input_tokens, extra.lost_output_tokens = 1, 1000, 50
    assert prices.usd(asked) == pytest.approx(0.015 + 0.011)


def test_a_prompt_that_a_cache_may_write_reserves_the_price_of_that():
    dear = PENNY.model_copy(update={"usd_per_mtok_cache_write": 12.5})
    most = [RequestPrices(dear, "any model", MONDAY, has_cache=held).most_usd(request(), 0) for held in (False, True)]
    assert most == pytest.approx([0.01, 0.0125])


def test_a_budget_has_no_prices_of_its_own():
    with pytest.raises(ConfigError, match="usd_per_mtok_output: a budget counts at the bill's prices.*set prices.api"):
        parse(compose_config("routing=overflow_within_budget", "api=ideal", "+routing.budget.usd_per_mtok_output=0.9"))
