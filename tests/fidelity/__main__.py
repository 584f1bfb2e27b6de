"""`make fidelity`: plays every measured run that is at hand, and writes how far off each family was.

Errors are printed before and after: with the constants of version 0.1.0, which were those of the cards before operator
tables (constants_0_1_0, beside this file), and with those of conf/gpu; this program plays both.

The table, sim/measured/model_errors.csv, is what results quote as their model error. Words choose the files, or the
families of the sample of NVIDIA's, whose names have one of them; the other rows of the table stay. `--brief` prints the
mean errors only; `--write` writes the table of README.md and docs/why/measured.md, too (errors_table.py).
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from sim.hardware.model import Model, model_named
from sim.hardware.names import gpu_file, model_file
from sim.measured.model_error import ERRORS, METRICS, MeasuredFamily, families
from sim.measured.other_constants import AS_LISTED, OtherConstants
from sim.measured.predict import predict
from sim.measured.prediction import Prediction, as_text
from tests.fidelity import errors_table, silicon_sample
from tests.fidelity.errors_table import before_constants
from tests.fidelity.operator_tables import PACKAGE, folder

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "fidelity"
_OF_METRIC = {"ttft_mean_s": "ttft", "itl_mean_s": "itl", "tpot_mean_s": "itl", "output_tok_per_s": "throughput"}
_DISPUTED = ("h100_sxm", "qwen3_32b")
"""Bursts whose decode fits the bandwidth of another card than the one that their source names: no one's error."""

_SAMPLE = "InferenceX"  # the benchmark that the closed loops of the package were collected from


class Server(NamedTuple):
    """What a family of measured loads ran on: names of files in conf, and the engine in words."""

    gpu: str
    engine: str
    model: str
    kind: str


def main() -> int:
    """Play, print and write; exit code 2 if no measured runs are here."""
    parser = argparse.ArgumentParser(prog="make fidelity", description=__doc__)
    parser.add_argument("words", nargs="*")
    parser.add_argument("--brief", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--replications", type=int, default=5)
    options = parser.parse_args()
    files = [*sorted(FOLDER.glob("*.json")), *FOLDER.glob("benchmarks.csv")]
    if not files:
        print("error: no measured runs are here; give a file to llm-traffic-sim fidelity", file=sys.stderr)
        return 2
    if options.write and options.words:
        parser.error("--write: writes errors of all runs; leave the words out")
    rows: list[MeasuredFamily] = []
    by_file: dict[tuple[str, str], list[Prediction]] = {}
    for file in files:
        if not options.words or any(word in file.name for word in options.words):
            print(file.name, flush=True)
            by_file[file.name, ""] = predictions = predict(file, options.replications, before=before_constants())
            print(as_text(predictions, brief=options.brief), flush=True)
            rows += errors_of(predictions, servers_of(file), says_throughput=not file.stem.startswith("experiments"))
    sample, before = sample_rows(options.words)
    rows += sample
    keys = {row[:5] for row in rows}
    write([*rows, *(row for row in families() if options.words and row[:5] not in keys)])
    if options.write:
        errors_table.write(by_file, before, options.replications)
    return 0


def errors_of(predictions: list[Prediction], servers: dict[Any, Server], says_throughput: bool) -> list[MeasuredFamily]:
    """Mean absolute errors by server, of loads that were not overloaded; a run's stages together are no load.

    At a stated rate that the server keeps up with, throughput is that rate, which says nothing of the model.
    """
    found: dict[tuple[Server, bool], dict[str, list[float]]] = {}
    loads: dict[tuple[Server, bool], set[tuple[str, int | str]]] = {}
    for row in predictions:
        server = servers[row.stage if row.experiment not in servers else row.experiment]
        metric = _OF_METRIC.get(row.metric)
        if metric is None or row.error is None or row.overloaded or row.stage == "overall" or row.guess:
            continue
        if metric == "throughput" and not says_throughput or (server.gpu, server.model) == _DISPUTED:
            continue
        loads.setdefault((server, row.tuned_on), set()).add((row.experiment, row.stage))
        found.setdefault((server, row.tuned_on), {}).setdefault(metric, []).append(abs(row.error))
    return [_family(*key, len(loads[key]), errors) for key, errors in found.items()]


def _family(server: Server, tuned_on: bool, n_loads: int, errors: dict[str, list[float]]) -> MeasuredFamily:
    throughput, ttft, itl = (sum(errors[m]) / len(errors[m]) if m in errors else None for m in METRICS)
    return MeasuredFamily(*server, tuned_on, n_loads, throughput, ttft, itl)


def servers_of(file: Path) -> dict[Any, Server]:
    """The server of each run by its id, or of each row of a CSV by its number."""
    if file.suffix == ".csv":
        text = io.StringIO(file.read_text(encoding="utf-8"))
        return {n: _server(row["gpu"], row["engine"], row["model"]) for n, row in enumerate(csv.DictReader(text))}
    content = json.loads(file.read_text(encoding="utf-8"))
    return {
        run["id"]: _server(
            run["gpu"], " ".join(str(run["engine"].get(k, "")) for k in ("name", "version")), run["model"]
        )
        for run in content.get("experiments", [content])
    }


def _server(gpu: str, engine: str, model_id: str) -> Server:
    model = model_file(model_id)
    return Server(gpu_file(gpu), engine.split("/")[0].strip(), model, _kind(model_named(model)))


def _kind(model: Model) -> str:
    return "moe" if model.experts else "dense"


def sample_rows(words: list[str]) -> tuple[list[MeasuredFamily], list[MeasuredFamily]]:
    """The families of NVIDIA's closed loops, and those of which constants have changed with what they were before.

    As the table has them where their package is absent; nothing is known of before then.
    """
    systems = folder()
    if systems is None:
        print(f"NOT PLAYED: silicon_sample.csv, as {PACKAGE} is absent (make operator-tables fetches it)")
        return [family for family in families() if _SAMPLE in family.engine], []
    print(silicon_sample.HEAD, flush=True)
    now, before = list[MeasuredFamily](), list[MeasuredFamily]()
    for family, rows in sorted(silicon_sample.families(systems).items()):
        if words and not any(word in str(family) for word in words):
            continue
        name = gpu_file(family.system)
        names = Server(
            name, " ".join(["vllm", family.version or "of 2025", family.precision, *_words(family)]),
            *silicon_sample.model_and_kind(family, systems),
        )  # fmt: skip
        if name in before_constants().gpus:
            before += _played_sample(family, rows, systems, names, ", before", before_constants())
        now += _played_sample(family, rows, systems, names)
    return now, before


def _words(family: silicon_sample.Family) -> Iterator[str]:
    if family.layout:
        yield f"with {family.layout}"
    yield f"({_SAMPLE})"


def _played_sample(
    family: silicon_sample.Family,
    rows: list[dict[str, str]],
    systems: Path,
    names: Server,
    when: str = "",
    constants: OtherConstants = AS_LISTED,
) -> Iterator[MeasuredFamily]:
    errors = list(silicon_sample.errors_of(family, rows, systems, None, constants))
    if errors:
        print(silicon_sample.line(family, errors, when), flush=True)
        yield MeasuredFamily(*names, family.looked_at, len(errors), *silicon_sample.means(errors))


def write(rows: list[MeasuredFamily]) -> None:
    """The table that results quote, sorted, with four digits."""
    with ERRORS.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(MeasuredFamily._fields)
        for row in sorted(rows, key=lambda row: row[:5]):
            errors = ["" if error is None else f"{error:.4f}" for error in row[6:]]
            writer.writerow([*row[:4], "yes" if row.tuned_on else "no", row.loads, *errors])
    print(f"-> {ERRORS.name}: {len(rows)} families")


if __name__ == "__main__":
    sys.exit(main())
