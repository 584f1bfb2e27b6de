"""What one replica can serve, on paper: requests per second within a bound on the time between tokens."""

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
) -> float:
    """Requests per second of a replica whose batch is the largest with a mean time between tokens of at most `itl_s`.

    With n sequences, each gets a token per step and 1 / output_tokens of them are replaced in each, whose prompts are
    prefilled beside: ITL(n) = decode(n, context) + n / output_tokens * prefill, context = n * (input + output / 2).
    n is at most `max_num_seqs` and what KV memory holds at full length, and at least 1. No prompt is cached.

    >>> from sim.hardware.step_time.affine import AffineStepTime
    >>> step = AffineStepTime(base_s=0.01, per_sequence_s=0.001)
    >>> limits = dict(max_num_seqs=100, max_num_batched_tokens=8192, kv_tokens=10**6)
    >>> round(requests_per_s(step, input_tokens=1, output_tokens=100, itl_s=0.0302, **limits), 3)  # 20 sequences
    6.623
    """

    def itl(n: int) -> float:
        context = n * (input_tokens + output_tokens / 2)
        decode_s = step_time.decode_s(n) + step_time.context_s * context
        prefill_s = sum(
            step_time.step_s(n, context, [(tokens, past, past + tokens >= prompt)]) - decode_s
            for past, tokens in chunks
        )
        return decode_s + n / output_tokens * prefill_s

    prompt = max(1, round(input_tokens))
    starts = range(0, prompt, max_num_batched_tokens)
    chunks = [(past, min(max_num_batched_tokens, prompt - past)) for past in starts]
    fits, too_many = 1, 1 + max(1, min(max_num_seqs, int(kv_tokens / (input_tokens + output_tokens))))
    while too_many - fits > 1:
        n = (fits + too_many) // 2
        fits, too_many = (n, too_many) if itl(n) <= itl_s else (fits, n)
    return fits / (output_tokens * itl(fits))
