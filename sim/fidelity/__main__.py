"""`python -m sim.fidelity FILE [--out predictions.json]`: play measured runs again and print how far off we are."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from sim.fidelity import burst, points, staged
from sim.fidelity.table import Prediction, as_text
from sim.schema import ConfigError, SimError


def predict(path: Path, replications: int = 5, only: str = "", as_sent: bool = False) -> list[Prediction]:
    """Every prediction for a file of measured runs, of those whose name contains `only`. Raises SimError.

    A JSON holds runs with load stages, or one run beside a CSV of its requests; a CSV holds operating points. A run
    that cannot be played is named on stderr, and the others go on. `as_sent`: staged requests leave when they did, as
    requests/<id>.csv beside the JSON says, not at random.
    """
    if path.suffix == ".csv":
        return list(points.predictions(path, only, replications))
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    if "experiments" not in content:
        return list(burst.predictions(content, path.with_suffix(".csv")))
    runs = [run for run in content["experiments"] if only in run["id"]]
    rows: list[Prediction] = []
    refused: list[str] = []
    for run in runs:
        log = path.parent / "requests" / f"{run['id']}.csv" if as_sent else None
        try:
            rows += staged.predictions(run, replications, log)
        except SimError as error:
            refused.append(f"{run['id']}: {error}")
    for line in refused:
        print(f"not predicted: {line}", file=sys.stderr)
    if refused and not rows:
        raise ConfigError(f"{path}: no run could be played")
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m sim.fidelity", description=__doc__)
    parser.add_argument("file", type=Path, help="measured runs: JSON, or CSV of operating points")
    parser.add_argument("--out", type=Path, help="write every prediction to this JSON file")
    parser.add_argument("--only", default="", help="runs whose name contains this")
    parser.add_argument("--replications", type=int, default=5, help="repetitions to average over (default 5)")
    parser.add_argument("--as-sent", action="store_true", help="send times of requests/<id>.csv, not random ones")
    parser.add_argument("--brief", action="store_true", help="print the mean errors only")
    options = parser.parse_args()
    try:
        rows = predict(options.file, options.replications, options.only, options.as_sent)
    except SimError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(as_text(rows, brief=options.brief) if rows else f"error: no run's name contains {options.only!r}")
    if options.out:
        said = [{k: getattr(row, k) for k in ("experiment", "stage", "metric", "predicted")} for row in rows]
        options.out.write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
