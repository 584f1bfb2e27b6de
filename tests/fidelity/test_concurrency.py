"""Output tokens per second of an 8B model on one H100 against the number of clients, as a real server gave them."""

from __future__ import annotations

import pytest

from sim.scenarios import compose_config, parse
from sim.simulation import simulate

MEASURED_TOK_PER_S = {1: 155, 64: 7_296, 256: 15_964, 1024: 16_471}


def served_tok_per_s(n_clients: int, input_tokens: int, output_tokens: int) -> float:
    scenario = parse(
        compose_config(
            "arrivals=closed_loop", f"arrivals.n_clients={n_clients}", f"arrivals.n_tasks={4 * n_clients}",
            "lengths=uniform", f"lengths.max_input_tokens={input_tokens}", f"lengths.max_output_tokens={output_tokens}",
            "lengths.low_fraction=1", "cold_start=instant", "horizon_s=null", "queue.max_requests_per_replica=1000000",
        )
    )  # fmt: skip
    requests = simulate(scenario, measure_peak=False).facts.requests
    return requests["output_tokens"].sum() / requests["finished_s"].max()


@pytest.mark.parametrize(("input_tokens", "output_tokens"), [(128, 128), (64, 64), (64, 256)])
@pytest.mark.parametrize("n_clients", MEASURED_TOK_PER_S)
def test_large_batches_are_bound_by_compute_as_on_the_measured_server(n_clients, input_tokens, output_tokens):
    """Its prompts and outputs were short; how short is not stated. The constants are fitted to 128/128, 64/256.

    Other guesses are further off: 256/128 and 128/64 serve up to 36 and 31 % less than measured, 32/128 25 % more.
    """
    served = served_tok_per_s(n_clients, input_tokens, output_tokens)
    assert served == pytest.approx(MEASURED_TOK_PER_S[n_clients], rel=0.15)
