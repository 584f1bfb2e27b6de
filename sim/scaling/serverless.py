"""How managed platforms scale containers: RunPod, Modal, Baseten."""

from __future__ import annotations

from math import ceil
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from sim.clock import Clock
from sim.scaling.scaler import FromFloor, ScalerAtWork, kept
from sim.scaling.windows import EPSILON_S, Extreme, RequestsInWindow, whole_replicas
from sim.views import FleetView


class RunpodQueueDelay(FromFloor):
    """One more worker whenever a request has waited too long; a worker leaves after its idle timeout.

    RunPod, Serverless docs, "Queue delay". They do not say how many workers follow one late request: here one, and the
    next no earlier than `queue_delay_s` after it. How many requests a worker takes at once is
    `queue.max_requests_per_replica`; the rest wait in the fleet's queue. FlashBoot is a cold start (conf/cold_start),
    not a rule.
    """

    kind: Literal["runpod_queue_delay"] = "runpod_queue_delay"
    tick_s: float = Field(gt=0, description="seconds between two looks at the queue")
    queue_delay_s: float = Field(ge=0, description="a request that has waited longer brings a worker")
    idle_timeout_s: float = Field(ge=0, description="idle seconds after which a worker above the active ones leaves")

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
    """ceil(requests queued or running / requests per worker), always.

    RunPod, Serverless docs, "Request count". There is no idle timeout: a worker too many leaves when it has finished.
    """

    kind: Literal["runpod_request_count"] = "runpod_request_count"
    asks_on_arrival: ClassVar[bool] = True
    idle_timeout_s: ClassVar[None] = None
    calls_off_starting: ClassVar[bool] = True  # a worker that serves nobody yet goes before one that does
    tick_s: float = Field(gt=0, description="seconds between two looks when nothing arrives")
    requests_per_replica: float = Field(gt=0, description="queued and running requests per worker")

    def target_replicas(self, view: FleetView) -> int:
        return self.clamp(ceil(view.n_outstanding / self.requests_per_replica))


class Modal(FromFloor):
    """A container as soon as no input slot is free, a buffer beside the active ones, and a window before they go.

    Modal docs, "Scaling": wanted are ceil(inputs / target_inputs) and `buffer_containers` more while any is there; a
    container leaves after `idle_timeout_s` (scaledown_window) without input. The hard limit, max_inputs, is
    `queue.max_requests_per_replica`. Inputs are taken to fill containers, so use a placement that does.
    """

    kind: Literal["modal"] = "modal"
    asks_on_arrival: ClassVar[bool] = True
    asks_on_idle: ClassVar[bool] = True
    tick_s: ClassVar[None] = None
    idle_timeout_s: float = Field(ge=0, le=1200, description="scaledown_window")
    target_inputs: float = Field(gt=0, description="requests per container it sizes for")
    buffer_containers: int = Field(ge=0, description="idle containers beside the active ones")

    def target_replicas(self, view: FleetView) -> int:
        wanted = ceil(view.n_outstanding / self.target_inputs)
        if wanted:
            wanted += self.buffer_containers
        return self.clamp(max(wanted, kept(view, self.idle_timeout_s, self.max_replicas)))


class Baseten(FromFloor):
    """Mean requests in flight over a window, per target; what is too many leaves after a delay.

    Baseten docs, "Autoscaling": wanted are ceil(mean / (concurrency target * utilization)) every tick; the fleet
    shrinks to the most that was wanted within `scale_down_delay_s`. At zero the first request wakes a replica.
    Their limit of the pace downwards is not modelled.
    """

    kind: Literal["baseten"] = "baseten"
    asks_at_zero: ClassVar[bool] = True
    idle_timeout_s: ClassVar[None] = None
    tick_s: float = Field(gt=0, description="seconds between two decisions")
    window_s: float = Field(ge=10, le=3600, description="autoscaling window")
    concurrency_target: float = Field(gt=0, description="requests per replica")
    target_fraction: float = Field(gt=0, le=1, description="target utilization: of the concurrency target, sized for")
    scale_down_delay_s: float = Field(ge=0, le=3600)

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
