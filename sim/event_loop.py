"""SimPy's environment, with its schedule and the loop over its events written out so that they can be compiled."""

# Compiled: every event passes through this module (see sim.hot_path).

from __future__ import annotations

from typing import Any

import simpy
from mypy_extensions import mypyc_attr
from simpy.core import EmptySchedule, EventPriority, StopSimulation
from simpy.events import NORMAL, URGENT

from sim.clock import Wake
from sim.heap import Entry, Heap

_BEFORE_ALL = EventPriority(-1)


class Agenda:
    """The events to come, and the present moment, in seconds."""

    def __init__(self) -> None:
        self.now = 0.0
        self.events = Heap()

    def schedule(self, event: Any, priority: int = NORMAL, delay: float = 0.0) -> None:
        """Let an event happen `delay` seconds from now."""
        self.events.push(self.now + delay, priority, event)

    def put(self, entry: Entry, delay: float) -> None:
        """Let the event of an entry happen `delay` seconds from now, and not when it was to happen until now, if ever.

        Only where `sim.heap.CAN_MOVE`.
        """
        self.events.put(entry, self.now + delay)

    def pop(self) -> Any:
        """Take out the next event, and make its moment the present one. IndexError without one."""
        entry = self.events.pop()
        self.now = entry.key
        return entry.item


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
    def agenda(self) -> Agenda:
        """The events to come, for compiled callers: a call of its `schedule` needs no boxes for its numbers."""
        agenda: Agenda = self._agenda
        return agenda

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
        return self._agenda.events.least

    def step(self) -> None:
        """Let the next event happen. Raises EmptySchedule without one."""
        if not self._agenda.events.entries:
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
        entries = agenda.events.entries
        try:
            while entries:
                event: Any = agenda.pop()
                if isinstance(event, Wake):
                    wake: Wake = event
                    wake.callbacks = None
                    wake.fire()
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
