"""One server that is switched off after an idle timeout and needs a setup to come back, against its closed form.

Poisson arrivals at rate l, service S, deterministic timeout t and setup C. With p = exp(-l*t) and rho = l*E[S], a cycle
is (1 + p*l*C) / (l*(1-rho)) long; the server is paid for (1-p)/l + p*C + (1 + p*l*C)*E[S]/(1-rho) of it; and a request
waits l*E[S^2] / (2(1-rho)) + p*(2C + l*C^2) / (2(1 + p*l*C)). Vacation-queue argument, after Takagi, Queueing Analysis
I (1991).

The whole program plays it: a scenario with one slot per replica, at most one replica, and a cold start without spread.
"""

from __future__ import annotations

from math import exp

import pytest

from sim.scenarios import compose_config, parse
from sim.study.replicate import replicate
from tests.agree import assert_agrees, assert_disagrees

RATE_PER_S, SERVICE_S, SETUP_S, TIMEOUT_S = 0.02, 10.0, 60.0, 30.0
REPLICATIONS = 12


@pytest.fixture(scope="module")
def played() -> list[dict]:
    scenario = parse(
        compose_config(
            f"arrivals.rate_per_s={RATE_PER_S}", "lengths=fixed", "lengths.input_tokens=1", "lengths.output_tokens=10",
            "engine=linear_server", "engine.max_num_seqs=1", "engine.step_time.base_s=1",
            *(f"engine.step_time.per_{what}_s=0" for what in ("sequence", "context_token", "prefill_token")),
            "scaling=scale_to_zero", "scaling.max_replicas=1", f"scaling.idle_timeout_s={TIMEOUT_S}",
            "cold_start=instant", f"cold_start.engine_start_s={SETUP_S}",
            "horizon_s=105000", "warmup_s=5000", f"replications={REPLICATIONS}",
        )
    )  # fmt: skip
    return replicate(scenario).per_replication


def paid_fraction(setup_s=SETUP_S, timeout_s=TIMEOUT_S) -> float:
    p, rho = exp(-RATE_PER_S * timeout_s), RATE_PER_S * SERVICE_S
    setups = 1 + p * RATE_PER_S * setup_s
    cycle_s = setups / (RATE_PER_S * (1 - rho))
    return ((1 - p) / RATE_PER_S + p * setup_s + setups * SERVICE_S / (1 - rho)) / cycle_s


def mean_wait_s(setup_s=SETUP_S, timeout_s=TIMEOUT_S) -> float:
    p, rho = exp(-RATE_PER_S * timeout_s), RATE_PER_S * SERVICE_S
    queueing_s = RATE_PER_S * SERVICE_S**2 / (2 * (1 - rho))
    return queueing_s + p * (2 * setup_s + RATE_PER_S * setup_s**2) / (2 * (1 + p * RATE_PER_S * setup_s))


def paid_fractions(rows) -> list[float]:
    return [row["gpu_hours_paid"] * 3600 / 100_000 for row in rows]


def test_the_gpu_is_paid_for_as_long_as_the_closed_form_says(played):
    assert_agrees(paid_fractions(played), paid_fraction())


def test_requests_wait_as_long_as_the_closed_form_says(played):
    first_token_s = 1.0  # a request's own first step
    assert_agrees([row["ttft_mean_s"] - first_token_s for row in played], mean_wait_s())


def test_the_paid_gpu_is_as_busy_as_the_closed_form_says(played):
    assert_agrees([row["busy_fraction_of_paid"] for row in played], RATE_PER_S * SERVICE_S / paid_fraction())


@pytest.mark.parametrize("wrong", [dict(setup_s=SETUP_S * 1.2), dict(timeout_s=TIMEOUT_S * 1.2)])
def test_a_wrong_setup_or_timeout_is_noticed(played, wrong):
    assert_disagrees(paid_fractions(played), paid_fraction(**wrong))
    assert_disagrees([row["ttft_mean_s"] - 1.0 for row in played], mean_wait_s(**wrong))
