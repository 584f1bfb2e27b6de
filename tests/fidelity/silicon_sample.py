"""Closed loops that NVIDIA collected from the InferenceX benchmark, played again: 5,221 rows, of which vLLM's are read.

The rows are `systems/silicon_sample.csv` of the PyPI package aiconfigurator-core (extra `tables`). Played are rows of
vLLM on one replica without pipeline parallelism, whose measured TTFT is at most `_MOST_TTFT_S`: beyond that a queue
before the engine was measured. Left out: vLLM 0.12 (another benchmark, whose load is not stated), split prefill and
decode (all rows of GB200 are of that kind; GB300 has none), and weights in int4, which are not modelled.

Rows with whole experts, and those with attention ranks, are families of their own, by which nothing is set. Such a row
of InferenceX has `tp` GPUs in all, each of them a rank (`dp_attention`); the sample multiplies that number into
`moe_ep_size` once more (a node of B200 has eight GPUs, and four times four are stated).

A row does not state the type of its KV cache. It is taken to be 16 bit on H100 and fp8 on the others, unless the
checkpoint says otherwise; `--kv` plays the other guess.

FP8 checkpoints with a scale for each block of 128 rows are sliced at whole blocks only: where a GPU's slice of an
expert would end within a block, vLLM refuses tensor parallelism alone ("is not divisible by weight quantization
block_n", fp8.py). Such a row, which says that its experts were sliced, is played with whole experts on each GPU.
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from sim.hardware.model import Model, model_named
from sim.hardware.names import model_file
from sim.measured.operating_points import OperatingPoint
from sim.measured.other_constants import AS_LISTED, OtherConstants
from sim.measured.play import Play
from sim.schema import SimError
from tests.fidelity.operator_tables import PACKAGE, folder

_MOST_TTFT_S = 4.0
_BLOCK_ROWS = 128
_MEAN_OUTPUT = 0.9  # of osl: lengths are uniform between 0.8 and 1 of it
_DTYPES = {"openai/gpt-oss-120b": "fp4"}
_NOTES = "sweep; {date}; closed loop, 10 x concurrency prompts, lengths uniform in [0.8L,L], prefix cache off"
_CONFIGS = {
    ("MiniMaxAI/MiniMax-M2.5", "fp8"): "MiniMaxAI--MiniMax-M2.5",
    ("MiniMaxAI/MiniMax-M2.5", "fp4"): "nvidia--MiniMax-M2.5-NVFP4",
    ("moonshotai/Kimi-K2.5", "fp4"): "nvidia--Kimi-K2.5-NVFP4",
}
"""Models that conf/model does not have: the config.json files that the package carries."""

LOOKED_AT = (
    ("h100_sxm", "", ""),
    ("b200_sxm", "meta-llama/Llama-3.1-70B", ""),  # fp8_kv_read_efficiency, all_reduce_bandwidth_fraction
    ("h200_sxm", "meta-llama/Llama-3.1-70B", "fp8"),  # that H100's fp8_kv_read_efficiency was kept
)
"""Rows that constants of conf/gpu were set by: (system, model, precision), "" for any. No other row set anything.

That fp8 experts have fractions of their own was noticed on the rows of MiniMax on H200; the fractions are the tables'.
"""

TARGETS = {"h100": (0.06, 0.15), "h200": (0.06, 0.15), "b200": (0.08, 0.18)}
"""What is asked on rows that set nothing: (TPOT and throughput, TTFT), by the beginning of the system's name."""
OTHER_TARGETS = (0.12, 0.30)


HEAD = f"{'mean absolute error':<62}{'rows':>4}{'out tok/s':>11}{'TTFT':>11}{'TPOT':>11}{'TPOT lean':>11}"


SLICED, WHOLE, RANKS = "", "whole experts", "ranks, whole experts"
"""How the GPUs of a replica share a mixture of experts, as families are called by it."""


class Family(NamedTuple):
    """Rows of one card, engine version, model, number format and layout."""

    system: str
    version: str
    model: str
    precision: str
    layout: str = SLICED

    @property
    def looked_at(self) -> bool:
        """Whether a constant was set by rows of this family."""
        return not self.layout and any(
            s == self.system and m in ("", self.model) and p in ("", self.precision) for s, m, p in LOOKED_AT
        )

    def __str__(self) -> str:
        version = self.version[:16] or "not stated"
        layout = f", {self.layout}" if self.layout else ""
        return f"{self.system} vLLM {version}, {self.model.rpartition('/')[2]} {self.precision}{layout}"


class Errors(NamedTuple):
    """Signed relative errors of one row."""

    throughput: float
    ttft: float
    tpot: float


def families(systems: Path) -> dict[Family, list[dict[str, str]]]:
    """The rows that can be played, by family."""
    found: dict[Family, list[dict[str, str]]] = {}
    with (systems / "silicon_sample.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["backend"] != "vllm" or row["mode"] != "agg" or row["backend_version"].startswith("0.12"):
                continue
            layout = _layout(row)
            if layout is None or row["pp_size"] != "1" or row["precision"] == "int4":
                continue
            if float(row["silicon_ttft_ms"]) <= 1e3 * _MOST_TTFT_S:
                family = Family(row["system"], row["backend_version"], row["model_path"], row["precision"], layout)
                found.setdefault(family, []).append(row)
    return found


def _layout(row: dict[str, str]) -> str | None:
    """How the GPUs of a row share its model; None where that is not understood."""
    tp, ranks, slices, whole = (
        int(row[name] or 0) for name in ("tp_size", "attention_dp_size", "moe_tp_size", "moe_ep_size")
    )
    if (ranks, whole) == (1, 1):
        return SLICED
    if slices != 1 or whole != tp * ranks or ranks not in (1, tp):
        return None
    return RANKS if ranks > 1 else WHOLE


def errors_of(
    family: Family,
    rows: list[dict[str, str]],
    systems: Path,
    kv_dtype: str | None = None,
    constants: OtherConstants = AS_LISTED,
) -> Iterator[Errors]:
    """The errors of every row of a family; a row that cannot be played is named on standard error.

    `constants` replace those of the cards that they name.
    """
    config = _CONFIGS.get((family.model, family.precision))
    model = _model(systems.parent / "model_configs" / f"{config}_config.json") if config else None
    for number, row in enumerate(rows):
        point = OperatingPoint("silicon_sample.csv", _as_operating_point(row, model, kv_dtype), number)
        try:
            play = Play(1, model, constants=constants)
            predicted = {p.metric: p.predicted for p in point.predictions(play)}
        except SimError as error:
            print(f"not predicted: {row['id']}: {error}", file=sys.stderr)
            continue
        ttft_s, tpot_s = predicted["ttft_mean_s"], predicted["tpot_mean_s"]
        seen_ttft_s, seen_tpot_s = (1e-3 * float(row[f"silicon_{name}_ms"]) for name in ("ttft", "tpot"))
        steps = _MEAN_OUTPUT * float(row["osl"])
        throughput = (seen_ttft_s + steps * seen_tpot_s) / (ttft_s + steps * tpot_s)
        yield Errors(throughput - 1, ttft_s / seen_ttft_s - 1, tpot_s / seen_tpot_s - 1)


def model_and_kind(family: Family, systems: Path) -> tuple[str, str]:
    """The name of a family's model, in conf/model or in short, and whether it is dense or a mixture of experts."""
    config = _CONFIGS.get((family.model, family.precision))
    if config:
        return family.model.rpartition("/")[2].lower().replace("-", "_").replace(".", "_"), "moe"
    name = model_file(family.model)
    return name, "moe" if model_named(name).experts else "dense"


@cache
def _model(path: Path) -> Model:
    return Model.from_hugging_face(path)


def _as_operating_point(row: dict[str, str], model: Model | None, kv_dtype: str | None) -> dict[str, str]:
    concurrency = re.search(r"silicon_concurrency=(\d+)", row["silicon_data_source"])
    measured = re.search(r"measured=(\d{4}-\d\d-\d\d)", row["silicon_data_source"])
    dtype = _DTYPES.get(row["model_path"], "nvfp4" if row["precision"] == "fp4" else row["precision"])
    stated_kv = model.kv_dtype if model and model.kv_dtype != "bf16" else ""
    guess = "bf16" if row["system"].startswith("h100") else "fp8"
    layout = _layout(row)
    whole = layout != SLICED or _splits_a_block(row, model)
    gpus = {"tp": "1", "data_parallel": row["tp_size"]} if layout == RANKS else {"tp": row["tp_size"]}
    return {
        "source": f"ai-dynamo/aiconfigurator silicon_sample.csv#{row['id']}", "gpu": row["system"],
        "engine": f"vllm {row['backend_version']}", "model": row["model_path"], "dtype": dtype,
        "kv_dtype": stated_kv or kv_dtype or guess, "input_len": row["isl"],
        "output_len": row["osl"], "concurrency": concurrency[1] if concurrency else row["batch_size"],
        "expert_parallel": "true" if whole else "", "notes": _NOTES.format(date=measured[1] if measured else ""),
        **gpus,
    }  # fmt: skip


def _splits_a_block(row: dict[str, str], model: Model | None) -> bool:
    """Whether an FP8 expert sliced over the GPUs would end within a block of scales."""
    if model is None or row["precision"] != "fp8":
        return False
    return model.expert_ffn % (_BLOCK_ROWS * int(row["tp_size"])) != 0


def targets(family: Family) -> tuple[float, float]:
    """(TPOT and throughput, TTFT) that are asked of a family."""
    return next((asked for name, asked in TARGETS.items() if family.system.startswith(name)), OTHER_TARGETS)


def means(errors: list[Errors]) -> Errors:
    """Mean absolute errors."""
    return Errors(*(sum(map(abs, column)) / len(errors) for column in zip(*errors, strict=True)))


def line(family: Family, errors: list[Errors], when: str = "") -> str:
    """Mean absolute errors of a family beside what is asked of it; `when` says with which constants."""
    throughput, ttft, tpot = means(errors)
    lean = sum(e.tpot for e in errors) / len(errors)
    asked, asked_ttft = targets(family)
    holds = throughput <= asked and tpot <= asked and ttft <= asked_ttft
    verdict = (
        "set by these rows" if family.looked_at else "holds" if holds else f"asked {asked:.0%} and {asked_ttft:.0%}"
    )
    return (
        f"{f'{family}{when}':<62}{len(errors):>4}{throughput:>11.1%}{ttft:>11.1%}{tpot:>11.1%}{lean:>+11.1%}  {verdict}"
    )


def main(argv: list[str]) -> int:
    """Print one line per family. `--kv TYPE` is the other guess of the KV type; words choose families."""
    systems = folder()
    if systems is None:
        print(f"NOT CHECKED against silicon_sample.csv: {PACKAGE} is absent (make operator-tables fetches it)")
        return 0
    kv_dtype = argv[argv.index("--kv") + 1] if "--kv" in argv else None
    words = [word for i, word in enumerate(argv) if not word.startswith("-") and argv[i - 1 : i] != ["--kv"]]
    print(HEAD)
    for family, rows in sorted(families(systems).items()):
        if all(word in str(family) for word in words):
            errors = list(errors_of(family, rows, systems, kv_dtype))
            print(line(family, errors) if errors else f"{family!s:<62}   0", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
