"""Every fleet is judged by the same tasks, served to their end, and pays for all the time that took."""

import pytest

from sim.ledger.audit import audit
from sim.ledger.usage import Usage
from sim.scenarios import compose_config, parse
from sim.simulation import simulate
from sim.study.replicate import replicate

SMALL = ["arrivals.rate_per_s=0.02", "horizon_s=900", "warmup_s=0"]


def used(*overrides):
    run = simulate(parse(compose_config(*overrides)), measure_peak=False)
    audit(run.facts)
    return Usage.from_facts(run.facts), len(run.facts.requests["task_id"])


@pytest.fixture(scope="module")
def fleets():
    """Tasks of many calls that run on long after the last of them began, on three fleets of different speed."""
    agents = [*SMALL, "tasks=coding", "drain_s=50000"]
    return {name: used(*agents, f"fleet={name}") for name in ("always_on", "scale_to_zero", "api_only")}


def test_all_fleets_serve_the_same_requests(fleets):
    totals = [(usage.requests_finished, usage.input_tokens, usage.output_tokens) for usage, _ in fleets.values()]
    assert len(set(totals)) == 1
    assert all(usage.requests_finished == n_requests for usage, n_requests in fleets.values())


def test_the_time_after_the_window_is_on_the_bill(fleets):
    usage, _ = fleets["always_on"]
    assert usage.after_window_s > 100
    assert usage.gpu_hours_paid * 3600 == pytest.approx((900 + usage.after_window_s) * usage.gpus_per_replica)


def test_a_log_of_tasks_is_reported_to_its_last_call(tmp_path):
    """20 tasks of 30 calls, one every 60 s; the tasks begin within the first minutes."""
    log = tmp_path / "log.csv"
    rows = [(20 * task + 60 * call, task) for task in range(20) for call in range(30)]
    lines = [f"{arrived_s},100,10,{task}" for arrived_s, task in sorted(rows)]
    log.write_text("\n".join(["arrived_s,input_tokens,output_tokens,task_id", *lines]) + "\n")
    scenario = parse(compose_config("arrivals=replay", f"arrivals.path={log}", "horizon_s=null", "fleet=always_on"))
    run = simulate(scenario, measure_peak=False)
    audit(run.facts)
    assert run.facts.window.end_s >= 19 * 20 + 29 * 60
    assert Usage.from_facts(run.facts).requests_finished == 600


def test_tasks_that_are_cut_short_are_told():
    scenario = parse(compose_config(*SMALL, "tasks=coding", "fleet=always_on", "drain_s=1"))
    run = simulate(scenario, measure_peak=False)
    assert any("were still running drain_s = 1 s after the traffic's end and were cut short" in n for n in run.notes)


def test_an_overloaded_fleet_pays_for_its_backlog():
    """Twenty times the load one replica can take, for ten minutes: its tokens cannot cost less than saturated ones."""
    overload = ["arrivals.rate_per_s=60", "horizon_s=600", "warmup_s=0", "drain_s=100000", "fleet=always_on"]
    scenario = parse(compose_config(*overload, "scaling.n_replicas=1", "lengths=fixed", "tasks=single_call"))
    said = replicate(scenario).summary
    assert said["requests_finished"] == said["requests"]
    assert said["gpu_hours_after_window"] > 0 and said["busy_fraction_of_paid"] > 0.99
    assert 0.85 < said["token_fraction_of_peak"] < 1.02


def test_a_fleet_that_turns_tasks_away_is_judged_by_their_later_calls_too():
    """One stream of agents, one fleet with room for all and two that refuse: the calls asked for are the same."""
    agents = ["arrivals.rate_per_s=1", "horizon_s=600", "warmup_s=0", "tasks=agent", "engine.max_num_seqs=4"]
    said = [
        replicate(parse(compose_config(*agents, "fleet=always_on", *room))).summary
        for room in ([], ["queue.max_waiting_requests=2"], ["queue.max_waiting_requests=2", "drain_s=1"])
    ]
    assert len({summary["requests"] + summary["requests_never_sent"] for summary in said}) == 1
    roomy, refusing, cut = said
    assert roomy["requests_never_sent"] == 0 and refusing["requests_refused"] > 0
    for summary in (refusing, cut):
        assert summary["requests_never_sent"] > 0
        asked = summary["requests"] + summary["requests_never_sent"]
        assert summary["slo_attainment_fraction"] <= summary["requests_finished"] / asked
