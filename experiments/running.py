"""The frame of an experiment: sweep its scenarios from Python, read the table, draw the answer.

An experiment is a folder with a README.md (question, guess, answer) and a figures.py, which names SMALL, the values of
a version that takes seconds, and `answer(play, folder)`, which plays what it needs and writes its pictures to the
folder. `python -m experiments.NAME.figures` runs it whole, `--small` in small; what is done is not done again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sim


@dataclass(frozen=True)
class Play:
    """`play(*words, part="", axes={})`: the sim.Table of conf/experiment/QUESTION.yaml changed by words, over axes.

    `axes` has a list of values for each key, as `sim.sweep` takes them. Parts of one question go to studies of their
    own. A failed scenario raises SystemExit.
    """

    question: str
    outputs: Path
    small: Mapping[str, Any] = field(default_factory=dict)
    """Values that replace those of the whole version; empty for the whole version."""

    def __call__(self, *words: str, part: str = "", axes: Mapping[str, Any] | None = None) -> sim.Table:
        study = "_".join(word for word in (self.question, part, "small" if self.small else "") if word)
        base = sim.scenario(f"+experiment={self.question}", *words)
        n_jobs = 1 if self.small else -1  # Starting worker processes would take longer than playing the small version.
        table = sim.sweep(base, study=study, outputs=self.outputs, n_jobs=n_jobs, **{**(axes or {}), **self.small})
        if len(table.failed):
            print(table.failed["error"].to_string(), file=sys.stderr)
            raise SystemExit(1)
        return table

    def some(self, values: Iterable) -> list:
        """All of these values; in small the first two."""
        return list(values)[:2] if self.small else list(values)


def main(file: str, small: Mapping[str, Any], answer: Callable[[Play, Path], None]) -> None:
    """Run the experiment that `file` belongs to: whole, its pictures beside it; with --small, all under outputs/."""
    folder = Path(file).resolve().parent
    parser = argparse.ArgumentParser(prog=f"python -m experiments.{folder.name}.figures")
    parser.add_argument("--small", action="store_true", help="a version that takes seconds, under outputs/")
    play = Play(folder.name, Path("outputs"), small if parser.parse_args().small else {})
    if play.small:
        folder = play.outputs / f"{folder.name}_small"
        folder.mkdir(parents=True, exist_ok=True)
    answer(play, folder)
