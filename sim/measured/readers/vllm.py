"""vLLM `bench serve` results: JSON of one result, a list, or JSON lines of `--append-result`.

Keys: `completed`, `request_rate`, `max_concurrency`, `total_input_tokens`, `total_output_tokens`, `mean_ttft_ms`,
`mean_tpot_ms`, `output_throughput`; with `--save-detailed` the arrays `input_lens`, `output_lens`, `ttfts`, `itls` and
`errors` take their place.
"""

from __future__ import annotations

from math import inf
from typing import Any, NamedTuple

from sim.measured.points import AT_ONCE, NO_STEADY_STATE, Figures, Load, Point, keeps_up, mean, positive, usable, whole
from sim.measured.readers.reader import Document, Results, ResultsReader
from sim.schema import TraceError

_FULL = 0.95  # of max_concurrency busy on average: the clients, not the rate, are the load


class Vllm(ResultsReader):
    """One result of vLLM's `bench serve`."""

    format = "vLLM bench serve (mean_ttft_ms, completed, ...)"

    def recognises(self, document: Document) -> bool:
        return isinstance(document.content, dict) and (
            "mean_ttft_ms" in document.content or "ttfts" in document.content
        )

    def read(self, document: Document) -> Results:
        results = Results()
        _read_vllm(document.path, document.place, document.content, results)
        return results


def _read_vllm(path: str, place: str, result: dict[str, Any], results: Results) -> None:
    if isinstance(result.get("model_id"), str):
        results.model_ids.append(result["model_id"])
    if not result.get("completed", 1):
        results.notes.append(f"{place}: left out, no request succeeded")
        return
    if result.get("ramp_up_strategy"):
        results.notes.append(f"{place}: left out, a rate that is ramped up is no steady state")
        return
    lengths = None
    requests = _detailed(place, result, results.notes)
    if requests is not None and not requests:
        results.notes.append(f"{place}: left out, no request succeeded")
        return
    if requests:
        n, lengths = len(requests), tuple((request.input_tokens, request.output_tokens) for request in requests)
        input_tokens, output_tokens = (sum(column) / n for column in zip(*lengths, strict=True))
        tpots_s = [request.tpot_s for request in requests if request.tpot_s is not None]
        measured = Figures(
            mean([request.ttft_s for request in requests]),
            mean(tpots_s) if tpots_s else None,
            _optional(result, "output_throughput", place),
        )
    else:
        n = whole(result.get("completed"), f"{place}, key 'completed'")
        input_tokens = positive(result.get("total_input_tokens"), f"{place}, key 'total_input_tokens'") / n
        output_tokens = positive(result.get("total_output_tokens"), f"{place}, key 'total_output_tokens'") / n
        ttft_ms, tpot_ms = (_optional(result, f"mean_{name}_ms", place) for name in ("ttft", "tpot"))
        measured = Figures(
            ttft_ms and ttft_ms / 1e3, tpot_ms and tpot_ms / 1e3, _optional(result, "output_throughput", place)
        )
    load = _load(result, place, n, measured, output_tokens)
    if load is None:
        results.notes.append(f"{place}: {AT_ONCE}; measure with --max-concurrency")
        return
    if rate_per_s := load.rate_per_s:
        span_s = _optional(result, "duration", place) or n * output_tokens / (measured.output_tokens_per_s or inf)
        if not keeps_up(n, rate_per_s, span_s, (output_tokens - 1) * (measured.tpot_s or 0.0)):
            results.notes.append(f"{place}: {NO_STEADY_STATE}")
            return
    results.points.append(Point(place, path, input_tokens, output_tokens, measured, *load, requests=n, lengths=lengths))


def _optional(result: dict[str, Any], key: str, place: str) -> float | None:
    """A figure that may be absent; vLLM writes 0 where it has none (TPOT of one-token answers)."""
    return positive(result[key], f"{place}, key {key!r}") if result.get(key) else None


def _load(result: dict[str, Any], place: str, n: int, measured: Figures, output_tokens: float) -> Load | None:
    """The clients or the rate; None if all requests were sent at once."""
    clients = result.get("max_concurrency")
    clients = None if clients is None else whole(clients, f"{place}, key 'max_concurrency'")
    rate = result.get("request_rate")
    if rate is None or str(rate).lower() in ("inf", "infinity"):
        if n == 1:
            return Load(1)
        return None if clients is None else Load(min(clients, n))
    rate = positive(rate, f"{place}, key 'request_rate'")
    burstiness = positive(result.get("burstiness") or 1.0, f"{place}, key 'burstiness'")
    if clients and measured.output_tokens_per_s and measured.ttft_s and measured.tpot_s:
        inside_s = measured.ttft_s + (output_tokens - 1) * measured.tpot_s
        if measured.output_tokens_per_s / output_tokens * inside_s >= _FULL * clients:
            return Load(clients)
    return Load(rate_per_s=rate, burstiness=burstiness)


class _Request(NamedTuple):
    """One request that was answered; TPOT is None where the answer came in one piece."""

    input_tokens: int
    output_tokens: int
    ttft_s: float
    tpot_s: float | None


def _detailed(place: str, result: dict[str, Any], notes: list[str]) -> list[_Request] | None:
    """The requests that succeeded and can be read, from `--save-detailed`; None without its arrays."""
    names = ("input_lens", "output_lens", "ttfts", "itls")
    if not all(isinstance(result.get(name), list) and result[name] for name in names):
        return None
    columns = [result[name] for name in names]
    if len({len(column) for column in columns}) > 1:
        sizes = ", ".join(f"{name} {len(column)}" for name, column in zip(names, columns, strict=True))
        raise TraceError(f"{place}: the arrays are not of one length: {sizes}")
    errors = result.get("errors") or [""] * len(columns[0])
    sent = list(zip(*columns, strict=True))
    answered = [
        i for i, (_, answer, ttft, _) in enumerate(sent) if answer and ttft and not (i < len(errors) and errors[i])
    ]
    rows, odd = usable(place, len(answered), lambda k: _request(f"request {answered[k]}", *sent[answered[k]]))
    notes += odd
    if n_whole := sum(row.output_tokens > 1 and row.tpot_s is None for row in rows):
        notes.append(f"{place}: {n_whole} answers came in one piece and have no TPOT")
    return rows


def _request(place: str, prompt: Any, answer: Any, ttft: Any, itls: Any) -> _Request:
    input_tokens, output_tokens = (
        whole(prompt, f"{place}, key 'input_lens'"),
        whole(answer, f"{place}, key 'output_lens'"),
    )
    ttft_s = positive(ttft, f"{place}, key 'ttfts'")
    if output_tokens == 1 or not itls:
        return _Request(input_tokens, output_tokens, ttft_s, None)
    decode_s = positive(_sum(itls, f"{place}, key 'itls'"), f"{place}, key 'itls'")
    return _Request(input_tokens, output_tokens, ttft_s, decode_s / (output_tokens - 1))


def _sum(values: Any, place: str) -> float:
    try:
        return sum(values)
    except TypeError:
        raise TraceError(f"{place}: is not a list of numbers") from None
