"""llmperf results: `*_summary.json`, flattened with underscores.

Keys: `num_concurrent_requests`, `results_ttft_s_mean`, `results_end_to_end_latency_s_mean`,
`results_number_input_tokens_mean`, `results_number_output_tokens_mean`, `results_num_completed_requests`,
`results_num_requests_started`, `results_number_errors`, `results_mean_output_throughput_token_per_s`. TPOT is taken
from E2E and TTFT, because the file's own inter-token latency is the whole time over all tokens, the first included.
"""

from __future__ import annotations

from sim.measured.points import Figures, Point, ServerFacts, positive, whole
from sim.measured.readers.reader import Document, Results, ResultsReader
from sim.measured.readers.served_model import served_model
from sim.schema import TraceError

_UNUSED = ("stddev_input_tokens", "stddev_output_tokens", "additional_sampling_params")


class LlmPerf(ResultsReader):
    """One summary of llmperf."""

    format = "llmperf (num_concurrent_requests, results_ttft_s_mean, ...)"

    def recognises(self, document: Document) -> bool:
        content = document.content
        if not isinstance(content, dict):
            return False
        is_summary = "num_concurrent_requests" in content and any(key.startswith("results_") for key in content)
        return is_summary or {"request_output_throughput_token_per_s", "number_total_tokens"} <= content.keys()

    def read(self, document: Document) -> Results:
        results, summary, place = Results(), document.content, document.place
        if "num_concurrent_requests" not in summary:
            raise TraceError(f"{place}: holds requests one by one; read the *_summary.json beside it")

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
