"""What every experiment does: play its sweep through the ordinary command, take up its table, draw its answer.

An experiment is a folder with a README.md (question, guess, answer) and a figures.py, which names SMALL, the overrides
of a version that takes seconds, and `answer(play, folder)`, which plays what it needs and writes its pictures to the
folder. `python -m experiments.NAME.figures` runs it whole, `--small` in small; what is done is not done again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import pandas as pd

from sim.__main__ import main as simulate
from sim.study.collect import collect, replications

ROOT = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Play:
    """`play(*overrides, part="")`: the table of conf/experiment/QUESTION.yaml with these overrides, one row a scenario.

    Parts of one question go to studies of their own. A failed scenario raises SystemExit.
    """

    question: str
    outputs: Path
    small: tuple[str, ...] = ()

    def __call__(self, *overrides: str, part: str = "", experiment: str | None = None) -> pd.DataFrame:
        study = "_".join(word for word in (self.question, part, "small" if self.small else "") if word)
        words = [f"+experiment={experiment or self.question}", f"output.dir={self.outputs}", f"output.study={study}"]
        words += [*overrides, *self.small]
        words += ["hydra/launcher=basic"] if self.small else []  # workers take longer to start than to play
        _command(["-m", *words])
        table = collect(self.outputs / study)
        table.attrs["folder"] = str(self.outputs / study)
        return table

    def some(self, values: Iterable) -> list:
        """All of these values; in small the first two."""
        return list(values)[:2] if self.small else list(values)


def _command(words: list[str]) -> None:
    """`llm-traffic-sim` with these words, in this process: modules and workers are there already after the first."""
    with redirect_stdout(StringIO()):
        code = simulate(words)
    if code:
        raise SystemExit(code)


def each_replication(table: pd.DataFrame) -> pd.DataFrame:
    """One row per scenario and replication of a played table: `digest`, `replication` and its figures."""
    named = table.assign(group="", label=table["digest"])
    return replications(named, Path(table.attrs["folder"])).rename(columns={"label": "digest"}).drop(columns="group")


def main(file: str, small: tuple[str, ...], answer: Callable[[Play, Path], None]) -> None:
    """Run the experiment that `file` belongs to: whole, its pictures beside it; with --small, all under outputs/."""
    folder = Path(file).resolve().parent
    if sys.argv[1:] not in ([], ["--small"]):
        print(f"usage: python -m experiments.{folder.name}.figures [--small]")
        raise SystemExit(0 if sys.argv[1:] in (["-h"], ["--help"]) else 2)
    play = Play(folder.name, Path("outputs"), small if sys.argv[1:] else ())
    if play.small:
        folder = play.outputs / f"{folder.name}_small"
        folder.mkdir(parents=True, exist_ok=True)
    answer(play, folder)
