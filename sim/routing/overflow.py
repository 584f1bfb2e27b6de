"""Overflow: requests that the fleet cannot serve in time go to the API."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from sim.clock import Clock
from sim.knob import Knob
from sim.records import Backend
from sim.routing.budget import Budget, Spending
from sim.routing.forecast import predicted_ttft_s
from sim.routing.router import Router, RouterAtWork
from sim.routing.scraping import FleetLoad, FleetSeen, Scrape
from sim.views import FleetView, SystemView
from sim.work import Request

_FLEET, _API = Backend.FLEET, Backend.API
_LIMITS = ("queue_per_replica", "oldest_wait_s", "predicted_wait_s", "predicted_ttft_s", "kv_used_fraction")


class Overflow(Router):
    """Requests that the fleet cannot serve in time overflow to the API.

    A request overflows if any of the given triggers fires, all read before it joins a queue:
    - `queue_per_replica`: more than this many requests per ready replica wait (no ready replica counts as one). A
      fleet at zero thus keeps its first requests, which wake it;
    - `oldest_wait_s`: the first request of the queue it would join has waited longer than this;
    - `predicted_wait_s`: the fleet's estimate of the wait before service is longer than this;
    - `predicted_ttft_s`: the predicted time to its first token is longer than this (`sim/routing/forecast.py`);
    - `kv_used_fraction`: every ready replica has more than this fraction of its KV memory in use;
    - `when_cold`: no replica is ready;
    - `on_refusal`: the fleet refused it (a full queue, or too long for the KV memory), and it is sent again.

    With `resume_fraction` < 1, once a request has overflowed, requests go on overflowing until every measured value is
    within that fraction of its limit. With `stay_with_task`, later calls of a task that overflowed go to the API, too:
    in the fleet they would need a full prefill, while the API may hold their prompt in its cache. An exhausted `budget`
    keeps every request in the fleet. The scaler sees requests that overflowed while no replica was ready as demand,
    until the API has served them.
    """

    kind: Literal["overflow"] = "overflow"
    needs_fleet: ClassVar[bool] = True
    needs_api: ClassVar[bool] = True

    queue_per_replica: Annotated[float | None, Knob(0, 64, 1)] = Field(
        None, ge=0, description="limit on waiting requests per ready replica"
    )
    oldest_wait_s: Annotated[float | None, Knob(0, 60, 0.5)] = Field(
        None, ge=0, description="limit on the wait of the first request in the queue"
    )
    predicted_wait_s: Annotated[float | None, Knob(0, 60, 0.5)] = Field(
        None, ge=0, description="limit on the predicted seconds before service"
    )
    predicted_ttft_s: Annotated[float | None, Knob(0, 60, 0.5)] = Field(
        None, ge=0, description="limit on the predicted time to first token"
    )
    kv_used_fraction: Annotated[float | None, Knob(0.1, 0.98)] = Field(
        None, ge=0, lt=1, description="limit on the fraction of KV memory in use"
    )
    when_cold: bool = Field(False, description="overflow while no replica is ready")
    on_refusal: bool = Field(False, description="overflow what the fleet refused")
    resume_fraction: float = Field(1.0, gt=0, le=1, description="overflow stops below this fraction of every limit")
    stay_with_task: bool = Field(True, description="later calls of a task that overflowed go to the API, too")
    refresh_s: float = Field(0.0, ge=0, description="seconds between two reads of the fleet's load; 0: always live")
    budget: Budget | None = Field(None, description="spending cap; null: none")

    @model_validator(mode="after")
    def _has_a_trigger(self) -> Overflow:
        if all(getattr(self, name) is None for name in _LIMITS) and not (self.when_cold or self.on_refusal):
            raise ValueError(f"needs {', '.join(_LIMITS)}, when_cold or on_refusal; without, nothing would overflow")
        return self

    @property
    def retries(self) -> bool:
        return self.on_refusal

    def choose(self, request: Request, view: SystemView) -> Backend:
        """The backend if no request has overflowed yet and no budget is spent; what `start` returns remembers both."""
        assert view.fleet is not None, "needs_fleet"
        if self.stays(request) or self.fires(request, view.fleet):
            return _API
        return _FLEET

    def start(self, clock: Clock, rng: np.random.Generator) -> RouterAtWork:
        remembers = self.resume_fraction < 1 or self.refresh_s or self.budget
        return _OverflowAtWork(self, clock) if remembers else self

    def stays(self, request: Request) -> bool:
        """Whether the request goes to the API because the task's previous call did."""
        return self.stay_with_task and request.previous is not None and request.previous.backend == _API

    def is_demand(self, request: Request) -> bool:
        return not self.stays(request)

    def second_try(self, request: Request, view: SystemView) -> bool:
        return self.on_refusal

    def fires(self, request: Request, fleet: FleetLoad, fraction: float = 1.0) -> bool:
        """Whether any measured value is above this fraction of its limit, or `when_cold` applies."""
        limit = self.queue_per_replica
        if limit is not None and fleet.n_waiting > limit * fraction * max(1, fleet.n_ready):
            return True
        if self.when_cold and not fleet.n_ready:
            return True
        limit = self.oldest_wait_s
        if limit is not None and fleet.oldest_wait_s > limit * fraction:
            return True
        limit = self.predicted_wait_s
        if limit is not None and fleet.predicted_wait_s > limit * fraction:
            return True
        limit = self.kv_used_fraction
        if limit is not None:
            least = min((replica.kv_used_fraction for replica in fleet.replicas), default=0.0)
            if least > limit * fraction:
                return True
        limit = self.predicted_ttft_s
        return limit is not None and predicted_ttft_s(request, fleet) > limit * fraction


class _OverflowAtWork:
    """Overflow in one run: remembers whether requests are overflowing, the last look at the fleet, and the spending."""

    def __init__(self, rule: Overflow, clock: Clock):
        self._rule = rule
        self._overflowing = False
        self._spending = None if rule.budget is None else Spending(clock, rule.budget)
        self._scrape = Scrape(clock, rule.refresh_s, self._look) if rule.refresh_s else None
        self._fleet: FleetView | None = None
        self._seen: FleetSeen | None = None

    def choose(self, request: Request, view: SystemView) -> Backend:
        rule = self._rule
        if not rule.stays(request):
            assert view.fleet is not None, "needs_fleet"
            fraction = rule.resume_fraction if self._overflowing else 1.0
            self._overflowing = rule.fires(request, self._show(view.fleet), fraction)
            if not self._overflowing:
                return _FLEET
        return _API if self._spending is None or self._spending.take(request) else _FLEET

    def second_try(self, request: Request, view: SystemView) -> bool:
        return self._rule.on_refusal and (self._spending is None or self._spending.take(request))

    def settled(self, request: Request) -> None:
        if self._spending is not None:
            self._spending.settle(request)

    def _show(self, fleet: FleetView) -> FleetLoad:
        """The fleet itself, or with `refresh_s` its load at the last look."""
        if self._scrape is None:
            return fleet
        self._fleet = fleet
        self._scrape.keep_up()
        assert self._seen is not None  # the first `keep_up` looks at once
        return self._seen

    def _look(self) -> bool:
        fleet = self._fleet
        assert fleet is not None  # set before the first look
        self._seen = FleetSeen(fleet, with_prefill=self._rule.predicted_ttft_s is not None)
        return bool(fleet.n_outstanding or fleet.n_starting)
