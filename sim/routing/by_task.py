"""Routing by the kind of task that a request belongs to."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from sim.clock import Clock
from sim.records import Backend
from sim.routing.one_backend import FleetOnly
from sim.routing.router import Router, RouterAtWork
from sim.schema import OneOf
from sim.views import SystemView
from sim.work import Request


class ByTask(Router):
    """Tasks of some kinds go to the API, the others to `rest`: long tasks profit from the KV cache of a replica.

    The API gets the tasks of the `api_applications`, and those expected to make fewer calls than `api_below_calls`. The
    expectation is the mean number of calls of that kind of task (`Task.profile`), because the number that a task will
    make is unknown. With `stay_with_task` the first call decides for the whole task. Without, each call is judged by
    the expected number of calls left, with this one, after those already made (a `rest` that stays with tasks keeps
    on the API what is there).
    """

    kind: Literal["by_task"] = "by_task"
    needs_fleet: ClassVar[bool] = True
    needs_api: ClassVar[bool] = True

    api_applications: tuple[str, ...] = Field((), description="names of task kinds")
    api_below_calls: float | None = Field(None, gt=1, description="limit on the expected calls; null: no limit")
    stay_with_task: bool = Field(True, description="the first call decides for the whole task")
    rest: OneOf[Router] = Field(FleetOnly(), description="the router of all other tasks")

    @model_validator(mode="after")
    def _has_a_class(self) -> ByTask:
        if not self.api_applications and self.api_below_calls is None:
            raise ValueError("needs api_applications or api_below_calls; without, no task would go to the API")
        return self

    @property
    def retries(self) -> bool:
        return self.rest.retries

    def choose(self, request: Request, view: SystemView) -> Backend:
        return Backend.API if self.is_bought(request) else self.rest.choose(request, view)

    def is_bought(self, request: Request) -> bool:
        """Whether the request goes to the API because of the kind of its task."""
        profile = request.task.profile
        if profile.application in self.api_applications:
            return True
        made = 0 if self.stay_with_task else request.call_index
        return self.api_below_calls is not None and profile.calls_to_come(made) < self.api_below_calls

    def start(self, clock: Clock, rng: np.random.Generator) -> RouterAtWork:
        rest = self.rest.start(clock, rng)
        return self if rest is self.rest else _ByTaskAtWork(self, rest)

    def is_demand(self, request: Request) -> bool:
        return not self.is_bought(request) and self.rest.is_demand(request)

    def second_try(self, request: Request, view: SystemView) -> bool:
        return self.rest.second_try(request, view)

    def settled(self, request: Request) -> None:
        self.rest.settled(request)


class _ByTaskAtWork:
    """ByTask in one run, where `rest` has a memory."""

    def __init__(self, rule: ByTask, rest: RouterAtWork):
        self._rule, self._rest = rule, rest
        self.second_try, self.settled = rest.second_try, rest.settled

    def choose(self, request: Request, view: SystemView) -> Backend:
        return Backend.API if self._rule.is_bought(request) else self._rest.choose(request, view)
