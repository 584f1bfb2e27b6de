"""What serving a request takes at the least, on paper: bounds that no batch and no schedule of an engine undercuts."""

from __future__ import annotations

from typing import NamedTuple

from sim.hardware.step_time.protocol import StepTime

_SHARES = (0.0, 0.5, 1.0)
_GRID = 1.05


class LeastWork(NamedTuple):
    """Bounds on the step time of one replica, all in seconds.

    In a step of n decoding sequences with C tokens in KV memory, `per_token_s` n + `per_context_token_s` C is at most
    the step. So a generated token takes at least `per_token_s`, and `per_context_token_s` per token before it, as its
    part of the step, and `alone_s` + `alone_context_s` per token before it in time. `per_prompt_token_s`: the part of a
    step of a token of prompt that has to be computed; 0 where it is not bounded.
    """

    per_token_s: float
    per_context_token_s: float
    alone_s: float
    alone_context_s: float
    per_prompt_token_s: float

    def over_ranks(self, n: int) -> LeastWork:
        """The same of a replica of n such ranks: a step is at least as long as the mean of what they do by themselves,
        which is 1/n of the sum. What they compute together is left out."""
        parts = (self.per_token_s / n, self.per_context_token_s / n, self.per_prompt_token_s / n)
        return self._replace(per_token_s=parts[0], per_context_token_s=parts[1], per_prompt_token_s=parts[2])


def least_work(
    step_time: StepTime, max_num_seqs: int, max_num_batched_tokens: int, kv_tokens: float | None, is_speculative: bool
) -> list[LeastWork]:
    """Several bounds, each of them true; which is the highest depends on the requests.

    They rest on the laws of a step time: it falls with no argument. decode_s(n) >= f + s n for n = 1 .. `max_num_seqs`
    with f a share of decode_s(1) and s the smallest (decode_s(n) - f) / n; and f >= f C / `kv_tokens`, as no more
    tokens are in memory. `kv_tokens` is None where sequences share memory, so that this does not hold. Under
    speculative decoding a prompt may be cheaper within a decode step than alone, and is not bounded.

    >>> from sim.hardware.step_time.affine import AffineStepTime
    >>> step = AffineStepTime(base_s=0.01, per_sequence_s=0.001)
    >>> round(least_work(step, 10, 100, None, False)[0].per_token_s, 6)  # (0.01 + 10 * 0.001) / 10
    0.002
    """
    alone_s = step_time.decode_s(1)
    steps_s = [step_time.decode_s(n) for n in range(1, max_num_seqs + 1)]
    prompt_s = 0.0 if is_speculative else per_prompt_token_s(step_time, max_num_batched_tokens)
    found = []
    for share in _SHARES if kv_tokens else (0.0,):
        fixed_s = share * alone_s
        per_token_s = min((step_s - fixed_s) / n for n, step_s in enumerate(steps_s, 1))
        context_s = step_time.context_s + (fixed_s / kv_tokens if kv_tokens else 0.0)
        found.append(LeastWork(per_token_s, context_s, alone_s, step_time.context_s, prompt_s))
    return found


def per_prompt_token_s(step_time: StepTime, max_num_batched_tokens: int) -> float:
    """The least part of a step that a token of prompt takes, in seconds, in steps of up to `max_num_batched_tokens`.

    A step of m prompt tokens is cheapest if they are k chunks of equal length with nothing before them: attention grows
    with the square of a chunk, and each chunk has a cost of its own. So the step falls and then rises as k grows. m is
    on a grid; between two points the step is at least that of the lower one, and has fewer tokens than the upper one.
    """
    least_s, tokens = float("inf"), 1
    while tokens <= max_num_batched_tokens:
        following = min(max(tokens + 1, int(tokens * _GRID)), max_num_batched_tokens + 1)
        least_s = min(least_s, _cheapest_step_s(step_time, tokens) / (following - 1))
        tokens = following
    return least_s


def _cheapest_step_s(step_time: StepTime, tokens: int) -> float:
    """Seconds of the shortest step that computes `tokens` of prompts, over all numbers of equal chunks."""
    best_s = float("inf")
    for n_chunks in range(1, tokens + 1):
        new, n_longer = divmod(tokens, n_chunks)
        chunks = [(new + 1, 0, False)] * n_longer + [(new, 0, False)] * (n_chunks - n_longer)
        step_s = step_time.step_s(0, 0, chunks)
        if step_s > best_s:
            return best_s
        best_s = step_s
    return best_s
