"""A cold start that was measured as a whole."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from sim.fleet.supply.cold_starts import ColdStarts, Stages
from sim.records import ReplicaState


class MeasuredStart(ColdStarts):
    """Exponential seconds in all, whatever the model."""

    kind: Literal["measured"] = "measured"
    start_s: float = Field(gt=0, description="mean")

    def draw(self, rng: np.random.Generator, weight_bytes: float) -> Stages:
        return ((ReplicaState.ENGINE_START, self.start_s * float(rng.exponential())),)

    def mean_s(self, weight_bytes: float) -> float:
        return self.start_s
