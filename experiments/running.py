"""What every experiment does: play its sweep through the ordinary command, take up its table, draw its answer.

An experiment is a folder with a README.md (question, guess, answer) and a figures.py, which names SMALL, the overrides
of a version that takes seconds, and `answer(play, folder)`, which plays what it needs and writes its pictures to the
folder. `python -m experiments.NAME.figures` runs it whole, `--small` in small; what is done is not done again.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from sim.study.collect import collect, replications

Play = Callable[..., pd.DataFrame]
ROOT = Path(__file__).resolve().parent


def player(question: str, outputs: Path, small: tuple[str, ...] = ()) -> Play:
    """`play(*overrides, part="")`: the table of conf/experiment/QUESTION.yaml with these overrides, one row a scenario.

    Parts of one question go to studies of their own. A failed scenario raises CalledProcessError.
    """

    def play(*overrides: str, part: str = "", experiment: str = question) -> pd.DataFrame:
        study = "_".join(word for word in (question, part, "small" if small else "") if word)
        words = [f"+experiment={experiment}", f"output.dir={outputs}", f"output.study={study}", *overrides, *small]
        words += ["hydra/launcher=basic"] if small else []  # workers take longer to start than to play
        subprocess.run([sys.executable, "-m", "sim", "-m", *words], check=True, stdout=subprocess.DEVNULL)
        table = collect(outputs / study)
        table.attrs["folder"] = str(outputs / study)
        return table

    return play


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
    outputs = Path("outputs")
    if sys.argv[1:]:
        folder = outputs / f"{folder.name}_small"
        folder.mkdir(parents=True, exist_ok=True)
    try:
        answer(player(Path(file).resolve().parent.name, outputs, small if sys.argv[1:] else ()), folder)
    except subprocess.CalledProcessError as error:  # it has said why
        raise SystemExit(error.returncode) from None
