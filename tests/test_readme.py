"""What README.md and the tutorial tell a newcomer to type works: every bash block, in order, in one empty folder."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.typed import play

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
TUTORIAL = ROOT / "docs" / "tutorial.md"
TARGETS = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))


def blocks(language: str, page: Path = README) -> list[str]:
    """The contents of a page's fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[list[str]]:
    """The words of every command line; comments are dropped and continued lines joined.

    A sample log is made shorter than the pages say, and what would change a decision is left out: the whole of one is
    played in tests/unit/test_decide.py.
    """
    lines = re.sub(r"--requests \d+", "--requests 300", re.sub(r"\\\n\s*", " ", text)).splitlines()
    lines = [re.sub(r"( decide \S+)", r"\1 --quick", line) for line in lines]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def test_there_is_something_to_type():
    assert any(commands(block) for block in blocks("bash"))


def bare(words: list[str]) -> list[str]:
    """A command line without the name of the program and the folder of its files: the two pages differ in these."""
    return [word.replace("outputs/", "") for word in words if word not in ("llm-traffic-sim", "python", "-m", "sim")]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", [README, TUTORIAL], ids=lambda page: page.stem)
def test_every_command_works(page, tmp_path):
    (tmp_path / "outputs").mkdir()  # a checkout has it
    typed = [words for block in blocks("bash", page) for words in commands(block)]
    targets = {words[1] for words in typed if words[0] == "make"}  # what they do, other tests check
    assert targets <= TARGETS, f"the Makefile has no target {targets - TARGETS}"
    if page is TUTORIAL:  # README.md has the same decision, and the same fit to a server: they take longest.
        of_readme = [bare(words) for block in blocks("bash") for words in commands(block)]
        again = [words for words in typed if {"calibrate", "gpu=my_h100"} & set(words) and bare(words) in of_readme]
        assert len(again) == 2
        typed = [words for words in typed if "decide" not in words and words not in again]
    play([words for words in typed if words[0] != "make"], tmp_path, ROOT)


@pytest.mark.slow
def test_every_python_example_works(tmp_path):
    play([["python", "-c", text] for text in blocks("python")], tmp_path, ROOT)


def test_every_link_leads_somewhere():
    linked = re.findall(r"\]\((?!https?:|#)([^)]+)\)", README.read_text(encoding="utf-8"))
    missing = [link for link in linked if not (ROOT / link.split("#")[0]).exists()]
    assert not missing
