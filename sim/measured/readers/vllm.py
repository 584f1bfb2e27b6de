"""vLLM `bench serve` results: JSON of one result, a list, or JSON lines of `--append-result`.

Keys: `completed`, `request_rate`, `max_concurrency`, `total_input_tokens`, `total_output_tokens`, `mean_ttft_ms`,
`mean_tpot_ms`, `output_throughput`; with `--save-detailed` the arrays `input_lens`, `output_lens`, `ttfts`, `itls` and
`errors` take their place.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

from sim.measured.points import AT_ONCE, NO_STEADY_STATE, Figures, Point, keeps_up, mean, positive, usable, whole
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
    arrays = _detailed(place, result, results.notes)
    if arrays == ():
        results.notes.append(f"{place}: left out, no request succeeded")
        return
    if arrays:
        lengths, ttfts, tpots = arrays
        n = len(lengths)
        input_tokens, output_tokens = (sum(column) / n for column in zip(*lengths, strict=True))
        measured = Figures(mean(ttfts), mean(tpots), _optional(result, "output_throughput", place))
    else:
        lengths = None
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
    if rate_per_s := load.get("rate_per_s"):
        span_s = _optional(result, "duration", place) or n * output_tokens / (measured.output_tokens_per_s or inf)
        if not keeps_up(n, rate_per_s, span_s, (output_tokens - 1) * (measured.tpot_s or 0.0)):
            results.notes.append(f"{place}: {NO_STEADY_STATE}")
            return
    point = Point(place, path, input_tokens, output_tokens, measured, requests=n, lengths=lengths, **load)
    results.points.append(point)


def _optional(result: dict[str, Any], key: str, place: str) -> float | None:
    """A figure that may be absent; vLLM writes 0 where it has none (TPOT of one-token answers)."""
    return positive(result[key], f"{place}, key {key!r}") if result.get(key) else None


def _load(
    result: dict[str, Any], place: str, n: int, measured: Figures, output_tokens: float
) -> dict[str, float | int | None] | None:
    """`concurrency`, or `rate_per_s` and `burstiness`; None if everything was sent at once."""
    clients = result.get("max_concurrency")
    clients = None if clients is None else whole(clients, f"{place}, key 'max_concurrency'")
    rate = result.get("request_rate")
    if rate is None or str(rate).lower() in ("inf", "infinity"):
        if n == 1:
            return {"concurrency": 1}
        return None if clients is None else {"concurrency": min(clients, n)}
    rate = positive(rate, f"{place}, key 'request_rate'")
    burstiness = positive(result.get("burstiness") or 1.0, f"{place}, key 'burstiness'")
    if clients and measured.output_tokens_per_s and measured.ttft_s and measured.tpot_s:
        inside_s = measured.ttft_s + (output_tokens - 1) * measured.tpot_s
        if measured.output_tokens_per_s / output_tokens * inside_s >= _FULL * clients:
            return {"concurrency": clients}
    return {"rate_per_s": rate, "burstiness": burstiness}


def _detailed(place: str, result: dict[str, Any], notes: list[str]):
    """Lengths, TTFTs and TPOTs of the requests that succeeded, from `--save-detailed`.

    None without those arrays, () if no request is of use.
    """
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
    rows, odd = usable(place, len(answered), lambda k: _row(f"request {answered[k]}", *sent[answered[k]]))
    notes += odd
    if not rows:
        return ()
    if n_whole := sum(answer > 1 and tpot is None for _, answer, _, tpot in rows):
        notes.append(f"{place}: {n_whole} answers came in one piece and have no TPOT")
    return tuple(row[:2] for row in rows), [row[2] for row in rows], [row[3] for row in rows if row[3] is not None]


def _row(at: str, prompt: Any, answer: Any, ttft: Any, itls: Any) -> tuple[int, int, float, float | None]:
    """Input and output tokens, TTFT and TPOT of one request; an answer in one piece has no TPOT."""
    prompt, answer = whole(prompt, f"{at}, key 'input_lens'"), whole(answer, f"{at}, key 'output_lens'")
    ttft = positive(ttft, f"{at}, key 'ttfts'")
    if answer == 1 or not itls:
        return prompt, answer, ttft, None
    return prompt, answer, ttft, positive(_sum(itls, f"{at}, key 'itls'"), f"{at}, key 'itls'") / (answer - 1)


def _sum(values: Sequence[Any], place: str) -> float:
    try:
        return sum(values)
    except TypeError:
        raise TraceError(f"{place}: is not a list of numbers") from None
