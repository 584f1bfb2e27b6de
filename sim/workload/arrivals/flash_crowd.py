"""Any arrivals with flash crowds: a sudden rise, and a slow decay."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from sim.units import MINUTE_S
from sim.workload.arrivals.time_change import TimeChange

_STEPS, _CHUNK = 20, 1440
_TAIL = 30.0
"""Decay times after which what is left of a crowd (1e-13 of its peak) is taken as nothing."""


class FlashCrowd(TimeChange):
    """Any other arrivals, `peak_factor` times as dense for a while: a product launch, an outage elsewhere, a post.

    From `begins_s` on the factor rises in a straight line for `rise_s`, stays for `hold_s`, and decays exponentially
    with the time constant `decay_s`; again `every_s` later, and so on (null: once). A crowd brings
    rate (peak_factor - 1) (rise_s / 2 + hold_s + decay_s) more tasks. Shape: Bodik et al.,
    Characterizing, modeling, and generating workload spikes for stateful services, 2010.

    `mean_rate_per_s` is that of the long run: with a single crowd, the rate without it. `index_of_dispersion` is stated
    for crowds that come again.
    """

    kind: Literal["flash_crowd"] = "flash_crowd"
    begins_s: float = Field(ge=0, description="when the (first) crowd begins", examples=[3600.0])
    peak_factor: float = Field(ge=1, description="rate at the peak / rate without the crowd", examples=[5.0])
    rise_s: float = Field(0.0, ge=0, description="from the beginning to the peak")
    hold_s: float = Field(0.0, ge=0, description="length of the peak")
    decay_s: float = Field(gt=0, description="time constant of the decay", examples=[600.0])
    every_s: float | None = Field(None, gt=0, description="from one crowd to the next; null: it comes once")

    @model_validator(mode="after")
    def _crowds_are_apart(self) -> FlashCrowd:
        if self.every_s is not None and self.every_s < self.rise_s + self.hold_s + self.decay_s:
            shortest = self.rise_s + self.hold_s + self.decay_s
            raise ValueError(f"every_s = {self.every_s:g} must be >= rise_s + hold_s + decay_s = {shortest:g}")
        return self

    @property
    def mean_rate_per_s(self) -> float:
        return self.process.mean_rate_per_s * (1 + (self._crowd_s / self.every_s if self.every_s else 0.0))

    @property
    def period_s(self) -> float | None:
        return self.every_s

    @property
    def _crowd_s(self) -> float:
        """Operational seconds that a crowd adds."""
        return (self.peak_factor - 1) * (self.rise_s / 2 + self.hold_s + self.decay_s)

    def operational_s(self, t_s: np.ndarray) -> np.ndarray:
        t_s = np.asarray(t_s, dtype=float)
        since_s = t_s - self.begins_s
        if self.every_s is None:
            return t_s + self._added_s(since_s)
        turn = np.maximum(np.floor(since_s / self.every_s), -1.0)
        within_s = since_s - turn * self.every_s
        total = t_s + np.maximum(turn, 0) * self._crowd_s
        for earlier in range(math.ceil((_TAIL * self.decay_s + self.rise_s + self.hold_s) / self.every_s) + 1):
            still = turn >= earlier  # crowds before that one have ended, and are counted whole
            added = self._added_s(within_s + earlier * self.every_s)
            total = total + np.where(still, added - (self._crowd_s if earlier else 0.0), 0.0)
        return total

    def _added_s(self, since_s: np.ndarray) -> np.ndarray:
        """Operational seconds that one crowd has added so long after its beginning."""
        rising = np.clip(since_s, 0, self.rise_s)
        held = np.clip(since_s - self.rise_s, 0, self.hold_s)
        decaying = np.maximum(since_s - self.rise_s - self.hold_s, 0)
        rise = rising**2 / (2 * self.rise_s) if self.rise_s else 0.0
        return (self.peak_factor - 1) * (rise + held - self.decay_s * np.expm1(-decaying / self.decay_s))

    @property
    def _mean_step(self) -> tuple[str, float]:
        quickest_s, key = min((part, key) for key in ("rise_s", "decay_s") if (part := getattr(self, key)) > 0)
        return key, min(quickest_s / _STEPS, MINUTE_S)

    def _edges(self, horizon_s: float) -> Iterator[np.ndarray]:
        """Steps of a twentieth of the quickest change, at most a minute. Crowds begin at edges: a sudden one jumps."""
        _, step_s = self._mean_step
        if self.every_s is not None:
            step_s = self.every_s / math.ceil(self.every_s / step_s)
        begin_s = -(-self.begins_s % step_s)
        while begin_s < horizon_s:
            edges = np.clip(begin_s + np.arange(_CHUNK + 1) * step_s, 0.0, horizon_s)
            yield edges[: np.searchsorted(edges, horizon_s) + 1]
            begin_s = float(edges[-1])
