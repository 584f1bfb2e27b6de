"""Plays command lines inside the test process: fast, and the exit code and both streams are there to look at."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

TINY = ["lengths=fixed", "horizon_s=600", "arrivals.rate_per_s=0.1", "engine.max_num_seqs=4", "drain_s=600"]
TINY += ["output.figures=false"]
"""A scenario of about 60 requests, without pictures: they take longer than playing it."""
HERE = ["hydra/launcher=basic", "output.page=false"]
"""A sweep in this very process, without a page: drawing one takes as long as playing a TINY scenario."""


class Said(NamedTuple):
    """What a command line came to."""

    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The one line on standard error."""
        lines = [line for line in self.err.splitlines() if line.strip()]
        assert len(lines) == 1, f"not one line but {len(lines)}:\n{self.err}"
        return lines[0]


def files_below(folder: Path) -> list[str]:
    """Every file and folder below, by name."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*"))
