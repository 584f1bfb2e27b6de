"""Dotted paths into nested rows, and names of columns that mean the same."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable
from typing import Any


def dig(row: Any, path: str) -> Any:
    """What stands at a dotted path in nested dicts; keys may have dots themselves. None if there is nothing.

    >>> dig({"usage": {"a.b": 3}}, "usage.a.b"), dig({"usage": None}, "usage.a.b")
    (3, None)
    """
    if isinstance(row, str) and row[:1] == "{":
        row = _parsed(row)
    if isinstance(row, list) and row and isinstance(row[0], tuple):  # a map column of Parquet
        row = dict(row)
    if not isinstance(row, dict):
        return None
    if path in row:
        return row[path]
    dot = path.find(".")
    while dot > 0:
        if path[:dot] in row:
            found = dig(row[path[:dot]], path[dot + 1 :])
            if found is not None:
                return found
        dot = path.find(".", dot + 1)
    return None


def heads_of(path: str) -> list[str]:
    """The keys of a row at one of which `dig` begins.

    >>> heads_of("usage.a.b")
    ['usage', 'usage.a', 'usage.a.b']
    """
    words = path.split(".")
    return [".".join(words[: i + 1]) for i in range(len(words))]


def _parsed(text: str) -> Any:
    """A cell that holds JSON. One export doubles its quotes twice, so that one pair is left (Helicone's CSV)."""
    for attempt in (text, text.replace('""', '"')):
        try:
            return json.loads(attempt)
        except ValueError:
            continue
    return None


def normal(name: str) -> str:
    """A name without case and punctuation.

    >>> [normal(name) for name in ("promptTokens", "Prompt tokens", "PROMPT_TOKENS")]
    ['prompt_tokens', 'prompt_tokens', 'prompt_tokens']
    """
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return re.sub(r"[^a-z0-9.]+", "_", words.lower()).strip("_")


def nearest(wanted: Iterable[str], found: Iterable[str]) -> str | None:
    """Which of the found names looks most like one of the wanted; None if none has anything in common with them."""
    best, score = None, 0.4
    for name in found:
        plain = normal(name)
        for other in map(normal, wanted):
            likeness = difflib.SequenceMatcher(None, plain, other).ratio()
            if set(plain.split("_")) & set(other.split("_")):
                likeness += 0.2
            if likeness > score:
                best, score = name, likeness
    return best
