"""KV memory in blocks, and which blocks still hold something a later prompt may reuse.

A prompt's reusable part is a chain of streams (see `sim.work.Segment`); a stream always follows the same streams, at
the same depth. Its resident blocks are always its first ones, and so are those that somebody holds, hence a few
counters per stream stand for a chain of hashed blocks. Blocks are freed tail first and evicted least recently used
first, as in vLLM's block pool; blocks that nobody can ever ask for again age in the same queue.

Known limit: of two blocks of equal content only one can be found, where vLLM finds either. There are two where a prompt
ends exactly with a block that is resident (the block of the last token is always computed): a prompt that repeats
another to its end, lies within a longer shared text, or comes back after a preemption.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

from sim.work import Segment


class Stream:
    """The resident head of one token stream, `resident_blocks` long; running sequences hold its first `held_blocks`."""

    __slots__ = ("key", "resident_blocks", "held_blocks", "extents", "runs")

    def __init__(self, key: Hashable):
        self.key = key
        self.resident_blocks = 0
        self.held_blocks = 0
        self.extents: dict[int, int] = {}  # blocks held by one sequence: how many sequences hold so many
        self.runs: list[_Run] = []  # its blocks that nobody holds, the deepest first

    def drop_extent(self, blocks: int) -> int:
        """One sequence less holds `blocks` blocks; returns how many still do."""
        holders = self.extents[blocks] - 1
        if holders:
            self.extents[blocks] = holders
        else:
            del self.extents[blocks]
        return holders


class _Run:
    """Neighbouring blocks of one stream that were given back together; or, without a stream, blocks nobody can find."""

    __slots__ = ("stream", "blocks")

    def __init__(self, stream: Stream | None, blocks: int):
        self.stream = stream
        self.blocks = blocks


class Hold:
    """What one sequence holds of one stream: its first `blocks` blocks."""

    __slots__ = ("stream", "blocks")

    def __init__(self, stream: Stream, blocks: int):
        self.stream = stream
        self.blocks = blocks


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
        self._idle: OrderedDict[_Run, None] = OrderedDict()  # least recently used first

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
        if last.stream is not None:
            last = _Run(None, 0)
            self._idle[last] = None
        last.blocks += n_blocks
        self.evictable_blocks += n_blocks

    def resident(self, segments: tuple[Segment, ...], prompt_tokens: int) -> int:
        """How many leading blocks of a prompt are resident, never the block of its last token (it must be computed)."""
        size, found, end = self.block_tokens, 0, 0
        for key, tokens in segments:
            start, end = end, end + tokens
            stream = self._streams.get(key)
            wanted = end // size - start // size  # may be 0: a block belongs to the stream of its last token
            resident = 0 if stream is None else stream.resident_blocks
            if resident < wanted:
                found += resident
                break
            found += wanted
        return min(found, (prompt_tokens - 1) // size)

    def idle_blocks(self, segments: tuple[Segment, ...], n_blocks: int) -> int:
        """Evictable blocks that holding the first `n_blocks` of a prompt would take out of reach."""
        size, idle, end = self.block_tokens, 0, 0
        for key, tokens in segments:
            start, end = end, end + tokens
            blocks = min(n_blocks, end // size - start // size)
            if blocks:
                idle += max(0, blocks - self._streams[key].held_blocks)
                n_blocks -= blocks
        return idle

    def hold(self, segments: tuple[Segment, ...], n_blocks: int) -> list[Hold]:
        """Hold the first `n_blocks` of a prompt, which must be resident: they are not evicted until `let_go`."""
        size, end, holds = self.block_tokens, 0, []
        for key, tokens in segments:
            start, end = end, end + tokens
            blocks = min(n_blocks, end // size - start // size)
            n_blocks -= blocks
            stream = self._streams.get(key)
            if stream is None:
                stream = self._streams[key] = Stream(key)
            extents = stream.extents
            extents[blocks] = extents.get(blocks, 0) + 1
            if blocks > stream.held_blocks:
                self._take_back(stream, blocks - stream.held_blocks)
                stream.held_blocks = blocks
            holds.append(Hold(stream, blocks))
        return holds

    def let_go(self, holds: list[Hold]) -> None:
        """Stop holding streams; deepest first, so that a prefix outlives what was built on it."""
        for hold in reversed(holds):
            stream, blocks = hold.stream, hold.blocks
            if stream.drop_extent(blocks):
                continue
            held = max(stream.extents, default=0)
            if blocks > held:
                stream.held_blocks = held
                run = _Run(stream, blocks - held)
                stream.runs.append(run)
                self._idle[run] = None
                self.evictable_blocks += blocks - held
            elif not stream.extents and not stream.resident_blocks:
                del self._streams[stream.key]

    def publish(
        self, holds: list[Hold], segments: tuple[Segment, ...], computed_tokens: int, open_ended: bool
    ) -> int:
        """Make computed blocks findable; returns how many of the caller's own blocks became the streams'.

        `open_ended`: the last stream goes on beyond its segment (generated tokens continue it).
        """
        size, moved, end, last = self.block_tokens, 0, 0, holds[-1] if holds else None
        for hold, (_, tokens) in zip(holds, segments, strict=True):
            start, end = end, end + tokens
            reach = computed_tokens if end > computed_tokens or open_ended and hold is last else end
            blocks = reach // size - start // size
            if blocks > hold.stream.resident_blocks:
                moved += self._extend(hold, blocks)
            if end >= computed_tokens:
                break
        return moved

    def _extend(self, hold: Hold, blocks: int) -> int:
        """Make the caller's blocks the next ones of a stream, up to `blocks` in all; returns how many."""
        stream = hold.stream
        fresh = blocks - stream.held_blocks
        copies = stream.resident_blocks - stream.held_blocks
        if copies:  # idle ones of equal content: the caller's take their place
            self._take_back(stream, copies)
            self.free_blocks += copies
        stream.held_blocks = stream.resident_blocks = blocks
        stream.drop_extent(hold.blocks)
        stream.extents[blocks] = 1  # nobody held so many
        hold.blocks = blocks
        return fresh

    def _take_back(self, stream: Stream, n_blocks: int) -> None:
        """Take a stream's first idle blocks out of the queue."""
        self.evictable_blocks -= n_blocks
        while n_blocks:
            run = stream.runs[-1]
            if run.blocks > n_blocks:
                run.blocks -= n_blocks
                return
            n_blocks -= run.blocks
            del self._idle[run]
            stream.runs.pop()

    def _evict(self, n_blocks: int) -> None:
        self.free_blocks += n_blocks
        self.evictable_blocks -= n_blocks
        while n_blocks:
            oldest = next(iter(self._idle))
            stream = oldest.stream
            taken = min(n_blocks, oldest.blocks)
            oldest.blocks -= taken
            n_blocks -= taken
            if stream is not None:
                stream.resident_blocks -= taken
            if not oldest.blocks:
                del self._idle[oldest]
                if stream is not None:
                    del stream.runs[0]
                    if not stream.resident_blocks and not stream.extents:
                        del self._streams[stream.key]
