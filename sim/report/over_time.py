"""What a run did over a stretch of time, as curves: arrivals, replicas by state, and waiting requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from sim.records import Backend
from sim.report.counting import mean_in_bins, peak_in_bins
from sim.report.style import STATES, State
from sim.units import DAY_S, HOUR_S, MINUTE_S

Columns = Mapping[str, np.ndarray]
_UNITS = ((DAY_S, "days"), (HOUR_S, "hours"), (MINUTE_S, "minutes"), (1.0, "s"))


class Stretch(NamedTuple):
    """Bins of time: their edges in s of simulated time, float64[bins + 1], and the same in `unit` from the start."""

    edges_s: np.ndarray
    edges: np.ndarray
    unit: str

    @classmethod
    def between(cls, start_s: float, end_s: float, bins: int) -> Stretch:
        """Equal bins."""
        unit_s, unit = next((s, name) for s, name in _UNITS if end_s - start_s >= 2.5 * s or s == 1.0)
        edges_s = np.linspace(start_s, end_s, bins + 1)
        return cls(edges_s, (edges_s - start_s) / unit_s, unit)


def arrivals(requests: Columns, stretch: Stretch) -> tuple[np.ndarray, np.ndarray]:
    """Requests per second in each bin, all and those sent to the API; float64[bins] each."""
    arrived_s, api = requests["arrived_s"], requests["backend"] == Backend.API
    lengths_s = np.diff(stretch.edges_s)
    counts = (np.histogram(moments_s, stretch.edges_s)[0] for moments_s in (arrived_s, arrived_s[api]))
    every, to_api = (count / lengths_s for count in counts)
    return every, to_api


def replicas(spans: Columns, stretch: Stretch) -> list[tuple[State, np.ndarray]]:
    """The mean number of replicas in each state that occurs, exact, by bin; float64[bins] each."""
    found = []
    for state in STATES:
        rows = np.isin(spans["state"], state.states)
        values = np.maximum(mean_in_bins(spans["start_s"][rows], spans["end_s"][rows], stretch.edges_s), 0.0)
        if values.any():
            found.append((state, values))
    return found


def waits(requests: Columns, end_s: float) -> tuple[np.ndarray, np.ndarray]:
    """When each request of the fleet came, and when it was admitted or left; float64[n] each, in s."""
    fleet = requests["backend"] == Backend.FLEET
    left_s = np.where(np.isnan(requests["admitted_s"]), requests["finished_s"], requests["admitted_s"])[fleet]
    left_s = np.nan_to_num(left_s, nan=end_s)
    return np.minimum(requests["arrived_s"][fleet], left_s), left_s


def queue(requests: Columns, stretch: Stretch, end_s: float) -> tuple[np.ndarray, np.ndarray]:
    """How many requests waited for a replica in each bin, on average (exact) and at most; float64[bins] each.

    `end_s`: the run's end, until which requests waited that were neither admitted nor gone.
    """
    came_s, left_s = waits(requests, end_s)
    mean = np.maximum(mean_in_bins(came_s, left_s, stretch.edges_s), 0.0)
    return mean, peak_in_bins(came_s, left_s, stretch.edges_s).astype(float)
