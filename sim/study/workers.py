"""Plays the scenarios of a sweep on this machine: in worker processes, or in this process where that is sooner done."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path
from pickle import PicklingError
from typing import Any

from sim.schema import ConfigError
from sim.study.job import run_in_sweep
from sim.study.planned import Planned

ALL_CORES = -1
_TINY_CPU_S = 4.0
"""Two workers take about two seconds each until they have loaded the simulator: work of less is done sooner here."""


class Workers:
    """Plays scenarios in `n_jobs` processes, longest first; `ALL_CORES`: one per core, or none if all work is tiny."""

    def __init__(self, n_jobs: int = ALL_CORES):
        """Raises ConfigError for 0 processes, or fewer than `ALL_CORES`."""
        if n_jobs == 0 or n_jobs < ALL_CORES:
            raise ConfigError(f"n_jobs = {n_jobs}: must be at least 1, or {ALL_CORES} for one per core")
        self._n_jobs = n_jobs
        self._here: bool | None = None if n_jobs == ALL_CORES else n_jobs == 1

    @property
    def n_at_once(self) -> int:
        """Scenarios that are played at the same time."""
        return (os.cpu_count() or 1) if self._n_jobs == ALL_CORES else max(self._n_jobs, 1)

    def __call__(self, some: list[Planned], folder: Path) -> None:
        """Play them; each leaves its row in the folder of the study. Raises what joblib raises if a worker dies."""
        if self._here is None:  # Decided once: what a dead worker has left is not tried in the process of the sweep.
            self._here = sum(_cpu_s(p) for p in some) < _TINY_CPU_S
        arguments = [(with_folder(p, folder), p.overrides, p.parts, p.code) for p in by_length(some)]
        if not self._here:
            from joblib import Parallel, delayed

            try:
                Parallel(n_jobs=self._n_jobs, backend="loky")(delayed(run_in_sweep)(*each) for each in arguments)
                return
            except PicklingError as error:
                cause = error.__cause__ or error
                print(f"note: played in this process, as an object cannot be sent to another: {cause}", file=sys.stderr)
        for each in arguments:
            run_in_sweep(*each)


def by_length(some: list[Planned]) -> list[Planned]:
    """Scenarios by what playing them takes, the longest first: what is long and begins last is waited for."""
    return sorted(some, key=_cpu_s)[::-1]


def _cpu_s(p: Planned) -> float:
    return math.inf if p.cpu_s is None else p.cpu_s


def with_folder(p: Planned, folder: Path) -> dict[str, Any]:
    """The configuration of a planned scenario that says where its results go."""
    where = {"dir": str(folder.parent), "study": folder.name, "folder": p.place(folder).name}
    return {**p.config, "output": {**p.output, **where}}
