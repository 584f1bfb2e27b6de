"""LogReader: how the documents of a file become rows, one call each."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

from sim.schema import Choice

Documents = Iterator[tuple[int, dict[str, Any]]]
"""JSON objects, each with the line (or, within one array, the number of the entry) where it stands."""


class LogReader(Choice):
    """Unfolds JSON objects into rows. What the rows' keys mean, the preset that names the reader says.

    `rows` is lazy where it can be, keeps the numbers of lines, passes over documents that hold no call, and leaves
    values as the file has them: what is no number is refused later, with its line.

    >>> from typing import Literal
    >>> import sim
    >>> class Nested(sim.LogReader):
    ...     kind: Literal["nested"] = "nested"
    ...     def rows(self, documents):
    ...         for line, document in documents:
    ...             yield from ((line, call) for call in document["calls"])
    >>> list(Nested().rows(iter([(1, {"calls": [{"tokens": 7}, {"tokens": 9}]})])))
    [(1, {'tokens': 7}), (1, {'tokens': 9})]
    """

    default_kind: ClassVar[str | None] = "table"

    @abstractmethod
    def rows(self, documents: Documents) -> Documents:
        """The calls within the documents, as rows."""


class TableReader(LogReader):
    """Documents are rows already."""

    kind: Literal["table"] = "table"

    def rows(self, documents: Documents) -> Documents:
        """The documents as they are."""
        return documents
