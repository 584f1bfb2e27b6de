"""Readers of benchmark results: whatever the format, operating points come out. The format is told from the content.

- vLLM `bench serve` (JSON, one result, a list, or JSON lines of `--append-result`): `completed`, `request_rate`,
  `max_concurrency`, `total_input_tokens`, `total_output_tokens`, `mean_ttft_ms`, `mean_tpot_ms`, `output_throughput`;
  with `--save-detailed` the arrays `input_lens`, `output_lens`, `ttfts`, `itls`, `errors` take their place.
- GuideLLM (JSON): see `guidellm`.
- plain CSV: see `plain_csv`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

from sim.measured.points import AT_ONCE, NO_STEADY_STATE, Figures, Point, keeps_up, mean, positive, usable, whole
from sim.measured.readers.guidellm import guidellm_models, guidellm_points
from sim.measured.readers.plain_csv import csv_points
from sim.schema import TraceError

_FULL = 0.95  # of max_concurrency busy on average: the clients, not the rate, are the load


@dataclass
class Results:
    """What was read: operating points, what was left out and why, and the models the files name."""

    points: list[Point] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    model_ids: list[str] = field(default_factory=list)


def read_results(paths: Iterable[str]) -> Results:
    """Operating points of result files. Raises TraceError naming file, row and column."""
    results = Results()
    for path in paths:
        try:
            text = Path(path).expanduser().read_text(encoding="utf-8-sig")
        except OSError as error:
            raise TraceError(f"{path}: cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise TraceError(f"{path}: is not a text file") from None
        if not text.strip():
            raise TraceError(f"{path}: is empty")
        if text.lstrip()[0] in "{[":
            _read_json(path, text, results)
        else:
            points, notes = csv_points(path, text)
            results.points += points
            results.notes += notes
    if not results.points:
        raise TraceError("no operating point to learn from: " + ("; ".join(results.notes) or "the files hold none"))
    return results


def _read_json(path: str, text: str, results: Results) -> None:
    documents = _documents(path, text)
    for place, document in documents:
        if isinstance(document, dict) and isinstance(document.get("benchmarks"), list):
            points, notes = guidellm_points(path, document["benchmarks"])
            results.points += points
            results.notes += notes
            results.model_ids += guidellm_models(document)
        elif isinstance(document, dict) and ("mean_ttft_ms" in document or "ttfts" in document):
            _read_vllm(path, place, document, results)
        else:
            raise TraceError(
                f"{place}: is neither a vLLM bench serve result (mean_ttft_ms, completed, ...) nor a GuideLLM one "
                f"(benchmarks)"
            )


def _documents(path: str, text: str) -> list[tuple[str, Any]]:
    """(where, content) of every JSON document in a file: one, a list, or one per line."""
    try:
        whole_file = json.loads(text)
    except json.JSONDecodeError as error:
        lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
        if len(lines) < 2 or error.msg != "Extra data":
            raise TraceError(f"{path}, line {error.lineno}, column {error.colno}: is not JSON: {error.msg}") from None
        return [(f"{path}, line {number}", _line(path, number, line)) for number, line in lines]
    if isinstance(whole_file, list):
        return [(f"{path}, entry {i}", document) for i, document in enumerate(whole_file, 1)]
    return [(path, whole_file)]


def _line(path: str, number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise TraceError(f"{path}, line {number}, column {error.colno}: is not JSON: {error.msg}") from None


# --- vLLM bench serve ------------------------------------------------------------------------------------------------


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
