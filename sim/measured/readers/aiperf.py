"""AIPerf and genai-perf results: `profile_export_aiperf.json` or `profile_export_genai_perf.json`.

One block `{unit, avg, ...}` for each metric: `time_to_first_token`, `inter_token_latency`, `request_latency`,
`input_sequence_length`, `output_sequence_length`, `output_token_throughput`, `request_count`, `error_request_count`.
The unit of a block is obeyed. The load is in `input_config`: `loadgen.concurrency` or `loadgen.request_rate` of
AIPerf, `perf_analyzer.stimulus` of genai-perf.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sim.measured.points import AT_ONCE, Figures, Load, Point, ServerFacts, positive, whole
from sim.measured.readers.reader import Document, Results, ResultsReader
from sim.measured.readers.served_model import served_model
from sim.schema import TraceError

_METRICS = ("inter_token_latency", "request_latency", "input_sequence_length", "output_sequence_length")
SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "sec": 1.0, "seconds": 1.0}
"""Seconds of one unit of time, as both tools write it."""
_ARRIVALS = {"poisson": 1.0, "constant": None}
_UNUSED = ("loadgen.request_rate_mode", "loadgen.benchmark_duration", "loadgen.warmup_request_count", "input.file",
           "loadgen.concurrency_ramp_duration", "loadgen.prefill_concurrency")  # fmt: skip


class AiPerf(ResultsReader):
    """One profile of AIPerf, or of genai-perf, whose JSON has the same blocks."""

    format = "AIPerf or genai-perf (time_to_first_token, input_sequence_length, ...)"

    def recognises(self, document: Document) -> bool:
        content = document.content
        if not isinstance(content, dict):
            return False
        has_blocks = isinstance(content.get("time_to_first_token"), dict) and any(m in content for m in _METRICS)
        return (
            has_blocks or {"metadata", "metrics"} <= content.keys() and "benchmark_phase" in _dict(content["metadata"])
        )

    def read(self, document: Document) -> Results:
        results, profile = Results(), document.content
        if "metrics" in profile and "time_to_first_token" not in profile:
            raise TraceError(f"{document.place}: holds requests one by one; read profile_export_aiperf.json beside it")
        config = _dict(profile.get("input_config"))
        model = served_model(_models(config))
        results.model_ids += [model] if model else []
        results.unused |= {k: v for k in _UNUSED if (v := within(config, k)) not in (None, "", "concurrency_burst")}
        point = _point(document, profile, config, ServerFacts(model))
        if profile.get("was_cancelled"):
            results.leave_out(document.place, "left out, the run was cancelled")
        elif isinstance(point, str):
            results.leave_out(document.place, point)
        else:
            failed = _dict(profile.get("error_request_count")).get("avg") or 0
            results.add_point(point, int(failed))
        return results


def within(config: Any, dotted: str) -> Any:
    """The value at a dotted path of nested mappings; None if it is not there."""
    for key in dotted.split("."):
        config = config.get(key) if isinstance(config, dict) else None
    return config


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _models(config: dict[str, Any]) -> Iterator[Any]:
    for path in ("endpoint.model_names", "model_names", "model", "models", "formatted_model_name"):
        found = within(config, path)
        yield found[0] if isinstance(found, list) and found else found
    yield within(config, "tokenizer.name")


def _point(document: Document, profile: dict[str, Any], config: dict[str, Any], facts: ServerFacts) -> Point | str:
    place = document.place

    def average(metric: str) -> float | None:
        block = _dict(profile.get(metric))
        return positive(block["avg"], f"{place}, key '{metric}.avg'") if block.get("avg") else None

    def seconds(metric: str) -> float | None:
        value, unit = average(metric), str(_dict(profile.get(metric)).get("unit", "ms")).lower()
        if value is not None and unit not in SECONDS:
            raise TraceError(f"{place}, key '{metric}.unit': {unit!r} is not one of {', '.join(SECONDS)}")
        return None if value is None else value * SECONDS[unit]

    tokens = [average(f"{side}_sequence_length") for side in ("input", "output")]
    for side, mean_tokens in zip(("input", "output"), tokens, strict=True):
        if mean_tokens is None:
            raise TraceError(f"{place}, key '{side}_sequence_length.avg': is missing")
    n = average("request_count")
    load = _load(place, config)
    if isinstance(load, str):
        return load
    measured = Figures(
        seconds("time_to_first_token"), seconds("inter_token_latency"), average("output_token_throughput")
    )
    input_tokens, output_tokens = (mean_tokens or 1.0 for mean_tokens in tokens)
    n_requests = None if n is None else whole(n, f"{place}, key 'request_count.avg'")
    return Point(place, document.path, input_tokens, output_tokens, measured, *load, requests=n_requests, facts=facts)


def _load(place: str, config: dict[str, Any]) -> Load | str:
    """The clients or the rate, or why the profile is left out. Raises TraceError for one that states no load."""
    genai = _dict(within(config, "perf_analyzer.stimulus"))
    clients = within(config, "loadgen.concurrency") or genai.get("concurrency") or config.get("concurrency")
    rate = within(config, "loadgen.request_rate") or genai.get("request_rate") or config.get("request_rate")
    if within(config, "loadgen.fixed_schedule") or within(config, "input.fixed_schedule"):
        return "left out, a fixed schedule is not one load; measure with --concurrency"
    if rate:
        if str(rate).lower() in ("inf", "infinity"):
            return AT_ONCE
        usual = "constant" if genai else "poisson"  # each tool's own default, recalled and not fetched again
        mode = str(within(config, "loadgen.arrival_pattern") or within(config, "loadgen.request_rate_mode") or usual)
        if mode not in _ARRIVALS and mode != "gamma":
            return f"left out, arrivals {mode!r} are not known: poisson, constant or gamma"
        shape = within(config, "loadgen.arrival_smoothness") if mode == "gamma" else _ARRIVALS[mode]
        return Load(rate_per_s=positive(rate, f"{place}, key 'loadgen.request_rate'"), burstiness=shape)
    if clients:
        return Load(whole(clients, f"{place}, key 'loadgen.concurrency'"))
    raise TraceError(f"{place}, key 'input_config.loadgen.concurrency': is missing, as is a request rate")
