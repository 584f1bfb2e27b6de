"""Which page a folder of results has, and writing it: whole or not at all, the same bytes for the same results."""

from __future__ import annotations

from pathlib import Path

from sim.page.decision import decision_page
from sim.page.described import described_page
from sim.page.model import Page
from sim.page.render import html
from sim.page.run import run_page
from sim.page.saved.decision import JSON_NAME as DECISION
from sim.page.saved.description import JSON_NAME as DESCRIPTION
from sim.page.sweep import sweep_page
from sim.schema import ConfigError
from sim.study.collect import row_files
from sim.study.folder import SUMMARY, require_writable, write_text

PAGE = "page.html"
_NAMES = {DECISION: "decision.html", DESCRIPTION: "description.html"}


def page_of(folder: Path) -> Page:
    """What a folder holds, as a page. Raises ConfigError if it holds no results, or damaged ones."""
    if (folder / DECISION).is_file():
        return decision_page(folder)
    if (folder / DESCRIPTION).is_file():
        return described_page(folder)
    if (folder / SUMMARY).is_file():
        return run_page(folder)
    if row_files(folder):
        return sweep_page(folder)
    raise ConfigError(f"{folder}: holds no decision, description, run or sweep")


def write_page(folder: Path) -> Path:
    """Write the page of a folder into it: decision.html, description.html, or page.html. Raises ConfigError."""
    name = next((html_name for json_name, html_name in _NAMES.items() if (folder / json_name).is_file()), PAGE)
    require_writable(folder)
    write_text(folder / name, html(page_of(folder)))
    return folder / name
