"""Two pools: prompts are computed in one, answers in the other, and both are paid."""

from __future__ import annotations

import numpy as np
import pytest

from sim.fleet.disaggregation import Disaggregation
from sim.hardware.engine import Engine
from sim.hardware.model import model_named
from sim.ledger.audit import audit
from sim.ledger.residences import residences
from sim.records import Outcome
from sim.scenarios import compose_config, parse
from sim.schema import ConfigError
from sim.simulation import simulate

CLOCK = [
    "engine=linear_server", "engine.step_time.base_s=1", "engine.step_time.per_sequence_s=0",
    "engine.step_time.per_context_token_s=0", "engine.step_time.per_prefill_token_s=0", "drain_s=1000",
]  # fmt: skip


def played(*options, split="{prefill_replicas:1,link_gb_per_s:50}"):
    scenario = parse(compose_config(*options, f"disaggregation={split}"))
    facts = simulate(scenario, measure_peak=False).facts
    audit(facts)
    return facts


def replayed(tmp_path, rows, *options, **kwargs):
    log = tmp_path / "log.csv"
    log.write_text("arrived_s,input_tokens,output_tokens\n" + "".join(f"{a},{i},{o}\n" for a, i, o in rows))
    return played("arrivals=replay", f"arrivals.path={log}", *CLOCK, *options, **kwargs)


def column(facts, *names):
    order = np.argsort(facts.requests["task_id"])
    return list(zip(*(facts.requests[name][order].tolist() for name in names), strict=True))


def test_a_story_in_seconds(tmp_path):
    """A step takes a second, the link five for each prompt. The second request's prompt waits for the first's step."""
    facts = replayed(
        tmp_path, [(0, 10, 3), (0.5, 10, 2), (20, 10, 1)], split="{prefill_replicas:1,link_gb_per_s:1e9,latency_s:5}"
    )
    stamps = column(facts, "admitted_s", "first_token_s", "decode_admitted_s", "finished_s", "preempted_s")
    assert np.allclose(stamps[:2], [(0, 1, 6, 8, 5), (1, 2, 7, 8, 5)])
    assert column(facts, "prefill_replica_id", "replica_id") == [(0, 1), (0, 1), (-1, 0)], "one token needs no decode"
    assert facts.requests["finished_s"].max() == 21
    [(stays, rows)] = residences(facts)
    assert len(rows) == 5
    spans = facts.spans
    decode = (spans["replica_id"] == 1) & (spans["state"] == 5)
    assert np.allclose([spans["start_s"][decode], spans["end_s"][decode]], [[6], [8]])


def test_waits_that_the_end_of_the_run_cuts_are_no_time_in_a_batch(tmp_path):
    """Ten seconds in two pools: the second request has waited for the decode replica since its first token at 2 s, the
    third is on the link since 7.5 s. And 30 s on one replica with KV memory for four blocks of 16 tokens: two requests
    of 20 tokens have two each until both need a third, for their 33rd token in the step from 13 s on.
    """
    split = "{prefill_replicas:1,link_gb_per_s:1e9,latency_s:5}"
    one_each = ("queue.max_requests_per_replica=1", "horizon_s=10", "drain_s=0")
    facts = replayed(tmp_path, [(0, 10, 20), (0.5, 10, 20), (6.5, 10, 20)], *one_each, split=split)
    assert np.allclose(column(facts, "first_token_s", "preempted_s"), [(1, 5), (2, 8), (7.5, 2.5)])
    little = ("++engine.kv_cache_blocks=4", "++engine.block_tokens=16", "horizon_s=30", "drain_s=0")
    facts = replayed(tmp_path, [(0, 20, 40), (0, 20, 40)], *little, split="null")
    assert np.allclose(column(facts, "preemptions", "preempted_s"), [(0, 0), (1, 17)])


def test_the_link_carries_the_bytes_of_the_prompt():
    split = Disaggregation(prefill_replicas=1, link_gb_per_s=50, latency_s=0.001)
    eight_b = model_named("llama_3_1_8b")
    assert split.transfer_s(eight_b, Engine(), 1000) == pytest.approx(0.001 + 1000 * 131_072 / 50e9)
    assert split.transfer_s(eight_b, Engine(tensor_parallel=4), 1000) == pytest.approx(0.001 + 250 * 131_072 / 50e9)
    assert split.transfer_s(eight_b, Engine(kv_dtype="fp8"), 1000) == pytest.approx(0.001 + 500 * 131_072 / 50e9)


def test_long_prompts_no_longer_hold_up_those_who_read():
    """DistServe's point: the same two GPUs, with prompts of 8,000 tokens now and then."""
    load = ["lengths=fixed", "lengths.input_tokens=8000", "lengths.output_tokens=300", "arrivals.rate_per_s=4",
            "horizon_s=200", "seed=2"]  # fmt: skip

    def tpot_s(facts):
        r = facts.requests
        return (r["finished_s"] - r["first_token_s"]) / (r["output_tokens"] - 1)

    together = simulate(parse(compose_config(*load, "scaling.n_replicas=2")), measure_peak=False).facts
    apart = played(*load)
    assert (apart.requests["outcome"] == Outcome.FINISHED).all()
    assert np.percentile(tpot_s(apart), 99) < 0.75 * np.percentile(tpot_s(together), 99)


@pytest.mark.parametrize("drain_s", [0, 100])
@pytest.mark.parametrize("link", [0.05, 50])
def test_both_pools_are_paid_and_the_books_agree(drain_s, link):
    facts = played(
        "tasks=agent", "gpu=rtx_4090", "scaling.n_replicas=2", "arrivals.rate_per_s=0.3", "horizon_s=300",
        f"drain_s={drain_s}", "queue.patience_s=20", split=f"{{prefill_replicas:2,link_gb_per_s:{link}}}",
    )  # fmt: skip
    spans, requests = facts.spans, facts.requests
    paid_s = [(spans["end_s"] - spans["start_s"])[spans["replica_id"] == i].sum() for i in range(4)]
    assert paid_s == pytest.approx([paid_s[0]] * 4) and paid_s[0] >= 300
    assert set(requests["prefill_replica_id"].tolist()) <= {-1, 0, 1}
    finished = requests["outcome"] == Outcome.FINISHED
    assert set(requests["replica_id"][finished].tolist()) == {2, 3}
    assert requests["cached_input_tokens"][finished].mean() > 5000, "the shared system prompt is found by who prefills"
    gap_s = (requests["decode_admitted_s"] - requests["first_token_s"])[finished]
    tokens = requests["input_tokens"][finished]
    assert (gap_s >= tokens * 131_072 / (link * 1e9) - 1e-6).all()


def test_what_will_not_fit_is_refused_before_it_is_computed(tmp_path):
    facts = replayed(tmp_path, [(0, 10, 3), (1, 5_000_000, 2)])
    assert column(facts, "outcome", "replica_id") == [(Outcome.FINISHED, 1), (Outcome.REFUSED, -1)]


@pytest.mark.parametrize("option", ["scaling=scale_to_zero", "engine.scheduling_policy=priority", "fleet=api_only"])
def test_what_cannot_be_split_is_said(option):
    with pytest.raises(ConfigError, match="disaggregation: needs"):
        played(option)
