"""What one replica can serve, on paper: requests per second under a bound on the mean time between tokens."""

from __future__ import annotations

from sim.hardware.step_time.protocol import StepTime


def requests_per_s(
    step_time: StepTime,
    *,
    input_tokens: float,
    output_tokens: float,
    itl_s: float,
    max_num_seqs: int,
    max_num_batched_tokens: int,
    kv_tokens: int,
    prefill_first: bool = False,
) -> float:
    """Requests per second of a replica whose batch is the largest with a mean time between tokens of at most `itl_s`.

    Every request has `input_tokens` of prompt, none of it cached, and `output_tokens` of answer. The batch is in steady
    state: each of n sequences gets one token per step, and per step n / output_tokens sequences end and are replaced by
    new ones, whose prompts are prefilled within the decode steps. The mean time between tokens, in seconds, is
    therefore ITL(n) = decode(n, context) + n / output_tokens * prefill, with context = n * (input + output / 2) tokens.
    `prefill_first`: each prompt is prefilled in steps of its own, while all decoding stands still.

    n is at least 1, and at most `max_num_seqs` and the number of whole requests that `kv_tokens` holds. If even n = 1
    exceeds `itl_s`, the rate of n = 1 is returned. The result is n / (output_tokens * ITL(n)).

    >>> from sim.hardware.step_time.affine import AffineStepTime
    >>> step = AffineStepTime(base_s=0.01, per_sequence_s=0.001)
    >>> limits = dict(max_num_seqs=100, max_num_batched_tokens=8192, kv_tokens=10**6)
    >>> round(requests_per_s(step, input_tokens=1, output_tokens=100, itl_s=0.0302, **limits), 3)  # 20 sequences
    6.623
    """

    def mean_itl_s(n: int) -> float:
        context_tokens = n * (input_tokens + output_tokens / 2)
        decode_s = step_time.decode_s(n) + step_time.context_s * context_tokens
        besides, besides_s = ((0, 0.0), 0.0) if prefill_first else ((n, context_tokens), decode_s)
        prefill_s = sum(
            step_time.step_s(*besides, [(new, past, past + new >= prompt_tokens)]) - besides_s for past, new in chunks
        )
        return decode_s + n / output_tokens * prefill_s

    prompt_tokens = max(1, round(input_tokens))
    starts = range(0, prompt_tokens, max_num_batched_tokens)
    chunks = [(past, min(max_num_batched_tokens, prompt_tokens - past)) for past in starts]
    # Bisection: a batch of `feasible` sequences keeps the bound, a batch of `too_many` breaks it or exceeds a limit.
    feasible, too_many = 1, 1 + max(1, min(max_num_seqs, int(kv_tokens / (input_tokens + output_tokens))))
    while too_many - feasible > 1:
        n = (feasible + too_many) // 2
        feasible, too_many = (n, too_many) if mean_itl_s(n) <= itl_s else (feasible, n)
    return feasible / (output_tokens * mean_itl_s(feasible))
