"""The stages of a cold start, from the order of a replica to its readiness, and what shortens them."""

from __future__ import annotations

from math import exp, inf
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from sim.fleet.supply.cold_starts import STAGES, ColdStarts, Stages
from sim.fleet.supply.nodes import Machines, Nodes, StorageTier, kept_for_s
from sim.fleet.supply.sleep import Sleep
from sim.schema import Config
from sim.units import GB


class Snapshot(Config):
    """A checkpoint of a started process, weights included, from which later starts are restored.

    It holds the file system, too: neither image nor weights are fetched. A start is a full one if fewer than
    `after_starts` replicas have become ready in the run when it is ordered; replicas warm from the beginning do not
    count.
    """

    after_starts: int = Field(ge=0, description="full cold starts before a snapshot exists")
    restore_s: float = Field(ge=0, description="median seconds to restore it, once the GPU is granted")


class ColdStart(ColdStarts):
    """The stages of a cold start: allocation, image, weights, engine start; one after the other.

    Each is lognormal about its median m with log-standard-deviation sigma = `spread_sigma`, independently: mean
    m * exp(sigma^2 / 2). The weights' median is their bytes over the bandwidth of the tier they are read from; without
    a bandwidth they are in place already (a restored snapshot).
    """

    kind: Literal["stages"] = "stages"
    allocation_s: float = Field(ge=0, description="median seconds until a GPU and its node are allocated")
    image_s: float = Field(ge=0, description="median seconds to pull the container image; 0 when cached")
    storage_tier: StorageTier = Field(description="what the weights are read from, at bandwidth_gb_per_s")
    bandwidth_gb_per_s: float | None = Field(
        gt=0, description="median GB of weights read per second by one replica; null: no read"
    )
    engine_start_s: float = Field(ge=0, description="median seconds from weights in memory to accepting requests")
    first_request_s: float = Field(
        0.0, ge=0, description="median extra seconds of the first request; part of the engine start: ready is after it"
    )
    spread_sigma: float = Field(ge=0, le=3, description="log-standard-deviation of every stage; 0 = deterministic")
    p_unavailable: float = Field(
        0.0, ge=0, lt=1, description="probability that an attempt to get a GPU is refused; nothing is paid meanwhile"
    )
    retry_s: float = Field(60.0, gt=0, description="seconds from a refusal to the next attempt")
    nodes: Nodes | None = Field(None, description="nodes that keep image, weights and caches; null: no start finds any")
    snapshot: Snapshot | None = Field(None, description="null: none is taken")
    sleep: Sleep | None = Field(None, description="null: excess replicas are released instead of put to sleep")

    @model_validator(mode="after")
    def _bandwidth_unless_restored(self) -> ColdStart:
        if self.bandwidth_gb_per_s is None and self.storage_tier != "snapshot":
            raise ValueError(f"storage_tier = {self.storage_tier} needs bandwidth_gb_per_s: only a snapshot has none")
        return self

    def draw(self, rng: np.random.Generator, weight_bytes: float) -> Stages:
        """The stages of one cold start in order, each with its seconds. Always takes four normals from `rng`."""
        sigma = self.spread_sigma
        luck = rng.standard_normal(len(STAGES)).tolist()
        medians = self.stage_medians_s(weight_bytes)
        return tuple((stage, m * exp(sigma * z)) for stage, m, z in zip(STAGES, medians, luck, strict=True))

    def stage_medians_s(self, weight_bytes: float) -> tuple[float, float, float, float]:
        """Median seconds of each of STAGES."""
        bandwidth = self.bandwidth_gb_per_s
        weights_s = 0.0 if bandwidth is None else weight_bytes / (bandwidth * GB)
        return self.allocation_s, self.image_s, weights_s, self.engine_start_s + self.first_request_s

    def median_s(self, weight_bytes: float) -> float:
        """Sum of the stage medians: a cold start in which no stage is lucky or unlucky."""
        return sum(self.stage_medians_s(weight_bytes))

    def mean_s(self, weight_bytes: float) -> float:
        """Expected seconds from the GPU's being granted to ready."""
        return self.median_s(weight_bytes) * exp(self.spread_sigma**2 / 2)

    @property
    def mean_refused_s(self) -> float:
        """Expected seconds until an attempt is not refused: the number of refusals is geometric."""
        return self.retry_s * self.p_unavailable / (1 - self.p_unavailable)

    def refused_s(self, rng: np.random.Generator) -> float:
        return self.retry_s * int(rng.geometric(1 - self.p_unavailable) - 1) if self.p_unavailable else 0.0

    def machines(self, rng: np.random.Generator) -> Machines | None:
        return None if self.nodes is None else Machines(self.nodes, rng)

    @property
    def sleep_rule(self) -> Sleep | None:
        return self.sleep

    def draw_wake_s(self, rng: np.random.Generator) -> float:
        assert self.sleep is not None
        return self.sleep.wake_s * exp(self.spread_sigma * float(rng.standard_normal()))

    @property
    def mean_wake_s(self) -> float:
        assert self.sleep is not None
        return self.sleep.wake_s * exp(self.spread_sigma**2 / 2)

    def found(self, away_s: float | None, n_started: int) -> ColdStart:
        cold = self.warmed(away_s)
        return cold.restored() if self.snapshot is not None and n_started >= self.snapshot.after_starts else cold

    def warmed(self, away_s: float | None) -> ColdStart:
        """The start on a node whose last replica left `away_s` seconds ago; 0: one is on it; None: none ever was."""
        if self.nodes is None or away_s is None:
            return self
        return self.model_copy(update=self._found_on(self.nodes, away_s))

    def _found_on(self, nodes: Nodes, away_s: float) -> dict[str, Any]:
        """The fields that shorten a start on a node whose last replica left `away_s` seconds ago."""
        if away_s > kept_for_s(nodes.up.keep_s):
            return {}
        found: dict[str, Any] = {"allocation_s": min(self.allocation_s, nodes.up.found_s)}
        for field, kept in (("image_s", nodes.image), ("engine_start_s", nodes.compile_cache)):
            if away_s <= kept_for_s(kept.keep_s):
                found[field] = min(getattr(self, field), kept.found_s)
        copies = [copy for copy in nodes.weights if away_s <= kept_for_s(copy.keep_s)]
        fastest = max(copies, key=lambda copy: copy.bandwidth_gb_per_s, default=None)
        if fastest is not None and fastest.bandwidth_gb_per_s > (self.bandwidth_gb_per_s or inf):
            found |= dict(storage_tier=fastest.storage_tier, bandwidth_gb_per_s=fastest.bandwidth_gb_per_s)
        return found

    def restored(self) -> ColdStart:
        """The start from the snapshot."""
        assert self.snapshot is not None
        parts = dict(image_s=0.0, storage_tier="snapshot", bandwidth_gb_per_s=None, first_request_s=0.0)
        return self.model_copy(update=parts | dict(engine_start_s=self.snapshot.restore_s))
