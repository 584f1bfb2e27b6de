"""Speculative decoding: tokens per step and speed-up as Leviathan et al. (2023) have them, and drafts played out."""

from __future__ import annotations

import numpy as np
import pytest
import simpy

from sim.engine.replica import Replica
from sim.hardware.engine import Engine
from sim.hardware.gpu import gpu_named
from sim.hardware.model import model_named
from sim.hardware.speculation import Speculation
from sim.hardware.step_time.affine import AffineModel, AffineStepTime
from sim.hardware.step_time.speculative import SpeculativeStepTime
from sim.work import Call, Request, Task
from tests.agree import assert_agrees, assert_disagrees


def yields(rng, n, k, a):
    """Tokens of n verification steps: drafts up to the first that is rejected, and one of the model's own."""
    accepted = rng.random((n, k)) < a
    return 1 + np.cumprod(accepted, axis=1).sum(axis=1)


@pytest.mark.parametrize(("k", "a"), [(2, 0.8), (4, 0.6), (8, 0.9)])
def test_tokens_per_step(k, a):
    means = [yields(np.random.default_rng(seed), 4000, k, a).mean() for seed in range(30)]
    assert_agrees(means, Speculation(draft_tokens=k, acceptance_rate=a).tokens_per_step)
    assert_disagrees(means, 1 + k * a)  # as if a token could be accepted after one that was not


def test_all_or_nothing_accepted():
    assert Speculation(draft_tokens=5, acceptance_rate=1).tokens_per_step == 6
    assert Speculation(draft_tokens=5, acceptance_rate=0).tokens_per_step == 1


def played(step_time, n=1, output_tokens=1001, decode_tokens=1):
    """(first token, last token) in seconds of n equal requests sent at once."""
    env, done = simpy.Environment(), []
    replica = Replica(
        env, step_time, kv_blocks=10_000, max_num_seqs=64, max_num_batched_tokens=1024, decode_tokens=decode_tokens,
        on_done=done.append,
    )  # fmt: skip
    for i in range(n):
        replica.submit(Request(Task(i, 0.0, (Call(16, output_tokens),)), 0, 0.0))
    env.run()
    return np.mean([r.first_token_s for r in done]), np.mean([r.finished_s for r in done])


@pytest.mark.parametrize("decode_tokens", [1, 5, 21])
def test_drafts_of_those_decoding_leave_less_of_a_step_for_a_prompt(decode_tokens):
    """Steps of two seconds for 100 tokens, of which each of four decoding requests takes its draft and one: a prompt
    that fills three steps beside them is ready 6 s after the one under way."""
    env = simpy.Environment()
    replica = Replica(
        env, AffineStepTime(base_s=2.0), kv_blocks=10_000, max_num_seqs=8, max_num_batched_tokens=100,
        decode_tokens=decode_tokens, on_done=lambda request: None,
    )  # fmt: skip
    for i in range(4):
        replica.submit(Request(Task(i, 0.0, (Call(16, 500),)), 0, 0.0))
    env.run(until=4.0)
    beside = 100 - 4 * decode_tokens
    assert replica.prefill_s(3 * beside) == 6.0 == replica.prefill_s(3 * beside - 1)
    assert replica.prefill_s(3 * beside + 1) == 8.0 and replica.prefill_s(1) == 2.0


@pytest.mark.parametrize("cost", [0.0, 0.05, 0.5])
def test_speed_up_where_verifying_costs_no_more_than_decoding(cost):
    """Theorem 3.8: (1 - a^(k+1)) / ((1 - a) (k c + 1))."""
    k, a = 4, 0.7
    plain = Engine(step_time=AffineModel(base_s=0.01))
    drafted = plain.model_copy(
        update={"speculative": Speculation(draft_tokens=k, acceptance_rate=a, draft_cost_fraction=cost)}
    )
    took_s = []
    for engine in (plain, drafted):
        first_s, last_s = played(engine.step_time.build(None, None, engine))
        took_s.append(last_s - first_s)
    assert took_s[0] / took_s[1] == pytest.approx((1 - a ** (k + 1)) / ((1 - a) * (k * cost + 1)), rel=1e-9)


K, A, N, OUTPUT, COST, PROMPT = 4, 0.7, 8, 600, 0.1, [(1000, 0, True)]
PLAIN = AffineStepTime(0.01, 1e-4, 1e-7, 2e-5)
VERIFYING = AffineStepTime(0.01, 1e-4 + K * 2e-5, 1e-7, 2e-5)


def drafts_played_out(rng) -> float:
    """Mean seconds of a verification step: N answers side by side, in every tenth step a prompt is prefilled, too."""
    left, context, now_s, steps = np.full(N, float(OUTPUT)), np.full(N, 16.0), 0.0, 0
    while (left > 0).all():
        steps += 1
        beside = PROMPT if steps % 10 == 0 else ()
        now_s += VERIFYING.step_s(N, context.sum(), beside)
        now_s += COST * K * PLAIN.step_s(N, context.sum(), ())
        now_s += COST * (PLAIN.step_s(N, context.sum(), beside) - PLAIN.step_s(N, context.sum(), ()))
        got = yields(rng, N, K, A)
        left, context = left - got, context + got
    return now_s / steps


def counted_in_tokens(acceptance_rate) -> float:
    """The same in steps of one token."""
    speculation = Speculation(draft_tokens=K, acceptance_rate=acceptance_rate, draft_cost_fraction=COST)
    step, e = SpeculativeStepTime(PLAIN, VERIFYING, speculation), speculation.tokens_per_step
    now_s, due = 0.0, 0.0
    for token in range(OUTPUT):
        due += 1 / (10 * e)  # a prompt in ten verification steps is one in 10 E tokens
        now_s += step.step_s(N, N * (16 + token), PROMPT if due >= 1 else ())
        due -= due >= 1
    return now_s * e / OUTPUT


def test_counting_in_tokens_costs_the_seconds_of_drafts_played_out():
    real_s = np.mean([drafts_played_out(np.random.default_rng(seed)) for seed in range(20)])
    assert counted_in_tokens(A) == pytest.approx(real_s, rel=0.01)


def test_it_pays_for_one_reader_and_not_for_a_full_batch():
    gpu, model = gpu_named("h100_sxm"), model_named("llama_3_1_8b")
    plain = Engine(max_num_batched_tokens=4096)
    drafted = plain.model_copy(update={"speculative": Speculation(draft_tokens=8, acceptance_rate=0.6)})
    a, b = (engine.step_time.build(gpu, model, engine) for engine in (plain, drafted))
    assert a.decode_s(1) / b.decode_s(1) > 2
    assert a.decode_s(256) / b.decode_s(256) < 1
