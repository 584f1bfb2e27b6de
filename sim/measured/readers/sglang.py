"""SGLang `bench_serving` results: JSON lines, one line for each run.

Keys: `completed`, `request_rate` (Infinity: none), `max_concurrency`, `total_input_tokens`, `total_output_tokens`,
`duration`, `mean_ttft_ms`, `mean_itl_ms`, `mean_tpot_ms`, `mean_e2e_latency_ms`, `output_throughput`, `accept_length`.
TPOT is taken from E2E and TTFT where the file has both: the file's own divides by the output length that was asked
for, so it is too small where answers end early. Nothing in the file says how many requests failed.
"""

from __future__ import annotations

from math import inf
from typing import Any

from sim.measured.points import (
    AT_ONCE,
    NO_STEADY_STATE,
    Figures,
    Load,
    Point,
    ServerFacts,
    keeps_up,
    positive,
    whole,
)  # fmt: skip
from sim.measured.readers.reader import Document, Results, ResultsReader
from sim.measured.readers.served_model import served_model

DISTINCTIVE = {"mean_e2e_latency_ms", "total_output_tokens_retokenized", "random_range_ratio", "accept_length"}
_UNUSED = ("dataset_name", "random_range_ratio", "sharegpt_output_len", "total_input_vision_tokens", "tag")
_NO_DRAFT = (None, 0, 1, 1.0)  # tokens accepted in a step by a server that drafts none


class Sglang(ResultsReader):
    """One result of SGLang's `bench_serving`."""

    format = "SGLang bench_serving (mean_e2e_latency_ms, total_output_tokens_retokenized, ...)"

    def recognises(self, document: Document) -> bool:
        content = document.content
        return isinstance(content, dict) and "mean_ttft_ms" in content and bool(DISTINCTIVE & content.keys())

    def read(self, document: Document) -> Results:
        results, result = Results(), document.content
        place = document.place
        results.unused |= {key: result[key] for key in _UNUSED if result.get(key) not in (None, "", 0)}
        facts = _facts(result)
        results.model_ids += [facts.model] if facts.model else []
        if not result.get("completed", 1):
            results.leave_out(place, "left out, no request succeeded")
        elif result.get("accept_length") not in _NO_DRAFT:
            results.leave_out(place, "left out, accept_length says that tokens are drafted")
        elif result.get("request_rate") == "trace":
            results.leave_out(place, "left out, a trace is not one load; measure with --max-concurrency")
        else:
            point = _point(document, result, facts)
            if isinstance(point, Point):
                results.add_point(point)
            else:
                results.leave_out(place, point)
        return results


def _facts(result: dict[str, Any]) -> ServerFacts:
    server = result.get("server_info")
    info = server if isinstance(server, dict) else {}
    model = served_model([info.get("model_path"), result.get("model_id"), result.get("model")])
    return ServerFacts(model, None, "sglang", info.get("quantization"), _kv_dtype(info.get("kv_cache_dtype")))


def _kv_dtype(stated: Any) -> str | None:
    return stated if isinstance(stated, str) and stated != "auto" else None


def _point(document: Document, result: dict[str, Any], facts: ServerFacts) -> Point | str:
    place = document.place

    def optional(key: str) -> float | None:
        return positive(result[key], f"{place}, key {key!r}") if result.get(key) else None

    n = whole(result.get("completed"), f"{place}, key 'completed'")
    input_tokens, output_tokens = (
        positive(_either(result, f"total_{side}_tokens", f"total_{side}"), f"{place}, key 'total_{side}_tokens'") / n
        for side in ("input", "output")
    )
    ttft_ms, tpot_ms, e2e_ms = optional("mean_ttft_ms"), optional("mean_tpot_ms"), optional("mean_e2e_latency_ms")
    if ttft_ms and e2e_ms and output_tokens > 1 and e2e_ms > ttft_ms:
        tpot_ms = (e2e_ms - ttft_ms) / (output_tokens - 1)
    measured = Figures(ttft_ms and ttft_ms / 1e3, tpot_ms and tpot_ms / 1e3, optional("output_throughput"))
    load = _load(result, n, place)
    if load is None:
        return f"{AT_ONCE}; measure with --max-concurrency"
    span_s = optional("duration") or inf
    if load.rate_per_s and not keeps_up(n, load.rate_per_s, span_s, (output_tokens - 1) * (measured.tpot_s or 0.0)):
        return NO_STEADY_STATE
    info = result.get("server_info")
    tp = info.get("tp_size") if isinstance(info, dict) else None
    tensor_parallel = None if tp is None else whole(tp, f"{place}, key 'server_info.tp_size'")
    return Point(
        place, document.path, input_tokens, output_tokens, measured, *load,
        requests=n, tensor_parallel=tensor_parallel, facts=facts,
    )  # fmt: skip


def _either(result: dict[str, Any], first: str, second: str) -> Any:
    return result[first] if first in result else result.get(second)


def _load(result: dict[str, Any], n: int, place: str) -> Load | None:
    """The clients or the rate; None if all requests were sent at once."""
    clients, rate = result.get("max_concurrency"), result.get("request_rate")
    if rate is None or str(rate).lower() in ("inf", "infinity"):
        if n == 1:
            return Load(1)
        return None if clients is None else Load(min(n, whole(clients, f"{place}, key 'max_concurrency'")))
    return Load(rate_per_s=positive(rate, f"{place}, key 'request_rate'"))
