"""A fleet without engines, for scalers: a recorded load in, the changes of its size out."""

from __future__ import annotations

from math import inf
from types import SimpleNamespace

from sim.scaling.scaler import Scaler
from tests.at_work import start


class ScriptedFleet:
    """Shows a scaler what `FleetView` does, while the number of requests follows a script.

    The load is spread evenly: with any request there, no replica is idle. Requests named as waiting wait from the
    moment their line of the script begins.
    """

    def __init__(self, scaler: Scaler, n_ready: int | None = None, start_s: float = 0.0, capacity=None):
        self.scaler, self.at_work = scaler, start(scaler)
        self.now_s = self.outstanding_request_seconds = 0.0
        self.n_outstanding = self.n_waiting = self.arrived_requests = 0
        self.arrived_input_tokens = self.finished_requests = self.finished_output_tokens = 0
        self.n_ready = scaler.initial_replicas if n_ready is None else n_ready
        self.start_s = start_s
        self.ready_at_s: list[float] = []
        self.waiting_since_s = 0.0
        self.idle_since_s = [0.0] * self.n_ready
        self.replica_requests_per_s = capacity
        self.changes: list[tuple[float, int]] = []

    @property
    def n_starting(self) -> int:
        return len(self.ready_at_s)

    @property
    def n_idle(self) -> int:
        return 0 if self.n_outstanding else self.n_ready

    @property
    def replicas(self) -> tuple[SimpleNamespace, ...]:
        """As many as are ready, each with its part of the running requests, of which ten fill its KV memory."""
        running = self.n_outstanding - self.n_waiting
        used = min(1.0, running / self.n_ready / 10) if self.n_ready else 0.0
        return (SimpleNamespace(kv_used_fraction=used),) * self.n_ready

    @property
    def oldest_wait_s(self) -> float:
        return self.now_s - self.waiting_since_s if self.n_waiting else 0.0

    def n_idle_longer_than(self, idle_s: float) -> int:
        return self.n_idle and sum(self.now_s - since >= idle_s - 1e-9 for since in self.idle_since_s)

    def play(self, script, until_s: float, stop_at: int | None = None) -> list[tuple[float, int]]:
        """When the fleet changed its size, and to what. `script`: (from when, requests there[, waiting ones]).

        Of things at one moment, replicas become ready first, then the load changes, then the clock ticks.
        """
        script, tick_s = list(script), self.scaler.tick_s or inf
        next_tick_s, checks = tick_s, self._checks(self.now_s)
        while self.n_ready + self.n_starting != stop_at:
            moments = [*self.ready_at_s[:1], *(line[0] for line in script[:1]), next_tick_s, *checks]
            at_s = min(moments, default=inf)
            if at_s > until_s:
                break
            self.outstanding_request_seconds += self.n_outstanding * (at_s - self.now_s)
            self.now_s = at_s
            while self.ready_at_s and self.ready_at_s[0] <= at_s:
                self.n_ready += 1
                self.idle_since_s.append(self.ready_at_s.pop(0))
                checks += self._checks(at_s)
            while script and script[0][0] <= at_s:
                checks += self._load(*script.pop(0)[1:])
            if next_tick_s <= at_s:
                next_tick_s += tick_s
                self._ask()
            if any(check_s <= at_s for check_s in checks):
                checks = [check_s for check_s in checks if check_s > at_s]
                self._ask()
        return self.changes

    def _checks(self, at_s: float) -> list[float]:
        timeout_s = self.scaler.idle_timeout_s
        return [] if timeout_s is None or self.n_outstanding else [at_s + timeout_s]

    def _load(self, n_outstanding: int, n_waiting: int = 0) -> list[float]:
        came = n_outstanding - self.n_outstanding
        self.n_outstanding, self.n_waiting, self.waiting_since_s = n_outstanding, n_waiting, self.now_s
        self.arrived_requests += max(0, came)
        if came > 0 and self.scaler.asks_on_arrival:
            self._ask()
        elif came > 0 and self.scaler.asks_at_zero and not self.n_ready + self.n_starting:
            self._ask()
        if n_outstanding:
            return []
        self.idle_since_s = [self.now_s] * self.n_ready
        if self.scaler.asks_on_idle and self.n_ready:
            self._ask()
        return self._checks(self.now_s)

    def _ask(self) -> None:
        before = self.n_ready + self.n_starting
        target = self.at_work.target_replicas(self)
        assert isinstance(target, int) and self.scaler.min_replicas <= target <= self.scaler.max_replicas
        if target > before:
            self.ready_at_s += [self.now_s + self.start_s] * (target - before)
        else:
            surplus = before - target
            called_off = min(surplus, self.n_starting) if self.scaler.calls_off_starting else 0
            del self.ready_at_s[self.n_starting - called_off :]
            leave = min(surplus - called_off, self.n_ready)
            self.n_ready -= leave
            del self.idle_since_s[:leave]
        if self.start_s == 0.0:
            self.idle_since_s += self.ready_at_s
            self.n_ready, self.ready_at_s = self.n_ready + self.n_starting, []
        after = self.n_ready + self.n_starting
        if after != before:
            self.changes.append((self.now_s, after))


def play(scaler: Scaler, script, until_s: float, **fleet) -> list[tuple[float, int]]:
    """The changes of a new fleet's size under this scaler and load."""
    return ScriptedFleet(scaler, **fleet).play(script, until_s)
