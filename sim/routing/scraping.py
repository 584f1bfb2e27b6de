"""Load metrics that are read every `refresh_s` seconds, as by a metrics scraper, and are stale in between."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import floor
from typing import Protocol, cast

from sim.clock import Clock
from sim.views import FleetView, ReplicaView
from sim.work import Request, Segment


class Scrape:
    """Calls `look()` at multiples of `refresh_s`, for as long as it answers that there was load to read.

    It stops when there is no load, so that an idle simulation has no events; the first `keep_up` after that looks again
    if the last look is older than `refresh_s`.
    """

    __slots__ = ("_clock", "_refresh_s", "_look", "_ticking", "_next_s")

    def __init__(self, clock: Clock, refresh_s: float, look: Callable[[], bool]):
        self._clock, self._refresh_s, self._look = clock, refresh_s, look
        self._ticking = False
        self._next_s = 0.0

    def keep_up(self) -> None:
        """Must be called before the values of the last look are used."""
        if not self._ticking:
            if self._clock.now_s >= self._next_s:
                self._look()
            self._go_on()

    def _go_on(self) -> None:
        now_s, refresh_s = self._clock.now_s, self._refresh_s
        self._next_s = (floor(now_s / refresh_s + 1e-9) + 1) * refresh_s
        self._ticking = True
        self._clock.call_later(self._next_s - now_s, self._tick)

    def _tick(self) -> None:
        self._ticking = False
        if self._look():
            self._go_on()
        else:
            self._next_s = self._clock.now_s + self._refresh_s


class ReplicaSeen:
    """A replica's load at the last look; implements `ReplicaView`.

    The contents of its prefix cache and its speed are not stale: routers keep a record of cached prompts, or receive
    events about them, instead of scraping them. `with_prefill`: also read the prefill work ahead.
    """

    __slots__ = (
        "live", "replica_id", "n_waiting", "n_running", "n_outstanding", "oldest_wait_s", "kv_used_fraction",
        "kv_filled_fraction", "prefill_tokens_ahead", "is_blocked",
    )  # fmt: skip

    def __init__(self, live: ReplicaView, with_prefill: bool = False):
        self.live = live
        self.replica_id = live.replica_id
        self.n_waiting = live.n_waiting
        self.n_running = live.n_running
        self.n_outstanding = live.n_outstanding
        self.oldest_wait_s = live.oldest_wait_s
        self.kv_used_fraction = live.kv_used_fraction
        self.kv_filled_fraction = live.kv_filled_fraction
        if with_prefill:
            self.prefill_tokens_ahead = live.prefill_tokens_ahead
            self.is_blocked = live.is_blocked

    @property
    def prefix_cache_tokens(self) -> int:
        return self.live.prefix_cache_tokens

    def cached_tokens(self, segments: tuple[Segment, ...]) -> int:
        return self.live.cached_tokens(segments)

    def prefill_s(self, tokens: int) -> float:
        return self.live.prefill_s(tokens)


class FleetLoad(Protocol):
    """The part of a `FleetView` that decides whether a request overflows, live or as of the last look."""

    @property
    def n_ready(self) -> int: ...

    @property
    def n_waiting(self) -> int: ...

    @property
    def oldest_wait_s(self) -> float: ...

    @property
    def predicted_wait_s(self) -> float: ...

    @property
    def queued_prompt_tokens(self) -> int: ...

    @property
    def replicas(self) -> Sequence[ReplicaView]: ...

    def placed(self, request: Request) -> ReplicaView | None: ...


class FleetSeen:
    """A fleet's load at the last look; implements `FleetLoad`. The replica that a request would join is not stale."""

    __slots__ = (
        "live", "n_ready", "n_waiting", "oldest_wait_s", "predicted_wait_s", "queued_prompt_tokens", "replicas",
        "_seen",
    )  # fmt: skip

    def __init__(self, live: FleetView, with_prefill: bool = False):
        self.live = live
        self.n_ready = live.n_ready
        self.n_waiting = live.n_waiting
        self.oldest_wait_s = live.oldest_wait_s
        self.predicted_wait_s = live.predicted_wait_s
        self.queued_prompt_tokens = live.queued_prompt_tokens
        self._seen: dict[ReplicaView, ReplicaView] = {
            replica: ReplicaSeen(replica, with_prefill) for replica in live.replicas
        }
        self.replicas = tuple(self._seen.values())

    def placed(self, request: Request) -> ReplicaView | None:
        replica = self.live.placed(request)
        return None if replica is None else self._seen.get(replica, replica)


class ScrapedChoice:
    """A placement that sees the replicas as of the last look, and a new one as of its first offer.

    Between two looks all requests see the same loads and go to the same replica: the herd effect of stale information
    (Mitzenmacher, How useful is old information?, 2000).
    """

    def __init__(
        self, clock: Clock, refresh_s: float, choose: Callable[[Request, Sequence[ReplicaView]], ReplicaView]
    ):  # fmt: skip
        self._rule = choose
        self._scrape = Scrape(clock, refresh_s, self._look)
        self._seen: dict[ReplicaView, ReplicaSeen] = {}
        self._offered: Sequence[ReplicaView] = ()

    def choose(self, request: Request, replicas: Sequence[ReplicaView]) -> ReplicaView:
        self._scrape.keep_up()
        self._offered, seen = replicas, self._seen
        for replica in replicas:
            if replica not in seen:
                seen[replica] = ReplicaSeen(replica)
        chosen = self._rule(request, [seen[replica] for replica in replicas])
        return cast(ReplicaSeen, chosen).live  # a placement answers one of the objects that it was offered

    def _look(self) -> bool:
        busy = [replica for replica in self._seen if replica.n_outstanding]
        self._seen = {replica: ReplicaSeen(replica) for replica in dict.fromkeys((*busy, *self._offered))}
        return bool(busy)
