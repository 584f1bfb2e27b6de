"""AIPerf and genai-perf results: `profile_export_aiperf.json` or `profile_export_genai_perf.json`; AIPerf's requests.

One block `{unit, avg, ...}` for each metric: `time_to_first_token`, `inter_token_latency`, `request_latency`,
`input_sequence_length`, `output_sequence_length`, `output_token_throughput`, `request_count`, `error_request_count`.
The unit of a block is obeyed. The load is in `input_config`: `loadgen.concurrency` or `loadgen.request_rate` of
AIPerf, `perf_analyzer.stimulus` of genai-perf.

`profile_export.jsonl` has a request in each line: `metadata` with `request_start_ns`, `request_end_ns` and
`benchmark_phase`, of which only `profiling` counts, `metrics` of `{value, unit}`, and `error`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sim.measured.points import AT_ONCE, Figures, Load, Point, ServerFacts, positive, usable, whole
from sim.measured.readers.one_by_one import OneRequest, point_of
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
    """One profile of AIPerf, or of genai-perf, whose JSON has the same blocks; or AIPerf's requests one by one."""

    format = "AIPerf or genai-perf (time_to_first_token, input_sequence_length, ...)"

    def recognises(self, document: Document) -> bool:
        content = document.content
        if isinstance(content, list):
            return bool(content) and self.is_request(content[0])
        if not isinstance(content, dict):
            return False
        return isinstance(content.get("time_to_first_token"), dict) and any(m in content for m in _METRICS)

    def is_request(self, content: Any) -> bool:
        return (
            isinstance(content, dict)
            and {"metadata", "metrics"} <= content.keys()
            and "benchmark_phase" in _dict(content["metadata"])
        )

    def read(self, document: Document) -> Results:
        if isinstance(document.content, list):
            return _of_requests(document)
        results, profile = Results(), document.content
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


def _of_requests(document: Document) -> Results:
    """The point of the requests of the profiling phase."""
    results, place = Results(), document.place
    rows = [(i, row) for i, row in enumerate(document.content, 1) if _phase(row) == "profiling"]
    if any(within(row, "metadata.turn_index") for _, row in rows):
        results.leave_out(place, "left out, later turns of a conversation find their prompts cached: no single load")
        return results
    answered = [(i, row) for i, row in rows if not row.get("error") and not within(row, "metadata.was_cancelled")]
    requests, odd = usable(place, len(answered), lambda k: _request(*answered[k]))
    results.notes += odd
    point = point_of(place, document.path, requests, ServerFacts())
    if isinstance(point, str):
        results.leave_out(place, point)
    else:
        results.add_point(point, len(rows) - len(answered))
    return results


def _phase(row: Any) -> Any:
    return within(row, "metadata.benchmark_phase")


def _request(line: int, row: dict[str, Any]) -> OneRequest:
    place = f"line {line}"

    def value(metric: str) -> Any:
        return within(row, f"metrics.{metric}.value")

    def seconds(metric: str) -> float:
        unit = str(within(row, f"metrics.{metric}.unit") or "ms").lower()
        if unit not in SECONDS:
            raise TraceError(f"{place}, key 'metrics.{metric}.unit': {unit!r} is not one of {', '.join(SECONDS)}")
        return positive(value(metric), f"{place}, key 'metrics.{metric}.value'") * SECONDS[unit]

    start_ns = positive(within(row, "metadata.request_start_ns"), f"{place}, key 'metadata.request_start_ns'")
    tokens = (
        whole(value(f"{side}_sequence_length"), f"{place}, key 'metrics.{side}_sequence_length.value'")
        for side in ("input", "output")
    )
    began_s = start_ns * 1e-9
    return OneRequest(began_s, seconds("time_to_first_token"), began_s + seconds("request_latency"), *tokens)
