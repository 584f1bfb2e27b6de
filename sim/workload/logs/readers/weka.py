"""Sessions of coding agents as Weka, AgentX and kv-cache-tester record them: one JSON object per session."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from sim.workload.logs.readers.reader import Documents, LogReader


class WekaSessions(LogReader):
    """Each of a session's `requests` is a row; those of a sub-agent are a session of their own, which runs beside it.

    Times count from the start of the session, which the file does not know: all sessions begin at moment 0
    (`arrivals.dequantize_s` spreads them). The times of a sub-agent's requests count from its marker, or from the start
    of the session in some corpora: where the first of them lies before the marker, they count from the marker. Rows
    have `session`, `t`, `ended` (where `api_time` is known), `in`, `out`, `think_time`, `model`, `blocks`,
    `block_tokens`. Block ids are local to the file unless `hash_id_scope` is global. Source: kv-cache-tester, traces;
    aiperf, weka_trace_models.py.
    """

    kind: Literal["weka"] = "weka"

    def rows(self, documents: Documents) -> Documents:
        """The calls of all sessions, those of sub-agents after their marker."""
        for line, session in documents:
            name = str(session.get("id", line))
            for row in _calls(session, name, 0.0, session):
                yield line, row


def _calls(owner: dict[str, Any], session: str, offset_s: float, root: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for number, request in enumerate(owner.get("requests") or []):
        if request.get("type") == "subagent":
            nested = request.get("requests") or []
            begins = [call["t"] for call in nested if isinstance(call.get("t"), int | float)]
            marker_s = request.get("t") or 0.0
            is_relative = bool(begins) and min(begins) < marker_s
            agent = f"{session}/{request.get('agent_id', number)}"
            yield from _calls(request, agent, offset_s + marker_s if is_relative else offset_s, root)
            continue
        began_s, lasted_s = request.get("t"), request.get("api_time")
        if isinstance(began_s, int | float):
            began_s += offset_s
        blocks, is_local = request.get("hash_ids"), root.get("hash_id_scope", "local") != "global"
        if blocks is not None and is_local:
            blocks = [f"{root.get('id', session)}:{block}" for block in blocks]
        yield {
            "session": session,
            "t": began_s,
            "api_time": lasted_s,
            "in": request.get("in"),
            "out": request.get("out"),
            "think_time": request.get("think_time"),
            "ttft": request.get("ttft"),
            "model": request.get("model"),
            "blocks": blocks,
            "block_tokens": root.get("block_size"),
        }
