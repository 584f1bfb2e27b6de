"""Which constants a set of operating points determines; what it cannot determine is refused with what to measure."""

from __future__ import annotations

from collections.abc import Sequence

from sim.hardware.fits import kv_blocks_of
from sim.hardware.flags import max_context_tokens
from sim.measured.closed_form import Balance
from sim.measured.constants import Constant
from sim.measured.points import Point
from sim.measured.server import Server
from sim.schema import ConfigError, TraceError

# The largest batch over the smallest must reach this ratio; otherwise costs per step and costs per sequence cannot be
# told apart.
_SPAN = 4.0
_LENGTHS = 4.0  # Likewise the longest prompt over the shortest, for costs that grow with the context.
_FEW, _MANY = 8, 32  # A batch below the first number of requests is small; one from the second on is large.
# By Little's law a point has this many requests inside the server per client; above this number it is refused. The
# limit is not 1, because the product of mean rate and mean time differs from the mean of their product.
_LITTLE = 1.25
# A measured TPOT this many times the predicted one means another unit or another model, not a slow server.
_ODD = 20.0
_TPOT, _THROUGHPUT = 1, 2
_SOME = "all points but those at a rate without TPOT"
_COMPUTE = ("gemm_efficiency", "fp8_gemm_efficiency", "expert_gemm_fraction", "per_sequence_us")
_FIXED = ("weight_read_efficiency", "layer_overhead_us")
_CONTEXT = ("kv_read_efficiency", "fp8_kv_read_efficiency", "prefill_attention_efficiency")


def to_fit(server: Server, points: Sequence[Point], held: Sequence[str]) -> tuple[Constant, ...]:
    """The constants to fit to these points, without those `held`. Raises ConfigError with what to measure if the points
    do not determine them."""
    widest = max(point.tensor_parallel or server.engine.tensor_parallel for point in points)
    used = server.on(widest).constants
    known = [constant.name for constant in used]
    for name in held:
        if name not in known:
            raise ConfigError(f"--hold {name}: is not one of {', '.join(known)}")
    free = [constant for constant in used if constant.name not in held]
    if all(point.measured.ttft_s is None for point in points):  # The overhead is a part of TTFT alone.
        free = [constant for constant in free if constant.name != "request_overhead_s"]
    lacks = [*_missing(points, {constant.name for constant in free})]
    n_figures = sum(point.informative(kind) is not None for point in points for kind in range(3))
    if not lacks and n_figures < len(free):
        lacks = [f"{n_figures} figures cannot tell {len(free)} constants: measure more operating points"]
    if lacks:
        raise ConfigError("these results do not determine the server: " + "; ".join(lacks))
    if not free:
        raise ConfigError("--hold: nothing is left to fit")
    return tuple(free)


def _missing(points: Sequence[Point], names: set[str]):
    """One sentence for each group of constants, of those to fit by `names`, that the points do not determine."""
    if not any(point.informative(kind) is not None for point in points for kind in (_TPOT, _THROUGHPUT)):
        if any(point.rate_per_s for point in points):
            yield "no point has TPOT (throughput at a rate is the rate): nothing about decode steps; measure TPOT"
        else:
            yield "no point has TPOT or throughput, so they say nothing about decode steps: measure either"
    batches = [max(1.0, point.batch) for point in points if point.batch is not None]
    if batches:
        yield from _missing_batches(batches, "all points" if len(batches) == len(points) else _SOME, names)
    yield from _missing_lengths(points, names)


def _missing_batches(batches: Sequence[float], which_points: str, names: set[str]):
    low, high = min(batches), max(batches)
    compute, fixed = sorted(names & {*_COMPUTE}), sorted(names & {*_FIXED})
    same = f"{which_points} have concurrency {_span(low, high)}"
    if high < _SPAN * low and high >= _MANY:
        if fixed:
            yield (
                f"{same}: they say nothing about what a step costs at least; "
                f"measure at concurrency 1 to 4 as well{_or(fixed)}"
            )
    elif (high < _SPAN * low or high < _FEW) and compute:
        yield f"{same}: they say nothing about compute; measure at concurrency >= 64 as well{_or(compute)}"


def _missing_lengths(points: Sequence[Point], names: set[str]):
    contexts = [point.input_tokens + point.output_tokens / 2 for point in points]
    prompts = [point.input_tokens for point in points]
    context = sorted(names & {*_CONTEXT})
    if context and max(prompts) < _LENGTHS * min(prompts) and max(contexts) < _LENGTHS * min(contexts):
        alike = max(prompts) < 1.1 * min(prompts)
        span = f"{max(prompts):.0f}" if alike else _span(min(prompts), max(prompts))
        which = "one prompt length only" if alike else "prompts of similar length only"
        yield (
            f"{which} ({span} tokens): they say nothing about KV reads and attention; "
            f"measure a long prompt (>= {_round_up(_LENGTHS * max(prompts))} tokens) as well{_or(context)}"
        )


def _span(low: float, high: float) -> str:
    return f"{low:.0f}" if round(low) == round(high) else f"{low:.0f} to {high:.0f}"


def _or(names: Sequence[str]) -> str:
    return f", or keep the defaults with --hold {','.join(names)}"


def _round_up(tokens: float) -> int:
    return -int(-tokens // 500) * 500


def refuse_impossible(server: Server, points: Sequence[Point]) -> None:
    """Raise TraceError for a point faster than the card, against Little's law, or off by more than a slow server."""
    for layout in {point.layout for point in points}:
        sized = server.on(*layout)
        bounds, usual = [Balance(bound) for bound in sized.bounds()], Balance(sized)
        for point in points:
            if point.layout == layout:
                _refuse_too_long(sized, point)
                _refuse_faster_than_the_card(sized, bounds, point)
                _refuse_against_little(point)
                _refuse_odd(sized, usual, point)


def _refuse_too_long(server: Server, point: Point) -> None:
    gpu, model, engine = server.gpu, server.model, server.engine
    tokens = point.input_tokens + point.output_tokens
    if tokens > (most := max_context_tokens(model, engine)):
        raise TraceError(f"{point.source}: requests of {tokens:.0f} tokens, but {model.name} takes at most {most}")
    if tokens > (most := kv_blocks_of(gpu, model, engine) * engine.block_tokens):
        raise TraceError(f"{point.source}: requests of {tokens:.0f} tokens, but the KV memory holds {most}")


def _refuse_faster_than_the_card(server: Server, bounds: Sequence[Balance], point: Point) -> None:
    ttft_s, tpot_s, _ = point.measured
    step_s, prompt_s = max(b.shortest_step_s for b in bounds), max(b.prompt_s(point) for b in bounds)
    if tpot_s is not None and tpot_s < step_s:
        raise TraceError(
            f"{point.source}: TPOT {1e3 * tpot_s:.3g} ms is less than the {1e3 * step_s:.3g} ms the card takes to read "
            f"the weights: {_asks(server)} (quantised weights need --weight-dtype)"
        )
    if ttft_s is not None and ttft_s < prompt_s:
        raise TraceError(
            f"{point.source}: TTFT {1e3 * ttft_s:.3g} ms is less than the {1e3 * prompt_s:.3g} ms the card takes to "
            f"compute the prompt: {_asks(server)} (or did the prefix cache have repeated prompts?)"
        )


def _refuse_against_little(point: Point) -> None:
    ttft_s, tpot_s, tokens_per_s = point.measured
    if not point.concurrency or ttft_s is None or tpot_s is None or tokens_per_s is None:
        return
    inside = tokens_per_s / point.output_tokens * (ttft_s + (point.output_tokens - 1) * tpot_s)
    if inside > _LITTLE * point.concurrency:
        raise TraceError(
            f"{point.source}: {tokens_per_s:.4g} output tokens/s at these latencies are {inside:.0f} requests at once "
            f"(Little's law), but there are {point.concurrency} clients: does the throughput count input tokens too?"
        )


def _refuse_odd(server: Server, usual: Balance, point: Point) -> None:
    measured, expected = point.measured.tpot_s, usual.predict(point).tpot_s
    if measured and expected and measured > _ODD * expected:
        raise TraceError(
            f"{point.source}: TPOT {1e3 * measured:.3g} ms is {measured / expected:.0f} times what is usual: "
            f"{_asks(server)}"
        )


def _asks(server: Server) -> str:
    return (
        f"is this {server.gpu.name}, {server.model.name}, tensor parallel {server.engine.tensor_parallel}, "
        "and are seconds and milliseconds in their columns?"
    )
