"""`python -m sim.fidelity FILE [--out predictions.json]`: play measured runs again and print how far off we are."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from sim.fidelity import staged
from sim.fidelity.table import Prediction, as_text
from sim.schema import ConfigError, SimError


def predict(path: Path, replications: int, only: str) -> list[Prediction]:
    """Every prediction for a file of measured runs. Raises SimError."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    rows = []
    for run in content["experiments"]:
        if only in run["id"]:
            rows += staged.predictions(run, replications)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m sim.fidelity", description=__doc__)
    parser.add_argument("file", type=Path, help="measured runs: JSON with experiments")
    parser.add_argument("--out", type=Path, help="write every prediction to this JSON file")
    parser.add_argument("--only", default="", help="runs whose name contains this")
    parser.add_argument("--replications", type=int, default=3, help="repetitions to average over (default 3)")
    options = parser.parse_args()
    try:
        rows = predict(options.file, options.replications, options.only)
    except SimError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(as_text(rows))
    if options.out:
        said = [{k: getattr(row, k) for k in ("experiment", "stage", "metric", "predicted")} for row in rows]
        options.out.write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
