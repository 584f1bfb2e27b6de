"""The autoscalers of Kubernetes: the HPA, and KEDA, which adds scaling to and from zero."""

from __future__ import annotations

from collections import deque
from math import ceil
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from sim.clock import Clock
from sim.knob import Knob
from sim.scaling.scaler import FromFloor, ScalerAtWork
from sim.scaling.windows import EPSILON_S, Extreme, whole_replicas
from sim.schema import Config
from sim.views import FleetView


class Policy(Config):
    """By how much the number of replicas may change within a period: a number of `pods`, or a `percent`age."""

    type: Literal["pods", "percent"] = Field(description="unit of value")
    value: int = Field(gt=0, description="largest change within the period")
    period_s: float = Field(gt=0, le=1800, description="length of the period")


class Behavior(Config):
    """HPAScalingRules of one direction. Of several policies, the one that allows the largest (`max`) or the smallest
    (`min`) change counts; `disabled` forbids every change."""

    stabilization_s: Annotated[float, Knob(0, 3600, 10)] = Field(
        ge=0, le=3600, description="stabilizationWindowSeconds"
    )
    select: Literal["max", "min", "disabled"] = Field("max", description="selectPolicy")
    policies: tuple[Policy, ...] = Field(min_length=1, description="limits of the change")


class KubernetesHpa(FromFloor):
    """ceil(metric / target per replica) every sync period, with tolerance, stabilization and limits of the change.

    The metric is a total over the replicas (External or Object with an AverageValue target): all requests in the fleet,
    or the waiting ones. Nothing changes while metric / (target * replicas) is within `tolerance` of 1. Scale-down takes
    the highest recommendation of its stabilization window, scale-up the lowest of its window; the first recommendation
    is the present number. Then the policies bound the change.

    Source: kubernetes/kubernetes, pkg/controller/podautoscaler (replica_calculator.go, horizontal.go). With such a
    metric all replicas count, ready or not; the rules for unready pods apply to metrics per pod and are not modelled.
    """

    kind: Literal["kubernetes_hpa"] = "kubernetes_hpa"
    calls_off_starting: ClassVar[bool] = True  # a ReplicaSet deletes pods that are not ready first
    idle_timeout_s: ClassVar[None] = None

    min_replicas: int = Field(ge=1, description="minReplicas; an HPA alone does not go to zero")
    tick_s: float = Field(gt=0, description="--horizontal-pod-autoscaler-sync-period")
    metric: Literal["requests", "waiting_requests"] = Field(
        description="all requests in the fleet, or the waiting ones"
    )
    target_per_replica: Annotated[float, Knob(0.1, 1024, 1)] = Field(gt=0, description="averageValue of the metric")
    tolerance: float = Field(ge=0, lt=1, description="--horizontal-pod-autoscaler-tolerance")
    scale_up: Behavior = Field(description="behavior.scaleUp")
    scale_down: Behavior = Field(description="behavior.scaleDown")

    def measured(self, view: FleetView) -> int:
        """The present value of the metric."""
        return view.n_outstanding if self.metric == "requests" else view.n_waiting

    def start(self, clock: Clock, rng: np.random.Generator) -> ScalerAtWork:
        return _Hpa(self)


class Keda(KubernetesHpa):
    """An HPA from one replica on; a trigger decides between zero and one.

    Every `polling_s`: if the metric is above `activation`, a fleet at zero gets one replica. After `cooldown_s` without
    such a poll it returns to zero, if `min_replicas` is 0.

    Source: kedacore/keda, pkg/scaling/executor/scale_scaledobjects.go. A poll is made at the first sync of the HPA at
    or after its due time.
    """

    kind: Literal["keda"] = "keda"  # type: ignore[assignment]
    min_replicas: int = Field(ge=0, description="minReplicaCount")
    polling_s: float = Field(gt=0, description="pollingInterval")
    cooldown_s: Annotated[float, Knob(0, 3600, 10)] = Field(ge=0, description="cooldownPeriod")
    activation: float = Field(ge=0, description="activation threshold of the trigger")

    def start(self, clock: Clock, rng: np.random.Generator) -> ScalerAtWork:
        return _Keda(self)


class _Pace:
    """The changes that the policies allow, given the changes so far."""

    __slots__ = ("_up", "_down", "_moves")

    def __init__(self, up: Behavior, down: Behavior):
        self._up, self._down = up, down
        self._moves: deque[tuple[float, int]] = deque()  # (moment, replicas added (> 0) or removed (< 0))

    def limit(self, now_s: float, current: int, wanted: int) -> int:
        """`wanted`, or the nearest number that the policies allow. The change is recorded as made."""
        if wanted > current:
            target = min(wanted, max(current, self._farthest(now_s, current, self._up, 1)))
        else:
            target = max(wanted, min(current, self._farthest(now_s, current, self._down, -1)))
        if target != current:
            self._moves.append((now_s, target - current))
        return target

    def _farthest(self, now_s: float, current: int, rules: Behavior, way: int) -> int:
        if rules.select == "disabled":
            return current
        ends = []
        for policy in rules.policies:
            moves = (n for moved_s, n in self._moves if moved_s > now_s - policy.period_s + EPSILON_S)
            start = current - sum(moves)
            if policy.type == "pods":
                ends.append(start + way * policy.value)
            elif way > 0:
                ends.append(ceil(start * (100 + policy.value) / 100))
            else:
                ends.append(int(start * (100 - policy.value) / 100))
        return max(ends) if (rules.select == "max") == (way > 0) else min(ends)

    def forget(self, now_s: float) -> None:
        """Drop the changes that are older than every policy's period."""
        longest_s = max(policy.period_s for rules in (self._up, self._down) for policy in rules.policies)
        while self._moves and self._moves[0][0] <= now_s - longest_s:
            self._moves.popleft()


class _Hpa:
    __slots__ = ("_rule", "_floor", "_lowest", "_highest", "_pace", "_began")

    def __init__(self, rule: KubernetesHpa):
        self._rule = rule
        self._floor = max(1, rule.min_replicas)
        self._lowest = Extreme(rule.scale_up.stabilization_s, -1)
        self._highest = Extreme(rule.scale_down.stabilization_s)
        self._pace = _Pace(rule.scale_up, rule.scale_down)
        self._began = False

    def target_replicas(self, view: FleetView) -> int:
        now_s, current = view.now_s, view.n_ready + view.n_starting
        if not self._floor <= current <= self._rule.max_replicas:
            return max(self._floor, min(current, self._rule.max_replicas))
        if not self._began:
            self._began = True
            self._lowest.say(now_s, current)
            self._highest.say(now_s, current)
        recommended = self._recommended(self._rule.measured(view), current)
        wanted = max(current, self._lowest.say(now_s, recommended))
        wanted = min(wanted, self._highest.say(now_s, recommended))
        self._pace.forget(now_s)
        bounded = max(self._floor, min(wanted, self._rule.max_replicas))
        return max(self._floor, min(self._pace.limit(now_s, current, bounded), self._rule.max_replicas))

    def _recommended(self, metric: float, current: int) -> int:
        target = self._rule.target_per_replica
        if abs(metric / (target * current) - 1) <= self._rule.tolerance:
            return current
        return whole_replicas(metric / target)


class _Keda:
    __slots__ = ("_rule", "_hpa", "_next_poll_s", "_active_s")

    def __init__(self, rule: Keda):
        self._rule = rule
        self._hpa = _Hpa(rule)
        self._next_poll_s = rule.polling_s
        self._active_s = 0.0

    def target_replicas(self, view: FleetView) -> int:
        rule, now_s, current = self._rule, view.now_s, view.n_ready + view.n_starting
        if now_s >= self._next_poll_s - EPSILON_S:
            self._next_poll_s = now_s + rule.polling_s
            if rule.measured(view) > rule.activation:
                self._active_s = now_s
                if not current:
                    return 1
            elif not rule.min_replicas and now_s - self._active_s >= rule.cooldown_s - EPSILON_S:
                return 0
        return self._hpa.target_replicas(view) if current else rule.min_replicas
