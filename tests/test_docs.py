"""What docs/ says works: how-to pages in a scratch copy, the tutorial in an empty folder; links lead somewhere."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from docs import build

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
HOW_TO = sorted(DOCS.glob("how-to/*.md"))
FENCE = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```', re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fenced block of a page: its language, the file it belongs in ("" for none) and its text."""

    language: str
    file: str
    text: str


def blocks(page: Path) -> list[Block]:
    return [Block(*found) for found in FENCE.findall(page.read_text(encoding="utf-8"))]


def run(words: list[str], folder: Path, code: Path) -> str:
    """Run a command line of a page in a folder with the package at `code`; its output. It must succeed."""
    if words[0] == "llm-traffic-sim":
        words = [sys.executable, "-m", "sim", *words[1:]]
    elif words[0] == "python":
        words = [sys.executable, *words[1:]]
    environment = os.environ | {"PYTHONPATH": str(code), "SIM_INTERPRETED": "1"}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def commands(page: Path) -> list[list[str]]:
    lines = "\n".join(block.text for block in blocks(page) if block.language == "bash").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", HOW_TO, ids=lambda page: page.stem)
def test_what_a_how_to_adds_works_and_keeps_the_contracts(page, tmp_path):
    for name in ("sim", "conf", "tests", "hydra_plugins"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "extensions"))
    for name in ("pyproject.toml", "Makefile", "requirements.lock", "README.md"):
        shutil.copy(ROOT / name, tmp_path)
    before = {block.file for block in blocks(page) if block.file and (tmp_path / block.file).exists()}
    assert not before, f"{before}: a how-to adds files and changes none"
    files = [block for block in blocks(page) if block.file]
    for block in files:
        (tmp_path / block.file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / block.file).write_text(block.text)
    assert commands(page), "a how-to shows how to use what it adds"
    for words in commands(page):
        run(words, tmp_path, tmp_path)
    tests = [block.file for block in files if block.file.startswith("tests/")]
    assert tests, "a how-to shows a test"
    run(["python", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests], tmp_path, tmp_path)
    kinds = [found[1] for block in files if (found := re.search(r"^kind: (\w+)", block.text, re.MULTILINE))]
    if kinds and any(block.file.startswith("sim/") for block in files):
        quick = ["python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow", "tests/contracts"]
        run([*quick, "tests/test_house.py", "-k", f"{kinds[0]} or kind"], tmp_path, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_tutorial_can_be_typed(tmp_path):
    for words in commands(DOCS / "tutorial.md"):
        run(words, tmp_path, ROOT)


@pytest.mark.parametrize("page", HOW_TO, ids=lambda page: page.stem)
def test_a_how_to_fits_a_screen_besides_its_files(page):
    prose = FENCE.sub("", page.read_text(encoding="utf-8")).strip()
    assert len(prose) < 1500


@pytest.mark.parametrize("name", build.PAGE_OF)
def test_the_reference_is_what_the_code_says(name):
    written = (build.PAGES / name).read_text(encoding="utf-8")
    assert written == build.PAGE_OF[name](), "the code has changed: make docs"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_every_link_leads_somewhere(page):
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for link in re.findall(r"\]\((?!https?:)([^)]+)\)", text):
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), link
        headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE) if anchor else []
        assert not anchor or anchor in {re.sub(r"[^\w]+", "-", h.lower()).strip("-") for h in headings}, link


@pytest.mark.slow
def test_the_site_builds_and_asks_no_other_host_for_anything(tmp_path):
    run(["python", "-m", "mkdocs", "build", "-q", "--strict", "-d", str(tmp_path / "site")], ROOT, ROOT)
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) >= len(PAGES)
    for page in pages:
        loaded = re.findall(r'<(?:script|img|iframe|source)[^>]+src="(https?:[^"]+)"', page.read_text(encoding="utf-8"))
        loaded += re.findall(
            r'<link[^>]+rel="(?:stylesheet|preconnect|icon)"[^>]+href="(https?:[^"]+)"', page.read_text()
        )
        assert not loaded, f"{page.name} loads {loaded}"
