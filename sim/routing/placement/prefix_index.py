"""What a router knows of the prompts that its replicas have cached: everything, or what it has sent them itself."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import ClassVar, Literal, NamedTuple, cast

import numpy as np
from pydantic import Field

from sim.clock import Clock
from sim.routing.placement.by_load import LoadBased
from sim.routing.placement.placement import PlacementAtWork
from sim.routing.scraping import ReplicaSeen, ScrapedChoice
from sim.schema import Choice, OneOf
from sim.views import ReplicaView
from sim.work import Backend, Request, Segment

Choose = Callable[[Request, Sequence[ReplicaView]], ReplicaView]
"""The rule of a placement: one of the replicas offered."""
_SPARE_RECORDS = 16
"""Records kept beyond twice the replicas offered: replicas that are full for a while are not offered either."""


class PrefixIndex(Choice):
    """What a router knows of the prompts that its replicas have cached: `index` of placements that look at caches.

    >>> import sim
    >>> sim.scenario("placement=llm_d_estimated").placement.index.blocks  # of each replica
    31250
    >>> sim.scenario("placement=llm_d").placement.index
    Exact(kind='exact')
    """

    default_kind: ClassVar[str] = "exact"

    def at_work(self, choose: Choose, clock: Clock) -> PlacementAtWork | None:
        """The rule `choose` in one run, shown replicas whose `cached_tokens` are what this index knows of them.

        None if the index knows what the replicas show by themselves.
        """
        raise NotImplementedError


class Exact(PrefixIndex):
    """What the replicas really hold, as routers know it that receive cache events from the engines."""

    kind: Literal["exact"] = "exact"

    def at_work(self, choose: Choose, clock: Clock) -> None:
        return None


class Approximate(PrefixIndex):
    """The prompts that the router has sent to each replica, whether or not they are still cached there.

    A prompt is cut into blocks from its beginning; of each replica the router remembers the `blocks` blocks that it
    sent there last, for `ttl_s` after it sent them. It sees neither answers nor evictions nor other routers' traffic,
    and takes the longest run of remembered blocks from the beginning of a prompt for cached. It learns nothing while
    the fleet has only one replica to offer, because then there is nothing to choose.

    Source: the prefix plugin of llm-d's endpoint picker (blocks of 16 tokens, the first 256 of a prompt, 31,250
    blocks per server); the routers of SGLang and of vLLM's production stack remember what they sent likewise.
    """

    kind: Literal["approximate"] = "approximate"
    blocks: int | None = Field(
        None,
        ge=1,
        description="blocks remembered of each replica, the least recently sent is forgotten first; None: all",
    )
    block_tokens: int = Field(16, ge=1, description="tokens of a block")
    most_prompt_blocks: int | None = Field(
        None, ge=1, description="leading blocks of a prompt that are looked at; None: all"
    )
    ttl_s: float | None = Field(
        None, gt=0, description="seconds for which a block is remembered after it was last sent; None: for good"
    )

    def at_work(self, choose: Choose, clock: Clock) -> PlacementAtWork:
        return _Learning(self, choose, clock)


class ReadsCaches(LoadBased):
    """The base of placements that look at the prefix caches of the replicas, through an index, and at their load."""

    index: OneOf[PrefixIndex] = Field(Exact(), description="what the router knows of the prompts that replicas hold")

    def start(self, clock: Clock, rng: np.random.Generator) -> PlacementAtWork:
        informed = self.index.at_work(self.choose, clock)
        if informed is None:
            return super().start(clock, rng)
        return ScrapedChoice(clock, self.refresh_s, informed.choose) if self.refresh_s else informed


class _Sent(NamedTuple):
    """The last choice, which becomes knowledge once it is clear that the request did not go to an API instead."""

    request: Request
    replica_id: int
    blocks: list[Hashable]
    sent_s: float


class _Learning:
    """An approximate index in one run. Its records: of each replica, when each block was sent, oldest first."""

    __slots__ = ("_rule", "_choose", "_clock", "_records", "_sent")

    def __init__(self, rule: Approximate, choose: Choose, clock: Clock):
        self._rule, self._choose, self._clock = rule, choose, clock
        self._records: OrderedDict[int, OrderedDict[Hashable, float]] = OrderedDict()
        self._sent: _Sent | None = None

    def choose(self, request: Request, replicas: Sequence[ReplicaView]) -> ReplicaView:
        self._learn()
        blocks = list(prompt_blocks(request, self._rule.block_tokens, self._rule.most_prompt_blocks))
        known = [_Known(replica, self._matched_tokens(replica.replica_id, blocks)) for replica in replicas]
        chosen = cast(_Known, self._choose(request, known)).live
        self._sent = _Sent(request, chosen.replica_id, blocks, self._clock.now_s)
        self._forget_replicas(2 * len(replicas) + _SPARE_RECORDS)
        return chosen

    def _matched_tokens(self, replica_id: int, blocks: list[Hashable]) -> int:
        record = self._records.get(replica_id)
        if not record:
            return 0
        since_s = -1.0 if self._rule.ttl_s is None else self._clock.now_s - self._rule.ttl_s
        matched = 0
        for block in blocks:
            if record.get(block, -2.0) < since_s:
                break
            matched += 1
        return matched * self._rule.block_tokens

    def _learn(self) -> None:
        """Remember where the last request went. An overflow router asks for a replica and may then choose an API."""
        sent, self._sent = self._sent, None
        if sent is None or sent.request.backend is Backend.API:
            return
        record = self._records.setdefault(sent.replica_id, OrderedDict())
        self._records.move_to_end(sent.replica_id)
        for block in sent.blocks:
            record[block] = sent.sent_s
            record.move_to_end(block)
        most = self._rule.blocks
        while most is not None and len(record) > most:
            record.popitem(last=False)

    def _forget_replicas(self, most: int) -> None:
        """Drop the records of replicas that nothing was sent to for longest: most of them have been released."""
        while len(self._records) > most:
            self._records.popitem(last=False)


class _Known(ReplicaSeen):
    """A replica whose prefix cache holds what the router believes."""

    __slots__ = ("_matched_tokens",)

    def __init__(self, replica: ReplicaView, matched_tokens: int):
        super().__init__(replica)
        self._matched_tokens = matched_tokens

    def cached_tokens(self, segments: tuple[Segment, ...]) -> int:
        return self._matched_tokens


def prompt_blocks(request: Request, block_tokens: int, most: int | None = None) -> Iterator[Hashable]:
    """The whole blocks of a prompt, at most `most`; two prompts have a block in common if they agree up to its end.

    A block is named by the leading segments up to its end. What no segment covers is the request's own.
    """
    own = (request.task.task_id, request.call_index)
    covered = sum(tokens for _, tokens in request.call.segments)
    segments = (*request.call.segments, (own, request.input_tokens - covered))
    before: tuple[Segment, ...] = ()
    begin, end = 0, block_tokens
    for key, tokens in segments:
        while end <= begin + tokens:
            if most is not None and end > most * block_tokens:
                return
            yield (*before, (key, end - begin))
            end += block_tokens
        before = (*before, (key, tokens))
        begin += tokens
