"""A queue in order of urgency, for engines and fleets that serve by priority."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable

from sim.work import Request


def urgency(request: Request) -> tuple[float, ...]:
    """The place of a request in the order of (priority, arrival); no two are equal."""
    return request.task.priority, request.arrived_s, request.task.task_id, request.call_index


class PriorityQueue(list):
    """A queue, with the methods of a deque, that keeps its items in the order of `key`."""

    def __init__(self, key: Callable = urgency):
        super().__init__()
        self._key = key

    def append(self, item) -> None:
        insort(self, item, key=self._key)

    appendleft = append

    def popleft(self):
        return self.pop(0)
