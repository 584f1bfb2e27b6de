"""Attention data parallelism: ranks of one replica with batches of their own, which step together."""

from __future__ import annotations

import pytest
import simpy

import sim
from sim.engine.assembly import replica_maker
from sim.engine.lockstep import LockstepReplica
from sim.engine.replica import Replica
from sim.hardware.engine import Engine
from sim.hardware.fits import kv_blocks_of, kv_tokens_of, refuse_if_too_big, weight_bytes_per_gpu
from sim.hardware.gpu import gpu_named
from sim.hardware.least_work import least_work
from sim.hardware.model import model_named
from sim.hardware.step_time.affine import AffineStepTime
from sim.hardware.step_time.experts import all_to_all_bytes_per_token
from sim.hardware.step_time.lockstep import Lockstep
from sim.ledger.audit import audit
from sim.schema import ConfigError
from sim.simulation import simulate
from sim.work import Call, Request, Task

H100, H200, DEEPSEEK = gpu_named("h100_sxm"), gpu_named("h200_sxm"), model_named("deepseek_v3")
RANKS = ("gpu=h200_sxm", "model=deepseek_v3", "engine.tensor_parallel=8", "engine.attention_data_parallel=8")


def nothing(n_decode: int, prompt_tokens: int) -> float:
    return 0.0


def played(calls: list[Call], own: AffineStepTime, shared_s=nothing, n_ranks: int = 2, **limits) -> list[Request]:
    """All calls arrive at second 0."""
    env, limits = simpy.Environment(), {"kv_blocks": 1000, "max_num_seqs": 8, "max_num_batched_tokens": 100} | limits
    replica = LockstepReplica(env, Lockstep(own, shared_s), n_ranks=n_ranks, on_done=lambda _: None, **limits)
    requests = [Request(Task(i, 0.0, (call,)), 0, 0.0) for i, call in enumerate(calls)]
    for request in requests:
        replica.submit(request)
    env.run()
    return requests


def test_all_ranks_wait_for_the_one_with_two_sequences():
    """A step takes 1 s and 1 s per sequence. Three requests come to two ranks: two join one, one the other. Each of the
    three steps, of which the first computes the prompts, takes 3 s for all; the lone one by itself would take 2 s."""
    three = played([Call(10, 3)] * 3, AffineStepTime(base_s=1, per_sequence_s=1))
    assert [request.first_token_s for request in three] == [3, 3, 3]
    assert [request.finished_s for request in three] == [9, 9, 9]


def test_a_rank_with_two_short_contexts_overtakes_the_one_with_a_long_one():
    """A step takes a second per token in KV memory. The long context has 10, 11, 12, ... of them; the short ones on the
    other rank twice 3, twice 4, ...: 6, 8, 10, 12, 14, 16, 18, 20. From the sixth step on the latter are slower."""
    own = AffineStepTime(base_s=1e-9, per_context_token_s=1)
    requests = played([Call(3, 9), Call(10, 9), Call(3, 9)], own)
    for request in requests:
        assert request.finished_s == pytest.approx(10 + 11 + 12 + 13 + 14 + 16 + 18 + 20, abs=1e-6)


def test_a_rank_without_work_computes_a_dummy_token_and_the_experts_count_it():
    """Of 8 ranks one decodes: the experts get 8 tokens; while it computes its prompt of 20 they get those and 7."""
    given = []

    def shared_s(n_decode: int, prompt_tokens: int) -> float:
        given.append((n_decode, prompt_tokens))
        return 1.0

    (lone,) = played([Call(20, 3)], AffineStepTime(base_s=1), shared_s, n_ranks=8)
    assert given == [(7, 20), (8, 0)]  # the two decode steps are one leap
    assert lone.finished_s == 6


def test_a_prompt_that_returns_to_another_rank_is_computed_again():
    """A session's second call repeats the first; it joins the next rank in turn, whose cache is empty."""
    env, own = simpy.Environment(), AffineStepTime(base_s=1)
    limits = {"kv_blocks": 100, "max_num_seqs": 8, "max_num_batched_tokens": 100}
    replica = LockstepReplica(env, Lockstep(own, nothing), n_ranks=2, on_done=lambda _: None, **limits)
    calls = [Call(64, 1, 0.0, (("session", 64),))] * 3
    requests = [Request(Task(0, 0.0, tuple(calls)), i, 0.0) for i in range(3)]
    for request in requests:
        replica.submit(request)
        env.run()
    assert [request.cached_input_tokens for request in requests] == [0, 0, 48]  # the third is on the first rank again
    assert replica.cached_tokens(calls[0].segments) == 64


def engine(ranks: int = 8, **options) -> Engine:
    return Engine(tensor_parallel=8, attention_data_parallel=ranks, max_num_seqs=128, **options)


def test_memory_by_hand():
    """DeepSeek-V3: 653.9 GB of experts on 8 GPUs, and on each GPU 11.4 + 1.2 + 2.6 GB of attention, dense layers and
    shared experts in 8 bits, 1.85 B of embeddings and 0.1 B of routers in 16 bits."""
    by_hand = 653.909 / 8 + 11.413 + 1.189 + 2.554 + 2 * (1.853 + 0.106)
    assert weight_bytes_per_gpu(DEEPSEEK, engine()) / 1e9 == pytest.approx(by_hand, rel=1e-3)
    assert weight_bytes_per_gpu(DEEPSEEK, engine(1)) / 1e9 == pytest.approx(673 / 8, rel=2e-3)
    tokens = (0.9 * 150e9 - 1.25e9 - by_hand * 1e9) / (61 * 576 * 2)  # a latent of 576 values in 16 bits per layer
    assert kv_blocks_of(H200, DEEPSEEK, engine()) * 16 == pytest.approx(tokens, rel=2e-3)
    assert kv_tokens_of(H200, DEEPSEEK, engine()) == 8 * 16 * kv_blocks_of(H200, DEEPSEEK, engine())
    # One tensor-parallel group keeps the same latent eight times: five times fewer tokens, though it has room for more.
    assert kv_tokens_of(H200, DEEPSEEK, engine()) > 5 * kv_tokens_of(H200, DEEPSEEK, engine(1))


def test_bytes_between_gpus_by_hand_and_as_deepep_measured_them():
    """Of 8 copies one in eight stays: 7 of 7,168 values, in 8 bits with 4 bytes per 128 there, in 16 bits back. On 8
    H800 (200 GB/s each way) DeepEP took 77 us there and 114 us back for 128 tokens of each GPU."""
    per_layer = all_to_all_bytes_per_token(H200, DEEPSEEK, engine(expert_parallel=True)) / 58
    assert per_layer == 7 * (7168 + 7168 / 128 * 4 + 2 * 7168)
    latency_us, gb_per_s = H200.model_copy(update={"link_gb_per_s": 200}).all_to_all(8)
    assert 2 * latency_us + 128 * per_layer / gb_per_s * 1e-3 == pytest.approx(77 + 114, rel=0.05)
    in_16_bits = all_to_all_bytes_per_token(H200, DEEPSEEK, engine(expert_parallel=True, weight_dtype="bf16")) / 58
    assert in_16_bits == 7 * 4 * 7168


@pytest.mark.parametrize(
    ("gpus", "sequences", "context", "prompts", "link_gb_per_s", "published"),
    [
        (64, 256, 2000, (), 51, 22_300),  # decode, 72 GPUs
        (64, 128, 4000, (), 51, 17_400),  # the same, as if two tokens a step were right
        (32, 0, 0, [(1024, 0, True)] * 16, 57, 57_700),  # prefill, 32 GPUs, prompts of 1,024, 2,048 and 4,096 tokens
        (32, 0, 0, [(2048, 0, True)] * 8, 57, 54_500),
        (32, 0, 0, [(4096, 0, True)] * 4, 57, 50_300),
    ],
)
def test_published_deployments_lie_between_an_exchange_in_line_and_one_for_nothing(
    gpus, sequences, context, prompts, link_gb_per_s, published
):
    """SGLang with DeepSeek-V3 on nodes of 8 H100 (LMSYS, 2025-05-05): tokens/s of a node. It hides the exchange
    behind the other half of the batch, which is not modelled. DeepEP's README has the speed of the links."""

    def per_node(link: float) -> float:
        card = H100.model_copy(update={"link_gb_per_s": link, "all_to_all_bandwidth_fraction": 1.0})
        options = {"tensor_parallel": gpus, "attention_data_parallel": gpus, "expert_parallel": True}
        options["expert_exchange"] = "all_to_all"
        flags = Engine(**options, max_num_seqs=256, max_num_batched_tokens=16_384)
        step = flags.step_time.lockstep(card, DEEPSEEK, flags)
        new = sum(chunk[0] for chunk in prompts)
        step_s = step.own.step_s(sequences, sequences * context, prompts) + step.shared_s(sequences * gpus, new * gpus)
        return 8 * (sequences + new) / step_s

    assert per_node(link_gb_per_s) < published < per_node(1e9)


def test_one_rank_is_the_engine_as_it_was():
    plain, one = Engine(tensor_parallel=8), Engine(tensor_parallel=8, attention_data_parallel=1)
    assert replica_maker(None, H200, DEEPSEEK, one).func is Replica
    assert replica_maker(None, H200, DEEPSEEK, engine()).func is LockstepReplica
    built = [flags.step_time.build(H200, DEEPSEEK, flags) for flags in (plain, one)]
    assert built[0].decode_s(17) == built[1].decode_s(17)
    # One rank of a group of one GPU is what a tensor-parallel group of one GPU is, but for the experts.
    rank = engine().step_time.rank(H200, DEEPSEEK, engine())
    assert rank.context_s == pytest.approx(
        Engine(tensor_parallel=1).step_time.build(H200, DEEPSEEK, Engine()).context_s
    )


def test_what_ranks_do_at_the_least_is_never_more_than_they_do():
    flags = engine(expert_parallel=True, expert_exchange="all_to_all")
    step, own = flags.step_time.lockstep(H200, DEEPSEEK, flags), flags.step_time.rank(H200, DEEPSEEK, flags)
    for bound in (b.over_ranks(8) for b in least_work(own, 128, 2048, 100_000, False)):
        for sequences, contexts in ([1, *[0] * 7], [9000, *[0] * 7]), ([9, 3, *[1] * 6], [100, 90_000, *[5000] * 6]):
            least_s = bound.per_token_s * sum(sequences) + bound.per_context_token_s * sum(contexts)
            longest_s = max(own.step_s(n, c, ()) for n, c in zip(sequences, contexts, strict=True) if n)
            assert least_s <= longest_s + step.shared_s(max(8, sum(sequences)), 0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("engine.attention_data_parallel=3",), "= 3: must divide the GPUs of a replica, tensor_parallel = 8"),
        (("model=llama_3_1_8b",), "= 8: needs a model with experts, and llama_3_1_8b has none; use 8 replicas"),
        (("engine.expert_exchange=all_to_all",), "expert_exchange = all_to_all: needs expert_parallel = true"),
        (("+engine/host=vllm_0_18",), "attention_data_parallel = 8: needs host = null"),
        (("kv_tiers=host_memory",), "kv_tiers: need engine.attention_data_parallel = 1, not 8"),
        (("gpu=h100_sxm",), "653.9 GB of experts / 8 GPU . 19.1 GB of other weights / 1 GPU"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(words, said):
    with pytest.raises(ConfigError, match=said) as refused:
        sim.scenario(*RANKS, *words)
    assert "\n" not in str(refused.value).strip()


def test_remedies_keep_the_ranks():
    with pytest.raises(ConfigError, match="engine.tensor_parallel >= 16 or fp8 weights on 8 GPU"):
        refuse_if_too_big("h200_sxm", "deepseek_v3", engine(weight_dtype="bf16"))


@pytest.mark.parametrize(
    "words",
    [
        (
            "engine.expert_parallel=true",
            "engine.expert_exchange=all_to_all",
            "engine.speculative={draft_tokens:1,acceptance_rate:0.8}",
        ),
        ("engine=sglang", "engine.expert_parallel=true", "engine.max_num_batched_tokens=1024"),
        ("disaggregation={prefill_replicas:1,link_gb_per_s:50}",),
        ("engine.scheduling_policy=priority", "queue.client_timeout_s=3", "queue.stopped_fraction=0.3"),
        ("reliability.gpu_mtbf_hours=0.1", "reliability.lost_requests=resume", "cold_start=instant"),
    ],
    ids=["speculative", "sglang", "disaggregated", "clients_that_leave", "losses"],
)
def test_a_run_keeps_the_laws_of_every_run(words):
    """Batches within their caps, every request with one outcome, tokens that add up."""
    scenario = sim.scenario(*RANKS, "scaling=always_on", "arrivals.rate_per_s=4", "horizon_s=60", "seed=2", *words)
    facts = simulate(scenario, measure_peak=False).facts
    audit(facts)
    assert facts.requests["output_tokens"].sum() > 1000
    assert ("reliability.gpu_mtbf_hours=0.1" in words) == (facts.replicas_lost > 0)
    assert facts.pools[0].max_num_seqs == 8 * scenario.engine.max_num_seqs
