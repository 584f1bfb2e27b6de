"""The queue of a fleet: requests that wait for a replica with room."""

# Compiled: every request that leaves a fleet looks for others here (see sim.hot_path).

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from math import inf

from sim.engine.priority_queue import PriorityQueue
from sim.work import Request


class RequestQueue:
    """Waiting requests, first come first served or by priority.

    It stamps on each request that leaves it the seconds of its wait during which some replica was starting:
    `cold_clock_s()` counts such seconds of the run. A request that finds `max_waiting` others here is to be refused.
    """

    def __init__(self, cold_clock_s: Callable[[], float], *, by_priority: bool, max_waiting: int | None):
        self._waiting: deque[Request] | PriorityQueue = PriorityQueue() if by_priority else deque()
        self._cold_clock_s = cold_clock_s
        self._cold_clock_when_queued_s: dict[Request, float] = {}
        self._max_waiting = inf if max_waiting is None else max_waiting

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Request]:
        return iter(self._waiting)

    def __contains__(self, request: object) -> bool:
        return request in self._cold_clock_when_queued_s

    @property
    def head(self) -> Request:
        """The request that leaves next. IndexError without one."""
        return self._waiting[0]

    @property
    def is_full(self) -> bool:
        return len(self._waiting) >= self._max_waiting

    def append(self, request: Request) -> None:
        """A request joins at the end, or where its priority puts it."""
        self._waiting.append(request)
        self._cold_clock_when_queued_s[request] = self._cold_clock_s()

    def put_back(self, request: Request) -> None:
        """A request whose replica was lost joins at the head."""
        self._waiting.appendleft(request)
        self._cold_clock_when_queued_s[request] = self._cold_clock_s()

    def pop(self) -> Request:
        """Take out the head."""
        request = self._waiting.popleft()
        self._stamp(request)
        return request

    def remove(self, request: Request) -> None:
        """Take out a request whose client gives up."""
        self._waiting.remove(request)
        self._stamp(request)

    def _stamp(self, request: Request) -> None:
        queued_s = self._cold_clock_when_queued_s.pop(request)
        request.cold_start_wait_s += self._cold_clock_s() - queued_s
