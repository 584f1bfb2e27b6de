"""Ladder: stages of load, each of which waits for the one before to drain, as load generators run them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from sim.clock import call_later
from sim.schema import Config
from sim.work import Request, Task
from sim.workload.arrivals.base import Begin, Kind, ServerDriven, TaskTraffic
from sim.workload.arrivals.closed_loop import ClosedLoop, ClosedLoopTraffic


class Stage(Config):
    """One stage: `n_tasks` tasks at a rate, or from clients that wait for their answers."""

    n_tasks: int = Field(ge=1, description="tasks of the stage")
    rate_per_s: float | None = Field(None, gt=0, description="tasks per second, whatever the server does")
    n_clients: int | None = Field(None, ge=1, description="in place of a rate: as many clients, without think time")

    @model_validator(mode="after")
    def _one_load(self) -> Stage:
        if (self.rate_per_s is None) == (self.n_clients is None):
            raise ValueError("needs rate_per_s or n_clients, and not both")
        return self


class Ladder(ServerDriven):
    """Stages of load. The first begins at time 0; each other one `pause_s` after the last task before it has ended.

    Every stage finds an idle server, as in the sweeps of load generators, so that its figures are those of its load
    alone. A run needs no horizon: it ends with the last task of the last stage.
    """

    kind: Literal["ladder"] = "ladder"
    stages: tuple[Stage, ...] = Field(min_length=1, max_length=10_000, description="in order")
    gaps: Literal["poisson", "fixed"] = Field("poisson", description="between the tasks of a stage with a rate")
    pause_s: float = Field(0.0, ge=0, description="from the end of a stage to the beginning of the next")

    @property
    def n_tasks(self) -> int:
        """Tasks of all stages."""
        return sum(stage.n_tasks for stage in self.stages)

    @property
    def ends_by_itself(self) -> bool:
        return True

    def traffic(
        self, env: Any, kinds: Iterator[Kind], rng: np.random.Generator, begin: Begin, **options: Any
    ) -> LadderTraffic:
        return LadderTraffic(env, self, kinds, rng, begin, **options)


class LadderTraffic:
    """Plays a ladder; arguments and duties as those of `ClosedLoopTraffic`."""

    def __init__(
        self,
        env: Any,
        ladder: Ladder,
        kinds: Iterator[Kind],
        rng: np.random.Generator,
        begin: Begin,
        *,
        priorities: Iterator[int] | None = None,
        delay_s: float = 0.0,
        until_s: float | None = None,
        on_finished: Callable[[], object] = lambda: None,
    ):
        self._env, self._ladder, self._kinds, self._rng, self._begin = env, ladder, kinds, rng, begin
        self._priorities, self._delay_s, self._until_s = priorities or repeat(0), delay_s, until_s
        self._on_finished, self._n_stages_begun, self._first_id = on_finished, 0, 0
        self._stage: TaskTraffic
        self._next_stage()

    def task_ended(self, request: Request) -> None:
        """A task has ended, with any outcome."""
        self._stage.task_ended(request)

    def _next_stage(self) -> None:
        over = self._until_s is not None and self._env.now >= self._until_s
        if over or self._n_stages_begun == len(self._ladder.stages):
            self._on_finished()
            return
        stage = self._ladder.stages[self._n_stages_begun]
        first_id, self._first_id = self._first_id, self._first_id + stage.n_tasks
        self._n_stages_begun += 1
        options: dict[str, Any] = dict(
            priorities=self._priorities, delay_s=self._delay_s, until_s=self._until_s, first_id=first_id,
            on_finished=self._stage_ended,
        )  # fmt: skip
        if stage.n_clients is None:
            gaps_s = self._gaps_s(stage)
            self._stage = _RateTraffic(self._env, gaps_s, self._kinds, self._begin, **options)
        else:
            loop = ClosedLoop(n_clients=stage.n_clients, n_tasks=stage.n_tasks)
            self._stage = ClosedLoopTraffic(self._env, loop, self._kinds, self._rng, self._begin, **options)

    def _gaps_s(self, stage: Stage) -> np.ndarray:
        """float64[n_tasks], the first 0."""
        assert stage.rate_per_s is not None
        gaps = np.ones(stage.n_tasks) if self._ladder.gaps == "fixed" else self._rng.exponential(size=stage.n_tasks)
        gaps[0] = 0.0
        return gaps / stage.rate_per_s

    def _stage_ended(self) -> None:
        # A later event begins the next stage, because the backend is still handling the end of the last request.
        call_later(self._env, self._ladder.pause_s, self._next_stage)


class _RateTraffic:
    """Sends a task after each of `gaps_s`, and calls `on_finished` once all have ended."""

    def __init__(
        self, env: Any, gaps_s: np.ndarray, kinds: Iterator[Kind], begin: Begin, *, priorities: Iterator[int],
        delay_s: float, until_s: float | None, first_id: int, on_finished: Callable[[], object],
    ):  # fmt: skip
        self._env, self._kinds, self._begin, self._priorities = env, kinds, begin, priorities
        self._delay_s, self._until_s, self._on_finished = delay_s, until_s, on_finished
        self._gaps_s, self._next_id = iter(gaps_s.tolist()), first_id
        self._n_running, self._all_sent = 0, False
        self._schedule_next()

    def task_ended(self, request: Request) -> None:
        """A task of the stage has ended, with any outcome."""
        self._n_running -= 1
        if self._all_sent and self._n_running == 0:
            self._on_finished()

    def _schedule_next(self) -> None:
        gap_s = next(self._gaps_s, None)
        self._all_sent = gap_s is None
        if gap_s is not None:
            call_later(self._env, gap_s, self._send)

    def _send(self) -> None:
        if self._until_s is not None and self._env.now >= self._until_s:
            self._all_sent = True
            if self._n_running == 0:
                self._on_finished()
            return
        calls, application, profile, graph = next(self._kinds)
        task = Task(self._next_id, self._env.now, calls, application, next(self._priorities), profile, graph)
        self._next_id, self._n_running = self._next_id + 1, self._n_running + 1
        call_later(self._env, self._delay_s, self._begin, task)
        self._schedule_next()
