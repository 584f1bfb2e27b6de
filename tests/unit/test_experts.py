"""Expert parallelism: whole experts on the GPUs of a replica, all of which wait for the fullest."""

from __future__ import annotations

import numpy as np
import pytest

import sim
from sim.hardware.engine import Engine
from sim.hardware.fits import kv_blocks_of
from sim.hardware.gpu import gpu_named
from sim.hardware.model import model_named
from sim.hardware.step_time.experts import Experts

H200, DEEPSEEK = gpu_named("h200_sxm"), model_named("deepseek_v3")  # 256 experts, of which a token goes to 8


def engine(**options) -> Engine:
    return Engine(**{"tensor_parallel": 8, "max_num_seqs": 64} | options)


def experts(**options) -> Experts:
    return Experts(H200, DEEPSEEK, engine(expert_parallel=True, **options))


def routed(rng, tokens: int, n_gpus: int) -> tuple[float, float]:
    """One layer, by hand: (tokens of the fullest GPU over the mean, most distinct experts on a GPU)."""
    chosen = np.argsort(rng.random((tokens, 256)), axis=1)[:, :8].ravel()
    owner = np.arange(256) // (256 // n_gpus)
    per_gpu = np.bincount(owner[chosen], minlength=n_gpus)
    return per_gpu.max() / per_gpu.mean(), np.bincount(owner[np.unique(chosen)], minlength=n_gpus).max()


@pytest.mark.parametrize(("tokens", "n_gpus"), [(4, 8), (16, 8), (64, 8), (256, 8), (64, 32), (256, 32)])
def test_the_fullest_gpu_is_as_full_as_that_of_tokens_routed_one_by_one(tokens, n_gpus):
    rng = np.random.default_rng(1)
    fullest, distinct = np.mean([routed(rng, tokens, n_gpus) for _ in range(100)], axis=0)
    on_paper = experts(tensor_parallel=n_gpus)
    assert on_paper.fullest_over_mean(tokens) == pytest.approx(fullest, rel=0.07)
    assert on_paper.distinct_on_fullest(tokens) == pytest.approx(distinct, rel=0.05)


def test_whole_experts_are_slower_than_slices_when_few_tokens_hit_some_gpus_only_and_equal_in_large_steps():
    sliced = Experts(H200, DEEPSEEK, engine())
    slower = [experts().seconds(n) / sliced.seconds(n) for n in (1, 8, 64, 1024, 100_000)]
    assert slower[:3] == sorted(slower[:3], reverse=True)
    assert 2 < slower[0] < 3  # the 8 experts of one token lie on 8 GPUs: the fullest has two or three
    assert slower[3] == pytest.approx(1, abs=0.01) and slower[4] == pytest.approx(1, abs=0.01)


def test_one_gpu_has_all_experts_either_way_to_the_last_bit():
    small, card = model_named("qwen3_30b_a3b"), gpu_named("h100_sxm")
    sliced, whole = (
        Engine(expert_parallel=ep).step_time.build(card, small, Engine(expert_parallel=ep)) for ep in (False, True)
    )
    assert [whole.decode_s(n) for n in range(100)] == [sliced.decode_s(n) for n in range(100)]
    assert whole.step_s(3, 999, [(2000, 10, True)]) == sliced.step_s(3, 999, [(2000, 10, True)])


def test_experts_that_are_not_equally_popular_lengthen_what_is_computed_not_what_is_read():
    even, skewed = experts(), experts(expert_imbalance=1.26)
    assert skewed.seconds(4) == pytest.approx(even.seconds(4), rel=1e-3)  # bound by reading
    assert skewed.seconds(1_000_000) == pytest.approx(1.26 * even.seconds(1_000_000), rel=0.01)  # by computing


def test_memory_is_the_same_whole_or_sliced():
    assert kv_blocks_of(H200, DEEPSEEK, engine(expert_parallel=True)) == kv_blocks_of(H200, DEEPSEEK, engine())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("model=llama_3_1_8b",), "engine.expert_parallel = true: needs a model with experts, and llama_3"),
        (
            ("model=mixtral_8x7b", "engine.tensor_parallel=16"),
            "engine.tensor_parallel = 16: must divide the 8 experts of model mixtral_8x7b",
        ),
        (("engine.expert_parallel=false", "engine.expert_imbalance=1.5"), "imbalance = 1.5: needs expert_parallel"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(words, said):
    with pytest.raises(sim.ConfigError, match=said) as refused:
        sim.scenario("engine.expert_parallel=true", *words)
    assert "\n" not in str(refused.value).strip()
