"""The demand on a fleet, as its scaler sees it: counters and an integral, each O(1) per request."""

# Compiled: every request passes through this module (see sim.hot_path).

from __future__ import annotations

from typing import Any

from sim.event_loop import Agenda, EventLoop
from sim.work import Outcome, Request


class Demand:
    """Requests and tokens that a fleet was asked for and has served so far.

    Tokens and finished requests are counted only with `counts_tokens`, as few scalers read them.
    """

    __slots__ = (
        "n_outstanding", "arrived_requests", "arrived_input_tokens", "finished_requests", "finished_output_tokens",
        "_env", "_agenda", "_counts_tokens", "_left_less_arrived_s",
    )  # fmt: skip

    def __init__(self, env: Any, counts_tokens: bool = False):
        self._env = env
        self._agenda: Agenda | None = env.agenda if isinstance(env, EventLoop) else None
        self._counts_tokens = counts_tokens
        self.n_outstanding = 0
        self.arrived_requests = self.finished_requests = 0
        self.arrived_input_tokens = self.finished_output_tokens = 0
        self._left_less_arrived_s = 0.0  # sum of the times at which requests left, less that of arrivals

    @property
    def outstanding_request_seconds(self) -> float:
        """Integral of `n_outstanding` over time so far."""
        return self.n_outstanding * self._env.now + self._left_less_arrived_s

    def arrive(self, request: Request) -> None:
        """Count a request that was sent to the fleet."""
        self.n_outstanding += 1
        self.arrived_requests += 1
        agenda = self._agenda
        self._left_less_arrived_s -= self._env.now if agenda is None else agenda.now
        if self._counts_tokens:
            self.arrived_input_tokens += request.input_tokens

    def leave(self, request: Request) -> None:
        """Count a request that has its outcome."""
        assert request.finished_s is not None
        self.n_outstanding -= 1
        self._left_less_arrived_s += request.finished_s
        if self._counts_tokens and (request.outcome is Outcome.FINISHED or request.outcome is Outcome.STOPPED):
            self.finished_requests += 1
            self.finished_output_tokens += request.output_tokens

    def elsewhere(self, n_requests: int) -> None:
        """Count requests as outstanding here that the API serves in the fleet's place (-1: no longer)."""
        self.n_outstanding += n_requests
        self._left_less_arrived_s -= n_requests * self._env.now
