"""InferenceMAX (InferenceX) results: a list of aggregated rows, each with its card, model and load.

Keys: `hw`, `conc`, `model`, `framework`, `precision`, `tp`, `isl`, `osl` (or `mean_input_tokens`,
`mean_output_tokens_actual`), `mean_ttft`, `mean_tpot` (seconds, unlike vLLM's own), `output_tput_tps` or
`output_tput_per_gpu`. Its lengths are uniform between 0.8 and 1 of `isl` and `osl`, so their mean is 0.9 of these.
`dp_attention` says that each of the `tp` GPUs is an attention rank, `ep` above 1 that they keep whole experts.
"""

from __future__ import annotations

from typing import Any

from sim.measured.points import Figures, Point, ServerFacts, positive, whole
from sim.measured.readers.layout import yes
from sim.measured.readers.reader import Document, Results, ResultsReader
from sim.measured.readers.served_model import served_model

_DISTINCTIVE = {"hw", "tput_per_gpu", "output_tput_tps", "infmax_model_prefix", "mean_intvty", "num_requests_total"}
_MEAN_OF_LONGEST = 0.9
_PER_CLIENT = 10
_NONE = (None, "", "none", "None", "off", False, "false", "False", 0, "0")
_OTHER_SERVERS = {
    "spec_decoding": "says that tokens are drafted, and nothing says how many are accepted",
    "speculative_decoding": "says that tokens are drafted, and nothing says how many are accepted",
    "disagg": "says that prompts and answers have servers of their own",
    "is_multinode": "says that one replica is spread over nodes",
}
_UNUSED = ("router", "kv_offloading", "image", "recipe_fingerprint")


class InferenceMax(ResultsReader):
    """One row of an aggregate."""

    format = "InferenceMAX (hw, conc, mean_ttft, ...)"

    def recognises(self, document: Document) -> bool:
        content = document.content
        if not isinstance(content, dict) or "conc" not in content:
            return False
        return bool(_DISTINCTIVE & content.keys()) or "scenario_type" in content

    def read(self, document: Document) -> Results:
        results, row, place = Results(), document.content, document.place
        facts = ServerFacts(
            served_model([row.get("model"), row.get("infmax_model_prefix")]),
            _text(row.get("hw")), _text(row.get("framework")), _text(row.get("precision")), _text(row.get("kv_dtype")),
        )  # fmt: skip
        results.model_ids += [facts.model] if facts.model else []
        results.unused |= {key: row[key] for key in _UNUSED if row.get(key) not in (*_NONE, 1, "1")}
        why = _not_playable(row)
        if why:
            results.leave_out(place, why)
        else:
            point, n_failed = _point(document, row, facts)
            results.add_point(point, n_failed)
        return results


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _not_playable(row: dict[str, Any]) -> str | None:
    """Why a row is left out; None if it is not."""
    if "request_metrics" in row or row.get("scenario_type"):
        return "left out, an agentic scenario replays sessions: that is not one load"
    for key, why in _OTHER_SERVERS.items():
        if row.get(key) not in _NONE:
            return f"left out, {key} {why}"
    if any(int(row.get(key) or 1) > 1 for key in ("pp", "pcp_size", "dcp_size")):
        return "left out, its layers or contexts are spread over cards"
    return None


def _point(document: Document, row: dict[str, Any], facts: ServerFacts) -> tuple[Point, int]:
    place = document.place

    def number(key: str) -> float | None:
        return positive(row[key], f"{place}, key {key!r}") if row.get(key) else None

    def needed(*keys: str) -> float:
        key = next((key for key in keys if row.get(key) is not None), keys[0])
        return positive(row.get(key), f"{place}, key {key!r}")

    tensor_parallel = whole(row["tp"], f"{place}, key 'tp'") if row.get("tp") else None
    if tensor_parallel and tensor_parallel > 1 and yes(row.get("dp_attention")):
        facts = facts._replace(attention_data_parallel=tensor_parallel)
    if row.get("ep"):
        facts = facts._replace(expert_parallel=whole(row["ep"], f"{place}, key 'ep'") > 1)
    tokens_per_s = number("output_tput_tps")
    if tokens_per_s is None and (per_gpu := number("output_tput_per_gpu")):
        tokens_per_s = per_gpu * (tensor_parallel or 1)
    lengths = [number("mean_input_tokens"), number("mean_output_tokens_actual")]
    input_tokens, output_tokens = (
        known or _MEAN_OF_LONGEST * needed(asked) for known, asked in zip(lengths, ("isl", "osl"), strict=True)
    )
    clients = whole(row["conc"], f"{place}, key 'conc'")
    sent = number("num_requests_total")
    answered = number("num_requests_successful") or sent or _PER_CLIENT * clients
    measured = Figures(number("mean_ttft"), number("mean_tpot"), tokens_per_s)
    point = Point(
        place, document.path, input_tokens, output_tokens, measured, clients, requests=int(answered),
        tensor_parallel=tensor_parallel, facts=facts,
    )  # fmt: skip
    return point, max(0, int((sent or answered) - answered))
