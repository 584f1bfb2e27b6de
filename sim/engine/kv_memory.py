"""KV memory in blocks, and which blocks still hold something a later prompt may reuse.

A prompt's reusable part is a chain of streams (see `sim.work.Segment`); a stream always follows the same streams, at
the same depth. Its resident blocks are always its first ones, and so are those that somebody holds, hence a few
counters per stream stand for a chain of hashed blocks. Blocks are freed tail first and evicted least recently used
first, as in vLLM's block pool; blocks that nobody can ever ask for again age in the same queue.

Known limit: of two blocks of equal content only one can be found, where vLLM finds either. There are two where a prompt
ends exactly with a block that is resident (the block of the last token is always computed): a prompt that repeats
another to its end, lies within a longer shared text, or comes back after a preemption.
"""

# Compiled: every event passes through this module (see sim.hot_path).

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


class _Run:
    """Neighbouring blocks of one stream that were given back together; or, without a stream, blocks nobody can find."""

    __slots__ = ("stream", "blocks")

    def __init__(self, stream: Stream | None, blocks: int):
        self.stream = stream
        self.blocks = blocks


class Hold:
    """A sequence holds the first `blocks` of a stream, which is to be its own blocks from `begin` to `end`."""

    __slots__ = ("stream", "blocks", "begin", "end")

    def __init__(self, stream: Stream, blocks: int, begin: int, end: int):
        self.stream = stream
        self.blocks = blocks
        self.begin = begin
        self.end = end


class KvMemory:
    """All KV blocks of one replica.

    Law: total_blocks = available_blocks + blocks held by running sequences. `available_blocks` is what a sequence could
    be given now; blocks are taken by subtracting from it. `evictable_blocks` are idle with content; where they are more
    than the available ones, some have been taken, and the oldest are evicted before anybody next looks at what is
    resident (until then only their number matters).
    """

    def __init__(self, total_blocks: int, block_tokens: int = 16):
        self.total_blocks = total_blocks
        self.block_tokens = block_tokens
        self.available_blocks = total_blocks
        self.evictable_blocks = 0
        self._streams: dict[Hashable, Stream] = {}
        self._idle: OrderedDict[_Run, None] = OrderedDict()  # least recently used first

    @property
    def resident_blocks(self) -> int:
        """Blocks whose content can be found, held or idle."""
        if self.evictable_blocks > self.available_blocks:
            self.evict_taken()
        return sum(stream.resident_blocks for stream in self._streams.values())

    def release(self, n_blocks: int) -> None:
        """Give back blocks whose content nobody can ask for again."""
        self.available_blocks += n_blocks
        idle = self._idle
        if not idle:
            return  # they are free
        last = next(reversed(idle))
        if last.stream is not None:
            idle[_Run(None, n_blocks)] = None
        else:
            last.blocks += n_blocks
        self.evictable_blocks += n_blocks

    def resident(self, segments: tuple[Segment, ...], prompt_tokens: int) -> int:
        """How many leading blocks of a prompt are resident, never the block of its last token (it must be computed)."""
        return self.find(segments, prompt_tokens)[1]

    def find(self, segments: tuple[Segment, ...], prompt_tokens: int) -> tuple[list[Hold], int, int]:
        """The resident head of a prompt: what to `hold`, how many blocks, and how many of them are evictable now.

        The block of the last token does not count, since that token must be computed.
        """
        if self.evictable_blocks > self.available_blocks:
            self.evict_taken()
        streams, size = self._streams, self.block_tokens
        most = (prompt_tokens - 1) // size
        found: list[Hold] = []
        hit = idle = begin = tokens = 0
        for key, length in segments:
            tokens += length
            end = tokens // size
            blocks = end - begin  # may be 0: a block belongs to the stream of its last token
            stream = streams.get(key)
            if stream is None:
                stream = Stream(key)
            if blocks > stream.resident_blocks:
                blocks = stream.resident_blocks
                most = min(most, hit + blocks)
            if hit + blocks > most:
                blocks = most - hit
            if blocks > stream.held_blocks:
                idle += blocks - stream.held_blocks
            hit += blocks
            found.append(Hold(stream, blocks, begin, end))
            begin = end
        return found, hit, idle

    def hold(self, found: list[Hold]) -> list[Hold]:
        """Hold what `find` has just found: it is not evicted until `let_go`."""
        for hold in found:
            stream, blocks = hold.stream, hold.blocks
            extents = stream.extents
            if blocks in extents:
                extents[blocks] += 1
                continue
            if not extents and not stream.resident_blocks:
                self._streams[stream.key] = stream
            extents[blocks] = 1
            if blocks > stream.held_blocks:
                self._take_back(stream, blocks - stream.held_blocks)
                stream.held_blocks = blocks
        return found

    def hold_another(self, holds: list[Hold], key: Hashable) -> list[Hold]:
        """Hold a stream besides, none of it yet, that begins where the others end."""
        begin = holds[-1].end if holds else 0
        stream = self._streams.get(key) or Stream(key)
        return holds + self.hold([Hold(stream, 0, begin, begin)])

    def let_go(self, holds: list[Hold]) -> None:
        """Stop holding streams; deepest first, so that a prefix outlives what was built on it."""
        for hold in reversed(holds):
            stream, blocks = hold.stream, hold.blocks
            extents = stream.extents
            holders = extents[blocks]
            if holders > 1:
                extents[blocks] = holders - 1
                continue
            del extents[blocks]
            held = max(extents) if extents else 0
            if blocks > held:
                stream.held_blocks = held
                run = _Run(stream, blocks - held)
                stream.runs.append(run)
                self._idle[run] = None
                self.evictable_blocks += blocks - held
                self.available_blocks += blocks - held
            elif not extents and not stream.resident_blocks:
                del self._streams[stream.key]

    def publish(self, holds: list[Hold], computed_tokens: int, open_ended: bool) -> int:
        """Make computed blocks findable; returns how many of the caller's own blocks became the streams'.

        `open_ended`: the last stream goes on beyond its segment (generated tokens continue it).
        """
        if self.evictable_blocks > self.available_blocks:
            self.evict_taken()
        computed, moved = computed_tokens // self.block_tokens, 0
        if open_ended:
            holds[-1].end = computed
        for hold in holds:
            begin, end = hold.begin, hold.end
            if end > computed:
                end = computed
            if end - begin > hold.stream.resident_blocks:
                moved += self._extend(hold, end - begin)
        return moved

    def _extend(self, hold: Hold, blocks: int) -> int:
        """Make the caller's blocks the next ones of a stream, up to `blocks` in all; returns how many."""
        stream, before = hold.stream, hold.blocks
        fresh = blocks - stream.held_blocks
        copies = stream.resident_blocks - stream.held_blocks
        if copies:  # idle ones of equal content: the caller's take their place
            self._take_back(stream, copies)
            self.available_blocks += copies
        stream.held_blocks = stream.resident_blocks = blocks
        extents = stream.extents
        extents[before] -= 1
        if not extents[before]:
            del extents[before]
        extents[blocks] = 1  # nobody held so many
        hold.blocks = blocks
        return fresh

    def _take_back(self, stream: Stream, n_blocks: int) -> None:
        """Take a stream's first idle blocks out of the queue."""
        self.evictable_blocks -= n_blocks
        self.available_blocks -= n_blocks
        while n_blocks:
            run = stream.runs[-1]
            if run.blocks > n_blocks:
                run.blocks -= n_blocks
                return
            n_blocks -= run.blocks
            del self._idle[run]
            stream.runs.pop()

    def evict_taken(self) -> None:
        """Evict as many idle blocks as have been taken."""
        n_blocks = self.evictable_blocks - self.available_blocks
        if n_blocks <= 0:
            return
        self.evictable_blocks = self.available_blocks
        idle = self._idle
        while n_blocks:
            oldest = next(iter(idle))
            stream, blocks = oldest.stream, oldest.blocks
            if blocks > n_blocks:
                oldest.blocks = blocks - n_blocks
                if stream is not None:
                    stream.resident_blocks -= n_blocks
                return
            n_blocks -= blocks
            del idle[oldest]
            if stream is not None:
                del stream.runs[0]
                stream.resident_blocks -= blocks
                if not stream.resident_blocks and not stream.extents:
                    del self._streams[stream.key]
