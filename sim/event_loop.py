"""SimPy's environment, with the loop over its events written out so that it can be compiled."""

# Compiled: every event passes through this module (see sim.hot_path).

from __future__ import annotations

from heapq import heappop, heappush
from typing import Any

import simpy
from mypy_extensions import mypyc_attr
from simpy.core import EventPriority, StopSimulation
from simpy.events import NORMAL, URGENT

from sim.clock import Wake

_BEFORE_ALL = EventPriority(-1)
_NORMAL: Any = NORMAL


@mypyc_attr(native_class=False)
class EventLoop(simpy.Environment):
    """A `simpy.Environment` in which events happen as in SimPy's own: by moment, then priority, then order of schedule.

    `run` is written anew, with the work of `simpy.Environment.step` inside it; `now` and `schedule` are those of SimPy
    once more, to be compiled with it.
    """

    @property
    def now(self) -> Any:
        """The present moment, in seconds."""
        return self._now

    def schedule(self, event: Any, priority: Any = _NORMAL, delay: Any = 0) -> None:
        """Let an event happen `delay` seconds from now."""
        heappush(self._queue, (self._now + delay, priority, next(self._eid), event))

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
        queue: Any = self._queue
        event: Any = None
        callbacks: Any = ()
        callback: Any = None
        try:
            while queue:
                entry: tuple[Any, ...] = heappop(queue)
                self._now = entry[0]
                event = entry[3]
                if isinstance(event, Wake):
                    wake: Wake = event
                    callbacks = wake.callbacks
                    wake.callbacks = None
                    callback = callbacks[0]
                    callback(wake)
                    continue
                callbacks = event.callbacks
                event.callbacks = None
                for callback in callbacks:
                    callback(event)
                if not event._ok and not hasattr(event, "_defused"):
                    raise _copy_of(event._value) from event._value
        except StopSimulation as stop:
            # What else waits for this event is called when the simulation goes on, before all other events.
            event.callbacks = callbacks[callbacks.index(callback) + 1 :]
            self.schedule(event, _BEFORE_ALL)
            return stop.args[0]
        if awaited is not None:
            raise RuntimeError(f"no event is left, and {awaited!r} has not happened")
        return None

    def _moment(self, at_s: float) -> simpy.Event:
        """An event that happens at a moment, before all others of that moment."""
        if at_s <= self._now:
            raise ValueError(f"until ({at_s}) must be greater than the current simulation time")
        event = simpy.Event(self)
        event._ok = True
        event._value = None
        self.schedule(event, URGENT, at_s - self._now)
        return event


def _copy_of(error: BaseException) -> BaseException:
    """The failure of an event, to be raised with a traceback of its own."""
    return type(error)(*error.args)
