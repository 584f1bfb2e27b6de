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
from tests.typed import play

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
    """Run Python in a folder with the package at `code`; its output. It must succeed."""
    environment = os.environ | {"PYTHONPATH": str(code)}
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def commands(page: Path) -> list[list[str]]:
    text = "\n".join(block.text for block in blocks(page) if block.language == "bash")
    lines = text.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def files(page: Path) -> list[Block]:
    """The files that a page adds."""
    return [block for block in blocks(page) if block.file]


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A copy of the repository to which the files of every how-to page are added; runs alone draw no picture in it."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("sim", "conf", "tests", "hydra_plugins"):
        shutil.copytree(ROOT / name, folder / name)  # with the compiled files, which are as new as their sources
    for name in ("pyproject.toml", "Makefile", "requirements.lock", "README.md"):
        shutil.copy(ROOT / name, folder)
    main_file = folder / "conf/config.yaml"
    main_file.write_text(main_file.read_text().replace("figures: null", "figures: false"))
    for block in (block for page in HOW_TO for block in files(page)):
        (folder / block.file).parent.mkdir(parents=True, exist_ok=True)
        (folder / block.file).write_text(block.text)
    return folder


def test_a_how_to_adds_files_and_changes_none():
    added = [block.file for page in HOW_TO for block in files(page)]
    assert len(added) == len(set(added)), "two pages write one file"
    assert not [file for file in added if (ROOT / file).exists()]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_the_how_tos_add_can_be_typed_passes_its_tests_and_keeps_the_contracts(clone):
    assert all(commands(page) for page in HOW_TO), "a how-to shows how to use what it adds"
    play([words for page in HOW_TO for words in commands(page)], clone, clone)
    own = {page.stem: [block.file for block in files(page) if block.file.startswith("tests/")] for page in HOW_TO}
    assert all(own.values()), "every how-to shows a test"
    quick = ["-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", "not slow"]
    tests = [file for files_of_page in own.values() for file in files_of_page]
    added = [block for page in HOW_TO for block in files(page)]
    kinds = [found[1] for block in added if (found := re.search(r"^kind: (\w+)", block.text, re.MULTILINE))]
    asked_of = " or ".join([*kinds, "kind", *(Path(file).stem for file in tests)])
    asked = run([*quick, "-rp", *tests, "tests/contracts", "tests/test_house.py", "-k", asked_of], clone, clone)
    passed = [line for line in asked.splitlines() if line.startswith("PASSED")]
    assert not [kind for kind in kinds if not any(re.search(rf"\b{kind}\b", line) for line in passed)], "asked nothing"


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
    run(["-m", "mkdocs", "build", "-q", "--strict", "-d", str(tmp_path / "site")], ROOT, ROOT)
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) >= len(PAGES)
    for page in pages:
        loaded = re.findall(r'<(?:script|img|iframe|source)[^>]+src="(https?:[^"]+)"', page.read_text(encoding="utf-8"))
        loaded += re.findall(
            r'<link[^>]+rel="(?:stylesheet|preconnect|icon)"[^>]+href="(https?:[^"]+)"', page.read_text()
        )
        assert not loaded, f"{page.name} loads {loaded}"
