"""Closed loop: a fixed number of clients, each of which begins its next task after its last one has ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Any, Literal

import numpy as np
from pydantic import Field

from sim.clock import call_later
from sim.work import Outcome, Request, Task
from sim.workload.arrivals.base import Begin, Kind, ServerDriven
from sim.workload.spread import Spread

RETRY_S = 1.0
"""Shortest pause of a client after a refused task. Without it, a full queue would cause an endless loop of refusals in
one moment of simulated time."""


class ClosedLoop(ServerDriven):
    """`n_clients` clients that start at time 0, or one after another over `ramp_s`.

    Each pauses for `think_s` between the end of a task and the next.

    Law (Lavenberg and Reiser, 1980, after Little): X = n_clients / (R + Z), with X tasks per second, R the mean
    duration of a task and Z the mean think time. The load follows the server: no task waits behind more than
    n_clients - 1 others, so a closed loop cannot show what an open stream does to an overloaded server. With `n_tasks`
    tasks in all, a run needs no horizon: it ends with its last task. n_clients = n_tasks is one burst.
    """

    kind: Literal["closed_loop"] = "closed_loop"
    n_clients: int = Field(ge=1, description="number of clients")
    n_tasks: int | None = Field(None, ge=1, description="tasks in all; null: until the horizon")
    ramp_s: float = Field(0.0, ge=0, description="seconds over which the clients start, evenly; 0: all at once")
    think_s: Spread = Field(Spread(median=0.0), description="seconds between a task and the client's next one")

    @property
    def ends_by_itself(self) -> bool:
        return self.n_tasks is not None

    def traffic(
        self, env: Any, kinds: Iterator[Kind], rng: np.random.Generator, begin: Begin, **options: Any
    ) -> ClosedLoopTraffic:
        return ClosedLoopTraffic(env, self, kinds, rng, begin, **options)


class ClosedLoopTraffic:
    """Plays a closed loop: calls `begin(task)` `delay_s` seconds after a client has sent a task.

    `task_ended(request)` must be called with the last request of every task. After `until_s` no client begins a task.
    Once every client has stopped, `on_finished()` is called. The k-th task has the k-th of `kinds` (calls, application,
    profile) and of `priorities`; tasks are numbered from `first_id`.

    The saturated rate (sim.engine.saturation) has a loop of its own: its clients send while a request is being ended
    and so join the very next step, those here are reached by an event and join one step later.
    """

    def __init__(
        self,
        env: Any,
        loop: ClosedLoop,
        kinds: Iterator[Kind],
        rng: np.random.Generator,
        begin: Begin,
        *,
        priorities: Iterator[int] | None = None,
        delay_s: float = 0.0,
        until_s: float | None = None,
        first_id: int = 0,
        on_finished: Callable[[], object] = lambda: None,
    ):
        self._env, self._loop, self._kinds, self._rng = env, loop, kinds, rng
        self._begin, self._delay_s, self._until_s, self._on_finished = begin, delay_s, until_s, on_finished
        self._n_begun, self._first_id, self._priorities = 0, first_id, priorities or repeat(0)
        self._n_clients = min(loop.n_clients, loop.n_tasks or loop.n_clients)
        for i in range(self._n_clients):
            if loop.ramp_s and i:
                call_later(env, i * loop.ramp_s / self._n_clients, self._next_task)
            else:
                self._next_task()

    def task_ended(self, request: Request) -> None:
        """A client's task has ended, with any outcome: it sends the next one after `think_s`, or stops."""
        if self._none_left():
            self._stop()
            return
        pause_s = float(self._loop.think_s.draw(self._rng, 1)[0])
        if request.outcome is Outcome.REFUSED:
            pause_s = max(pause_s, RETRY_S)
        if pause_s > 0:
            call_later(self._env, pause_s, self._next_task)
        else:
            self._next_task()

    def _next_task(self) -> None:
        if self._none_left():
            self._stop()
            return
        calls, application, profile, graph = next(self._kinds)
        task = Task(
            self._first_id + self._n_begun, self._env.now, calls, application, next(self._priorities), profile, graph
        )
        self._n_begun += 1
        # A later event begins it, because the backend is still handling the end of the request before.
        call_later(self._env, self._delay_s, self._begin, task)

    def _none_left(self) -> bool:
        over = self._until_s is not None and self._env.now >= self._until_s
        return over or self._n_begun == self._loop.n_tasks

    def _stop(self) -> None:
        self._n_clients -= 1
        if self._n_clients == 0:
            self._on_finished()
