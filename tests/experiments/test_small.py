"""Every experiment answers its question in a small version, by its own command; every README says what was asked."""

import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
QUESTIONS = sorted(path.parent.name for path in ROOT.glob("experiments/*/README.md"))
PROGRAMS = [name for name in QUESTIONS if (ROOT / "experiments" / name / "figures.py").is_file()]


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_has_a_guess_an_answer_a_picture_and_a_config(question):
    text = (ROOT / "experiments" / question / "README.md").read_text()
    assert all(f"**{part}" in text for part in ("Question", "Guess before running", "Answer")), "in this order, in bold"
    assert list((ROOT / "experiments" / question).glob("*.png"))
    assert (ROOT / "conf/experiment" / f"{question}.yaml").is_file()
    command = f"python -m experiments.{question}.figures" if question in PROGRAMS else f"+experiment={question}"
    assert command in text


@pytest.mark.slow
@pytest.mark.parametrize("question", PROGRAMS)
def test_it_answers_in_small(question, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["figures.py", "--small"])
    runpy.run_module(f"experiments.{question}.figures", run_name="__main__")  # what `python -m` does
    assert list((tmp_path / "outputs" / f"{question}_small").glob("*.png"))
