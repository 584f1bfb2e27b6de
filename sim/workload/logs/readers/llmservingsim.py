"""LLMServingSim: requests, and sessions whose calls wait for tools; both kinds may stand in one file."""

from __future__ import annotations

from typing import Literal

from sim.workload.logs.readers.reader import Documents, LogReader


class LlmServingSim(LogReader):
    """A line with `sub_requests` is a session: its calls become rows, each with the tool time before it.

    Rows have `session`, `arrival_time_ns` (that of the session, at its first call alone), `input_toks`, `output_toks`
    and `wait_ns`, the wait after each call; that of a task's last call has no use. Source: LLMServingSim, workloads.
    """

    kind: Literal["llmservingsim"] = "llmservingsim"

    def rows(self, documents: Documents) -> Documents:
        """The calls, session by session."""
        for line, document in documents:
            calls = document.get("sub_requests")
            if calls is None:
                yield line, document
                continue
            session, wait_ns = document.get("session_id", f"line {line}"), 0
            for number, call in enumerate(calls):
                yield (
                    line,
                    {
                        "session": session,
                        "arrival_time_ns": document.get("arrival_time_ns") if number == 0 else None,
                        "input_toks": call.get("input_toks"),
                        "output_toks": call.get("output_toks"),
                        "wait_ns": wait_ns,
                    },
                )
                wait_ns = call.get("tool_duration_ns", 0)
