"""inference-perf results: `stage_N_lifecycle_metrics.json`, one load each, and `per_request_lifecycle_metrics.json`.

Keys: `load_summary` (`requested_rate`, `achieved_rate`, `concurrency`, `schedule_delay`), `successes` (`count`,
`latency`, `throughput`, lengths) and `failures.count`. TPOT is taken from E2E and TTFT of the requests. The rate it
calls constant has exponential gaps, which are scaled to the stage. A summary of several stages is no single load.

Of the single requests: `stage_id`, `scheduled_time`, `start_time`, `end_time`, `error`, and in `info` the lengths and
`output_token_times`, whole or within `request_metrics` and `response_metrics`. All times are in seconds.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from sim.measured.points import (
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
from sim.measured.readers.aiperf import within
from sim.measured.readers.one_by_one import OneRequest, point_of
from sim.measured.readers.reader import Document, Results, ResultsReader
from sim.schema import TraceError

_LATE = "left out, the client sent its requests later than their first tokens take: it was the bottleneck"
_INPUT = ("info.input_tokens", "info.request_metrics.input_tokens", "info.request_metrics.text.input_tokens",
          "info.response_metrics.server_usage.prompt_tokens")  # fmt: skip
_OUTPUT = ("info.output_tokens", "info.response_metrics.output_tokens",
           "info.response_metrics.server_usage.completion_tokens")  # fmt: skip
_TIMES = ("info.output_token_times", "info.response_metrics.output_token_times", "info.response_metrics.chunk_times")
_LENGTHS = {
    "input": ("prompt_len.mean", "prompt_tokens.total.mean", "prompt_tokens.mean"),
    "output": ("output_len.mean", "output_tokens.total.mean", "output_tokens.mean"),
}


class InferencePerf(ResultsReader):
    """One stage of inference-perf, or the requests of some stages."""

    format = "inference-perf (load_summary, successes, ...)"

    def recognises(self, document: Document) -> bool:
        content = document.content
        if isinstance(content, list):
            return bool(content) and self.is_request(content[0])
        return isinstance(content, dict) and {"load_summary", "successes"} <= content.keys()

    def is_request(self, content: Any) -> bool:
        return isinstance(content, dict) and {"scheduled_time", "stage_id"} <= content.keys()

    def read(self, document: Document) -> Results:
        if isinstance(document.content, list):
            return _of_requests(document)
        results, stage = Results(), document.content
        if not within(stage, "successes.count"):
            results.leave_out(document.place, "left out, no request succeeded")
            return results
        point = _point(document, stage)
        if isinstance(point, str):
            results.leave_out(document.place, point)
        else:
            results.add_point(point, int(within(stage, "failures.count") or 0))
        return results


def _point(document: Document, stage: dict[str, Any]) -> Point | str:
    place = document.place

    def needed(*paths: str) -> float:
        path = next((path for path in paths if isinstance(within(stage, path), int | float)), paths[0])
        return positive(within(stage, path), f"{place}, key {path!r}")

    n = whole(within(stage, "successes.count"), f"{place}, key 'successes.count'")
    input_tokens, output_tokens = (needed(*(f"successes.{path}" for path in paths)) for paths in _LENGTHS.values())
    ttft_s = needed("successes.latency.time_to_first_token.mean")
    e2e_s = needed("successes.latency.request_latency.mean")
    tpot_s = (e2e_s - ttft_s) / (output_tokens - 1) if output_tokens > 1 and e2e_s > ttft_s else None
    rate = within(stage, "successes.throughput.output_tokens_per_sec")
    measured = Figures(ttft_s, tpot_s, positive(rate, f"{place}, key 'output_tokens_per_sec'") if rate else None)
    load = _load(stage, place)
    if load is None:
        return "left out, its stages are several loads; read stage_0_lifecycle_metrics.json and its like"
    late_s = within(stage, "load_summary.schedule_delay.mean")
    if isinstance(late_s, int | float) and late_s > ttft_s:
        return _LATE
    if load.rate_per_s and measured.output_tokens_per_s:
        span_s = n * output_tokens / measured.output_tokens_per_s
        if not keeps_up(n, load.rate_per_s, span_s, (output_tokens - 1) * (tpot_s or 0.0)):
            return NO_STEADY_STATE
    return Point(place, document.path, input_tokens, output_tokens, measured, *load, requests=n)


def _load(stage: dict[str, Any], place: str) -> Load | None:
    clients, rate = within(stage, "load_summary.concurrency"), within(stage, "load_summary.requested_rate")
    if clients:
        return Load(whole(clients, f"{place}, key 'load_summary.concurrency'"))
    return Load(rate_per_s=positive(rate, f"{place}, key 'load_summary.requested_rate'")) if rate else None


def _of_requests(document: Document) -> Results:
    """A point for each stage."""
    results = Results()
    stages: dict[Any, list[tuple[int, dict[str, Any]]]] = {}
    for i, request in enumerate(document.content, 1):
        if not isinstance(request, dict):
            raise TraceError(f"{document.place}, entry {i}: is not a request")
        stages.setdefault(request.get("stage_id"), []).append((i, request))
    for stage, sent in stages.items():
        place = f"{document.place}, stage {stage}"
        answered = [(i, request) for i, request in sent if not request.get("error")]
        requests, odd = usable(place, len(answered), partial(_of_entry, answered))
        results.notes += odd
        point = point_of(place, document.path, requests, ServerFacts())
        delays_s = [
            r["start_time"] - due for _, r in answered if isinstance(due := r.get("scheduled_time"), int | float)
        ]
        if isinstance(point, str):
            results.leave_out(place, point)
        elif delays_s and mean(delays_s) > (point.measured.ttft_s or 0.0):
            results.leave_out(place, _LATE)
        else:
            results.add_point(point, len(sent) - len(answered))
    return results


def _of_entry(rows: list[tuple[int, dict[str, Any]]], k: int) -> OneRequest:
    return _request(*rows[k])


def _request(entry: int, request: dict[str, Any]) -> OneRequest:
    place = f"request {entry}"

    def first(paths: tuple[str, ...]) -> tuple[str, Any]:
        found = ((path, within(request, path)) for path in paths)
        return next((each for each in found if each[1] not in (None, [])), (paths[0], None))

    began_s, ended_s = (request.get(key) for key in ("start_time", "end_time"))
    key, times_s = first(_TIMES)
    if not isinstance(times_s, list):
        raise TraceError(f"{place}, key {key!r}: is missing; an answer that was not streamed has no first token")
    e2e_s = positive(_less(ended_s, began_s), f"{place}, key 'end_time' less 'start_time'")
    ttft_s = positive(_less(times_s[0], began_s), f"{place}, key {key!r} less 'start_time'")
    tokens = [whole(value, f"{place}, key {name!r}") for name, value in (first(_INPUT), first(_OUTPUT))]
    return OneRequest(float(began_s or 0.0), ttft_s, float(began_s or 0.0) + e2e_s, *tokens)


def _less(later: Any, earlier: Any) -> float | None:
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (later, earlier))
    return later - earlier if numbers else None
