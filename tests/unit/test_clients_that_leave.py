"""Clients that go away in the middle of an answer: what the engine, the bill, the SLO and their tasks make of it."""

from __future__ import annotations

import numpy as np
import pytest
import simpy

import sim
from sim.engine.replica import Replica
from sim.ledger.audit import audit
from sim.ledger.usage import Usage
from sim.records import Backend, is_served
from sim.report.metrics import summarize
from sim.report.slo import Slo
from sim.schema import ConfigError
from sim.simulation import simulate
from sim.work import Call, Outcome, Request, Task
from tests.facts_builder import Book
from tests.reference.worlds import ProbeStepTime, World, play_replica, play_stepping

CLOCK = ProbeStepTime(1.0, 0.0, 0.0, 0.0, 0.0, 0.0)
ENGINE = {"kv_blocks": 100, "max_num_seqs": 1, "max_num_batched_tokens": 100}


def played(*tasks: Task, **world):
    """Both engines play the tasks; every step takes a second."""
    worlds = World(list(tasks), CLOCK, ENGINE, **world)
    truth, _ = play_stepping(worlds)
    found, *_ = play_replica(worlds)
    for key, request in truth.items():
        assert (found[key].outcome, found[key].finished_s) == (request.outcome, request.finished_s)
    return truth


def test_a_client_that_hangs_up_is_served_to_the_end_of_the_step():
    """At 3.5 s the fourth step is under way: four of ten tokens are generated. The next client hangs up at 4.5 s."""
    truth = played(Task(0, 0.0, (Call(5, 10),)), Task(1, 1.0, (Call(5, 2),)), timeout_s=3.5)
    first, second = truth[0, 0], truth[1, 0]
    assert (first.outcome, first.finished_s, first.output_tokens) == (Outcome.ABORTED, 4.0, 4)
    assert (second.admitted_s, second.finished_s, second.outcome) == (4.0, 5.0, Outcome.ABORTED)


def test_a_client_that_hangs_up_before_service_has_abandoned():
    truth = played(Task(0, 0.0, (Call(5, 9),)), Task(1, 1.5, (Call(5, 1),)), timeout_s=3.0)
    assert [truth[i, 0].outcome for i in range(2)] == [Outcome.ABORTED, Outcome.FINISHED]
    truth = played(*(Task(i, 0.0, (Call(5, 9),)) for i in range(2)), timeout_s=3.0)
    assert truth[1, 0].outcome is Outcome.ABANDONED


def test_a_client_that_stops_costs_one_token_more_and_its_task_goes_on():
    task = Task(0, 0.0, (Call(5, 10), Call(5, 2)))
    truth = played(task, read_tokens={(0, 0): 3})
    assert (truth[0, 0].outcome, truth[0, 0].finished_s, truth[0, 0].output_tokens) == (Outcome.STOPPED, 4.0, 4)
    assert (truth[0, 1].arrived_s, truth[0, 1].outcome) == (4.0, Outcome.FINISHED)


def test_a_client_cannot_leave_a_replica_that_does_not_have_it():
    replica = Replica(simpy.Environment(), CLOCK, on_done=lambda request: None, **ENGINE)
    with pytest.raises(ValueError, match="does not wait on this replica"):
        replica.abort(Request(Task(0, 0.0, (Call(5, 5),)), 0, 0.0))


@pytest.fixture(scope="module")
def impatient():
    """Chats and agents on one small card, far too many: most clients hang up, some stop before."""
    words = ["tasks=chat", "gpu=l4", "arrivals.rate_per_s=3", "queue.client_timeout_s=20", "queue.stopped_fraction=0.3"]
    return simulate(sim.scenario(*words, horizon_s=120), measure_peak=False)


def test_every_request_keeps_its_laws(impatient):
    facts = impatient.facts
    audit(facts)
    requests = facts.requests
    lasted_s, aborted = requests["finished_s"] - requests["arrived_s"], requests["outcome"] == Outcome.ABORTED
    assert np.count_nonzero(aborted) > 20
    assert (lasted_s[aborted] >= 20 - 1e-6).all()
    assert lasted_s.max() < 22, "nobody waits for much more than a step beyond the timeout"
    stopped = requests["outcome"] == Outcome.STOPPED
    assert np.count_nonzero(stopped) > 5
    assert np.isfinite(requests["first_token_s"][stopped]).all()


def test_tasks_end_with_an_aborted_call_and_go_on_after_a_stopped_one(impatient):
    requests = impatient.facts.requests
    key = requests["task_id"] * 1000 + requests["call_index"]
    later = np.isin(key + 1, key)
    wanted = requests["call_index"] + 1 < requests["calls_in_task"]
    assert not later[requests["outcome"] == Outcome.ABORTED].any()
    assert later[(requests["outcome"] == Outcome.STOPPED) & wanted].any()


def test_the_summary_counts_each_once_and_an_aborted_call_misses_the_slo(impatient):
    facts = impatient.facts
    summary = summarize(facts, Usage.from_facts(facts), {}, Slo(ttft_s=1e6))
    requests = facts.requests
    assert summary["requests_aborted"] == np.count_nonzero(requests["outcome"] == Outcome.ABORTED)
    assert sum(summary[f"requests_{outcome.name.lower()}"] for outcome in Outcome) == summary["requests"]
    calls = summary["requests"] + summary["requests_never_sent"]
    served = np.count_nonzero(is_served(requests["outcome"]))
    assert summary["slo_attainment_fraction"] == pytest.approx(served / calls)


def test_who_stops_does_not_depend_on_who_serves():
    words = ["queue.stopped_fraction=0.5", "lengths=chat"]
    fleets = [["scaling.n_replicas=2"], ["fleet=api_only", "api=ideal", "model=llama_3_3_70b"]]
    stopped = []
    for fleet in fleets:
        requests = simulate(sim.scenario(*words, *fleet, horizon_s=60), measure_peak=False).facts.requests
        order = np.argsort(requests["task_id"])
        stopped.append([requests[name][order].tolist() for name in ("outcome", "output_tokens")])
    assert stopped[0] == stopped[1]
    assert 0.3 < np.mean(np.array(stopped[0][0]) == Outcome.STOPPED) < 0.6


def test_an_api_bills_what_it_had_generated():
    words = ["fleet=api_only", "api=ideal", "model=llama_3_3_70b", "lengths=fixed", "lengths.output_tokens=2000"]
    scenario = sim.scenario(*words, "queue.client_timeout_s=5", horizon_s=60)
    run = simulate(scenario, measure_peak=False)
    audit(run.facts)
    requests = run.facts.requests
    assert (requests["outcome"] == Outcome.ABORTED).all()
    assert (requests["backend"] == Backend.API).all()
    speed = requests["output_tokens"] / (requests["finished_s"] - requests["first_token_s"])
    assert speed == pytest.approx(scenario.api.output_tokens_per_s, rel=0.02)
    assert Usage.from_facts(run.facts).api["output_tokens"].sum() == requests["output_tokens"].sum() > 0


def test_a_lost_replica_and_a_client_gone_are_one_end():
    """On a spot fleet that loses replicas all the time, no request ends twice, and the audit holds."""
    words = ["reliability=spot", "reliability.spot.mean_lifetime_s=60", "lengths=chat", "scaling.n_replicas=2"]
    run = simulate(sim.scenario(*words, "queue.client_timeout_s=15", horizon_s=400), measure_peak=False)
    audit(run.facts)
    assert (run.facts.requests["outcome"] == Outcome.ABORTED).any()


def test_attainment_of_a_stopped_call_is_that_of_what_it_got():
    book = Book().request(0, 1, 2, 9, outcome=Outcome.STOPPED).request(0, 1, 2, 9, outcome=Outcome.ABORTED)
    assert Slo(ttft_s=2, tpot_s=2).attained(book.facts().requests).tolist() == [True, False]


def test_what_is_not_modelled_is_refused():
    with pytest.raises(ConfigError, match=r"queue.client_timeout_s: is not modelled with disaggregation"):
        sim.scenario("disaggregation={prefill_replicas: 1, link_gb_per_s: 50}", "queue.client_timeout_s=9")
