"""Clients that go away in the middle of an answer: because it takes too long, or because they have had enough of it."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import Any

from sim.clock import call_later
from sim.randomness import Streams
from sim.work import Outcome, Request


class Clients:
    """What the clients of a run do besides waiting.

    A client hangs up `timeout_s` after its request arrived (None: never), and calls `hang_up(request)` then. A share
    `stopped_fraction` of the clients stop the answer once they have a share of its tokens that is uniform in (0, 1);
    the server has begun the next token by then. Which calls these are depends on the seed, the task and the place of
    the call in it alone, and so is the same whatever serves them.
    """

    def __init__(
        self,
        env: Any,
        streams: Streams,
        *,
        timeout_s: float | None,
        stopped_fraction: float,
        hang_up: Callable[[Request], None],
    ):
        self._env = env
        self._streams = streams
        self._timeout_s = timeout_s
        self._stopped_fraction = stopped_fraction
        self._hang_up = hang_up

    def send(self, request: Request) -> None:
        """A client sends its request."""
        if self._stopped_fraction:
            rng = self._streams.generator(f"stops/{request.task.task_id}/{request.call_index}")
            stops, share = rng.random(2)
            if stops < self._stopped_fraction:
                received = max(1, ceil(share * request.output_tokens))
                if received < request.output_tokens:
                    request.ends_as = Outcome.STOPPED
                    request.unsent_tokens = request.output_tokens - received - 1
        self.wait(request)

    def wait(self, request: Request) -> None:
        """Hang up when the time is over."""
        if self._timeout_s is not None:
            left_s = max(0.0, request.arrived_s + self._timeout_s - self._env.now)
            call_later(self._env, left_s, self._end_wait, request)

    def _end_wait(self, request: Request) -> None:
        if request.outcome is None and request.ends_as is not Outcome.ABORTED:
            self._hang_up(request)
