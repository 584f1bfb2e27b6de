"""The scalers of managed serverless platforms: RunPod, Modal, Baseten."""

from __future__ import annotations

from math import ceil
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from sim.clock import Clock
from sim.knob import Knob
from sim.scaling.scaler import FromFloor, ScalerAtWork, kept
from sim.scaling.windows import EPSILON_S, Extreme, RequestsInWindow, whole_replicas
from sim.views import FleetView


class RunpodQueueDelay(FromFloor):
    """One more worker whenever a request has waited too long; a worker is released after its idle timeout.

    Source: RunPod, Serverless docs, "Queue delay". The docs do not state how many workers a late request adds: here it
    is one, and the next at least `queue_delay_s` later. A worker takes `queue.max_requests_per_replica` requests at a
    time; further ones wait in the fleet's queue. FlashBoot is modelled as a cold start (conf/cold_start).
    """

    kind: Literal["runpod_queue_delay"] = "runpod_queue_delay"
    tick_s: float = Field(gt=0, description="seconds between two decisions")
    queue_delay_s: Annotated[float, Knob(0, 120, 1)] = Field(
        ge=0, description="wait of a request after which a worker is added"
    )
    idle_timeout_s: Annotated[float, Knob(0, 3600, 10)] = Field(
        ge=0, description="idle seconds after which a worker above min_replicas is released"
    )

    def start(self, clock: Clock, rng: np.random.Generator) -> ScalerAtWork:
        return _QueueDelay(self)


class _QueueDelay:
    __slots__ = ("_rule", "_added_s")

    def __init__(self, rule: RunpodQueueDelay):
        self._rule = rule
        self._added_s: float | None = None

    def target_replicas(self, view: FleetView) -> int:
        rule, now_s = self._rule, view.now_s
        target = rule.clamp(kept(view, rule.idle_timeout_s, rule.max_replicas))
        late = view.oldest_wait_s > rule.queue_delay_s + EPSILON_S
        settled = self._added_s is None or now_s - self._added_s >= max(rule.queue_delay_s, rule.tick_s) - EPSILON_S
        if late and settled and target < rule.max_replicas:
            self._added_s = now_s
            return target + 1
        return target


class RunpodRequestCount(FromFloor):
    """ceil(requests queued or running / requests per worker), at every moment.

    Source: RunPod, Serverless docs, "Request count". There is no idle timeout: a worker too many is released when it
    has finished its requests.
    """

    kind: Literal["runpod_request_count"] = "runpod_request_count"
    asks_on_arrival: ClassVar[bool] = True
    idle_timeout_s: ClassVar[None] = None
    calls_off_starting: ClassVar[bool] = True  # a worker without requests is released before one with requests
    tick_s: float = Field(gt=0, description="seconds between two decisions without arrivals")
    requests_per_replica: Annotated[float, Knob(1, 1024, 1)] = Field(
        gt=0, description="queued and running requests per worker"
    )

    def target_replicas(self, view: FleetView) -> int:
        return self.clamp(ceil(view.n_outstanding / self.requests_per_replica))


class Modal(FromFloor):
    """A new container as soon as no input slot is free, a buffer of idle containers, and an idle timeout.

    Source: Modal docs, "Scaling". The number wanted is ceil(inputs / target_inputs), plus `buffer_containers` while
    there are inputs; a container is released after `idle_timeout_s` (scaledown_window) without input. The hard limit,
    max_inputs, is `queue.max_requests_per_replica`. Modal fills containers one after the other, as placement=fill_first
    does.
    """

    kind: Literal["modal"] = "modal"
    asks_on_arrival: ClassVar[bool] = True
    asks_on_idle: ClassVar[bool] = True
    tick_s: ClassVar[None] = None
    idle_timeout_s: Annotated[float, Knob(0, 1200, 10)] = Field(ge=0, le=1200, description="scaledown_window")
    target_inputs: Annotated[float, Knob(1, 1024, 1)] = Field(gt=0, description="requests wanted per container")
    buffer_containers: int = Field(ge=0, description="idle containers wanted besides the active ones")

    def target_replicas(self, view: FleetView) -> int:
        wanted = ceil(view.n_outstanding / self.target_inputs)
        if wanted:
            wanted += self.buffer_containers
        return self.clamp(max(wanted, kept(view, self.idle_timeout_s, self.max_replicas)))


class Baseten(FromFloor):
    """Mean requests in flight over a window / target; the number falls after a delay.

    Source: Baseten docs, "Autoscaling". The number wanted is ceil(mean / (concurrency target * target utilization))
    every tick; the fleet has the largest number wanted within `scale_down_delay_s`. At zero the first request wakes a
    replica. Baseten's limit on the speed of scale-down is not modelled.
    """

    kind: Literal["baseten"] = "baseten"
    asks_at_zero: ClassVar[bool] = True
    idle_timeout_s: ClassVar[None] = None
    tick_s: float = Field(gt=0, description="seconds between two decisions")
    window_s: float = Field(ge=10, le=3600, description="autoscaling window")
    concurrency_target: Annotated[float, Knob(1, 1024, 1)] = Field(gt=0, description="requests per replica")
    target_fraction: float = Field(gt=0, le=1, description="target utilization: fraction of the concurrency target")
    scale_down_delay_s: Annotated[float, Knob(0, 3600, 10)] = Field(
        ge=0, le=3600, description="seconds before the number of replicas falls"
    )

    def start(self, clock: Clock, rng: np.random.Generator) -> ScalerAtWork:
        return _Baseten(self)


class _Baseten:
    __slots__ = ("_rule", "_window", "_recent")

    def __init__(self, rule: Baseten):
        self._rule = rule
        self._window = RequestsInWindow(rule.window_s)
        self._recent = Extreme(rule.scale_down_delay_s)
        self._recent.say(0.0, rule.initial_replicas)

    def target_replicas(self, view: FleetView) -> int:
        rule = self._rule
        wanted = whole_replicas(self._window.look(view) / (rule.concurrency_target * rule.target_fraction))
        if not view.n_ready + view.n_starting and view.n_outstanding:
            wanted = max(wanted, 1)
        return rule.clamp(self._recent.say(view.now_s, wanted))
