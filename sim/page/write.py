"""Which page a folder of results has, and writing it: whole or not at all, the same bytes for the same results."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from sim.page.model import Page
from sim.page.render import html
from sim.schema import ConfigError
from sim.study.folder import MANIFEST, ROW, SHARD_MANIFESTS, SUMMARY, require_writable, write_text

PAGE = "page.html"
_KINDS = (
    ("decision.json", "decision", "decision.html"), ("agents.json", "agents", "agents.html"),
    ("description.json", "described", "description.html"), (SUMMARY, "run", PAGE), (ROW, "run", PAGE),
    (MANIFEST, "sweep", PAGE), (SHARD_MANIFESTS, "sweep", PAGE), (f"*/{ROW}", "sweep", PAGE),
)  # fmt: skip
"""What a folder holds (a name or a glob), the module of `sim.page` that makes its page, and the file that it gets."""


def page_of(folder: Path, *known: Any) -> Page:
    """What a folder holds, as a page. Raises ConfigError if it holds no results, or damaged ones.

    `known` is what the caller has read of it already, as the page's module takes it.
    """
    return _kind(folder)[0](folder, *known)


def _kind(folder: Path) -> tuple[Callable[..., Page], str]:
    for pattern, module, name in _KINDS:
        if any(folder.glob(pattern)):
            return getattr(import_module(f"sim.page.{module}"), f"{module}_page"), name
    raise ConfigError(f"{folder}: holds no decision, description, run or sweep")


def write_page(folder: Path, *known: Any) -> Path:
    """Write the page of a folder into it: decision.html, description.html, agents.html, or page.html.

    Arguments and errors as of `page_of`.
    """
    make, name = _kind(folder)
    require_writable(folder)
    write_text(folder / name, html(make(folder, *known)))
    return folder / name
