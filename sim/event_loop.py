"""SimPy's environment, with its schedule and the loop over its events written out so that they can be compiled."""

# Compiled: every event passes through this module (see sim.hot_path).

from __future__ import annotations

from typing import Any

import simpy
from mypy_extensions import i64, mypyc_attr
from simpy.core import EmptySchedule, EventPriority, StopSimulation
from simpy.events import NORMAL, URGENT

from sim.clock import Wake

_BEFORE_ALL = EventPriority(-1)


@mypyc_attr(free_list_len=1)  # An event that happens is most often followed by one that is scheduled.
class _Entry:
    """An event and when it is to happen."""

    __slots__ = ("moment_s", "priority", "number", "event")

    def __init__(self, moment_s: float, priority: int, number: int, event: Any):
        self.moment_s = moment_s
        self.priority = priority
        self.number = number
        self.event = event

    def is_before(self, other: _Entry) -> bool:
        """The order of SimPy: by moment, then priority, then order of schedule."""
        if self.moment_s != other.moment_s:
            return self.moment_s < other.moment_s
        if self.priority != other.priority:
            return self.priority < other.priority
        return self.number < other.number


class Agenda:
    """The events to come, as a binary heap, and the present moment, in seconds.

    In place of `heapq`, whose comparisons of tuples cost a fleet of a thousand replicas a sixth of its time.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.entries: list[_Entry] = []
        self._n_scheduled = 0

    def schedule(self, event: Any, priority: int = NORMAL, delay: float = 0.0) -> None:
        """Let an event happen `delay` seconds from now."""
        entry, entries = _Entry(self.now + delay, priority, self._n_scheduled, event), self.entries
        self._n_scheduled += 1
        place: i64 = len(entries)
        entries.append(entry)
        while place > 0:
            above: i64 = (place - 1) >> 1
            parent = entries[above]
            if not entry.is_before(parent):
                break
            entries[place] = parent
            place = above
        entries[place] = entry

    def pop(self) -> Any:
        """Take out the next event, and make its moment the present one. IndexError without one."""
        entries = self.entries
        last = entries.pop()
        n: i64 = len(entries)
        if n == 0:
            self.now = last.moment_s
            return last.event
        first = entries[0]
        place: i64 = 0
        below: i64 = 1
        while below < n:
            child = entries[below]
            if below + 1 < n:
                right = entries[below + 1]
                if right.is_before(child):
                    child = right
                    below += 1
            if not child.is_before(last):
                break
            entries[place] = child
            place = below
            below = 2 * place + 1
        entries[place] = last
        self.now = first.moment_s
        return first.event


@mypyc_attr(native_class=False)
class EventLoop(simpy.Environment):
    """A `simpy.Environment` in which events happen as in SimPy's own: by moment, then priority, then order of schedule.

    What SimPy keeps in the environment, an `Agenda` keeps here.
    """

    def __init__(self, initial_time: float = 0.0) -> None:
        super().__init__(initial_time)
        self._agenda = Agenda()
        self._agenda.now = float(initial_time)
        # Found before the method of this name, at the cost of one call instead of two.
        vars(self)["schedule"] = self._agenda.schedule

    @property
    def now(self) -> float:
        """The present moment, in seconds."""
        agenda: Agenda = self._agenda
        return agenda.now

    def schedule(self, event: Any, priority: Any = NORMAL, delay: float = 0.0) -> None:
        """Let an event happen `delay` seconds from now."""
        self._agenda.schedule(event, priority, delay)

    def peek(self) -> float:
        """The moment of the next event; infinity without one."""
        entries = self._agenda.entries
        return entries[0].moment_s if entries else float("inf")

    def step(self) -> None:
        """Let the next event happen. Raises EmptySchedule without one."""
        if not self._agenda.entries:
            raise EmptySchedule
        _happen(self, self._agenda.pop())

    def run(self, until: Any = None) -> Any:
        """Let events happen until a moment in seconds, until an event has happened, or, with None, until none is left.

        Returns the value of the event. Raises ValueError if the moment is not after now, RuntimeError if no event is
        left before the one that is waited for.
        """
        awaited: Any = until if until is None or isinstance(until, simpy.Event) else self._moment(float(until))
        if awaited is not None:
            if awaited.callbacks is None:
                return awaited.value  # It has happened before this call.
            awaited.callbacks.append(StopSimulation.callback)
        agenda: Agenda = self._agenda
        entries = agenda.entries
        try:
            while entries:
                event: Any = agenda.pop()
                if isinstance(event, Wake):
                    wake: Wake = event
                    callbacks: Any = wake.callbacks
                    wake.callbacks = None
                    callback: Any = callbacks[0]
                    callback(wake)
                else:
                    _happen(self, event)
        except StopSimulation as stop:
            return stop.args[0]
        if awaited is not None:
            raise RuntimeError(f"no event is left, and {awaited!r} has not happened")
        return None

    def _moment(self, at_s: float) -> simpy.Event:
        """An event that happens at a moment, before all others of that moment."""
        now_s = self._agenda.now
        if at_s <= now_s:
            raise ValueError(f"until ({at_s}) must be greater than the current simulation time")
        event = simpy.Event(self)
        event._ok = True
        event._value = None
        self._agenda.schedule(event, URGENT, at_s - now_s)
        return event


def _happen(env: Any, event: Any) -> None:
    """Call what waits for an event, as `simpy.Environment.step` does."""
    callbacks: Any = event.callbacks
    callback: Any = None
    event.callbacks = None
    try:
        for callback in callbacks:
            callback(event)
    except StopSimulation:
        # What else waits for this event is called when the simulation goes on, before all other events.
        event.callbacks = callbacks[callbacks.index(callback) + 1 :]
        env.schedule(event, _BEFORE_ALL)
        raise
    if not event._ok and not hasattr(event, "_defused"):
        raise _copy_of(event._value) from event._value


def _copy_of(error: BaseException) -> BaseException:
    """The failure of an event, to be raised with a traceback of its own."""
    return type(error)(*error.args)
