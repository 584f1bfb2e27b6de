"""The table of errors in README.md and docs/why/measured.md, by groups of measured runs.

`make fidelity ARGS=--write` plays the groups' runs, keeps their errors in table.csv beside this file, and writes the
table into both pages, between two comments. Groups of NVIDIA's sample are as sim/measured/model_errors.csv has them.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from sim.measured.model_error import MeasuredFamily, families
from sim.measured.operating_points import OperatingPoint, family_of, rows_of
from sim.measured.play import Play
from sim.measured.predict import predict
from sim.measured.prediction import Prediction, mean_absolute_errors

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT.parent / "shared" / "fidelity"
ERRORS = Path(__file__).with_name("table.csv")
PAGES = (ROOT / "README.md", ROOT / "docs" / "why" / "measured.md")
BEGIN, END = "<!-- written by make fidelity ARGS=--write -->\n", "<!-- to here -->\n"
_HEAD = "| runs | throughput | TTFT | TPOT or ITL | E2E |\n|---|---|---|---|---|\n"
_RATES, _CLOSED = "experiments", "benchmarks.csv"
_NIM, _DISPUTED = "NIM Meta-Llama-3-8B-Instruct", "vllm Qwen3-32B H100-SXM burst"


class Played(NamedTuple):
    """Runs of one file, of the families whose name begins so; on another card than the file says, if one is named."""

    file: str
    family: str = ""
    card: str = ""


class Sampled(NamedTuple):
    """A family of NVIDIA's sample, by the first words of its engine."""

    gpu: str
    engine: str
    model: str


Part = Played | Sampled
GROUPS: tuple[tuple[str, tuple[Part, ...]], ...] = (
    ("vLLM 0.15, {} load stages of Llama-2 7B and 70B on H100", (Played("experiments.json"),)),
    ("vLLM 0.15, {} load stages of Llama 8B and 70B on A100 and L40S", (Played("experiments_a100_l40s.json"),)),
    ("vLLM, {} closed loops of Llama-3.3-70B FP8 on 2 to 8 H100", (Played(_CLOSED, "vllm Llama-3.1-70B H100"),)),
    ("vLLM, {} of gpt-oss-120b (MXFP4 experts) on 2 to 8 H100", (Played(_CLOSED, "vllm gpt-oss-120b H100"),)),
    ("vLLM 0.11, {} closed loops of Qwen3-8B, 1 to 8 clients on H100", (Played(_CLOSED, "vllm Qwen3-8B H100"),)),
    ("TensorRT-LLM (NIM, 2024), {} closed loops of Llama-3-8B on H100", (Played(_CLOSED, f"{_NIM} H100"),)),
    ("the same on A100, {}", (Played(_CLOSED, f"{_NIM} A100"),)),
    (
        "ShareGPT bursts, vLLM 0.19 on RTX 4090 ({}) / RTX PRO 6000 ({})",
        (Played("rtx4090-llama-3.1-8b-tp1-sharegpt.json"), Played("rtxpro6000-llama-3.1-8b-tp1-sharegpt.json")),
    ),
    (
        "InferenceX, gpt-oss-120b on H200 ({}) / B200 ({}), vLLM 0.18 / 0.15",
        (Sampled("h200_sxm", "vllm 0.18.0 fp4", "gpt_oss_120b"), Sampled("b200", "vllm 0.15.1 fp4", "gpt_oss_120b")),
    ),
    (
        "InferenceX, MiniMax-M2.5 FP8 on H200 ({}) / B200 ({}), vLLM 0.18 / 0.19",
        (Sampled("h200_sxm", "vllm 0.18.0 fp8", "minimax_m2_5"), Sampled("b200", "vllm 0.19.0 fp8", "minimax_m2_5")),
    ),
    (
        "InferenceX, MiniMax-M2.5 NVFP4 on B200 ({}) / B300 ({}), vLLM 0.19",
        (Sampled("b200", "vllm 0.19.0 fp4", "minimax_m2_5"), Sampled("b300", "vllm 0.19.0 fp4", "minimax_m2_5")),
    ),
    ("vLLM 0.11, {} bursts of Qwen3-32B on H100 SXM, says their source", (Played(_CLOSED, _DISPUTED),)),
    (
        "those, played on an H100 PCIe, whose bandwidth their decode fits ({})",
        (Played(_CLOSED, _DISPUTED, card="H100-PCIe"),),
    ),
)  # fmt: skip


class Errors(NamedTuple):
    """Mean absolute errors of a part; None where nothing was measured, or what was says nothing of the model."""

    loads: int
    throughput: float | None
    ttft: float | None
    itl: float | None
    e2e: float | None = None
    e2e_p99: float | None = None


def errors_of(predictions: Iterable[Prediction], says_throughput: bool) -> Errors:
    """The errors of loads that were not overloaded, without what is guessed otherwise."""
    rows = [row for row in predictions if not row.guess]
    found = mean_absolute_errors(rows)
    loads = {(row.experiment, row.stage) for row in rows if not row.overloaded and row.stage != "overall"}
    itl = found.get("itl_mean_s", found.get("tpot_mean_s"))
    throughput = found.get("output_tok_per_s") if says_throughput else None
    return Errors(
        len(loads), throughput, found.get("ttft_mean_s"), itl, found.get("e2e_mean_s"), found.get("e2e_p99_s")
    )


def played(part: Played, by_file: dict[tuple[str, str], list[Prediction]], replications: int) -> Errors:
    """The errors of a part; `by_file` holds the predictions of each file and card, and is filled where it has none."""
    key = (part.file, part.card)
    if key not in by_file:
        file = FOLDER / part.file
        by_file[key] = _on_another_card(part, replications) if part.card else predict(file, replications)
    rows = [row for row in by_file[key] if part.card or row.family.startswith(part.family)]
    return errors_of(rows, says_throughput=not part.file.startswith(_RATES))


def _on_another_card(part: Played, replications: int) -> list[Prediction]:
    rows = rows_of(part.file, (FOLDER / part.file).read_text(encoding="utf-8"))
    points = [
        OperatingPoint(part.file, row | {"gpu": part.card}, number)
        for number, row in enumerate(rows) if family_of(row).startswith(part.family)
    ]  # fmt: skip
    return [prediction for point in points for prediction in point.predictions(Play(replications))]


def sampled(part: Sampled) -> Errors:
    """The errors of a family of the sample."""
    row = _family(part)
    return Errors(row.loads, row.throughput, row.ttft, row.itl)


def _family(part: Sampled) -> MeasuredFamily:
    of_model = [family for family in families() if (family.gpu, family.model) == (part.gpu, part.model)]
    (found,) = (family for family in of_model if family.engine.startswith(part.engine))
    return found


def table(errors: dict[Part, Errors]) -> str:
    """The table in Markdown."""
    lines = []
    for words, parts in GROUPS:
        found = [errors[part] for part in parts]
        lines.append(_line(words.format(*(each.loads for each in found)), found))
    return _HEAD + "\n".join(lines) + "\n"


def _line(words: str, parts: list[Errors]) -> str:
    cells = [_cell([getattr(part, name) for part in parts]) for name in ("throughput", "ttft", "itl", "e2e")]
    tail = _cell([part.e2e_p99 for part in parts])
    cells[-1] += f" (p99 {tail})" if tail and len(parts) == 1 else ""
    return f"| {' | '.join([words, *cells])} |".replace("|  |", "| |").replace("|  |", "| |")


def _cell(errors: list[float | None]) -> str:
    known = [error for error in errors if error is not None]
    if len(known) < len(errors):
        return ""
    return " / ".join(f"{100 * e:.1f}" if e < 0.0995 else f"{100 * e:.0f}" for e in known) + " %"


def written() -> dict[Part, Errors]:
    """The errors as the last writing left them. Those of the sample are as the table of families has them now."""
    with ERRORS.open(encoding="utf-8", newline="") as file:
        rows = {(row["file"], row["family"], row["card"]): row for row in csv.DictReader(file)}
    found: dict[Part, Errors] = {}
    for part in _parts():
        if isinstance(part, Sampled):
            found[part] = sampled(part)
        else:
            row = rows[part]
            figures = [float(row[name]) if row[name] else None for name in Errors._fields[1:]]
            found[part] = Errors(int(row["loads"]), *figures)
    return found


def write(by_file: dict[tuple[str, str], list[Prediction]], replications: int) -> None:
    """Play what `by_file` lacks, keep the errors, and write the table into the pages."""
    with ERRORS.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*Played._fields, *Errors._fields])
        for part in _parts():
            if isinstance(part, Played):
                found = played(part, by_file, replications)
                writer.writerow([*part, found.loads, *("" if e is None else f"{e:.4f}" for e in found[1:])])
    families.cache_clear()  # The command has just written them.
    text = table(written())
    for page in PAGES:
        page.write_text(with_table(page.read_text(encoding="utf-8"), text), encoding="utf-8")
        print(f"-> {page.relative_to(ROOT)}")


def with_table(page: str, text: str) -> str:
    """The page with this table between its two comments."""
    before, rest = page.split(BEGIN)
    return before + BEGIN + text + END + rest.split(END)[1]


def _parts() -> list[Part]:
    return [part for _, parts in GROUPS for part in parts]
