"""GuideLLM results: `benchmarks[].requests.successful[]`, in older and newer spellings.

Read of each request: `prompt_tokens`, `output_tokens`, `time_to_first_token_ms`, `inter_token_latency_ms`,
`request_latency` (s) and `request_start_time` (older: `start_time`). The load is the benchmark's `strategy`:
`synchronous` (one client), `concurrent` (`streams`), `constant` or `poisson` (`rate`), `throughput`
(`max_concurrency`); if none is stated, the mean number of requests under way. `request_totals` is the number of
requests sent, also where the file keeps a sample of them only: some versions keep ten by default.

Where a file keeps no requests, the means of `metrics` over the successful ones stand for them:
`time_to_first_token_ms`, `inter_token_latency_ms`, `prompt_token_count`, `output_token_count`,
`output_tokens_per_second`. TPOT is `inter_token_latency_ms`, because `time_per_output_token_ms` has the first token
in it since 0.4.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

from sim.measured.points import AT_ONCE, NO_STEADY_STATE, Figures, Load, Point, keeps_up, mean, positive, usable, whole
from sim.measured.readers.reader import Document, Results, ResultsReader
from sim.schema import TraceError

_STARTS = ("request_start_time", "start_time")
_PROMPTS = ("prompt_tokens", "input_tokens", "prompt_tokens_count")
_ANSWERS = ("output_tokens", "output_tokens_count")


_MODELS = (
    ("args", "model"), ("config", "backend", "model"), ("backend", "model"), ("worker", "backend_model"),
    ("benchmarker", "backend", "model"), ("config", "spec", "backend", "model"),
)  # fmt: skip


class GuideLlm(ResultsReader):
    """One report of GuideLLM, of one or more benchmarks."""

    format = "GuideLLM (benchmarks)"

    def recognises(self, document: Document) -> bool:
        return isinstance(document.content, dict) and isinstance(document.content.get("benchmarks"), list)

    def read(self, document: Document) -> Results:
        results = Results(model_ids=_models(document.content))
        for i, benchmark in enumerate(document.content["benchmarks"]):
            _read_benchmark(document.path, f"{document.path}, benchmark {i}", benchmark, results)
        return results


def _models(report: dict[str, Any]) -> list[str]:
    """The models that a report names, in any of its spellings; none if it names none."""
    found = [_within(holder, keys) for holder in (report, *report["benchmarks"]) for keys in _MODELS]
    return [name for name in found if isinstance(name, str) and name not in ("", "None")]


def _within(holder: Any, keys: tuple[str, ...]) -> Any:
    for key in keys:
        holder = holder.get(key) if isinstance(holder, dict) else None
    return holder


def _read_benchmark(path: str, place: str, benchmark: Any, results: Results) -> None:
    """Add the operating point of one benchmark, or say why it is none. Raises TraceError naming benchmark and key."""
    if not isinstance(benchmark, dict):
        raise TraceError(f"{place}: is not a mapping")
    done = _within(benchmark, ("requests", "successful"))
    if done:
        if not isinstance(done, list):
            raise TraceError(f"{place}, key 'requests.successful': is not a list")
        rows, odd = usable(place, len(done), partial(_request, done))
        results.notes += odd
        found = _point(path, place, benchmark, rows, len(done), results.notes) if rows else None
    elif _n_succeeded(benchmark, 0) or _mean_of(benchmark, "time_to_first_token_ms") is not None:
        found = _point_of_metrics(path, place, benchmark, results.notes)
    elif isinstance(done, list):
        found = "left out, no request succeeded"
    else:
        raise TraceError(f"{place}, key 'requests.successful': is missing, as are the means of 'metrics'")
    if isinstance(found, Point):
        results.add_point(found, _n_errored(benchmark))
    elif found:
        results.leave_out(place, found)


def _point_of_metrics(path: str, place: str, benchmark: dict[str, Any], notes: list[str]) -> Point | str:
    """The operating point of the means of `metrics`, or why the benchmark is left out."""

    def mean_of(name: str, other: str = "") -> float:
        value = _mean_of(benchmark, name)
        key = f"{place}, key 'metrics.{name}.successful.mean'"
        return positive(_mean_of(benchmark, other) if value is None and other else value, key)

    input_tokens, output_tokens = (
        mean_of("prompt_token_count", "prompt_tokens"),
        mean_of("output_token_count", "output_tokens"),
    )
    ttft_s = mean_of("time_to_first_token_ms") / 1e3
    tpot_s = mean_of("inter_token_latency_ms") / 1e3 if output_tokens > 1 else None
    tokens_per_s = _mean_of(benchmark, "output_tokens_per_second")
    n = _n_succeeded(benchmark, 0)
    in_flight = _mean_of(benchmark, "request_concurrency") or 0.0
    load = _load(place, benchmark, in_flight, n or round(in_flight) or 1_000_000)
    if isinstance(load, str):
        return load
    measured = Figures(
        ttft_s, tpot_s, tokens_per_s and positive(tokens_per_s, f"{place}, key 'output_tokens_per_second'")
    )
    if load.rate_per_s and n and measured.output_tokens_per_s:
        span_s = n * output_tokens / measured.output_tokens_per_s
        if not keeps_up(n, load.rate_per_s, span_s, (output_tokens - 1) * (tpot_s or 0.0)):
            return NO_STEADY_STATE
    notes.append(f"{place}: keeps no requests; the means of its metrics stand for them, with lengths all alike")
    return Point(place, path, input_tokens, output_tokens, measured, *load, requests=n or None)


def _mean_of(benchmark: dict[str, Any], metric: str) -> float | None:
    """The mean of a metric over the successful requests; None if it is not there."""
    value = _within(benchmark, ("metrics", metric, "successful", "mean"))
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _n_errored(benchmark: dict[str, Any]) -> int:
    """Requests that failed. Those that the end of the benchmark cut off are neither failed nor answered."""
    counts = [_within(benchmark, (*where, "request_totals", "errored")) for where in ((), ("metrics",))]
    made = _within(benchmark, ("run_stats", "requests_made", "errored"))
    listed = _within(benchmark, ("requests", "errored"))
    stated = [count for count in (*counts, made) if isinstance(count, int)]
    return max([len(listed) if isinstance(listed, list) else 0, *stated])


class _Row(NamedTuple):
    """One request that was answered."""

    input_tokens: int
    output_tokens: int
    ttft_s: float
    tpot_s: float | None
    start_s: float
    inside_s: float


def _request(done: list[Any], i: int) -> _Row:
    request, place = done[i], f"request {i}"
    prompt, answer = (whole(*_first(request, names, place)) for names in (_PROMPTS, _ANSWERS))
    ttft_s = positive(*_first(request, ("time_to_first_token_ms",), place)) / 1e3
    tpot_s = positive(*_first(request, ("inter_token_latency_ms",), place)) / 1e3 if answer > 1 else None
    start_s = positive(*_first(request, _STARTS, place))
    return _Row(prompt, answer, ttft_s, tpot_s, start_s, positive(*_first(request, ("request_latency",), place)))


def _point(
    path: str, place: str, benchmark: dict[str, Any], rows: list[_Row], n_saved: int, notes: list[str]
) -> Point | str:
    """The operating point, or why it is left out. Means over the saved requests stand for all requests."""
    n_all = _n_succeeded(benchmark, n_saved)
    n, span_s = len(rows), max(r.start_s + r.inside_s for r in rows) - min(r.start_s for r in rows)
    if n_all > n_saved:
        notes.append(f"{place}: only {n_saved} of its {n_all} requests were saved, and stand for all; better save all")
        n, span_s = n_all, _duration_s(benchmark) or span_s
    input_tokens, output_tokens = mean([r.input_tokens for r in rows]), mean([r.output_tokens for r in rows])
    tpots_s = [r.tpot_s for r in rows if r.tpot_s is not None]
    tpot_s = mean(tpots_s) if tpots_s else None
    load = _load(place, benchmark, n * mean([r.inside_s for r in rows]) / span_s, n)
    if isinstance(load, str):
        return load
    decode_s = (output_tokens - 1) * (tpot_s or 0.0)
    if load.rate_per_s and not keeps_up(n, load.rate_per_s, span_s, decode_s):
        return NO_STEADY_STATE
    measured = Figures(mean([r.ttft_s for r in rows]), tpot_s, n * output_tokens / span_s)
    lengths = tuple((r.input_tokens, r.output_tokens) for r in rows)
    return Point(place, path, input_tokens, output_tokens, measured, *load, requests=n, lengths=lengths)


def _n_succeeded(benchmark: dict[str, Any], n_saved: int) -> int:
    """The number of requests that succeeded, including those that the file does not keep."""
    stated = [_within(benchmark, (*where, "request_totals", "successful")) for where in ((), ("metrics",))]
    return max([n_saved, *(count for count in stated if isinstance(count, int))])


def _duration_s(benchmark: dict[str, Any]) -> float | None:
    start_s, end_s = benchmark.get("start_time"), benchmark.get("end_time")
    if isinstance(start_s, float | int) and isinstance(end_s, float | int) and end_s > start_s:
        return end_s - start_s
    return None


def _first(request: dict[str, Any], names: tuple[str, ...], place: str) -> tuple[Any, str]:
    """The value of the first of `names` that is there, and the place to name if it is no good."""
    for name in names:
        if isinstance(request, dict) and request.get(name) is not None:
            return request[name], f"{place}, key {name!r}"
    raise TraceError(f"{place}, key {names[0]!r}: is missing")


def _load(place: str, benchmark: dict[str, Any], mean_concurrency: float, n: int) -> Load | str:
    """The clients or the rate, or why the benchmark is left out."""
    strategy = _strategy(benchmark)
    kind = strategy.get("type_") or strategy.get("type")
    if kind in ("constant", "poisson", "async") and strategy.get("rate"):
        rate = positive(strategy["rate"], f"{place}, key 'strategy.rate'")
        return Load(rate_per_s=rate, burstiness=1.0 if kind == "poisson" else None)
    if kind == "synchronous":
        return Load(1)
    streams = strategy.get("streams") or (strategy.get("max_concurrency") if kind == "concurrent" else None)
    if streams:
        return Load(min(n, whole(streams, f"{place}, key 'strategy.streams'")))
    if kind == "throughput" and not strategy.get("max_concurrency"):
        return f"{AT_ONCE}; measure with the concurrent profile"
    if kind == "trace":
        return "left out, a trace is not one load; measure with the concurrent profile"
    return Load(max(1, round(mean_concurrency)))


def _strategy(benchmark: dict[str, Any]) -> dict[str, Any]:
    """The load of one benchmark: `config.strategy` in newer files, `args.strategy` in older ones."""
    for holder in (benchmark.get("config"), benchmark.get("args"), benchmark.get("scheduler"), benchmark):
        if isinstance(holder, dict) and isinstance(holder.get("strategy"), dict):
            return holder["strategy"]
    return {}
