"""llmperf results: `*_summary.json`, flattened with underscores, and `*_individual_responses.json` beside it.

Keys: `num_concurrent_requests`, `results_ttft_s_mean`, `results_end_to_end_latency_s_mean`,
`results_number_input_tokens_mean`, `results_number_output_tokens_mean`, `results_num_completed_requests`,
`results_num_requests_started`, `results_number_errors`, `results_mean_output_throughput_token_per_s`. TPOT is taken
from E2E and TTFT, because the file's own inter-token latency is the whole time over all tokens, the first included.

Of the single requests: `error_code`, `ttft_s`, `end_to_end_latency_s`, `number_input_tokens`, `number_output_tokens`.
They say neither when they began nor how many clients there were, which the summary does.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sim.measured.points import Figures, Load, Point, ServerFacts, positive, usable, whole
from sim.measured.readers.one_by_one import OneRequest, figures_of
from sim.measured.readers.reader import Document, Results, ResultsReader
from sim.measured.readers.served_model import served_model
from sim.schema import TraceError

_REQUESTS, _SUMMARY = "_individual_responses.json", "_summary.json"
_SIDES = ("input", "output")
_UNUSED = ("stddev_input_tokens", "stddev_output_tokens", "additional_sampling_params")


class LlmPerf(ResultsReader):
    """One summary of llmperf, or the requests that it is of."""

    format = "llmperf (num_concurrent_requests, results_ttft_s_mean, ...)"

    def recognises(self, document: Document) -> bool:
        content = document.content
        if isinstance(content, list):
            return bool(content) and self.is_request(content[0])
        if not isinstance(content, dict):
            return False
        return "num_concurrent_requests" in content and any(key.startswith("results_") for key in content)

    def is_request(self, content: Any) -> bool:
        return (
            isinstance(content, dict)
            and {
                "request_output_throughput_token_per_s",
                "number_total_tokens",
            }
            <= content.keys()
        )

    def read(self, document: Document) -> Results:
        if isinstance(document.content, list):
            return _of_requests(document)
        results, summary, place = Results(), document.content, document.place

        def mean(name: str) -> float:
            key = f"results_{name}_mean"
            return positive(summary.get(key), f"{place}, key {key!r}")

        model = served_model([summary.get("model")])
        results.model_ids += [model] if model else []
        results.unused |= {key: summary[key] for key in _UNUSED if summary.get(key)}
        if not summary.get("results_num_completed_requests"):
            results.leave_out(place, "left out, no request succeeded")
            return results
        n = whole(summary["results_num_completed_requests"], f"{place}, key 'results_num_completed_requests'")
        input_tokens, output_tokens = mean("number_input_tokens"), mean("number_output_tokens")
        ttft_s, e2e_s = mean("ttft_s"), mean("end_to_end_latency_s")
        tpot_s = (e2e_s - ttft_s) / (output_tokens - 1) if output_tokens > 1 and e2e_s > ttft_s else None
        rate = summary.get("results_mean_output_throughput_token_per_s")
        tokens_per_s = positive(rate, f"{place}, key 'results_mean_output_throughput_token_per_s'") if rate else None
        clients = whole(summary["num_concurrent_requests"], f"{place}, key 'num_concurrent_requests'")
        started, errors = (
            int(summary.get(f"results_{name}") or 0) for name in ("num_requests_started", "number_errors")
        )
        point = Point(
            place, document.path, input_tokens, output_tokens, Figures(ttft_s, tpot_s, tokens_per_s), clients,
            requests=n, facts=ServerFacts(model),
        )  # fmt: skip
        results.add_point(point, max(errors, started - n, 0))
        return results


def summary_beside(path: str) -> str:
    """The path of the summary that belongs to a file of requests; any other path as it is."""
    return path.removesuffix(_REQUESTS) + _SUMMARY if path.endswith(_REQUESTS) else path


def _of_requests(document: Document) -> Results:
    """The point of single requests, under the load that the summary beside them states."""
    results, beside = Results(), summary_beside(document.path)
    summary = _summary(document.place, beside)
    model = served_model([summary.get("model")])
    results.model_ids += [model] if model else []
    sent = document.content
    answered = [i for i, request in enumerate(sent, 1) if not _failed(request)]
    requests, odd = usable(
        document.place, len(answered), lambda k: _request(f"request {answered[k]}", sent[answered[k] - 1])
    )
    results.notes += odd
    if not requests:
        results.leave_out(document.place, "left out, no request succeeded")
        return results
    rate = summary.get("results_mean_output_throughput_token_per_s")
    tokens_per_s = positive(rate, f"{beside}, key 'results_mean_output_throughput_token_per_s'") if rate else None
    clients = Load(whole(summary.get("num_concurrent_requests"), f"{beside}, key 'num_concurrent_requests'"))
    facts = ServerFacts(model)
    point = figures_of(document.place, document.path, requests, clients, facts, tokens_per_s)
    results.add_point(point, len(sent) - len(answered))
    return results


def _summary(place: str, beside: str) -> dict[str, Any]:
    needs = (
        f"{place}: states no number of clients: it is in the *_summary.json of the same run, which must lie beside it"
    )
    if beside == place:
        raise TraceError(needs)
    try:
        content = json.loads(Path(beside).expanduser().read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        raise TraceError(needs) from None
    if not isinstance(content, dict):
        raise TraceError(needs)
    return content


def _failed(request: Any) -> bool:
    return not isinstance(request, dict) or request.get("error_code") is not None or not request.get("ttft_s")


def _request(place: str, request: dict[str, Any]) -> OneRequest:
    ttft_s, e2e_s = (positive(request.get(key), f"{place}, key {key!r}") for key in ("ttft_s", "end_to_end_latency_s"))
    tokens = (whole(request.get(f"number_{side}_tokens"), f"{place}, key 'number_{side}_tokens'") for side in _SIDES)
    return OneRequest(0.0, ttft_s, e2e_s, *tokens)
