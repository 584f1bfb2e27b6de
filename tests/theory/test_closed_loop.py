"""A closed loop against what has been known of closed loops for decades, played by the whole program.

One server with exponential service of mean S and N clients that think for Z on average is M/M/1//N, the machine
repairman: with p_n proportional to N!/(N-n)! (S/Z)^n, X = (1 - p_0) / S and R = N/X - Z (Kleinrock, Queueing Systems I,
1975, 3.8), whatever the distribution of think times (BCMP: a delay station is insensitive). Without queueing,
X = N / (S + Z), and for every closed loop X = N / (R + Z).
"""

from __future__ import annotations

import numpy as np
import pytest

from sim.scenarios import compose_config, parse
from sim.simulation import simulate
from tests.agree import assert_agrees, assert_disagrees

CLIENTS, THINK_S, SERVICE_S = 20, 10.0, 1.0
STEPS = 400  # tokens of a mean answer: a geometric number of steps is nearly exponential
HORIZON_S, REPLICATIONS = 4000.0, 8


def repairman(n: int = CLIENTS, think_s: float = THINK_S, service_s: float = SERVICE_S) -> tuple[float, float]:
    weights = np.cumprod([1.0, *((n - k) * service_s / think_s for k in range(n))])
    throughput = (1 - 1 / weights.sum()) / service_s
    return throughput, n / throughput - think_s


@pytest.fixture(scope="module")
def lengths_log(tmp_path_factory):
    path = tmp_path_factory.mktemp("lengths") / "log.csv"
    tokens = np.random.default_rng(5).geometric(1 / STEPS, size=20_000)
    path.write_text("arrived_s,input_tokens,output_tokens\n" + "".join(f"{i},1,{n}\n" for i, n in enumerate(tokens)))
    return path, float(tokens.mean())


def closed_loop(*overrides: str):
    return parse(
        compose_config(
            "arrivals=closed_loop", "scaling=always_on", "cold_start=instant", "engine=linear_server",
            *(f"engine.step_time.per_{what}_s=0" for what in ("sequence", "context_token", "prefill_token")),
            *overrides,
        )
    )  # fmt: skip


def after_warmup(requests, warmup_s, horizon_s=HORIZON_S):
    """Throughput and mean response time of what began after the warm-up and before the horizon."""
    inside = (requests["arrived_s"] >= warmup_s) & (requests["arrived_s"] < horizon_s)
    ended = (requests["finished_s"] >= warmup_s) & (requests["finished_s"] < horizon_s)
    response_s = (requests["finished_s"] - requests["arrived_s"])[inside]
    return ended.sum() / (horizon_s - warmup_s), float(response_s.mean())


def test_one_server_and_thinking_clients_are_the_machine_repairman(lengths_log):
    path, mean_tokens = lengths_log
    scenario = closed_loop(
        "lengths=empirical", f"lengths.path={path}", "engine.max_num_seqs=1",
        f"engine.step_time.base_s={SERVICE_S / mean_tokens}", f"horizon_s={HORIZON_S}",
        f"arrivals.n_clients={CLIENTS}", "arrivals.n_tasks=null", f"arrivals.think_s={THINK_S}",
    )  # fmt: skip
    rows = [after_warmup(simulate(scenario, 1, k, measure_peak=False).facts.requests, 400) for k in range(REPLICATIONS)]
    throughputs, responses_s = zip(*rows, strict=True)
    throughput, response_s = repairman()
    assert throughput == pytest.approx(0.9981, abs=1e-4) and response_s == pytest.approx(10.04, abs=0.005)
    assert_agrees(throughputs, throughput)
    assert_disagrees(throughputs, CLIENTS / (SERVICE_S + THINK_S))  # as if no client ever queued
    assert_agrees(responses_s, response_s, within=0.1)


@pytest.mark.parametrize("think", ["3", "{median: 3, sigma: 0.8}"])
def test_throughput_is_clients_over_response_and_think_time(think):
    scenario = closed_loop(
        "lengths=fixed", "lengths.input_tokens=1", "lengths.output_tokens=50", "engine.step_time.base_s=0.02",
        "engine.step_time.per_sequence_s=0.001", "arrivals.n_clients=30", "arrivals.n_tasks=null",
        f"arrivals.think_s={think}", "horizon_s=6000",
    )  # fmt: skip
    throughput, response_s = after_warmup(simulate(scenario, measure_peak=False).facts.requests, 100, 6000)
    assert throughput == pytest.approx(30 / (response_s + scenario.arrivals.think_s.mean), rel=0.01)
    assert throughput != pytest.approx(30 / response_s, rel=0.2)


def test_without_queueing_and_thinking_every_client_is_always_served():
    scenario = closed_loop(
        "lengths=fixed", "lengths.input_tokens=1", "lengths.output_tokens=10", "engine.step_time.base_s=0.1",
        "arrivals.n_clients=7", "arrivals.n_tasks=70",
    )  # fmt: skip
    facts = simulate(scenario, measure_peak=False).facts
    assert len(facts.requests["task_id"]) == 70
    assert facts.window.end_s == pytest.approx(10.0)  # ten rounds of ten steps of 0.1 s
    assert (facts.requests["finished_s"] - facts.requests["arrived_s"]) == pytest.approx(np.full(70, 1.0))


def test_as_many_clients_as_tasks_are_one_burst():
    scenario = closed_loop("lengths=fixed", "arrivals.n_clients=90", "arrivals.n_tasks=90")
    requests = simulate(scenario, measure_peak=False).facts.requests
    assert len(requests["arrived_s"]) == 90 and not requests["arrived_s"].any()


def test_clients_who_are_turned_away_come_back_later_and_the_run_still_ends():
    scenario = closed_loop(
        "lengths=fixed", "lengths.input_tokens=5000", "+engine.kv_cache_blocks=100", "arrivals.n_clients=2",
        "arrivals.n_tasks=10",
    )  # fmt: skip
    facts = simulate(scenario, measure_peak=False).facts
    assert (facts.requests["outcome"] == 1).all() and len(facts.requests["outcome"]) == 10
    assert facts.window.end_s >= 4.0


def test_the_kth_task_is_the_same_whoever_serves_it():
    fast, slow = (
        simulate(closed_loop("lengths=chat", f"engine.step_time.base_s={s}"), measure_peak=False).facts.requests
        for s in (0.001, 0.02)
    )
    by_task = [{k: v[np.argsort(r["task_id"])] for k, v in r.items()} for r in (fast, slow)]
    assert np.array_equal(by_task[0]["input_tokens"], by_task[1]["input_tokens"])
    assert np.array_equal(by_task[0]["output_tokens"], by_task[1]["output_tokens"])
    assert not np.array_equal(by_task[0]["arrived_s"], by_task[1]["arrived_s"])


def test_the_loop_ends_with_its_last_answer_not_with_a_last_pause():
    arrivals = ["arrivals=closed_loop", "arrivals.n_clients=10", "arrivals.n_tasks=10", "arrivals.think_s=600"]
    facts = simulate(parse(compose_config(*arrivals, "horizon_s=null")), measure_peak=False).facts
    assert facts.window.end_s == pytest.approx(facts.requests["finished_s"].max(), abs=0.1)
