"""Traffic: hands every task to the gateway at its time of arrival."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sim.clock import Wake
from sim.work import Task


class Traffic:
    """Walks through blocks of tasks (sorted by arrival) with one event per task; only one block is in memory.

    `begin(task)` is called `delay_s` after the task has arrived.
    """

    def __init__(self, env, blocks: Iterator[list[Task]], begin: Callable[[Task], None], delay_s: float = 0.0):
        self._env = env
        self._delay_s = delay_s
        self._tasks = (task for block in blocks for task in block)
        self._begin = begin
        self._next: Task | None = None
        self._wake = Wake(self._arrive)
        self._schedule_next()

    def _schedule_next(self) -> None:
        self._next = task = next(self._tasks, None)
        if task is not None:
            env = self._env
            self._wake.schedule(env, task.arrived_s + self._delay_s - env.now)

    def _arrive(self, wake: Wake) -> None:
        task = self._next
        self._schedule_next()
        self._begin(task)
