"""A pay-per-token provider at work in one run: admission under limits and outages, latency, retries and hedges."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import chain
from math import inf
from typing import Any

from numpy.random import Generator

from sim.api.client import luck
from sim.api.limits import CLOCK_S, Limits
from sim.api.outages import OutageClock
from sim.api.prompt_cache import SeenPrompts
from sim.api.provider import ApiProvider
from sim.clock import call_later
from sim.work import ApiExtra, Outcome, Refusal, Request

_HEDGE_TTFT, _HEDGE_SPEED, _TURNAROUND, _JITTER = range(4)
"""Numbers of a call's uniform draws (`luck`). Attempt k uses draw _JITTER + k for its backoff."""


class Api:
    """A provider at work in one run: a `Server` that gateways submit to, and the `ApiView` that routers read.

    A request is admitted when every limit allows it and there is no outage. From then on its times follow from its own
    quantiles alone, so they are the same under every policy, and it takes one event. Over a limit it waits (first come,
    first served), is retried, or is refused; one that has waited `patience_s` ends as ABANDONED. A request of more than
    `max_context_tokens` is always refused. `rng` draws random outages. `on_done` is called once per request, in an
    event after `submit`.
    """

    def __init__(
        self,
        env: Any,
        provider: ApiProvider,
        on_done: Callable[[Request], None],
        patience_s: float | None = None,
        rng: Generator | None = None,
        max_context_tokens: float = inf,
    ):
        self._max_context_tokens = max_context_tokens
        self.env = env
        self.provider = provider
        self.on_done = on_done
        self.patience_s = inf if patience_s is None else patience_s
        self._serving: dict[Request, float] = {}  # request -> moment of its first token, in order of admission
        self._waiting: deque[tuple[float, Request, int]] = deque()  # (deadline, request, number of the attempt)
        self._refused: dict[Request, None] = {}  # refused requests whose client learns of it in a later event
        self._retrying: dict[Request, None] = {}  # requests between two attempts
        self._batched: dict[Request, None] = {}
        self._copies = 0  # slots held by hedges: the second copy, or the losing one until it ends
        self._wake_s: float | None = None
        self._max_serving = provider.max_concurrency or inf
        self._seen = SeenPrompts(provider.prompt_cache) if provider.prompt_cache else None
        self._limits = Limits(provider, self._cached_tokens)
        self._outages = OutageClock(provider.outages, rng) if provider.outages else None
        self._unlimited = not self._limits and provider.max_concurrency is None
        self._error_after_s = provider.outages.error_after_s if provider.outages else 0.0
        self._hedge_after_s = provider.hedge.after_s if provider.hedge else inf
        self._cancels_loser = provider.hedge is None or provider.hedge.cancels_loser
        self._batch_from = provider.batch.from_priority if provider.batch else inf
        self._waiting_tokens = 0
        self._served = 0
        self._served_s = 0.0

    @property
    def n_outstanding(self) -> int:
        """Requests in service, waiting for a limit or between two attempts, without batch work."""
        return len(self._serving) + len(self._waiting) + len(self._retrying)

    @property
    def expected_wait_s(self) -> float:
        """Seconds that limits would delay a small request sent now.

        Buckets: until they have refilled for all requests ahead of it. Concurrency: slots become free at the rate
        max_concurrency / mean service time of the requests finished so far (0 s before the first). Future outages are
        not known.
        """
        if self._unlimited:
            return 0.0
        ahead = len(self._waiting)
        wait_s = max(0.0, self._limits.wait_s(ahead, self._waiting_tokens, self.env.now))
        if self._served and self._slots_taken >= self._max_serving:
            wait_s = max(wait_s, (ahead + 1) * self._served_s / self._served / self._max_serving)
        return wait_s

    def submit(self, request: Request) -> None:
        """Accept a request; `on_done` is called with its outcome in a later event."""
        if _tokens_of(request) > self._max_context_tokens:
            self._refuse(request, Refusal.OVER_CONTEXT)
        elif request.task.priority >= self._batch_from:
            self._take_as_batch(request)
        elif self._unlimited and self._outages is None:
            self._admit(request)
        else:
            self._attempt(request, 1, self.env.now + self.patience_s)

    def unfinished(self) -> list[Request]:
        """Requests without an outcome yet, with the stamps that they have so far."""
        for request, first_token_s in self._serving.items():
            if first_token_s <= self.env.now:
                request.first_token_s = first_token_s
        waiting = (request for _, request, _ in self._waiting)
        return list(chain(self._serving, waiting, self._retrying, self._refused, self._batched))

    # --- admission ----------------------------------------------------------------------------------------------------

    def _attempt(self, request: Request, attempt: int, deadline_s: float) -> None:
        """Send the request for the `attempt`-th time (from 1): it is admitted, waits, is retried, or is refused."""
        now_s, on_limit = self.env.now, self.provider.on_limit
        if self._outages is not None and self._outages.is_down(now_s):
            _extra_of(request).failed_attempts += 1
            return self._retry(request, attempt, deadline_s, Refusal.API_OUTAGE, failed_in_s=self._error_after_s)
        fits = self._limits.fits(request, now_s)
        ready_s = self._ready_s(request)
        if fits and not self._waiting and ready_s <= now_s + CLOCK_S:
            self._admit(request)
        elif fits and on_limit == "wait":
            self._waiting.append((deadline_s, request, attempt))
            self._waiting_tokens += _tokens_of(request)
            if len(self._waiting) == 1:
                self._wake_at(min(ready_s, deadline_s))
        else:
            _extra_of(request).throttled_attempts += 1
            if fits and on_limit == "retry":
                wait_s = ready_s - now_s if ready_s < inf else 0.0
                self._retry(request, attempt, deadline_s, Refusal.RATE_LIMIT, retry_after_s=wait_s)
            else:
                self._refuse(request, Refusal.RATE_LIMIT if fits else Refusal.OVER_RATE_LIMIT)

    def _retry(
        self, request: Request, attempt: int, deadline_s: float, reason: Refusal,
        failed_in_s: float = 0.0, retry_after_s: float = 0.0,
    ) -> None:  # fmt: skip
        """Attempt number `attempt` fails in `failed_in_s` seconds: schedule the next one, unless it was the last."""
        retry = self.provider.retry
        if attempt >= retry.max_attempts:
            return self._refuse(request, reason, failed_in_s)
        wait_s = failed_in_s + retry.wait_s(attempt, luck(request.call, _JITTER + attempt), retry_after_s)
        self._retrying[request] = None
        left_s = max(0.0, deadline_s - self.env.now)
        call_later(self.env, min(wait_s, left_s), self._next_attempt, request, attempt + 1, deadline_s, wait_s < left_s)

    def _next_attempt(self, request: Request, attempt: int, deadline_s: float, in_time: bool) -> None:
        if request.outcome is not None:
            return  # Its client hung up before.
        del self._retrying[request]
        if in_time:
            self._attempt(request, attempt, deadline_s)
        else:
            self._end(request, Outcome.ABANDONED)

    def _refuse(self, request: Request, reason: Refusal, in_s: float = 0.0) -> None:
        self._refused[request] = None
        call_later(self.env, in_s, self._tell_refused, request, reason)

    def _tell_refused(self, request: Request, reason: Refusal) -> None:
        del self._refused[request]
        request.refuse(reason, self.env.now)
        self.on_done(request)

    def _end(self, request: Request, outcome: Outcome) -> None:
        request.end(outcome, self.env.now)
        self.on_done(request)

    @property
    def _slots_taken(self) -> int:
        return len(self._serving) + self._copies

    def _ready_s(self, request: Request) -> float:
        """The moment at which limits allow this request; inf if all slots are taken and one must become free first."""
        if self._slots_taken >= self._max_serving:
            return inf
        return self._limits.ready_s(request, self.env.now)

    def _admit_waiting(self) -> None:
        """From the head of the queue, admit requests that the limits allow and end those past their deadline.

        Stops at the first request that must go on waiting, and schedules the next look at it.
        """
        waiting = self._waiting
        now_s = self.env.now + CLOCK_S
        while waiting:
            deadline_s, request, attempt = waiting[0]
            ready_s = self._ready_s(request)
            if ready_s > now_s and deadline_s > now_s:
                return self._wake_at(min(ready_s, deadline_s))
            waiting.popleft()
            self._waiting_tokens -= _tokens_of(request)
            if ready_s > now_s:
                self._end(request, Outcome.ABANDONED)
            elif self._outages is not None and self._outages.is_down(self.env.now):
                self._attempt(request, attempt, deadline_s)
            else:
                self._admit(request)

    def _wake_at(self, wake_s: float) -> None:
        wake_s = min(wake_s, self._limits.next_change_s(self.env.now))
        if wake_s < inf and (self._wake_s is None or wake_s < self._wake_s):
            self._wake_s = wake_s
            call_later(self.env, max(0.0, wake_s - self.env.now), self._wake, wake_s)

    def _wake(self, wake_s: float) -> None:
        if wake_s == self._wake_s:  # otherwise an earlier wake-up was scheduled after this one and replaces it
            self._wake_s = None
            self._admit_waiting()

    # --- service ------------------------------------------------------------------------------------------------------

    def _admit(self, request: Request) -> None:
        provider, call, now_s = self.provider, request.call, self.env.now
        if self._limits:
            self._limits.take(request, now_s)
        if self._seen is not None:
            if call.segments:
                request.cached_input_tokens = min(self._seen.read(call.segments, now_s), request.input_tokens)
            request.cache_write_tokens = self._seen.cache.written_tokens(request)
        ttft_quantile, speed_quantile = call.api_quantiles
        ttft_s = provider.ttft_s(ttft_quantile, request.input_tokens - request.cached_input_tokens)
        service_s = ttft_s + provider.decode_s(speed_quantile, request.output_tokens - request.unsent_tokens)
        if self._seen is not None and call.segments:
            after_s = {"first_token": ttft_s, "request_end": service_s, "at_once": 0.0}[self._seen.cache.readable_after]
            self._seen.write(call.segments, now_s, now_s + after_s)
        request.admitted_s = now_s
        self._serving[request] = now_s + ttft_s
        if ttft_s > self._hedge_after_s:
            call_later(self.env, self._hedge_after_s, self._hedge, request)
        else:
            call_later(self.env, service_s, self._finish, request)

    def _hedge(self, request: Request) -> None:
        """The first token is late: send a second copy if the limits leave room, and keep the faster of the two."""
        env, provider, call = self.env, self.provider, request.call
        now_s, first_s = env.now, self._serving[request]
        speed, tokens = call.api_quantiles[1], request.output_tokens - request.unsent_tokens
        down = self._outages is not None and self._outages.is_down(now_s)
        if down or self._waiting or self._ready_s(request) > now_s + CLOCK_S:
            call_later(env, first_s - now_s + provider.decode_s(speed, tokens), self._finish, request)
            return
        self._limits.take(request, now_s)
        # The copy reads from the cache what the first copy read: what that one writes is not readable yet.
        uncached_tokens = request.input_tokens - request.cached_input_tokens
        copy_s = now_s + provider.ttft_s(luck(call, _HEDGE_TTFT), uncached_tokens)
        loser_s, loser_speed = copy_s, luck(call, _HEDGE_SPEED)
        if copy_s < first_s:
            self._serving[request], loser_s, first_s = copy_s, first_s, copy_s
            speed, loser_speed = loser_speed, speed
        extra, cancels = _extra_of(request), self._cancels_loser
        extra.is_hedged = 1
        extra.lost_input_tokens, extra.lost_cached_input_tokens = request.input_tokens, request.cached_input_tokens
        extra.lost_cache_write_tokens, extra.lost_output_tokens = request.cache_write_tokens, 0 if cancels else tokens
        self._copies += 1
        lost_s = first_s if cancels else loser_s + provider.decode_s(loser_speed, tokens)
        call_later(env, lost_s - now_s, self._end_copy)
        call_later(env, first_s - now_s + provider.decode_s(speed, tokens), self._finish, request)

    def _end_copy(self) -> None:
        self._copies -= 1
        if self._waiting:
            self._admit_waiting()

    def _finish(self, request: Request) -> None:
        if request.outcome is not None:
            return  # Its client hung up before.
        first_token_s, now_s = self._serving[request], self.env.now
        request.longest_gap_s = (now_s - first_token_s) / max(request.output_tokens - request.unsent_tokens - 1, 1)
        request.end_served(now_s)
        self._leave_service(request, first_token_s)

    def _leave_service(self, request: Request, first_token_s: float | None) -> None:
        del self._serving[request]
        request.first_token_s = first_token_s
        self._served += 1
        self._served_s += self.env.now - request.admitted_s
        if self._waiting:
            self._admit_waiting()
        self.on_done(request)

    def abort(self, request: Request) -> None:
        """The client of a request hangs up: what was generated is billed; one not yet admitted is abandoned.

        Batch work goes on, as no client waits for it; so does a refusal on its way.
        """
        now_s = self.env.now
        if request in self._serving:
            first_token_s, tokens = self._serving[request], request.output_tokens - request.unsent_tokens
            if first_token_s > now_s:
                request.abort(0, now_s)
                return self._leave_service(request, None)
            answer_s = self.provider.decode_s(request.call.api_quantiles[1], tokens)
            gap_s = answer_s / max(tokens - 1, 1)
            generated = min(tokens, 1 + int((now_s - first_token_s) / gap_s)) if gap_s else tokens
            request.longest_gap_s = gap_s if generated > 1 else 0.0
            request.abort(generated, now_s)
            self._leave_service(request, first_token_s)
        elif request in self._retrying:
            del self._retrying[request]
            self._end(request, Outcome.ABANDONED)
        elif any(waiting is request for _, waiting, _ in self._waiting):
            self._waiting = deque(entry for entry in self._waiting if entry[1] is not request)
            self._waiting_tokens -= _tokens_of(request)
            self._end(request, Outcome.ABANDONED)

    def _take_as_batch(self, request: Request) -> None:
        _extra_of(request).is_batch = 1
        request.admitted_s = self.env.now
        self._batched[request] = None
        call_later(self.env, self.provider.turnaround_s(luck(request.call, _TURNAROUND)), self._answer_batch, request)

    def _answer_batch(self, request: Request) -> None:
        del self._batched[request]
        request.first_token_s = now_s = self.env.now
        request.end_served(now_s)
        self.on_done(request)

    def _cached_tokens(self, request: Request, now_s: float) -> int:
        if self._seen is None or not request.call.segments:
            return 0
        return min(self._seen.look(request.call.segments, now_s), request.input_tokens)


def _extra_of(request: Request) -> ApiExtra:
    if request.api_extra is None:
        request.api_extra = ApiExtra()
    return request.api_extra


def _tokens_of(request: Request) -> int:
    return request.input_tokens + request.output_tokens
