"""How long a replica takes from request to first token: the stages of a cold start."""

from __future__ import annotations

from math import exp
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from sim.records import ReplicaState
from sim.schema import Node
from sim.units import GB

STAGES = (ReplicaState.ALLOCATION, ReplicaState.IMAGE, ReplicaState.WEIGHTS, ReplicaState.ENGINE_START)

StorageTier = Literal["host_ram", "page_cache", "nvme", "block_storage", "network", "snapshot"]


class ColdStart(Node):
    """The stages of a cold start: allocation, image, weights, engine start; one after the other.

    Each is lognormal about its median m with log-standard-deviation sigma = `spread_sigma`, independently: mean
    m * exp(sigma^2 / 2). The weights' median is their bytes over the bandwidth of the tier they are read from; without
    a bandwidth they are in place already (a restored snapshot).
    """

    allocation_s: float = Field(ge=0, description="median seconds until a GPU and its node are there")
    image_s: float = Field(ge=0, description="median seconds to pull the container image; 0 when cached")
    storage_tier: StorageTier = Field(description="where the weights are read from: names what the bandwidth is of")
    bandwidth_gb_per_s: float | None = Field(
        gt=0, description="median GB of weights read per second by one replica; null: no read"
    )
    engine_start_s: float = Field(ge=0, description="median seconds from weights in memory to accepting requests")
    spread_sigma: float = Field(ge=0, le=3, description="log-standard-deviation of every stage; 0 = deterministic")

    @model_validator(mode="after")
    def _bandwidth_unless_restored(self) -> ColdStart:
        if self.bandwidth_gb_per_s is None and self.storage_tier != "snapshot":
            raise ValueError(f"storage_tier = {self.storage_tier} needs bandwidth_gb_per_s: only a snapshot has none")
        return self

    def draw(self, rng: np.random.Generator, weight_bytes: float) -> tuple[tuple[ReplicaState, float], ...]:
        """The stages of one cold start in order, each with its seconds. Always takes four normals from `rng`."""
        sigma = self.spread_sigma
        luck = rng.standard_normal(len(STAGES)).tolist()
        medians = self.stage_medians_s(weight_bytes)
        return tuple((stage, m * exp(sigma * z)) for stage, m, z in zip(STAGES, medians, luck, strict=True))

    def stage_medians_s(self, weight_bytes: float) -> tuple[float, float, float, float]:
        """Median seconds of each of STAGES."""
        bandwidth = self.bandwidth_gb_per_s
        weights_s = 0.0 if bandwidth is None else weight_bytes / (bandwidth * GB)
        return self.allocation_s, self.image_s, weights_s, self.engine_start_s

    def median_s(self, weight_bytes: float) -> float:
        """Sum of the stage medians: a cold start in which no stage is lucky or unlucky."""
        return sum(self.stage_medians_s(weight_bytes))

    def mean_s(self, weight_bytes: float) -> float:
        """Expected seconds from request to ready."""
        return self.median_s(weight_bytes) * exp(self.spread_sigma**2 / 2)
