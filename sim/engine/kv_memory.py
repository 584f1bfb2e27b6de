"""KV memory in blocks, and which blocks still have content that a later prompt may reuse (prefix caching).

A prompt's reusable part is a chain of streams (see `sim.work.Segment`). A stream always follows the same streams, so a
block of it is identified by the stream and its index. The resident blocks of a stream are always its first ones, and so
are the blocks that each sequence holds; hence a few counters per stream replace a chain of hashed blocks. Blocks are
freed tail first and evicted least recently used first, as in vLLM's block pool; freed blocks whose content no prompt
can ask for stand in the same queue of evictions.

Known limit: of two blocks of equal content only one can be found, where vLLM finds either. Two arise where a prompt
ends exactly with a block that is resident, because the block of the last token is always computed: for a prompt that
repeats another to its end, lies within a longer shared text, or is computed again after a preemption.
"""

# Compiled: every event passes through this module (see sim.hot_path).

from __future__ import annotations

from collections.abc import Hashable

from sim.work import Segment


class Stream:
    """One token stream: its first `resident_blocks` blocks are in memory, running sequences hold `held_blocks` of them.

    `extents`: by number of blocks, how many sequences hold just that many; `held_blocks` is the largest of the numbers.
    `runs`: the resident blocks that no sequence holds, the deepest in the stream first.
    """

    __slots__ = ("key", "resident_blocks", "held_blocks", "extents", "runs")

    def __init__(self, key: Hashable):
        self.key = key
        self.resident_blocks = 0
        self.held_blocks = 0
        self.extents: dict[int, int] = {}
        self.runs: list[_Run] = []


class _Run:
    """Neighbouring blocks of one stream that were freed together; without a stream, blocks that no prompt can find."""

    __slots__ = ("stream", "blocks", "older", "newer")

    older: _Run
    newer: _Run

    def __init__(self, stream: Stream | None, blocks: int):
        self.stream = stream
        self.blocks = blocks


class _Idle:
    """Runs in order of their use: a ring of neighbours that begins and ends with one that stands for none.

    A run is taken out from anywhere in it, which an ordered dict does at the cost of two hashes.
    """

    __slots__ = ("_ring",)

    def __init__(self) -> None:
        self._ring = ring = _Run(None, 0)
        ring.older = ring.newer = ring

    def __bool__(self) -> bool:
        return self._ring.newer is not self._ring

    @property
    def oldest(self) -> _Run:
        """The run that was used least recently, of at least one."""
        return self._ring.newer

    @property
    def newest(self) -> _Run:
        """The run that was used most recently, of at least one."""
        return self._ring.older

    def append(self, run: _Run) -> None:
        """Add the run that was used most recently."""
        ring = self._ring
        newest = ring.older
        newest.newer = run
        run.older, run.newer = newest, ring
        ring.older = run

    def remove(self, run: _Run) -> None:
        """Take out one of the runs."""
        older, newer = run.older, run.newer
        older.newer, newer.older = newer, older
        run.older = run.newer = self._ring  # No two runs refer to each other, which would keep both.


class Hold:
    """A sequence holds the first `blocks` blocks of a stream.

    `begin` and `end`: the blocks of the sequence, by index, that the stream stands for once they are all computed.
    """

    __slots__ = ("stream", "blocks", "begin", "end")

    def __init__(self, stream: Stream, blocks: int, begin: int, end: int):
        self.stream = stream
        self.blocks = blocks
        self.begin = begin
        self.end = end


class KvMemory:
    """All KV blocks of one replica. `block_tokens`: tokens per block.

    Law: total_blocks = available_blocks + blocks held by running sequences. `available_blocks` can be given to a
    sequence now; to take blocks, subtract from it. `evictable_blocks` of them are idle and keep the content of an ended
    sequence. If there are more evictable than available blocks, some evictable ones have been taken; the least recently
    used are then evicted before the next lookup of resident blocks, because until then only their number matters.
    """

    def __init__(self, total_blocks: int, block_tokens: int = 16):
        self.total_blocks = total_blocks
        self.block_tokens = block_tokens
        self.available_blocks = total_blocks
        self.evictable_blocks = 0
        self.blank_first = False  # whether freed blocks without content are reused before those with
        self._streams: dict[Hashable, Stream] = {}
        self._idle = _Idle()

    @property
    def resident_blocks(self) -> int:
        """Blocks whose content a prompt may find, held or idle."""
        if self.evictable_blocks > self.available_blocks:
            self.evict_taken()
        return sum(stream.resident_blocks for stream in self._streams.values())

    def release(self, n_blocks: int) -> None:
        """Free blocks whose content no prompt can ask for."""
        self.available_blocks += n_blocks
        idle = self._idle
        if not idle:
            return  # The order of evictions is not needed until a block with content is idle.
        last = idle.newest
        if last.stream is not None:
            idle.append(_Run(None, n_blocks))
        else:
            last.blocks += n_blocks
        self.evictable_blocks += n_blocks

    def release_blank(self, n_blocks: int) -> None:
        """Free blocks that are not full, or not computed."""
        if not self.blank_first:
            self.release(n_blocks)
            return
        if self.evictable_blocks > self.available_blocks:
            self.evict_taken()  # What was taken before they were free has not been one of them.
        self.available_blocks += n_blocks

    def resident(self, segments: tuple[Segment, ...], prompt_tokens: int) -> int:
        """How many leading blocks of a prompt are resident; the block of its last token never counts (see `find`)."""
        return self.find(segments, prompt_tokens)[1]

    def find(self, segments: tuple[Segment, ...], prompt_tokens: int) -> tuple[list[Hold], int, int]:
        """Look up the resident head of a prompt: (what to `hold`, its blocks, how many of them are evictable now).

        The block of the prompt's last token does not count, since that token must be computed to sample the next one.
        """
        if self.evictable_blocks > self.available_blocks:
            self.evict_taken()
        streams, size = self._streams, self.block_tokens
        most_blocks = (prompt_tokens - 1) // size
        holds: list[Hold] = []
        hit_blocks = idle_blocks = begin = tokens = 0
        for key, length in segments:
            tokens += length
            end = tokens // size
            blocks = end - begin  # A block belongs to the stream of its last token, so a short segment may have none.
            stream = streams.get(key)
            if stream is None:
                stream = Stream(key)
            if blocks > stream.resident_blocks:
                blocks = stream.resident_blocks
                most_blocks = min(most_blocks, hit_blocks + blocks)
            if hit_blocks + blocks > most_blocks:
                blocks = most_blocks - hit_blocks
            if blocks > stream.held_blocks:
                idle_blocks += blocks - stream.held_blocks
            hit_blocks += blocks
            holds.append(Hold(stream, blocks, begin, end))
            begin = end
        return holds, hit_blocks, idle_blocks

    def hold(self, holds: list[Hold]) -> list[Hold]:
        """Keep from eviction, until `let_go`, what the call of `find` just before has returned; returns `holds`."""
        for hold in holds:
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
        return holds

    def hold_another(self, holds: list[Hold], key: Hashable) -> list[Hold]:
        """Add the stream `key`, of which no block is held yet and which begins where the last of `holds` ends."""
        begin = holds[-1].end if holds else 0
        stream = self._streams.get(key) or Stream(key)
        return holds + self.hold([Hold(stream, 0, begin, begin)])

    def let_go(self, holds: list[Hold]) -> None:
        """Stop holding streams. The deepest is freed first, so that a prefix is evicted after what continues it."""
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
                self._idle.append(run)
                self.evictable_blocks += blocks - held
                self.available_blocks += blocks - held
            elif not extents and not stream.resident_blocks:
                del self._streams[stream.key]

    def publish(self, holds: list[Hold], computed_tokens: int, open_ended: bool) -> int:
        """Make the computed blocks of a sequence resident; returns how many of its own blocks the streams took over.

        `computed_tokens`: leading tokens of the sequence whose KV is in memory. `open_ended`: the last stream goes on
        beyond its segment, because generated tokens continue it.
        """
        if self.evictable_blocks > self.available_blocks:
            self.evict_taken()
        computed_blocks, moved_blocks = computed_tokens // self.block_tokens, 0
        if open_ended:
            holds[-1].end = computed_blocks
        for hold in holds:
            begin, end = hold.begin, hold.end
            if end > computed_blocks:
                end = computed_blocks
            if end - begin > hold.stream.resident_blocks:
                moved_blocks += self._extend(hold, end - begin)
        return moved_blocks

    def _extend(self, hold: Hold, blocks: int) -> int:
        """Continue a stream with a sequence's own blocks, up to `blocks` in all; returns how many it took over."""
        stream, blocks_before = hold.stream, hold.blocks
        moved_blocks = blocks - stream.held_blocks
        idle_copies = stream.resident_blocks - stream.held_blocks
        if idle_copies:  # Idle blocks have the same content; the sequence's blocks replace them, and they become free.
            self._take_back(stream, idle_copies)
            self.available_blocks += idle_copies
        stream.held_blocks = stream.resident_blocks = blocks
        extents = stream.extents
        extents[blocks_before] -= 1
        if not extents[blocks_before]:
            del extents[blocks_before]
        extents[blocks] = 1  # No other sequence holds `blocks` blocks: that many were not resident before.
        hold.blocks = blocks
        return moved_blocks

    def share(self, holds: list[Hold], computed_tokens: int, open_ended: bool) -> int:
        """Make the computed blocks of a sequence resident, as `publish`; of equal blocks only one remains.

        A block whose content is resident already is freed, and the sequence holds the resident one instead. Returns how
        many of its own blocks the sequence has given up to streams, either way.
        """
        if self.evictable_blocks > self.available_blocks:
            self.evict_taken()
        computed_blocks, moved_blocks = computed_tokens // self.block_tokens, 0
        if open_ended:
            holds[-1].end = computed_blocks
        for hold in holds:
            stream, before = hold.stream, hold.blocks
            blocks = min(hold.end, computed_blocks) - hold.begin
            if blocks <= before:
                continue
            moved_blocks += blocks - before
            extents = stream.extents
            extents[before] -= 1
            if not extents[before]:
                del extents[before]
            extents[blocks] = extents.get(blocks, 0) + 1
            hold.blocks = blocks
            copies = min(blocks, stream.resident_blocks) - before
            if blocks > stream.held_blocks:
                idle = min(blocks, stream.resident_blocks) - stream.held_blocks
                if idle > 0:
                    self._take_back(stream, idle)
                stream.held_blocks = blocks
                stream.resident_blocks = max(blocks, stream.resident_blocks)
            if copies > 0:
                self.release_blank(copies)
        return moved_blocks

    def _take_back(self, stream: Stream, n_blocks: int) -> None:
        """Take the first `n_blocks` idle blocks of a stream out of the queue of evictions, to hold them again."""
        self.evictable_blocks -= n_blocks
        self.available_blocks -= n_blocks
        while n_blocks:
            run = stream.runs[-1]
            if run.blocks > n_blocks:
                run.blocks -= n_blocks
                return
            n_blocks -= run.blocks
            self._idle.remove(run)
            stream.runs.pop()

    def evict_taken(self) -> None:
        """Evict as many idle blocks, least recently used first, as sequences have been given since the last time."""
        n_blocks = self.evictable_blocks - self.available_blocks
        if n_blocks <= 0:
            return
        self.evictable_blocks = self.available_blocks
        idle = self._idle
        while n_blocks:
            oldest = idle.oldest
            stream, blocks = oldest.stream, oldest.blocks
            if blocks > n_blocks:
                oldest.blocks = blocks - n_blocks
                if stream is not None:
                    stream.resident_blocks -= n_blocks
                return
            n_blocks -= blocks
            idle.remove(oldest)
            if stream is not None:
                del stream.runs[0]
                stream.resident_blocks -= blocks
                if not stream.resident_blocks and not stream.extents:
                    del self._streams[stream.key]
