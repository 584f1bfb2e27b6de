"""How wide the screen is, and lines that fit it: a terminal's width, that of COLUMNS in a pipe, or PIPED_WIDTH."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Iterable, Iterator

from rich.console import Console

from sim.printable import printable

PIPED_WIDTH = 140
_NARROWEST = 40


def width() -> int:
    """Columns of the terminal; where standard output is none, what COLUMNS says, or else PIPED_WIDTH."""
    if sys.stdout.isatty():
        return Console().width
    told = os.environ.get("COLUMNS", "")
    return max(int(told), _NARROWEST) if told.isdecimal() and int(told) else PIPED_WIDTH


def console() -> Console:
    """A console as wide as the screen."""
    return Console(width=width())


def wrapped(text: str, columns: int, break_words: bool = False) -> Iterator[str]:
    """The lines of a text broken between words at `columns`, those after the first indented.

    A word that is longer stands whole on a line of its own, unless words may be broken.
    """
    for line in text.split("\n"):
        indent = " " * (len(line) - len(line.lstrip())) + "  "
        yield from textwrap.wrap(
            line, columns, subsequent_indent=indent, break_on_hyphens=False, break_long_words=break_words
        ) or [""]  # fmt: skip


def print_lines(lines: Iterable[str]) -> None:
    """Print texts that may come from files, broken between words at the width of the screen."""
    for line in lines:
        print("\n".join(wrapped(printable(line), width())))
