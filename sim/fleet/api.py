"""A pay-per-token provider at work in one run: limits, latency, and the prompts it remembers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import chain
from math import inf

import simpy

from sim.fleet.prompt_cache import PromptCache, SeenPrompts
from sim.fleet.provider import ApiChoice, ApiProvider, NoApi
from sim.records import Backend
from sim.units import MINUTE_S
from sim.work import Outcome, Request

__all__ = ["Api", "ApiChoice", "ApiProvider", "NoApi", "PromptCache"]

_CLOCK_S = 1e-6  # a limit that lifts within this time has lifted: absorbs rounding of the clock


class Bucket:
    """A token bucket, full at first, refilled continuously at `per_s` up to `capacity`.

    Kept as the moment at which it would be full again: level = capacity - per_s * (full_s - now), at most capacity.
    """

    __slots__ = ("per_s", "capacity", "full_s")

    def __init__(self, per_s: float, capacity: float):
        self.per_s = per_s
        self.capacity = capacity
        self.full_s = -inf

    def ready_s(self, amount: float) -> float:
        """The moment from which it holds `amount`, or would if it were large enough."""
        return self.full_s - (self.capacity - amount) / self.per_s

    def take(self, amount: float, now_s: float) -> None:
        self.full_s = max(self.full_s, now_s) + amount / self.per_s


class Api:
    """A provider at work in one run: a `Server` that gateways submit to, and the `ApiView` that routers read.

    A request is let in when every limit allows (first come, first served), then takes exactly as long as its own
    quantiles say: the same under every policy. One event per served request. Over a limit it waits or is refused; a
    client that has waited `patience_s` leaves (ABANDONED).
    """

    def __init__(
        self,
        env: simpy.Environment,
        provider: ApiProvider,
        on_done: Callable[[Request], None],
        patience_s: float | None = None,
    ):
        self.env = env
        self.provider = provider
        self.on_done = on_done
        self.patience_s = inf if patience_s is None else patience_s
        self._serving: dict[Request, float] = {}  # -> first token; a dict keeps the order of admission
        self._waiting: deque[tuple[float, Request]] = deque()  # (deadline, request)
        self._refused: dict[Request, None] = {}  # decided, and told to the client in the next event
        self._wake_s: float | None = None
        self._max_serving = provider.max_concurrency or inf
        self._requests = _bucket(provider.requests_per_minute, provider.burst_s)
        self._tokens = _bucket(provider.tokens_per_minute, provider.burst_s)
        self._unlimited = self._requests is None and self._tokens is None and provider.max_concurrency is None
        self._seen = SeenPrompts(provider.prompt_cache) if provider.prompt_cache else None
        self._waiting_tokens = 0
        self._served = 0
        self._served_s = 0.0

    @property
    def n_outstanding(self) -> int:
        """Requests it is serving or holding back."""
        return len(self._serving) + len(self._waiting)

    @property
    def expected_wait_s(self) -> float:
        """How long limits would hold back a small request sent now.

        Buckets: until they have refilled for everyone ahead. Concurrency: slots are freed at max_concurrency over the
        mean service time of the requests finished so far (0 before the first).
        """
        if self._unlimited:
            return 0.0
        ahead, now_s, wait_s = len(self._waiting), self.env.now, 0.0
        if self._requests:
            wait_s = max(wait_s, self._requests.ready_s(ahead + 1) - now_s)
        if self._tokens:
            wait_s = max(wait_s, self._tokens.ready_s(self._waiting_tokens + 1) - now_s)
        if self._served and len(self._serving) >= self._max_serving:
            wait_s = max(wait_s, (ahead + 1) * self._served_s / self._served / self._max_serving)
        return wait_s

    def submit(self, request: Request) -> None:
        """Take a request; `on_done` reports its outcome in a later event."""
        request.backend = Backend.API
        request.replica_id = -1
        if self._unlimited:
            return self._admit(request)
        now_s = self.env.now
        fits = self._tokens is None or _tokens_of(request) <= self._tokens.capacity
        ready_s = self._ready_s(request)
        if fits and not self._waiting and ready_s <= now_s + _CLOCK_S:
            self._admit(request)
        elif fits and self.provider.on_limit == "wait":
            self._waiting.append((now_s + self.patience_s, request))
            self._waiting_tokens += _tokens_of(request)
            if len(self._waiting) == 1:
                self._wake_at(min(ready_s, now_s + self.patience_s))
        else:
            self._refused[request] = None
            self.env.timeout(0, request).callbacks.append(self._refuse)

    def unfinished(self) -> list[Request]:
        """Requests that have no outcome yet, with the stamps that have happened so far."""
        for request, first_token_s in self._serving.items():
            if first_token_s <= self.env.now:
                request.first_token_s = first_token_s
        return list(chain(self._serving, (request for _, request in self._waiting), self._refused))

    def _ready_s(self, request: Request) -> float:
        """The moment at which the limits would let this request in; inf when only a departure can."""
        if len(self._serving) >= self._max_serving:
            return inf
        ready_s = -inf
        if self._requests:
            ready_s = self._requests.ready_s(1)
        if self._tokens:
            ready_s = max(ready_s, self._tokens.ready_s(_tokens_of(request)))
        return ready_s

    def _admit(self, request: Request) -> None:
        env, provider, call = self.env, self.provider, request.call
        now_s = env.now
        if self._requests:
            self._requests.take(1, now_s)
        if self._tokens:
            self._tokens.take(_tokens_of(request), now_s)
        if self._seen is not None:
            if call.segments:
                request.cached_input_tokens = min(self._seen.cached_tokens(call.segments, now_s), request.input_tokens)
            request.cache_write_tokens = self._seen.cache.written_tokens(request)
        ttft_quantile, speed_quantile = call.api_quantiles
        ttft_s = provider.ttft_s(ttft_quantile)
        request.admitted_s = now_s
        self._serving[request] = now_s + ttft_s
        service_s = ttft_s + provider.decode_s(speed_quantile, request.output_tokens)
        env.timeout(service_s, request).callbacks.append(self._finish)

    def _finish(self, event: simpy.Event) -> None:
        request = event.value
        request.first_token_s = self._serving.pop(request)
        request.finished_s = now_s = self.env.now
        request.outcome = Outcome.FINISHED
        self._served += 1
        self._served_s += now_s - request.admitted_s
        if self._waiting:
            self._let_in()
        self.on_done(request)

    def _refuse(self, event: simpy.Event) -> None:
        del self._refused[event.value]
        self._turn_away(event.value, Outcome.REFUSED)

    def _turn_away(self, request: Request, outcome: Outcome) -> None:
        request.finished_s = self.env.now
        request.outcome = outcome
        self.on_done(request)

    def _let_in(self) -> None:
        """Admit from the head of the line whom the limits allow, dismiss who is out of patience, set the alarm."""
        waiting = self._waiting
        now_s = self.env.now + _CLOCK_S
        while waiting:
            deadline_s, request = waiting[0]
            ready_s = self._ready_s(request)
            if ready_s > now_s and deadline_s > now_s:
                return self._wake_at(min(ready_s, deadline_s))
            waiting.popleft()
            self._waiting_tokens -= _tokens_of(request)
            if ready_s <= now_s:
                self._admit(request)
            else:
                self._turn_away(request, Outcome.ABANDONED)

    def _wake_at(self, wake_s: float) -> None:
        if wake_s < inf and (self._wake_s is None or wake_s < self._wake_s):
            self._wake_s = wake_s
            self.env.timeout(max(0.0, wake_s - self.env.now), wake_s).callbacks.append(self._wake)

    def _wake(self, event: simpy.Event) -> None:
        if event.value == self._wake_s:  # otherwise an earlier alarm has taken over
            self._wake_s = None
            self._let_in()


def _bucket(per_minute: float | None, burst_s: float) -> Bucket | None:
    return None if per_minute is None else Bucket(per_minute / MINUTE_S, per_minute / MINUTE_S * burst_s)


def _tokens_of(request: Request) -> int:
    return request.input_tokens + request.output_tokens
