"""Traffic: passes every task to the gateway at its time of arrival."""

# Compiled: every event passes through this module (see sim.hot_path).

from __future__ import annotations

from collections.abc import Callable, Iterator

from sim.clock import FIRE, NORMAL, Wake
from sim.event_loop import Agenda, EventLoop
from sim.work import Task


class Traffic:
    """Calls `begin(task)` `delay_s` seconds after the arrival of each task, with one event per task.

    `blocks`: tasks in order of arrival; only one block is in memory.
    """

    def __init__(self, env, blocks: Iterator[list[Task]], begin: Callable[[Task], None], delay_s: float = 0.0):
        self._env = env
        self._agenda: Agenda | None = env.agenda if isinstance(env, EventLoop) else None
        self._delay_s = delay_s
        self._blocks = blocks
        self._block: list[Task] = []
        self._place = 0  # in the block, of the task after the next one
        self._begin = begin
        self._next: Task | None = None
        self._wake = Wake(self._arrive)
        self._now_s = env.now  # moment of the last event
        self._schedule_next()

    def _schedule_next(self) -> None:
        while self._place == len(self._block):
            block = next(self._blocks, None)
            if block is None:
                self._next = None
                return
            self._block, self._place = block, 0
        self._next = task = self._block[self._place]
        self._place += 1
        wait_s = task.arrived_s + self._delay_s - self._now_s
        self._now_s += wait_s
        agenda = self._agenda
        if agenda is None:
            self._wake.schedule(self._env, wait_s)
        else:
            self._wake.callbacks = FIRE
            agenda.schedule(self._wake, NORMAL, wait_s)

    def _arrive(self, wake: Wake) -> None:
        task, begin = self._next, self._begin
        assert task is not None
        self._schedule_next()
        begin(task)
