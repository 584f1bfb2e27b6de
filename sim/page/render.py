"""From a page's parts to its one file: the template, the content security policy, and files to download."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from sim._version import __version__
from sim.page.model import Download, Page, Section
from sim.report.style import DARK, LIGHT, PAPER

_HERE = Path(__file__).parent
_VENDOR = _HERE / "vendor" / "uplot"


def html(page: Page) -> str:
    """The whole file. The same page gives the same bytes."""
    zooms = [figure.zoom for section in page.sections for figure in section.figures if figure.zoom is not None]
    styles, scripts = [_colours() + _read(_HERE / "templates" / "page.css")], [_read(_HERE / "templates" / "page.js")]
    if zooms:
        styles.append(_read(_VENDOR / "uPlot.min.css"))
        scripts.insert(0, _read(_VENDOR / "uPlot.iife.min.js"))
    return _environment().get_template("page.html.j2").render(
        page=page, sections=[section for section in page.sections if _says_something(section)], version=__version__,
        policy=_policy(styles, scripts), styles=[Markup(text) for text in styles],
        scripts=[Markup(text) for text in scripts],
    )  # fmt: skip


def _colours() -> str:
    """The shared colours as variables of the style sheet: light, dark, and on paper."""
    sets = (("screen", LIGHT), ("screen and (prefers-color-scheme: dark)", DARK), ("print", PAPER))
    scheme = {"print": "light"}
    return "".join(
        f"@media {media} {{ :root {{ color-scheme: {scheme.get(media, 'light dark')}; "
        + " ".join(f"--{name}: {colour};" for name, colour in colours.items())
        + " } }\n"
        for media, colours in sets
    )


def _says_something(section: Section) -> bool:
    return any(value for name, value in vars(section).items() if name not in ("key", "title", "is_on_paper"))


def _policy(styles: list[str], scripts: list[str]) -> str:
    """Nothing may be loaded from anywhere; the page's own style and script are known by their hashes."""
    return (
        f"default-src 'none'; style-src {' '.join(map(_hash, styles))}; script-src {' '.join(map(_hash, scripts))}; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@cache
def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["as_json"] = _as_json
    environment.filters["short"] = _short
    environment.filters["as_link"] = _as_link
    return environment


def _as_json(value: Any) -> Markup:
    """JSON that can stand in a script element, which a `<` in a name would end."""
    return Markup(json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"))


def _short(value: float) -> str:
    """A number that is sorted by, and saved as CSV: more digits than any figure of a simulation has."""
    return f"{value:.9g}"


def _as_link(download: Download) -> str:
    return f"data:{download.media_type};base64,{base64.b64encode(download.content).decode()}"
