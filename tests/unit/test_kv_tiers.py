"""KV tiers, as stories in whole numbers: blocks of 4 tokens, a second per step, a second per block loaded."""

from __future__ import annotations

import numpy as np
import pytest

import sim
from sim.engine.kv_tiers import Tier
from sim.hardware.engine import Engine
from sim.hardware.kv_tiers import KvTier
from sim.hardware.model import model_named
from sim.ledger.audit import audit
from sim.ledger.usage import Usage
from sim.report.metrics import summarize
from sim.schema import ConfigError
from sim.simulation import simulate
from sim.work import Call, Outcome, Task
from tests.reference.worlds import ProbeStepTime, World, play_replica, play_stepping

CLOCK = ProbeStepTime(1.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def played(*tasks: Task, tiers, **options):
    """Both engines play tasks in memory for one prompt of 16 tokens."""
    engine = {"kv_blocks": 4, "max_num_seqs": 4, "max_num_batched_tokens": 100, "block_tokens": 4, "kv_tiers": tiers}
    world = World(list(tasks), CLOCK, engine | options)
    truth, _ = play_stepping(world)
    found, *_ = play_replica(world)
    for key, request in truth.items():
        same = ("outcome", "first_token_s", "finished_s", "tier_hits", "cached_input_tokens")
        assert [getattr(found[key], name) for name in same] == [getattr(request, name) for name in same]
    return truth


def prompt(number: int, at_s: float, text: str, output: int = 1) -> Task:
    return Task(number, at_s, (Call(16, output, segments=((text, 16),)),))


def test_what_the_gpus_have_no_room_for_is_loaded():
    """Of the prompt's four blocks three are loaded in 3 s, after a latency of 2 s; the last is computed in a step."""
    tasks = prompt(0, 0.0, "a"), prompt(1, 10.0, "b"), prompt(2, 20.0, "a")
    loaded = played(*tasks, tiers=[(100, 1.0, 2.0)])[2, 0]
    assert loaded.tier_hits == [(0, 12)]
    assert (loaded.admitted_s, loaded.first_token_s, loaded.cached_input_tokens) == (25.0, 26.0, 12)
    missed = played(*tasks, tiers=[])[2, 0]
    assert (missed.tier_hits, missed.first_token_s, missed.cached_input_tokens) == (None, 21.0, 0)


def test_what_the_gpus_still_have_is_not_loaded():
    again = played(prompt(0, 0.0, "a"), prompt(1, 10.0, "a"), tiers=[(100, 1.0, 2.0)])[1, 0]
    assert (again.tier_hits, again.first_token_s, again.cached_input_tokens) == (None, 11.0, 12)


def test_others_are_served_while_a_prompt_is_loaded():
    tasks = prompt(0, 0.0, "a"), prompt(1, 10.0, "b"), prompt(2, 20.0, "a"), Task(3, 20.0, (Call(3, 3),))
    truth = played(*tasks, tiers=[(100, 1.0, 2.0)], kv_blocks=6)
    assert truth[3, 0].finished_s == 23.0 < truth[2, 0].first_token_s


def test_a_small_tier_behind_a_large_memory_adds_nothing():
    """Two prompts in turn through a tier of four blocks: each throws the other out before it comes back."""
    tasks = [prompt(i, 10.0 * i, "ab"[i % 2]) for i in range(6)]
    assert not any(request.tier_hits for request in played(*tasks, tiers=[(4, 1.0, 0.0)]).values())
    assert sum(bool(request.tier_hits) for request in played(*tasks, tiers=[(8, 1.0, 0.0)]).values()) == 4


def test_a_second_tier_goes_on_where_the_first_ends():
    """The first tier has room for two blocks of the prompt, so the third comes from the second, at its own pace."""
    tasks = prompt(0, 0.0, "a"), prompt(1, 10.0, "b"), prompt(2, 20.0, "a")
    loaded = played(*tasks, tiers=[(6, 1.0, 0.0), (100, 10.0, 0.0)])[2, 0]
    assert loaded.tier_hits == [(0, 8), (1, 4)]
    assert loaded.admitted_s == 30.0


def test_two_loads_share_the_link():
    tasks = prompt(0, 0.0, "a"), prompt(1, 10.0, "b"), prompt(2, 20.0, "c"), prompt(3, 30.0, "a"), prompt(4, 30.0, "b")
    truth = played(*tasks, tiers=[(100, 1.0, 0.0)], kv_blocks=8)
    assert [truth[i, 0].admitted_s for i in (3, 4)] == [33.0, 36.0]


def test_a_client_that_leaves_during_the_load_frees_its_blocks():
    tasks = prompt(0, 0.0, "a"), prompt(1, 10.0, "b"), prompt(2, 20.0, "a"), prompt(3, 21.0, "c")
    engine = {"kv_blocks": 4, "max_num_seqs": 4, "max_num_batched_tokens": 100, "block_tokens": 4}
    world = World(list(tasks), CLOCK, engine | {"kv_tiers": [(100, 5.0, 0.0)]}, patience_s=4.0)
    for truth in (play_stepping(world)[0], play_replica(world)[0]):
        assert truth[2, 0].outcome is Outcome.ABANDONED
        assert truth[3, 0].admitted_s == 24.0


def test_the_head_of_a_prompt_outlives_its_tail():
    tier = Tier(0, 6, 4, 1.0, 0.0)
    tier.store((("a", 16),), 16)
    tier.store((("b", 16),), 16)
    assert [tier.resident(((text, 16),), 17) for text in "ab"] == [2, 4]


def test_a_prompt_larger_than_the_tier_is_stored_in_part():
    tier = Tier(0, 3, 4, 1.0, 0.0)
    tier.store((("a", 40),), 40)
    assert tier.resident((("a", 40),), 41) == 3
    assert tier.memory.available_blocks == 3


def test_blocks_are_counted_over_all_gpus_and_seconds_for_each():
    """Llama-3.1-8B: 131,072 bytes per token, 2 MiB per block; two GPUs hold half of it each."""
    model, one, two = model_named("llama_3_1_8b"), Engine(), Engine(tensor_parallel=2)
    tier, store = KvTier(capacity_gb=2.097152, gb_per_s=1.048576), KvTier(capacity_gb=1, gb_per_s=1.048576, shared=True)
    assert (tier.blocks(model, one), tier.blocks(model, two)) == (1000, 1000)
    assert (tier.block_s(model, one), tier.block_s(model, two)) == pytest.approx((0.002, 0.001))
    assert store.block_s(model, two) == pytest.approx(0.002), "both GPUs load over one link"


@pytest.fixture(scope="module")
def sessions():
    """Coding sessions on a card with little memory, with and without host memory behind it."""
    words = ["tasks=coding_session", "gpu=l40s", "placement=session_affinity", "arrivals.rate_per_s=0.05"]
    runs = [
        simulate(sim.scenario(*words, f"kv_tiers={t}", horizon_s=300), measure_peak=False)
        for t in ("none", "host_memory")
    ]
    for run in runs:
        audit(run.facts)
    return runs


def test_the_summary_says_where_hits_came_from(sessions):
    none, host = (summarize(r.facts, Usage.from_facts(r.facts), {}, r.scenario.slo) for r in sessions)
    assert "kv_host_hit_fraction" not in none
    assert host["kv_host_hit_fraction"] > 0.2
    parts = host["kv_host_hit_fraction"] + host["kv_gpu_hit_fraction"]
    assert parts == pytest.approx(host["prefix_hit_fraction"])
    assert host["prefix_hit_fraction"] > none["prefix_hit_fraction"] + 0.2
    assert host["ttft_mean_s"] < none["ttft_mean_s"]
    loaded = sessions[1].facts.requests_in_full["loaded_input_tokens"]
    assert (loaded <= sessions[1].facts.requests["cached_input_tokens"]).all()
    assert np.count_nonzero(loaded) > 10


@pytest.mark.parametrize(
    ("words", "law"),
    [
        ("engine.prefix_caching=false", "kv_tiers: need engine.prefix_caching = true, not False"),
        ("engine.scheduling_policy=priority", "kv_tiers: need engine.scheduling_policy = fcfs, not priority"),
        ("+kv_tiers.gpu={capacity_gb: 1, gb_per_s: 1}", "kv_tiers.gpu: is what the KV memory of the GPUs is called"),
        ("kv_tiers.host.capacity_gb=0", "kv_tiers.host.capacity_gb"),
        ("kv_tiers.host.capacity_gb=0.001", "kv_tiers.host.capacity_gb = 0.001: is less than one KV block takes"),
    ],
)
def test_what_tiers_cannot_be_had_with_is_refused(words, law):
    with pytest.raises(ConfigError, match=law):
        sim.scenario("kv_tiers=host_memory", words)


@pytest.mark.parametrize(("capacity_gb", "is_noted"), [(20, True), (200, False)])
def test_a_tier_that_adds_next_to_nothing_is_noted(capacity_gb, is_noted):
    """An L40S has room for some 25 GB of KV cache beside an 8B model."""
    words = ["gpu=l40s", "kv_tiers=host_memory", f"kv_tiers.host.capacity_gb={capacity_gb}"]
    notes = simulate(sim.scenario(*words, horizon_s=5), measure_peak=False).notes
    assert any("kv_tiers.host of 20 GB is no larger than the KV memory" in note for note in notes) == is_noted
