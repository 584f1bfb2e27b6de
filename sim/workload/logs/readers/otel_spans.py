"""Spans of OpenTelemetry's GenAI conventions: the leaves of the tree that have token counts are the model calls."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from sim.workload.logs.readers.reader import Documents, LogReader

_USAGE = "gen_ai.usage."


class OtelSpans(LogReader):
    """Batches of a collector's file exporter (`resourceSpans`), or one span per line as exporters of SDKs have it.

    A span with token counts whose child has some, too, is an agent or a gateway around the call: passed over. Rows have
    `traceId`, `spanId`, `startTimeUnixNano`, `endTimeUnixNano`, `failed` and the attributes by their names. Source:
    semantic-conventions-genai, gen-ai-spans.md; opentelemetry-proto, trace.proto.
    """

    kind: Literal["otel_spans"] = "otel_spans"

    def rows(self, documents: Documents) -> Documents:
        """The model calls, in the order of the file."""
        spans = [(line, _row(span)) for line, document in documents for span in _spans(document)]
        counted = [(line, row) for line, row in spans if any(key.startswith(_USAGE) for key in row)]
        above = {row["spanId"]: row["parentSpanId"] for _, row in spans if row["spanId"]}
        enclosing = set()
        for _, row in counted:
            parent, steps = row["parentSpanId"], 0
            while parent and parent not in enclosing and steps < 10_000:
                enclosing.add(parent)
                parent, steps = above.get(parent), steps + 1
        return iter([(line, row) for line, row in counted if row["spanId"] is None or row["spanId"] not in enclosing])


def _spans(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "spans" in document and isinstance(document["spans"], list):  # sessions of spans
        yield from (span for span in document["spans"] if isinstance(span, dict))
    elif "resourceSpans" not in document:
        yield document
    for resource in document.get("resourceSpans") or []:
        for scope in resource.get("scopeSpans") or []:
            yield from scope.get("spans") or []


def _row(span: dict[str, Any]) -> dict[str, Any]:
    context = span.get("context") or span.get("spanContext") or {}
    status = span.get("status") or {}
    code = status.get("code", status.get("status_code")) if isinstance(status, dict) else status
    attributes = _attributes(span.get("attributes"))
    row = {
        "traceId": span.get("traceId") or span.get("trace_id") or context.get("traceId") or context.get("trace_id"),
        "spanId": span.get("spanId") or span.get("span_id") or context.get("spanId") or context.get("span_id"),
        "parentSpanId": span.get("parentSpanId") or span.get("parent_span_id") or span.get("parent_id") or None,
        "failed": code in (2, "2", "ERROR", "STATUS_CODE_ERROR", "Error") or "error.type" in attributes,
    }
    for end, names in (
        ("startTimeUnixNano", ("startTimeUnixNano", "start_time_unix_nano", "startTime", "start_time", "hrTime")),
        ("endTimeUnixNano", ("endTimeUnixNano", "end_time_unix_nano", "endTime", "end_time")),
    ):
        row[end] = next((_moment(span[name]) for name in names if span.get(name) is not None), None)
    return row | attributes


def _moment(value: Any) -> Any:
    """[seconds, nanoseconds], as some exporters have it, as nanoseconds; anything else as it is."""
    if isinstance(value, list) and len(value) == 2:
        return str(int(value[0]) * 10**9 + int(value[1]))
    return value


def _attributes(attributes: Any) -> dict[str, Any]:
    if isinstance(attributes, dict):
        return attributes
    found = {}
    for attribute in attributes or []:
        value = attribute.get("value")
        if isinstance(value, dict) and len(value) == 1:
            value = next(iter(value.values()))
        found[attribute.get("key")] = value
    return found
