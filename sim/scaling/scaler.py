"""How many replicas a fleet should have: policies that look at the fleet and name a number."""

from __future__ import annotations

from math import ceil
from typing import ClassVar, Literal, Protocol

import numpy as np
from pydantic import Field, model_validator

from sim.clock import Clock
from sim.policy import Policy
from sim.views import FleetView


class ScalerAtWork(Protocol):
    """A scaler at work in one run, with whatever it remembers of it."""

    def target_replicas(self, view: FleetView) -> int:
        """Replicas to have, ready and starting together; within the scaler's [min_replicas, max_replicas]."""


class Scaler(Policy):
    """Names the number of replicas a fleet should have.

    Every kind states as fields, properties or class attributes `min_replicas` and `max_replicas`, the bounds of its
    answer; `initial_replicas`, ready and warm when the run begins; `tick_s`, the fleet asks every so many seconds, or
    None; `idle_timeout_s`, the fleet asks exactly this long after a replica fell idle, or None.

    The contract of every kind (tests/contracts/test_scaling.py):

    1. 0 <= min_replicas <= initial_replicas <= max_replicas, and every answer is an int from min to max_replicas.
    2. A view is only read. Answers depend on the views shown since `start` and on nothing else.
    3. The answer is the number to have in all: the fleet compares it with `view.n_ready + view.n_starting`. Asked again
       at the same moment until nothing changes, a rule orders no more replicas while they start than if all were ready
       at once.
    4. The first answer of a run does not fall if the load of the fleet shown grows.
    5. A rule whose bounds differ is asked when work arrives (`asks_on_arrival` or `tick_s`), and when it may give up
       replicas (`asks_on_idle`, `tick_s` or `idle_timeout_s`).
    6. A load of a million waiting requests that lasts `settles_within_s` gets `max_replicas`, and nothing is given up
       meanwhile. A fleet without a load is back at `min_replicas` within `settles_within_s`.
    """

    asks_on_arrival: ClassVar[bool] = False  # the fleet asks at every request it takes in
    asks_on_idle: ClassVar[bool] = False  # the fleet asks at the moment a replica falls idle
    asks_at_zero: ClassVar[bool] = False  # the fleet asks at a request that finds no replica, ready or starting
    counts_tokens: ClassVar[bool] = False  # the fleet adds up the tokens of its requests
    calls_off_starting: ClassVar[bool] = False  # of too many replicas, those still starting go first
    settles_within_s: ClassVar[float] = 3600.0  # seconds of one and the same load after which the answer is final

    def start(self, clock: Clock, rng: np.random.Generator) -> ScalerAtWork:
        """See `Policy.start`."""
        return self

    def target_replicas(self, view: FleetView) -> int:
        """See `ScalerAtWork`."""
        raise NotImplementedError

    def clamp(self, n_replicas: float) -> int:
        """The nearest allowed number."""
        return max(self.min_replicas, min(int(n_replicas), self.max_replicas))


class NoReplicas(Scaler):
    """No fleet at all: everything goes to an API."""

    kind: Literal["none"] = "none"
    min_replicas: ClassVar[int] = 0
    max_replicas: ClassVar[int] = 0
    initial_replicas: ClassVar[int] = 0
    tick_s: ClassVar[None] = None
    idle_timeout_s: ClassVar[None] = None

    def target_replicas(self, view: FleetView) -> int:
        return 0


class AlwaysOn(Scaler):
    """A fixed number of replicas, whatever the load."""

    kind: Literal["always_on"] = "always_on"
    n_replicas: int = Field(ge=1, description="replicas kept from the first second to the last")
    tick_s: ClassVar[None] = None
    idle_timeout_s: ClassVar[None] = None

    @property
    def min_replicas(self) -> int:
        return self.n_replicas

    @property
    def max_replicas(self) -> int:
        return self.n_replicas

    @property
    def initial_replicas(self) -> int:
        return self.n_replicas

    def target_replicas(self, view: FleetView) -> int:
        return self.n_replicas


class Bounded(Scaler):
    """Between a floor of replicas and a ceiling."""

    min_replicas: int = Field(ge=0, description="replicas that never leave")
    max_replicas: int = Field(ge=1, description="replicas at most")

    @model_validator(mode="after")
    def _the_ceiling_is_above_the_floor(self) -> Bounded:
        if self.max_replicas < self.min_replicas:
            raise ValueError(f"max_replicas = {self.max_replicas} must be >= min_replicas = {self.min_replicas}")
        return self


class FromFloor(Bounded):
    """Bounded, and the floor is warm when the run begins."""

    @property
    def initial_replicas(self) -> int:
        return self.min_replicas


class OnDemand(Scaler):
    """One replica per so many requests in the fleet; a replica leaves after it has been idle long enough, the last too.

    A replica that has been idle for less than `idle_timeout_s` is never given up. Requests spread thinly over many
    replicas keep all of them; a placement that fills one replica before the next lets the others go.
    """

    asks_on_arrival: ClassVar[bool] = True
    asks_on_idle: ClassVar[bool] = True
    min_replicas: ClassVar[int] = 0
    initial_replicas: ClassVar[int] = 0
    tick_s: ClassVar[None] = None

    max_replicas: int = Field(ge=1, description="replicas at most")
    target_requests_per_replica: float = Field(gt=0, description="requests, waiting or running, wanted per replica")
    buffer_replicas: int = Field(0, ge=0, description="more than that, for who comes next, while any request is there")

    def target_replicas(self, view: FleetView) -> int:
        wanted = ceil(view.n_outstanding / self.target_requests_per_replica)
        if wanted:
            wanted += self.buffer_replicas
        return max(kept(view, self.idle_timeout_s, self.max_replicas), min(wanted, self.max_replicas))


class ScaleToZero(OnDemand):
    """On demand, with a fixed idle timeout."""

    kind: Literal["scale_to_zero"] = "scale_to_zero"
    idle_timeout_s: float = Field(ge=0, description="seconds without any request after which a replica leaves")


class QueueScaleOut(FromFloor):
    """A warm floor that grows with the queue or with the requests in the fleet, looked at every `tick_s` seconds.

    Scale-out: ceil(waiting / queue_per_replica) or ceil(outstanding / requests_per_replica), the larger of those given.
    This is the rule of the Kubernetes HPA for a total shared by the replicas, ceil(replicas * ratio to target), with
    starting replicas counted. Scale-in: a replica leaves after `idle_timeout_s` idle. Where load is spread evenly no
    replica ever is; with `scale_in_requests_per_replica` a replica is also drained, one per question and none while
    others start, when the remaining ones would have at most that many requests each.
    """

    kind: Literal["queue_scale_out"] = "queue_scale_out"
    min_replicas: int = Field(ge=1, description="the warm floor: replicas that never leave")
    tick_s: float = Field(gt=0, description="seconds between two looks at the load")
    idle_timeout_s: float = Field(ge=0, description="idle seconds after which a replica above the floor leaves")
    queue_per_replica: float | None = Field(None, gt=0, description="requests that have not begun, per replica")
    requests_per_replica: float | None = Field(None, gt=0, description="requests, waiting or running, per replica")
    buffer_replicas: int = Field(0, ge=0, description="more than the load asks for, while any request is there")
    scale_in_requests_per_replica: float | None = Field(
        None, ge=0, description="drain a replica when the others would then have at most this many requests each"
    )

    @model_validator(mode="after")
    def _consistent(self) -> QueueScaleOut:
        if self.queue_per_replica is None and self.requests_per_replica is None:
            raise ValueError("needs queue_per_replica or requests_per_replica, or it would never scale out")
        inward, outward = self.scale_in_requests_per_replica, self.requests_per_replica
        if inward is not None and outward is not None and inward >= outward:
            raise ValueError(
                f"scale_in_requests_per_replica = {inward} must be < requests_per_replica = {outward}, "
                "or a drained replica is started again at once"
            )
        return self

    def target_replicas(self, view: FleetView) -> int:
        wanted = 0
        if self.queue_per_replica is not None:
            wanted = ceil(view.n_waiting / self.queue_per_replica)
        if self.requests_per_replica is not None:
            wanted = max(wanted, ceil(view.n_outstanding / self.requests_per_replica))
        if view.n_outstanding:
            wanted += self.buffer_replicas
        wanted = max(wanted, self.min_replicas)
        keeps = kept(view, self.idle_timeout_s, self.max_replicas)
        others = view.n_ready + view.n_starting - 1
        spare = self.scale_in_requests_per_replica
        settled = spare is not None and not view.n_starting
        if settled and keeps > others >= wanted and view.n_outstanding <= spare * others:
            keeps = others
        return max(keeps, min(wanted, self.max_replicas))


def kept(view: FleetView, idle_timeout_s: float, max_replicas: int) -> int:
    """Provisioned replicas that have not been idle long enough to leave."""
    stay = view.n_ready + view.n_starting
    if view.n_idle:
        stay -= view.n_idle_longer_than(idle_timeout_s)
    return min(stay, max_replicas)
