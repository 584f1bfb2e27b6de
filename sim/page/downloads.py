"""Saved files that a page hands out as they are. Rows of a table it saves as CSV by its script."""

from __future__ import annotations

from pathlib import Path

from sim.page.model import Download

_MEDIA = {".json": "application/json", ".csv": "text/csv", ".yaml": "text/plain"}
_MOST_BYTES = 200_000
"""Larger files stay in their folder: a page has to be light."""


def saved_if_small(*paths: Path) -> list[Download]:
    """Those of the files that exist and are small."""
    small = [path for path in paths if path.is_file() and path.stat().st_size <= _MOST_BYTES]
    return [Download(path.name, _MEDIA.get(path.suffix, "text/plain"), path.read_bytes()) for path in small]
