"""Text from files and words as a terminal can show it: no character that moves a cursor, colours or reorders."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""The text with control characters, invisible ones and half characters spelled out; line ends stay.

    >>> printable("a\x1b[31mb\nc") == "a\\x1b[31mb\nc"
    True
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode("ascii") for c in text)
