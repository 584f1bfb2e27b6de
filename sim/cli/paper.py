"""Compare own GPUs with an API on paper, as cost articles do, for numbers of one's own.

FILE is a YAML of models, regimes, prices and assumptions (see examples/paper_article_004.yaml); or give one model by
flags. Prints costs, break-even, cost per task by its calls and the six-step recipe, and draws them. --realized plays a
scenario, given by the words after it, and marks what its fleet reaches within its SLO.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def main(argv: Sequence[str]) -> int:
    """Compute, print and draw. Raises SimError for bad input."""
    given = _parser().parse_args(argv)
    from sim.printable import printable
    from sim.study.on_paper import drawn, lines, paper_of, realized_by

    paper, model, regime = paper_of(_data(given), given.model, given.regime)
    realized = realized_by(given.realized, given.replicas) if given.realized is not None else []
    print(printable("\n".join(lines(paper, model, regime, realized))))
    print(printable(f"-> {drawn(paper, model, regime, given.figure, realized)}"))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="llm-traffic-sim paper", description=__doc__)
    parser.add_argument("file", nargs="?", metavar="FILE", type=Path, help="a YAML of models and assumptions")
    parser.add_argument("--tokens-per-s", type=float, help="input and output, of one saturated replica")
    parser.add_argument("--usd-per-hour", type=float, help="rent of one replica")
    parser.add_argument("--api", metavar="IN/CACHED/OUT", help="US dollars per million tokens")
    parser.add_argument("--mix", metavar="IN/OUT", default="1000/200", help="mean tokens of a call (1000/200)")
    parser.add_argument("--fraction", type=float, help="assumed token_fraction_of_peak (0.7)")
    parser.add_argument("--overhead", type=float, help="share added to the rent (0.15)")
    parser.add_argument("--calls", type=int, metavar="K", help="model calls of a task (10)")
    parser.add_argument("--model", help="model of FILE for task and recipe (default: the first)")
    parser.add_argument("--regime", help="regime for the cost curve, task and recipe (default: the first)")
    parser.add_argument("--figure", type=Path, default=Path("outputs/paper.png"), help="PNG or SVG to write")
    parser.add_argument("--replicas", metavar="A..B", default="1..4", help="fleets that --realized plays (1..4)")
    parser.add_argument("--realized", nargs="*", metavar="key=value", help="words of a scenario, as for `run`; last")
    return parser


def _data(given: argparse.Namespace) -> dict[str, Any]:
    """FILE, or one model by flags, as plain data. Raises ConfigError."""
    from sim.schema import ConfigError
    from sim.study.saved import read_mapping

    assumed = {"token_fraction_of_peak": given.fraction, "overhead_fraction": given.overhead, "calls": given.calls}
    changes = {key: value for key, value in assumed.items() if value is not None}
    if given.file is not None:
        return read_mapping(given.file, "a comparison on paper") | changes
    for flag in ("tokens_per_s", "usd_per_hour", "api"):
        if getattr(given, flag) is None:
            raise ConfigError(f"--{flag.replace('_', '-')}: is required without a FILE")
    read, cached, written = _numbers("--api", given.api, 3)
    mean_in, mean_out = _numbers("--mix", given.mix, 2)
    api = {"usd_per_mtok_input": read, "usd_per_mtok_cached_input": cached, "usd_per_mtok_output": written}
    regime = {"input_tokens": mean_in, "output_tokens": mean_out, "tokens_per_s": given.tokens_per_s}
    return {"models": {"own": {"usd_per_hour": given.usd_per_hour, "api": api, "regimes": {"mix": regime}}}} | changes


def _numbers(flag: str, text: str, n: int) -> list[float]:
    from sim.schema import ConfigError

    try:
        found = [float(part) for part in text.split("/")]
    except ValueError:
        found = []
    if len(found) != n:
        raise ConfigError(f"{flag} {text}: must be {n} numbers with / between them")
    return found
