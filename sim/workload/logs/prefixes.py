"""Texts that prompts begin with, as a column of a log names them: `system-3:100 manual:900`."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sim.work import Segment
from sim.workload.logs.values import Place, empty


class Prefixes:
    """The segments that each prompt begins with; prompts that begin with the same text share one tuple of them."""

    def __init__(self):
        self._parsed: dict[str, tuple[Segment, ...] | None] = {}
        self._parts: list[np.ndarray] = []
        self.segments = np.empty(0, dtype=object)

    def add(self, values: pd.Series, place: Place, column: str) -> None:
        """Those of some rows. Raises TraceError."""
        texts = values.where(~empty(values), "").astype(str)
        for text in texts.unique():
            self._parsed.setdefault(text, segments(text))
        bad = texts.map(lambda text: self._parsed[text] is None).to_numpy(bool)
        place.refuse(column, values, bad, "is not a list of name:tokens with whole tokens >= 1")
        part = np.empty(len(texts), dtype=object)
        part[:] = [self._parsed[text] for text in texts]
        self._parts.append(part)

    def take(self, kept: np.ndarray) -> None:
        """Keep only the rows with these indices, int64[n], in this order."""
        self.segments = self.whole()[kept]

    def whole(self) -> np.ndarray:
        """The segments of every row, object[n]: a tuple of Segments each."""
        if self._parts:
            self.segments, self._parts = np.concatenate(self._parts), []
        return self.segments


def segments(text: str) -> tuple[Segment, ...] | None:
    """The segments that a prefix names; None if it cannot be read.

    >>> segments("system:100 manual:900")
    (('system', 100), ('system:100 manual', 900))
    """
    found, path = [], ""
    for part in text.split():
        name, _, tokens = part.rpartition(":")
        if not name or not (tokens.isascii() and tokens.isdigit()) or int(tokens) == 0:
            return None
        found.append((path + name, int(tokens)))
        path += part + " "
    return tuple(found)
