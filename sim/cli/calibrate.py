"""Fit the constants of a GPU to benchmark results of your own server.

RESULTS are those of vLLM `bench serve` (better with --save-detailed), SGLang, GuideLLM, AIPerf, genai-perf, llmperf,
InferenceMAX or inference-perf, told apart by their keys; or a CSV with the columns concurrency or rate_per_s,
input_tokens, output_tokens, ttft_s or ttft_ms, tpot_s or tpot_ms, throughput; or any file of runs that `fidelity`
plays, of which the steady loads on the card and model described here are taken. Measure at concurrency 1 to 4 and at
64 or more, with a short and a long prompt, without prefix hits.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from sim.measured.server_flags import add_server_flags


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="llm-traffic-sim calibrate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", nargs="+", metavar="RESULTS", help="of a load generator, or CSV")
    add_server_flags(parser, gpu="h100_sxm")
    parser.add_argument("--check", action="append", default=[], metavar="RESULTS", help="predict, but do not fit to")
    parser.add_argument("--hold", default="", metavar="A,B", help="constants to leave as they are")
    parser.add_argument("--out", type=Path, help="default: mine/gpu/my_GPU.yaml")
    parser.add_argument("--force", action="store_true", help="replace what is there")
    return parser


def main(argv: Sequence[str]) -> int:
    """Calibrate. Raises SimError for anything that is wrong with the input."""
    given = _parser().parse_args(argv)
    from sim.measured.calibration import calibrate

    calibrate(given)
    return 0
