"""Load metrics as a scraper has them: taken every so many seconds, and old until the next time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import floor

from sim.clock import Clock
from sim.views import FleetView, ReplicaView
from sim.work import Request, Segment


class Scrape:
    """Looks at multiples of `refresh_s`, as long as `look()` says that there was something to see.

    While there is nothing it stops, for there is nothing to go out of date; the first `keep_up` after that looks again
    if the last look is older than `refresh_s`.
    """

    __slots__ = ("_clock", "_refresh_s", "_look", "_ticking", "_next_s")

    def __init__(self, clock: Clock, refresh_s: float, look: Callable[[], bool]):
        self._clock, self._refresh_s, self._look = clock, refresh_s, look
        self._ticking = False
        self._next_s = 0.0

    def keep_up(self) -> None:
        """Call before what was seen is used."""
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
    """A replica as it was when last looked at; implements `ReplicaView`.

    What it has cached is known at once: routers keep a record of it or are sent events, they do not scrape it. So is
    its speed. `with_prefill`: look at the prefill work ahead, too.
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

    def cached_tokens(self, segments: tuple[Segment, ...]) -> int:
        return self.live.cached_tokens(segments)

    def prefill_s(self, tokens: int) -> float:
        return self.live.prefill_s(tokens)


class FleetSeen:
    """A fleet as it was when last looked at, for routers. Where a request would be placed is up to the placement."""

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
        self._seen = {replica: ReplicaSeen(replica, with_prefill) for replica in live.replicas}
        self.replicas = tuple(self._seen.values())

    def placed(self, request: Request) -> ReplicaView | None:
        replica = self.live.placed(request)
        return self._seen.get(replica, replica)


class ScrapedChoice:
    """A placement that is shown the replicas as last scraped. One it has never seen is looked at when first offered.

    Between two looks all requests see the same loads, and run to the same replica: the herd of stale information
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
        return self._rule(request, [seen[replica] for replica in replicas]).live

    def _look(self) -> bool:
        busy = [replica for replica in self._seen if replica.n_outstanding]
        self._seen = {replica: ReplicaSeen(replica) for replica in dict.fromkeys((*busy, *self._offered))}
        return bool(busy)
