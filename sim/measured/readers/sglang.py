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
from sim.measured.readers.layout import LayoutStated, layout_stated
from sim.measured.readers.reader import Document, Results, ResultsReader
from sim.measured.readers.served_model import served_model

DISTINCTIVE = {"mean_e2e_latency_ms", "total_output_tokens_retokenized", "random_range_ratio", "accept_length"}
_UNUSED = ("dataset_name", "random_range_ratio", "sharegpt_output_len", "total_input_vision_tokens", "tag")
_FLAGS = {
    "chunked_prefill_size": "max_num_batched_tokens", "max_running_requests": "max_num_seqs",
    "mem_fraction_static": "gpu_memory_utilization", "page_size": "block_size",
}  # fmt: skip
"""Of `server_info`, by the flags of vLLM that mean the same."""
_PLAYED_POLICIES = ("fcfs", "lpm")
_LAYOUT = {"tp_size": "tensor_parallel", "dp_size": "data_parallel", "enable_dp_attention": "enable_dp_attention"}
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
        policy = _info(result).get("schedule_policy")
        results.unused |= {"schedule_policy": policy} if policy not in (None, *_PLAYED_POLICIES) else {}
        results.model_ids += [facts.model] if facts.model else []
        if not result.get("completed", 1):
            results.leave_out(place, "left out, no request succeeded")
        elif result.get("accept_length") not in _NO_DRAFT:
            results.leave_out(place, "left out, accept_length says that tokens are drafted")
        elif result.get("request_rate") == "trace":
            results.leave_out(place, "left out, a trace is not one load; measure with --max-concurrency")
        else:
            layout = _layout(place, result, facts)
            point = _point(document, result, _of_layout(facts, layout, result), layout.gpus)
            if isinstance(point, Point):
                results.add_share(point, layout.replicas)
            else:
                results.leave_out(place, point)
        return results


def _facts(result: dict[str, Any]) -> ServerFacts:
    info = _info(result)
    model = served_model([info.get("model_path"), result.get("model_id"), result.get("model")])
    return ServerFacts(
        model, None, "sglang", info.get("quantization"), _kv_dtype(info.get("kv_cache_dtype")), flags=_flags(info)
    )


def _flags(info: dict[str, Any]) -> dict[str, Any]:
    """The options of the server that decide a schedule, under the names that FlagsStated has for them."""
    found = {
        flag: info[key] for key, flag in _FLAGS.items() if isinstance(info.get(key), int | float) and info[key] > 0
    }
    if info.get("schedule_policy") in _PLAYED_POLICIES:
        found["schedule_policy"] = info["schedule_policy"]
    return found


def _kv_dtype(stated: Any) -> str | None:
    return stated if isinstance(stated, str) and stated != "auto" else None


def _info(result: dict[str, Any]) -> dict[str, Any]:
    info = result.get("server_info")
    return info if isinstance(info, dict) else {}


def _layout(place: str, result: dict[str, Any], facts: ServerFacts) -> LayoutStated:
    info = _info(result)
    return layout_stated(place, {name: info.get(key) for key, name in _LAYOUT.items()}, facts.model, "sglang")


def _of_layout(facts: ServerFacts, layout: LayoutStated, result: dict[str, Any]) -> ServerFacts:
    ep_size = _info(result).get("ep_size")
    return facts._replace(
        attention_data_parallel=layout.attention_ranks,
        expert_parallel=ep_size > 1 if isinstance(ep_size, int) else None,
    )


def _point(document: Document, result: dict[str, Any], facts: ServerFacts, gpus: int | None) -> Point | str:
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
    return Point(
        place, document.path, input_tokens, output_tokens, measured, *load,
        requests=n, tensor_parallel=gpus, facts=facts,
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
