"""The table of errors in README.md and docs/why/measured.md, by groups of measured runs.

`make fidelity ARGS=--write` plays the groups' runs, keeps their errors in table.csv beside this file, and writes the
table into both pages, between two comments. Groups of NVIDIA's sample are as sim/measured/model_errors.csv has them.

Errors before are those with the constants of version 0.1.0, the last that were not of operator tables; in
constants_0_1_0 are the files of conf/gpu that have changed since. docs/why/measured.md shows both.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from sim.measured.model_error import MeasuredFamily, families
from sim.measured.operating_points import OperatingPoint, family_of, rows_of
from sim.measured.other_constants import OtherConstants, read_constants
from sim.measured.play import Play
from sim.measured.predict import predict
from sim.measured.prediction import Prediction, mean_absolute_errors

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT.parent / "shared" / "fidelity"
ERRORS = Path(__file__).with_name("table.csv")
PAGES = {ROOT / "README.md": False, ROOT / "docs" / "why" / "measured.md": True}
"""The pages with the table, and whether it shows the errors before, too."""
BEGIN, END = "<!-- written by make fidelity ARGS=--write -->\n", "<!-- to here -->\n"
_HEAD = "| runs | throughput | TTFT | TPOT or ITL | E2E |\n|---|---|---|---|---|\n"
_RATES, _CLOSED, _SAMPLE = "experiments", "benchmarks.csv", "silicon_sample.csv"
_BEFORE = "before_"  # columns of table.csv: the same errors with the constants before
_NIM, _DISPUTED = "NIM Meta-Llama-3-8B-Instruct", "vllm Qwen3-32B H100-SXM burst"


class Played(NamedTuple):
    """Runs of one file, of the families whose name begins so; on another card than the file says, if one is named."""

    file: str
    family: str = ""
    card: str = ""


class Sampled(NamedTuple):
    """A family of NVIDIA's sample, by its engine as sim/measured/model_errors.csv has it, without the last word."""

    gpu: str
    engine: str
    model: str


Part = Played | Sampled
_WHOLE, _RANKS = "with whole experts", "with ranks, whole experts"
_ON_H100_AND_B200 = (("h100_sxm", "vllm 0.18.0"), ("b200", "vllm 0.19.0"))
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
    (
        "the same with whole experts, MiniMax-M2.5 FP8 on H100 ({}) / B200 ({}), vLLM 0.18 / 0.19",
        tuple(Sampled(gpu, f"{vllm} fp8 {_WHOLE}", "minimax_m2_5") for gpu, vllm in _ON_H100_AND_B200),
    ),
    (
        "and in attention ranks, on H100 ({}) / B200 ({})",
        tuple(Sampled(gpu, f"{vllm} fp8 {_RANKS}", "minimax_m2_5") for gpu, vllm in _ON_H100_AND_B200),
    ),
    (
        "MiniMax-M2.5 NVFP4 in attention ranks with whole experts on B200 ({}) / B300 ({}), vLLM 0.19",
        tuple(Sampled(gpu, f"vllm 0.19.0 fp4 {_RANKS}", "minimax_m2_5") for gpu in ("b200", "b300")),
    ),
    (
        "Kimi-K2.5 NVFP4 on B200 with whole experts ({}) / in attention ranks, too ({}), vLLM 0.17",
        tuple(Sampled("b200", f"vllm 0.17.0 fp4 {layout}", "kimi_k2_5") for layout in (_WHOLE, _RANKS)),
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


@cache
def before_constants() -> OtherConstants:
    """The constants of version 0.1.0, of the cards whose constants have changed since."""
    return read_constants("constants_0_1_0", sorted(Path(__file__).with_name("constants_0_1_0").glob("*.yaml")))


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


def played(
    part: Played, by_file: dict[tuple[str, str], list[Prediction]], replications: int
) -> tuple[Errors, Errors | None]:
    """The errors of a part, and those before; None where nothing was played before.

    `by_file` holds the predictions of whole files, by file and card; of one that it lacks, the part alone is played.
    """
    whole = by_file.get((part.file, part.card))
    rows = _of_part(part, replications) if whole is None else [r for r in whole if r.family.startswith(part.family)]
    says_throughput = not part.file.startswith(_RATES)
    old = [row.as_before for row in rows if row.before is not None]
    return errors_of(rows, says_throughput), errors_of(old, says_throughput) if old else None


def _of_part(part: Played, replications: int) -> list[Prediction]:
    if not part.family:
        return predict(FOLDER / part.file, replications)
    rows = rows_of(part.file, (FOLDER / part.file).read_text(encoding="utf-8"))
    points = [
        OperatingPoint(part.file, row | ({"gpu": part.card} if part.card else {}), number)
        for number, row in enumerate(rows) if family_of(row).startswith(part.family)
    ]  # fmt: skip
    return [prediction for point in points for prediction in point.predictions(Play(replications))]


def sampled(part: Sampled, every: Sequence[MeasuredFamily]) -> Errors | None:
    """The errors of a family of the sample; None if it is not among `every` family."""
    of_model = [family for family in every if (family.gpu, family.model) == (part.gpu, part.model)]
    found = [family for family in of_model if family.engine.rpartition(" ")[0] == part.engine]
    return Errors(found[0].loads, *found[0][6:]) if found else None


def table(errors: dict[Part, Errors], before: Mapping[Part, Errors | None] | None = None) -> str:
    """The table in Markdown; with the errors before in front of those that have changed."""
    lines = []
    for words, parts in GROUPS:
        found = [errors[part] for part in parts]
        old = [(before or {}).get(part) for part in parts]
        lines.append(_line(words.format(*(each.loads for each in found)), found, old))
    return _HEAD + "\n".join(lines) + "\n"


def _line(words: str, parts: list[Errors], before: list[Errors | None]) -> str:
    cells = [_cell(name, parts, before) for name in ("throughput", "ttft", "itl", "e2e")]
    tail = _cell("e2e_p99", parts, before)
    cells[-1] += f" (p99 {tail})" if tail and len(parts) == 1 else ""
    return f"| {' | '.join([words, *cells])} |".replace("|  |", "| |").replace("|  |", "| |")


def _cell(name: str, parts: list[Errors], before: list[Errors | None]) -> str:
    known = [_percent(getattr(part, name)) for part in parts]
    if "" in known:
        return ""
    old = [_percent(getattr(part, name)) if part else "" for part in before]
    return " / ".join(f"{b} → {a}" if b not in ("", a) else a for b, a in zip(old, known, strict=True)) + " %"


def _percent(error: float | None) -> str:
    return "" if error is None else f"{100 * error:.1f}" if error < 0.0995 else f"{100 * error:.0f}"


def written() -> tuple[dict[Part, Errors], dict[Part, Errors | None]]:
    """The errors, and those before, as the last writing left them.

    Those of the sample are as the table of families has them now.
    """
    with ERRORS.open(encoding="utf-8", newline="") as file:
        rows = {(row["file"], row["family"], row["card"]): row for row in csv.DictReader(file)}
    found: dict[Part, Errors] = {}
    before: dict[Part, Errors | None] = {}
    for part in _parts():
        row = rows[_key(part)]
        errors = sampled(part, families()) if isinstance(part, Sampled) else _errors(row, "")
        if errors is None:
            raise ValueError(f"{part}: no family of the sample is called so")
        found[part], before[part] = errors, _errors(row, _BEFORE)
    return found, before


def _key(part: Part) -> tuple[str, str, str]:
    if isinstance(part, Sampled):
        return _SAMPLE, f"{part.engine} {part.model}", part.gpu
    return part.file, part.family, part.card


def _errors(row: dict[str, str], when: str) -> Errors | None:
    figures = [float(row[when + name]) if row[when + name] else None for name in Errors._fields[1:]]
    return Errors(int(row["loads"] or 0), *figures) if any(figures) else None


def _cells(errors: Errors | None) -> list[str]:
    figures = (errors or Errors(0, None, None, None))[1:]
    return ["" if e is None else f"{e:.4f}" for e in figures]


def write(
    by_file: dict[tuple[str, str], list[Prediction]], sample_before: Sequence[MeasuredFamily], replications: int
) -> None:
    """Play what `by_file` lacks, keep the errors, and write the table into the pages."""
    kept = {} if sample_before else written()[1]  # before, of families that were not played: as it was
    lines = []
    for part in _parts():
        if isinstance(part, Sampled):
            before = sampled(part, sample_before) if sample_before else kept[part]
            lines.append([*_key(part), "", *_cells(None), *_cells(before)])
        else:
            found, before = played(part, by_file, replications)
            lines.append([*_key(part), str(found.loads), *_cells(found), *_cells(before)])
    with ERRORS.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*Played._fields, *Errors._fields, *(_BEFORE + name for name in Errors._fields[1:])])
        writer.writerows(lines)
    families.cache_clear()  # The command has just written them.
    errors, old = written()
    for page, shows_before in PAGES.items():
        text = table(errors, old if shows_before else None)
        page.write_text(with_table(page.read_text(encoding="utf-8"), text), encoding="utf-8")
        print(f"-> {page.relative_to(ROOT)}")


def with_table(page: str, text: str) -> str:
    """The page with this table between its two comments."""
    before, rest = page.split(BEGIN)
    return before + BEGIN + text + END + rest.split(END)[1]


def _parts() -> list[Part]:
    return [part for _, parts in GROUPS for part in parts]
