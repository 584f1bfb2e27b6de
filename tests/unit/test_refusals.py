"""A request that is turned away says why: in its row, in the summary, and in one line if it could never fit."""

import numpy as np
import pytest

from sim.ledger.audit import audit
from sim.records import Outcome, Refusal
from sim.scenarios import compose_config, parse
from sim.simulation import simulate
from sim.study.replicate import replicate

LOOP = [
    "arrivals=closed_loop", "arrivals.n_clients=2", "arrivals.n_tasks=4", "lengths=fixed", "lengths.input_tokens=4096",
    "lengths.output_tokens=64", "horizon_s=null",
]  # fmt: skip
STEADY = ["arrivals.rate_per_s=2", "horizon_s=30", "lengths=fixed", "lengths.input_tokens=4000"]


def played(*overrides):
    """Why each request was refused, and the notes."""
    run = simulate(parse(compose_config(*overrides)), measure_peak=False)
    audit(run.facts)
    requests = run.facts.requests
    assert ((requests["refusal"] != Refusal.NONE) == (requests["outcome"] == Outcome.REFUSED)).all()
    return requests["refusal"], run.notes


def test_prompts_longer_than_a_step_that_cuts_none_are_refused_for_that():
    result = replicate(parse(compose_config(*LOOP, "engine.chunked_prefill=false")))
    assert result.summary["requests_refused_over_step"] == result.summary["requests_refused"] == 4
    (note,) = [note for note in result.notes if "refused" in note]
    assert "4 of 4" in note and "2049 tokens of one step" in note and "engine.chunked_prefill=false" in note


@pytest.mark.parametrize("split", [[], ["disaggregation={prefill_replicas:1,link_gb_per_s:50}"]])
def test_prompts_longer_than_the_memory_of_a_replica(split):
    reasons, notes = played(*STEADY, "lengths.input_tokens=60000", "gpu=rtx_4090", *split)
    assert set(reasons) == {Refusal.OVER_KV_MEMORY} and "KV memory" in notes[0]


def test_a_full_queue_is_no_final_refusal():
    queue = ["engine.max_num_seqs=1", "arrivals.rate_per_s=8"]
    for limit in ("engine.max_queue=1", "queue.max_waiting_requests=1"):
        reasons, notes = played(*STEADY, *queue, limit)
        assert set(reasons) == {Refusal.NONE, Refusal.QUEUE_FULL} and not notes


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        (["+api.input_tokens_per_minute=100000", "api.on_limit=refuse"], Refusal.RATE_LIMIT),
        (["+api.input_tokens_per_minute=3999"], Refusal.OVER_RATE_LIMIT),
        (["+api.outages.schedule=[{start_s:0,duration_s:20}]", "+api.retry.max_attempts=1"], Refusal.API_OUTAGE),
    ],
)
def test_an_api_says_whether_waiting_would_have_helped(limit, reason):
    reasons, notes = played(*STEADY, "fleet=api_only", "api=rate_limited", "prices=article_003", *limit)
    assert np.count_nonzero(reasons == reason) > 0
    assert any("a rate limit of the API holds" in note for note in notes) == (reason is Refusal.OVER_RATE_LIMIT)
