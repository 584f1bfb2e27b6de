"""TraceLab: rounds of coding agents, each with the events around its model call."""

from __future__ import annotations

from typing import Any, Literal

from sim.workload.logs.readers.reader import Documents, LogReader

_INPUTS = ("user_message", "tool_result")
_OUTPUTS = ("text", "reasoning", "tool_call")


class TraceLab(LogReader):
    """A round was sent at its last input event and answered at its last output event. Rows have the round's keys and
    `sent_at`, `answered_at`. Source: TraceLab, example_sessions; aiperf, tracelab_trace.py.
    """

    kind: Literal["tracelab"] = "tracelab"

    def rows(self, documents: Documents) -> Documents:
        """One row per round that has a call."""
        for line, document in documents:
            stamps: dict[str, list[str]] = {"in": [], "out": []}
            for event in document.get("timing_events") or []:
                side = (
                    "in" if event.get("event_type") in _INPUTS else "out" if event.get("event_type") in _OUTPUTS else ""
                )
                if side and event.get("timestamp"):
                    stamps[side].append(event["timestamp"])
            row: dict[str, Any] = {key: value for key, value in document.items() if not isinstance(value, list | dict)}
            answered = max(stamps["out"], default=None)
            row["sent_at"] = max(
                (stamp for stamp in stamps["in"] if answered is None or stamp <= answered), default=None
            )
            row["sent_at"] = row["sent_at"] or min(stamps["out"], default=None)
            row["answered_at"] = answered
            yield line, row
