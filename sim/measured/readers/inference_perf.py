"""inference-perf results: `stage_N_lifecycle_metrics.json`, one load each; all times in seconds.

Keys: `load_summary` (`requested_rate`, `achieved_rate`, `concurrency`, `schedule_delay`), `successes` (`count`,
`latency`, `throughput`, lengths) and `failures.count`. TPOT is taken from E2E and TTFT of the requests. The rate it
calls constant has exponential gaps, which are scaled to the stage. A summary of several stages is no single load.
"""

from __future__ import annotations

from typing import Any

from sim.measured.points import NO_STEADY_STATE, Figures, Load, Point, keeps_up, positive, whole
from sim.measured.readers.aiperf import within
from sim.measured.readers.reader import Document, Results, ResultsReader
from sim.schema import TraceError

_LENGTHS = {
    "input": ("prompt_len.mean", "prompt_tokens.total.mean", "prompt_tokens.mean"),
    "output": ("output_len.mean", "output_tokens.total.mean", "output_tokens.mean"),
}


class InferencePerf(ResultsReader):
    """One stage of inference-perf."""

    format = "inference-perf (load_summary, successes, ...)"

    def recognises(self, document: Document) -> bool:
        content = document.content
        if not isinstance(content, dict):
            return False
        return {"load_summary", "successes"} <= content.keys() or {"scheduled_time", "stage_id"} <= content.keys()

    def read(self, document: Document) -> Results:
        results, stage = Results(), document.content
        if "successes" not in stage:
            raise TraceError(
                f"{document.place}: holds requests one by one; read stage_0_lifecycle_metrics.json beside it"
            )
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
        return "left out, the client sent its requests later than their first tokens take: it was the bottleneck"
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
