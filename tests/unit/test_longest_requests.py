"""A model takes requests up to its context; longer ones are refused and counted, not served."""

import numpy as np
import pytest

from sim.records import Outcome
from sim.scenarios import compose_config, parse
from sim.simulation import simulate

LONG = ["lengths=fixed", "lengths.output_tokens=96", "horizon_s=50", "arrivals.rate_per_s=1", "model=llama_2_7b"]


def played(input_tokens, *overrides):
    scenario = parse(compose_config(*LONG, f"lengths.input_tokens={input_tokens}", *overrides))
    run = simulate(scenario, measure_peak=False)
    return np.unique(run.facts.requests["outcome"]).tolist(), run.notes


API = ["fleet=api_only", "prices=article_003"]
TWO_POOLS = ["disaggregation={prefill_replicas:1,link_gb_per_s:50}"]


@pytest.mark.parametrize("where", [[], API, TWO_POOLS])
def test_4096_tokens_fit_a_context_of_4096_and_4097_do_not(where):
    assert played(4000, *where) == ([Outcome.FINISHED], ())
    outcomes, notes = played(4001, *where)
    assert outcomes == [Outcome.REFUSED]
    assert len(notes) == 1 and "longer than llama_2_7b's 4096 tokens" in notes[0]


def test_an_engine_may_be_told_to_take_less():
    assert played(1000, "engine.max_model_len=1096") == ([Outcome.FINISHED], ())
    assert played(1000, "engine.max_model_len=1095")[0] == [Outcome.REFUSED]
