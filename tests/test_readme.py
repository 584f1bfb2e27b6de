"""What README.md tells a newcomer to type works: every bash block is played, in order, in one empty folder."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PROGRAMS = ("python", "python3", "llm-traffic-sim")
TARGETS = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))


def blocks(language: str) -> list[str]:
    """The contents of the fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", README.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[list[str]]:
    """The words of every command line; comments are dropped and continued lines joined."""
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def play(words: list[str], folder: Path) -> subprocess.CompletedProcess:
    words = [sys.executable if word in ("python", "python3") else word for word in words]
    words = [sys.executable, "-m", "sim", *words[1:]] if words[0] == "llm-traffic-sim" else words
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        words, cwd=folder, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, timeout=300
    )


def test_there_is_something_to_type():
    assert any(commands(block) for block in blocks("bash"))


@pytest.mark.slow
def test_every_command_works(tmp_path):
    (tmp_path / "outputs").mkdir()  # a checkout has it
    for words in (words for block in blocks("bash") for words in commands(block)):
        if words[0] == "make":  # what the targets do, the tests of the command line check
            assert words[1] in TARGETS, f"{' '.join(words)}: the Makefile has no such target"
            continue
        assert words[0] in ("python", "python3", "llm-traffic-sim"), (
            f"{' '.join(words)}: not a command this test knows how to play"
        )
        done = play(words, tmp_path)
        assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}"


@pytest.mark.slow
def test_every_python_example_works(tmp_path):
    for text in blocks("python"):
        opening = re.match(r"# sim/([\w/]+)\.py\n", text)
        if opening:  # a class to add to a module: play it as if it stood there
            module = f"sim.{opening[1].replace('/', '.')}"
            text = f"import {module} as home\nexec({text!r}, vars(home))\n"
        done = play(["python", "-c", text], tmp_path)
        assert done.returncode == 0, f"{text}\n{done.stderr}"


def test_every_link_leads_somewhere():
    linked = re.findall(r"\]\((?!https?:|#)([^)]+)\)", README.read_text(encoding="utf-8"))
    missing = [link for link in linked if not (ROOT / link.split("#")[0]).exists()]
    assert not missing
