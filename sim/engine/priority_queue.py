"""A queue in order of priority, then of arrival, for engines and fleets that serve by priority."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable

from sim.work import Request


def urgency(request: Request) -> tuple[float, ...]:
    """Sort key of a request: priority, then arrival; the lowest is the most urgent. No two requests have the same."""
    return request.task.priority, request.arrived_s, request.task.task_id, request.call_index


class PriorityQueue(list):
    """A queue that keeps its items in ascending order of `key`. It has the methods of a deque that its users call."""

    def __init__(self, key: Callable = urgency):
        super().__init__()
        self._key = key

    def append(self, item) -> None:
        """Insert an item at its place in the order, after items of an equal key."""
        insort(self, item, key=self._key)

    appendleft = append  # A preempted or returned item takes its place in the order, too.

    def popleft(self):
        """Remove and return the first item. Raises IndexError if the queue is empty."""
        return self.pop(0)
