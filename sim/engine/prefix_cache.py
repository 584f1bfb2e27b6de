"""KV memory in blocks, and which blocks still hold something a later prompt may reuse.

A prompt's reusable part is a chain of streams (see `sim.work.Segment`). A stream's resident blocks are always its first
ones, so one counter per stream stands for a chain of hashed blocks. Blocks are freed tail first and evicted least
recently used first, as in vLLM's block pool; blocks that nobody can ever ask for again age in the same queue.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

from sim.work import Segment


class Stream:
    """The resident head of one token stream. `references` counts the running sequences that hold it."""

    __slots__ = ("key", "resident_blocks", "references")

    def __init__(self, key: Hashable):
        self.key = key
        self.resident_blocks = 0
        self.references = 0


class KvMemory:
    """All KV blocks of one replica.

    Law: total_blocks = free_blocks + evictable_blocks + blocks held by running sequences. `allocate` never fails when
    asked for at most `available_blocks`; the caller asks first.
    """

    def __init__(self, total_blocks: int, block_tokens: int = 16):
        self.total_blocks = total_blocks
        self.block_tokens = block_tokens
        self.free_blocks = total_blocks
        self.evictable_blocks = 0
        self._streams: dict[Hashable, Stream] = {}
        self._idle: OrderedDict[Stream, None] = OrderedDict()  # least recently used first

    @property
    def available_blocks(self) -> int:
        """Blocks a sequence could be given now."""
        return self.free_blocks + self.evictable_blocks

    def allocate(self, n_blocks: int) -> None:
        """Take blocks, evicting idle content where none are free."""
        short = n_blocks - self.free_blocks
        if short > 0:
            self._evict(short)
        self.free_blocks -= n_blocks

    def release(self, n_blocks: int) -> None:
        """Give back blocks whose content nobody can ask for again."""
        if not self._idle:
            self.free_blocks += n_blocks
            return
        last = next(reversed(self._idle))
        if last.key is not None:
            last = Stream(None)
            self._idle[last] = None
        last.resident_blocks += n_blocks
        self.evictable_blocks += n_blocks

    def resident(self, segments: tuple[Segment, ...], prompt_tokens: int) -> int:
        """How many leading blocks of a prompt are resident, never the block of its last token (it must be computed)."""
        size, found, end = self.block_tokens, 0, 0
        for key, tokens in segments:
            start, end = end, end + tokens
            stream = self._streams.get(key)
            if stream is None:
                break
            wanted = end // size - start // size
            if stream.resident_blocks < wanted:
                found += stream.resident_blocks
                break
            found += wanted
        return min(found, (prompt_tokens - 1) // size)

    def idle_blocks(self, segments: tuple[Segment, ...]) -> int:
        """Evictable blocks that holding these streams would take out of reach."""
        streams = (self._streams.get(key) for key, _ in segments)
        return sum(s.resident_blocks for s in streams if s is not None and not s.references)

    def acquire(self, segments: tuple[Segment, ...]) -> list[Stream]:
        """Hold the streams of a prompt, creating those not yet known; held streams are not evicted."""
        held = []
        for key, _ in segments:
            stream = self._streams.get(key)
            if stream is None:
                stream = self._streams[key] = Stream(key)
            elif stream.references == 0:
                del self._idle[stream]
                self.evictable_blocks -= stream.resident_blocks
            stream.references += 1
            held.append(stream)
        return held

    def let_go(self, streams: list[Stream]) -> None:
        """Stop holding streams; deepest first, so that a prefix outlives what was built on it."""
        for stream in reversed(streams):
            stream.references -= 1
            if stream.references:
                continue
            if stream.resident_blocks:
                self._idle[stream] = None
                self.evictable_blocks += stream.resident_blocks
            else:
                del self._streams[stream.key]

    def publish(
        self, streams: list[Stream], segments: tuple[Segment, ...], computed_tokens: int, open_ended: bool
    ) -> int:
        """Make computed blocks findable; returns how many of the caller's own blocks became the streams'.

        `open_ended`: the last stream goes on beyond its segment (generated tokens continue it).
        """
        size, moved, end, last = self.block_tokens, 0, 0, len(segments) - 1
        for i, stream in enumerate(streams):
            start, end = end, end + segments[i][1]
            reach = computed_tokens if open_ended and i == last else min(end, computed_tokens)
            fresh = reach // size - start // size - stream.resident_blocks
            if fresh > 0:
                stream.resident_blocks += fresh
                moved += fresh
            if end >= computed_tokens:
                break
        return moved

    def _evict(self, n_blocks: int) -> None:
        self.free_blocks += n_blocks
        self.evictable_blocks -= n_blocks
        while n_blocks:
            oldest = next(iter(self._idle))
            taken = min(n_blocks, oldest.resident_blocks)
            oldest.resident_blocks -= taken
            n_blocks -= taken
            if not oldest.resident_blocks:
                del self._idle[oldest]
                if oldest.key is not None:
                    del self._streams[oldest.key]
