"""vLLM `bench serve` results: JSON of one result, a list, or JSON lines of `--append-result`.

Keys: `completed`, `failed` (or `num_prompts` - `completed`), `request_rate`, `max_concurrency`, `total_input_tokens`,
`total_output_tokens`, `mean_ttft_ms`, `mean_tpot_ms`, `output_throughput`; with `--save-detailed` the arrays
`input_lens`, `output_lens`, `ttfts`, `itls` and `errors` take the place of totals and means. `--metadata KEY=VALUE`
puts further keys beside them: of these, `_METADATA` are read, and the receipt names the others.
"""

from __future__ import annotations

from math import inf
from typing import Any, NamedTuple

from sim.measured.points import (
    AT_ONCE,
    NO_STEADY_STATE,
    Figures,
    Load,
    Point,
    ServerFacts,
    keeps_up,
    mean,
    positive,
    usable,
    whole,
)  # fmt: skip
from sim.measured.readers import sglang
from sim.measured.readers.layout import layout_stated, yes
from sim.measured.readers.reader import Document, Results, ResultsReader
from sim.measured.readers.served_model import served_model
from sim.schema import TraceError

_FULL = 0.95  # of max_concurrency busy on average: the clients, not the rate, are the load

_METADATA = {
    "tensor_parallel": ("tp", "tensor_parallel", "tensor_parallel_size", "tensor-parallel-size", "tp_size"),
    "replicas": ("replicas", "num_replicas", "n_replicas"),
    "data_parallel": ("dp", "dp_size", "data_parallel", "data_parallel_size", "data-parallel-size"),
    "expert_parallel": ("enable_expert_parallel", "enable-expert-parallel", "expert_parallel"),
    "gpu": ("gpu", "gpu_type", "gpu_name", "hardware", "accelerator", "device", "hw"),
    "dtype": ("quantization", "weight_dtype", "precision"),
    "kv_dtype": ("kv_cache_dtype", "kv-cache-dtype", "kv_dtype"),
    "model": ("model_path", "model", "model_name"),
}
"""Keys of `--metadata` by what they state. The client knows nothing of the server, so its operator has to tell it."""

_OWN_KEYS = {
    "date", "endpoint_type", "backend", "label", "model_id", "tokenizer_id", "num_prompts", "request_rate",
    "burstiness", "max_concurrency", "duration", "completed", "failed", "total_input_tokens", "total_output_tokens",
    "request_throughput", "request_goodput", "request_goodput:", "output_throughput", "total_token_throughput",
    "max_output_tokens_per_s", "max_concurrent_requests", "rtfx", "input_lens", "output_lens", "ttfts", "itls",
    "latencies", "start_times", "queue_times", "generated_texts", "errors", "best_of", "benchmark_start_time_unix",
    "benchmark_end_time_unix", "ramp_up_strategy", "ramp_up_start_rps", "ramp_up_end_rps", "dataset_name",
}  # fmt: skip
_ARRAYS = ("input_lens", "output_lens", "ttfts", "itls")
_STATISTICS = ("mean_", "median_", "std_", "p")
_NOT_SPECULATING = (None, "", "none", "None", 0, "0", False)


class Vllm(ResultsReader):
    """One result of vLLM's `bench serve`."""

    format = "vLLM bench serve (mean_ttft_ms, completed, ...)"

    def recognises(self, document: Document) -> bool:
        content = document.content
        if not isinstance(content, dict) or sglang.DISTINCTIVE & content.keys():
            return False
        return "mean_ttft_ms" in content or "ttfts" in content

    def read(self, document: Document) -> Results:
        results = Results()
        _read_vllm(document.path, document.place, document.content, results)
        return results


def _read_vllm(path: str, place: str, result: dict[str, Any], results: Results) -> None:
    stated = {name: _first(result, keys) for name, keys in _METADATA.items()}
    model = served_model([stated["model"], result.get("model_id")])
    if isinstance(result.get("model_id"), str) and model:
        results.model_ids.append(model)
    results.unused |= _unused(result)
    why = _no_load(result)
    if why:
        results.leave_out(place, why)
        return
    requests = _detailed(place, result, results.notes)
    if requests is not None and not requests:
        results.leave_out(place, "left out, no request succeeded")
        return
    n, lengths, tokens, measured = _measured(place, result, requests)
    load = _load(result, place, n, measured, tokens[1])
    if load is None:
        results.leave_out(place, f"{AT_ONCE}; measure with --max-concurrency")
        return
    if load.rate_per_s:
        span_s = _optional(result, "duration", place) or n * tokens[1] / (measured.output_tokens_per_s or inf)
        if not keeps_up(n, load.rate_per_s, span_s, (tokens[1] - 1) * (measured.tpot_s or 0.0)):
            results.leave_out(place, NO_STEADY_STATE)
            return
    layout = layout_stated(place, stated, model)
    facts = ServerFacts(
        model, _text(stated["gpu"]), None, _text(stated["dtype"]), _text(stated["kv_dtype"]),
        attention_data_parallel=layout.attention_ranks, expert_parallel=yes(stated["expert_parallel"]),
    )  # fmt: skip
    point = Point(
        place,
        path,
        tokens[0],
        tokens[1],
        measured,
        *load,
        requests=n,
        lengths=lengths,
        tensor_parallel=layout.gpus,
        facts=facts,
    )
    results.add_share(point, layout.replicas, _n_failed(result, n))


def _first(result: dict[str, Any], keys: tuple[str, ...]) -> Any:
    return next((result[key] for key in keys if result.get(key) not in (None, "")), None)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _unused(result: dict[str, Any]) -> dict[str, Any]:
    """Metadata that nothing here reads."""
    known = _OWN_KEYS | {key for keys in _METADATA.values() for key in keys}
    return {
        key: value
        for key, value in result.items()
        if key not in known and not key.startswith(_STATISTICS) and isinstance(value, str | int | float) and value != ""
    }


def _no_load(result: dict[str, Any]) -> str | None:
    """Why a result is of no single load, or of a server that cannot be played; None if neither."""
    if not result.get("completed", 1):
        return "left out, no request succeeded"
    if result.get("ramp_up_strategy"):
        return "left out, a rate that is ramped up is no steady state"
    for key in ("spec_decoding", "speculative_config", "num_speculative_tokens"):
        if result.get(key) not in _NOT_SPECULATING:
            return f"left out, {key} says that tokens are drafted, and nothing says how many are accepted"
    return None


def _n_failed(result: dict[str, Any], n_answered: int) -> int:
    """Requests that were sent and not answered: `failed`, or what `num_prompts` has more than were answered.

    Results before October 2025 have no `failed`; with `errors` and `ttfts` each failure is seen by itself.
    """
    columns = _columns(result)
    seen = None if columns is None else sum(not _is_answered(*row) for row in zip(*columns, strict=False))
    failed, sent = (
        value if isinstance(value, int) else 0 for value in (result.get("failed"), result.get("num_prompts"))
    )
    return max(failed, sent - n_answered if seen is None else seen, 0)


def _measured(
    place: str, result: dict[str, Any], requests: list[_Request] | None
) -> tuple[int, tuple[tuple[int, int], ...] | None, tuple[float, float], Figures]:
    """How many requests were answered, their lengths if each is known, their mean lengths, and the figures."""
    tokens_per_s = _optional(result, "output_throughput", place)
    if requests:
        n, lengths = len(requests), tuple((request.input_tokens, request.output_tokens) for request in requests)
        input_tokens, output_tokens = (sum(column) / n for column in zip(*lengths, strict=True))
        tpots_s = [request.tpot_s for request in requests if request.tpot_s is not None]
        ttft_s = mean([request.ttft_s for request in requests])
        figures = Figures(ttft_s, mean(tpots_s) if tpots_s else None, tokens_per_s)
        return n, lengths, (input_tokens, output_tokens), figures
    n = whole(result.get("completed"), f"{place}, key 'completed'")
    input_tokens = positive(result.get("total_input_tokens"), f"{place}, key 'total_input_tokens'") / n
    output_tokens = positive(result.get("total_output_tokens"), f"{place}, key 'total_output_tokens'") / n
    ttft_ms, tpot_ms = (_optional(result, f"mean_{name}_ms", place) for name in ("ttft", "tpot"))
    figures = Figures(ttft_ms and ttft_ms / 1e3, tpot_ms and tpot_ms / 1e3, tokens_per_s)
    return n, None, (input_tokens, output_tokens), figures


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


def _columns(result: dict[str, Any]) -> list[list[Any]] | None:
    """Prompt lengths, answer lengths, TTFTs, gaps and errors of every request; None without `--save-detailed`."""
    columns = [result.get(name) for name in _ARRAYS]
    if not all(isinstance(column, list) and column for column in columns):
        return None
    n, errors = len(result["input_lens"]), result.get("errors") or []
    return [result[name] for name in _ARRAYS] + [[*errors, *[""] * (n - len(errors))]]


def _is_answered(prompt: Any, answer: Any, ttft: Any, itls: Any, error: Any) -> bool:
    return bool(answer and ttft and not error)


def _detailed(place: str, result: dict[str, Any], notes: list[str]) -> list[_Request] | None:
    """The requests that succeeded and can be read, from `--save-detailed`; None without its arrays."""
    columns = _columns(result)
    if columns is None:
        return None
    if len({len(column) for column in columns[: len(_ARRAYS)]}) > 1:
        sizes = ", ".join(f"{name} {len(column)}" for name, column in zip(_ARRAYS, columns, strict=False))
        raise TraceError(f"{place}: the arrays are not of one length: {sizes}")
    sent = list(zip(*columns, strict=False))
    answered = [i for i, row in enumerate(sent) if _is_answered(*row)]
    rows, odd = usable(place, len(answered), lambda k: _request(f"request {answered[k]}", *sent[answered[k]][:4]))
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
