"""Light SimPy events: what the event loop needs to call us back, and nothing more.

A `simpy.Timeout` costs an allocation and a list each time; the loop itself only asks of an event that it has
`callbacks` and `_ok`. `Wake` has just those, and can be scheduled again once it has fired. There is no calling it off:
who expects another one by now ignores it.
"""

# Compiled: every event passes through this module (see sim.hot_path).

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

AFTER_ARRIVALS: Final = 2
"""Priority of engine step boundaries: a request that arrives at the very moment of a boundary is seen by it."""

NORMAL: Final = 1


class Wake:
    """A reusable appointment with the clock; the callback receives it."""

    __slots__ = ("_callback", "callbacks")
    _ok = True
    _value = None

    def __init__(self, callback: Callable[[Wake], None]):
        self._callback = callback
        self.callbacks: tuple[Any, ...] | None = None

    def fire(self) -> None:
        """Call back: the moment has come."""
        callback = self._callback
        callback(self)

    def schedule(self, env: Any, delay_s: float, priority: int = NORMAL) -> None:
        """Fire after `delay_s`. A wake may be in the schedule only once at a time."""
        self.callbacks = FIRE
        env.schedule(self, priority, delay_s)


FIRE: Final = (lambda wake: wake.fire(),)
"""The `callbacks` of every wake in the schedule, for SimPy's own loop: what is fired knows by itself what to call."""


class _Call(Wake):
    """One call of a function, with no closure to make."""

    __slots__ = ("function", "arguments")

    def __init__(self, function: Callable[..., Any], arguments: tuple[Any, ...]):
        self.callbacks = FIRE
        self.function = function
        self.arguments = arguments

    def fire(self) -> None:
        self.function(*self.arguments)


def call_later(env: Any, delay_s: float, function: Callable[..., Any], *arguments: Any) -> None:
    """Call `function(*arguments)` after `delay_s`."""
    env.schedule(_Call(function, arguments), NORMAL, delay_s)


class Clock:
    """The simulated time of one run, as policies have it."""

    def __init__(self, env: Any):
        self._env = env

    @property
    def now_s(self) -> float:
        """Seconds since the run began."""
        return float(self._env.now)

    def call_later(self, delay_s: float, function: Callable[..., Any], *arguments: Any) -> None:
        """Call `function(*arguments)` after `delay_s`, unless the run ends before."""
        call_later(self._env, delay_s, function, *arguments)
