"""How far simulated figures have been from measured ones, on the runs nearest to a card, a model and an engine.

The intervals of a result are about chance: other seeds would have given other figures. This error is about the model of
the hardware, and no number of replications makes it smaller. It is the mean absolute relative error over the measured
loads of the nearest family of `model_errors.csv`, which `make fidelity` writes.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from sim.hardware.engine import Engine
from sim.hardware.gpu import Gpu
from sim.hardware.model import Model

ERRORS = Path(__file__).with_name("model_errors.csv")
METRICS = ("throughput", "ttft", "itl")
_WORDS = {"throughput": "throughput", "ttft": "TTFT", "itl": "ITL"}

_CHIPS = (
    ("a100", "a10g"), ("h100", "h200"), ("b200", "b300", "gb200", "gb300", "rtx_pro_6000"), ("l40s", "l4", "rtx_4090"),
)  # fmt: skip
"""Generations: Ampere, Hopper, Blackwell, Ada."""

BORROWED = "BORROWED from relatives"
_BASIS_IN_WORDS = {
    "fitted": "fitted to servers with this card",
    "operator_table": "of operator tables of this card",
    "scaled": "those of the same chip with other memory",
    "borrowed": f"{BORROWED}: no server with this card was measured",
}


class MeasuredFamily(NamedTuple):
    """Loads of one card, engine and model, played again: how many, and their mean absolute errors (fractions).

    None: the source has no such figure, or it says nothing, as throughput at a rate that the server keeps up with.
    """

    gpu: str
    engine: str
    model: str
    kind: str  # dense, or moe
    tuned_on: bool
    loads: int
    throughput: float | None
    ttft: float | None
    itl: float | None

    def is_with(self, words: str) -> bool:
        """Whether the engine is named as one that was started "with ..." these words."""
        return words in self.engine.partition(" with ")[2]

    def __str__(self) -> str:
        return f"{self.model} on {self.gpu}, {self.engine}{', constants set by these' if self.tuned_on else ''}"


class ModelError(NamedTuple):
    """The error of the nearest measured families, by metric, and what a card's constants rest on."""

    gpu: str
    basis: str
    errors: dict[str, tuple[float, MeasuredFamily]]

    @property
    def is_borrowed(self) -> bool:
        """Whether no server and no operator of this card was measured."""
        return self.basis == "borrowed"

    def as_dict(self) -> dict[str, Any]:
        """What summary.json holds: fractions by metric, and the families that they were measured on."""
        found: dict[str, Any] = {metric: round(error, 4) for metric, (error, _) in self.errors.items()}
        measured_on = {metric: str(family) for metric, (_, family) in self.errors.items()}
        return found | {"gpu": self.gpu, "basis": self.basis, "measured_on": measured_on}

    def lines(self) -> list[str]:
        """For a reader: what the card rests on, and the errors."""
        errors = ", ".join(f"{_WORDS[name]} {error:.1%}" for name, (error, _) in self.errors.items())
        families = "; ".join(dict.fromkeys(str(family) for _, family in self.errors.values()))
        elsewhere = any(family.gpu != self.gpu for _, family in self.errors.values())
        lines = [f"{self.gpu}: constants {_BASIS_IN_WORDS[self.basis]}"]
        if errors:
            at_least = "at least " if elsewhere else ""
            lines.append(f"{self.gpu}: model error, beside ±, which is about chance: {at_least}{errors} ({families})")
        return lines


def model_error(gpu: Gpu, model: Model, engine: Engine) -> ModelError:
    """The errors of the nearest families that were measured.

    Near is, in this order: the same card, a card of the same generation; dense or mixture of experts; vLLM or another
    engine; experts that are sliced or whole, attention in ranks or not; the same model. Among equals, families that set
    no constant come first. A card with borrowed constants that was never measured gets the largest error of all
    families that set none: the true one may be larger.
    """
    kind, name = "moe" if model.experts else "dense", model.name
    layout = {"whole experts": engine.expert_parallel, "ranks": engine.attention_data_parallel > 1}
    is_vllm = engine.gemm_fraction == 1.0 and engine.kv_read_fraction == 1.0

    def distance(family: MeasuredFamily) -> tuple[int, bool, bool, int, bool, bool]:
        return (
            _card_distance(gpu.name, family.gpu),
            family.kind != kind,
            family.engine.startswith("vllm") != is_vllm,
            sum(served != family.is_with(words) for words, served in layout.items()),
            family.model != name,
            family.tuned_on,
        )

    errors: dict[str, tuple[float, MeasuredFamily]] = {}
    for metric in METRICS:
        known = [family for family in families() if getattr(family, metric) is not None]
        if not known:
            continue
        chosen = min(known, key=distance)
        if gpu.basis == "borrowed" and chosen.gpu != gpu.name:
            like = [family for family in known if family.kind == kind and not family.tuned_on] or known
            chosen = max(like, key=lambda family: getattr(family, metric))
        errors[metric] = (getattr(chosen, metric), chosen)
    return ModelError(gpu.name, gpu.basis, errors)


def largest(found: Iterable[ModelError]) -> ModelError:
    """Of several cards, the one that is least known: borrowed before all others, then the largest error."""
    return max(found, key=lambda one: (one.is_borrowed, max((e for e, _ in one.errors.values()), default=0.0)))


def _card_distance(ours: str, theirs: str) -> int:
    if ours == theirs:
        return 0
    same = any(ours.startswith(chips) and theirs.startswith(chips) for chips in _CHIPS)
    return 1 if same else 2


@cache
def families() -> tuple[MeasuredFamily, ...]:
    """The rows of `model_errors.csv`."""
    with ERRORS.open(encoding="utf-8", newline="") as file:
        return tuple(_family(row) for row in csv.DictReader(file))


def _family(row: dict[str, str]) -> MeasuredFamily:
    throughput, ttft, itl = (float(row[metric]) if row[metric] else None for metric in METRICS)
    tuned_on, loads = row["tuned_on"] == "yes", int(row["loads"])
    return MeasuredFamily(row["gpu"], row["engine"], row["model"], row["kind"], tuned_on, loads, throughput, ttft, itl)
