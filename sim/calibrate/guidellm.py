"""GuideLLM results: `benchmarks[].requests.successful[]`, in older and newer spellings.

Of each request: `prompt_tokens`, `output_tokens`, `time_to_first_token_ms`, `inter_token_latency_ms`,
`request_latency` (s) and `request_start_time` (older: `start_time`). The load is the benchmark's `strategy`:
`synchronous` (one client), `concurrent` (`streams`), `constant` or `poisson` (`rate`), `throughput`
(`max_concurrency`); if it is not stated, the mean number of requests under way.
"""

from __future__ import annotations

from typing import Any

from sim.calibrate.points import AT_ONCE, NO_STEADY_STATE, Figures, Point, keeps_up, mean, positive, whole
from sim.schema import TraceError

_STARTS = ("request_start_time", "start_time")
_PROMPTS = ("prompt_tokens", "input_tokens", "prompt_tokens_count")
_ANSWERS = ("output_tokens", "output_tokens_count")


_MODELS = (("args", "model"), ("config", "backend", "model"), ("backend", "model"), ("worker", "backend_model"))


def guidellm_models(report: dict[str, Any]) -> list[str]:
    """The models that a report names, in any of its spellings; none if it names none."""
    found = [_within(holder, keys) for holder in (report, *report["benchmarks"]) for keys in _MODELS]
    return [name for name in found if isinstance(name, str) and name]


def _within(holder: Any, keys: tuple[str, ...]) -> Any:
    for key in keys:
        holder = holder.get(key) if isinstance(holder, dict) else None
    return holder


def guidellm_points(path: str, benchmarks: list[Any]) -> tuple[list[Point], list[str]]:
    """One operating point per benchmark, and notes on those left out. Raises TraceError naming benchmark and key."""
    points, notes = [], []
    for i, benchmark in enumerate(benchmarks):
        place = f"{path}, benchmark {i}"
        requests = benchmark.get("requests") if isinstance(benchmark, dict) else None
        done = requests.get("successful") if isinstance(requests, dict) else None
        if not isinstance(done, list):
            raise TraceError(f"{place}, key 'requests.successful': is missing; save the requests, not only statistics")
        if not done:
            notes.append(f"{place}: left out, no request succeeded")
            continue
        answered = [request for request in done if _has_an_answer(request)]
        if len(answered) < len(done):
            notes.append(f"{place}: {len(done) - len(answered)} requests without a token are left out")
        found = _point(path, place, benchmark, answered) if answered else "left out, no request has a token"
        if isinstance(found, Point):
            points.append(found)
        else:
            notes.append(f"{place}: {found}")
    return points, notes


def _has_an_answer(request: Any) -> bool:
    """A request may succeed without a token, or without the moment of its first."""
    if not isinstance(request, dict):
        return True  # and is refused for it
    stated = [request[name] for name in (*_ANSWERS, "time_to_first_token_ms") if name in request]
    return not any(value is None or value == 0 for value in stated)


def _point(path: str, place: str, benchmark: dict[str, Any], done: list[dict[str, Any]]) -> Point | str:
    """The operating point, or why it is left out."""
    lengths, ttfts, tpots, starts, ends = [], [], [], [], []
    for i, request in enumerate(done):
        at = f"{place}, request {i}"
        prompt, answer = (whole(*_first(request, names, at)) for names in (_PROMPTS, _ANSWERS))
        lengths.append((prompt, answer))
        ttfts.append(positive(*_first(request, ("time_to_first_token_ms",), at)) / 1e3)
        if answer > 1:
            tpots.append(positive(*_first(request, ("inter_token_latency_ms",), at)) / 1e3)
        starts.append(positive(*_first(request, _STARTS, at)))
        ends.append(starts[-1] + positive(*_first(request, ("request_latency",), at)))
    span_s, n = max(ends) - min(starts), len(done)
    inside = (sum(ends) - sum(starts)) / span_s
    outputs = sum(answer for _, answer in lengths)
    measured = Figures(mean(ttfts), mean(tpots), outputs / span_s)
    inputs = sum(prompt for prompt, _ in lengths)
    load = _load(place, benchmark, inside, n)
    decode_s = (outputs / n - 1) * (measured.tpot_s or 0.0)
    if load is None:
        return f"{AT_ONCE}; measure with the concurrent profile"
    if "rate_per_s" in load and not keeps_up(n, load["rate_per_s"], span_s, decode_s):
        return NO_STEADY_STATE
    return Point(place, path, inputs / n, outputs / n, measured, requests=n, lengths=tuple(lengths), **load)


def _first(request: dict[str, Any], names: tuple[str, ...], at: str) -> tuple[Any, str]:
    """The value of the first of `names` that is there, and the place to name if it is no good."""
    for name in names:
        if isinstance(request, dict) and request.get(name) is not None:
            return request[name], f"{at}, key {name!r}"
    raise TraceError(f"{at}, key {names[0]!r}: is missing")


def _load(place: str, benchmark: dict[str, Any], inside: float, n: int) -> dict[str, Any] | None:
    """As `Point` has it; None if everything was sent at once."""
    strategy = _strategy(benchmark)
    kind = strategy.get("type_") or strategy.get("type")
    if kind in ("constant", "poisson", "async") and strategy.get("rate"):
        rate = positive(strategy["rate"], f"{place}, key 'strategy.rate'")
        return {"rate_per_s": rate, "burstiness": 1.0 if kind == "poisson" else None}
    if kind == "synchronous":
        return {"concurrency": 1}
    streams = strategy.get("streams") or (strategy.get("max_concurrency") if kind == "concurrent" else None)
    if streams:
        return {"concurrency": min(n, whole(streams, f"{place}, key 'strategy.streams'"))}
    if kind == "throughput" and not strategy.get("max_concurrency"):
        return None
    return {"concurrency": max(1, round(inside))}


def _strategy(benchmark: dict[str, Any]) -> dict[str, Any]:
    """The load of one benchmark: `config.strategy` in newer files, `args.strategy` in older ones."""
    for holder in (benchmark.get("config"), benchmark.get("args"), benchmark.get("scheduler"), benchmark):
        if isinstance(holder, dict) and isinstance(holder.get("strategy"), dict):
            return holder["strategy"]
    return {}
