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

from mypy_extensions import i64

from sim.work import Segment


class Stream:
    """One token stream: its first `resident_blocks` blocks are in memory, running sequences hold `held_blocks` of them.

    `holders`: how many sequences hold all of the `held_blocks`; 0 if none holds the stream. `shorter`: how many hold
    fewer blocks, by how many these are; None if no sequence has done so, which saves most streams a dict. Blocks that
    are resident and not held are in runs, of which `deepest` and `shallowest` are the ends.
    """

    __slots__ = ("key", "resident_blocks", "held_blocks", "holders", "shorter", "deepest", "shallowest")

    def __init__(self, key: Hashable):
        self.key = key
        self.resident_blocks: i64 = 0
        self.held_blocks: i64 = 0
        self.holders: i64 = 0
        self.shorter: dict[int, int] | None = None
        self.deepest: _Run | None = None
        self.shallowest: _Run | None = None

    def join(self, blocks: i64) -> None:
        """One more sequence holds the first `blocks` blocks."""
        held = self.held_blocks
        if blocks == held:
            self.holders += 1
            return
        if blocks > held:
            n, fewer = self.holders, held
            self.held_blocks, self.holders = blocks, 1
            if not n:
                return
        else:
            n, fewer = 1, blocks
        shorter = self.shorter
        if shorter is None:
            self.shorter = shorter = {}
        shorter[fewer] = shorter.get(fewer, 0) + n

    def leave(self, blocks: i64) -> None:
        """One of the sequences that hold just `blocks` blocks holds the stream no longer."""
        shorter = self.shorter
        if blocks != self.held_blocks:
            assert shorter is not None
            n: i64 = shorter[blocks]
            if n > 1:
                shorter[blocks] = n - 1
            else:
                del shorter[blocks]
            return
        self.holders -= 1
        if not self.holders:
            if shorter:
                most = max(shorter)
                self.held_blocks, self.holders = most, shorter.pop(most)
            else:
                self.held_blocks = 0

    def free(self, blocks: i64) -> _Run:
        """The `blocks` blocks after those held are held no longer: a new run, the shallowest."""
        run, deeper = _Run(self, blocks), self.shallowest
        if deeper is None:
            self.deepest = run
        else:
            deeper.shallower, run.deeper = run, deeper
        self.shallowest = run
        return run

    def drop_shallowest(self, run: _Run) -> None:
        """The run `run`, which is the shallowest, is held again."""
        deeper = run.deeper
        self.shallowest, run.deeper = deeper, None
        if deeper is None:
            self.deepest = None
        else:
            deeper.shallower = None

    def drop_deepest(self, run: _Run) -> None:
        """The run `run`, which is the deepest, is evicted."""
        shallower = run.shallower
        self.deepest, run.shallower = shallower, None
        if shallower is None:
            self.shallowest = None
        else:
            shallower.deeper = None


class _Run:
    """Neighbouring blocks of one stream that were freed together; without a stream, blocks that no prompt can find."""

    __slots__ = ("stream", "blocks", "older", "newer", "deeper", "shallower")

    older: _Run
    newer: _Run

    def __init__(self, stream: Stream | None, blocks: i64):
        self.stream = stream
        self.blocks: i64 = blocks
        self.deeper: _Run | None = None  # the neighbours in the stream, where they are in memory and not held
        self.shallower: _Run | None = None


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

    def __init__(self, stream: Stream, blocks: i64, begin: i64, end: i64):
        self.stream = stream
        self.blocks: i64 = blocks
        self.begin: i64 = begin
        self.end: i64 = end


class KvMemory:
    """All KV blocks of one replica. `block_tokens`: tokens per block.

    Law: total_blocks = available_blocks + blocks held by running sequences. `available_blocks` can be given to a
    sequence now; to take blocks, subtract from it. `evictable_blocks` of them are idle and keep the content of an ended
    sequence. If there are more evictable than available blocks, some evictable ones have been taken; the least recently
    used are then evicted before the next lookup of resident blocks, because until then only their number matters.
    """

    def __init__(self, total_blocks: int, block_tokens: int = 16):
        self.total_blocks: i64 = total_blocks
        self.block_tokens: i64 = block_tokens
        self.available_blocks: i64 = total_blocks
        self.evictable_blocks: i64 = 0
        self.blank_first = False  # whether freed blocks without content are reused before those with
        self._streams: dict[Hashable, Stream] = {}
        self._idle = _Idle()

    @property
    def resident_blocks(self) -> int:
        """Blocks whose content a prompt may find, held or idle."""
        if self.evictable_blocks > self.available_blocks:
            self.evict_taken()
        return sum(stream.resident_blocks for stream in self._streams.values())

    def release(self, n_blocks: i64) -> None:
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

    def release_blank(self, n_blocks: i64) -> None:
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
        most_blocks: i64 = (prompt_tokens - 1) // size
        holds: list[Hold] = []
        hit_blocks: i64 = 0
        idle_blocks: i64 = 0
        begin: i64 = 0
        tokens: i64 = 0
        for key, length in segments:
            tokens += length
            end = tokens // size
            blocks = end - begin  # A block belongs to the stream of its last token, so a short segment may have none.
            stream = streams.get(key)
            if stream is None:
                stream = Stream(key)
            if blocks > stream.resident_blocks:
                blocks = stream.resident_blocks
                if hit_blocks + blocks < most_blocks:
                    most_blocks = hit_blocks + blocks
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
            if not stream.holders and not stream.resident_blocks:
                self._streams[stream.key] = stream
            if blocks > stream.held_blocks:
                self._take_back(stream, blocks - stream.held_blocks)
            stream.join(blocks)
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
            stream.leave(blocks)
            freed = blocks - stream.held_blocks
            if freed > 0:
                self._idle.append(stream.free(freed))
                self.evictable_blocks += freed
                self.available_blocks += freed
            elif not stream.holders and not stream.resident_blocks:
                del self._streams[stream.key]

    def publish(self, holds: list[Hold], computed_tokens: int, open_ended: bool) -> int:
        """Make the computed blocks of a sequence resident; returns how many of its own blocks the streams took over.

        `computed_tokens`: leading tokens of the sequence whose KV is in memory. `open_ended`: the last stream goes on
        beyond its segment, because generated tokens continue it.
        """
        if self.evictable_blocks > self.available_blocks:
            self.evict_taken()
        computed_blocks: i64 = computed_tokens // self.block_tokens
        moved_blocks: i64 = 0
        if open_ended:
            holds[-1].end = computed_blocks
        for hold in holds:
            begin, end = hold.begin, hold.end
            if end > computed_blocks:
                end = computed_blocks
            if end - begin > hold.stream.resident_blocks:
                moved_blocks += self._extend(hold, end - begin)
        return moved_blocks

    def _extend(self, hold: Hold, blocks: i64) -> i64:
        """Continue a stream with a sequence's own blocks, up to `blocks` in all; returns how many it took over."""
        stream, held = hold.stream, hold.stream.held_blocks
        idle_copies = stream.resident_blocks - held
        if idle_copies:  # Idle blocks have the same content; the sequence's blocks replace them, and they become free.
            self._take_back(stream, idle_copies)
            self.available_blocks += idle_copies
        stream.resident_blocks = blocks
        if hold.blocks == held and stream.holders == 1:
            stream.held_blocks = blocks
        else:
            stream.leave(hold.blocks)
            stream.join(blocks)
        hold.blocks = blocks
        return blocks - held

    def share(self, holds: list[Hold], computed_tokens: int, open_ended: bool) -> int:
        """Make the computed blocks of a sequence resident, as `publish`; of equal blocks only one remains.

        A block whose content is resident already is freed, and the sequence holds the resident one instead. Returns how
        many of its own blocks the sequence has given up to streams, either way.
        """
        if self.evictable_blocks > self.available_blocks:
            self.evict_taken()
        computed_blocks: i64 = computed_tokens // self.block_tokens
        moved_blocks: i64 = 0
        if open_ended:
            holds[-1].end = computed_blocks
        for hold in holds:
            stream, before, held = hold.stream, hold.blocks, hold.stream.held_blocks
            blocks = min(hold.end, computed_blocks) - hold.begin
            if blocks <= before:
                continue
            moved_blocks += blocks - before
            stream.leave(before)
            stream.join(blocks)
            hold.blocks = blocks
            resident = min(blocks, stream.resident_blocks)
            copies = resident - before
            if blocks > held:
                if resident > held:
                    self._take_back(stream, resident - held)
                stream.resident_blocks = max(blocks, stream.resident_blocks)
            if copies > 0:
                self.release_blank(copies)
        return moved_blocks

    def _take_back(self, stream: Stream, n_blocks: i64) -> None:
        """Take the first `n_blocks` idle blocks of a stream out of the queue of evictions, to hold them again."""
        self.evictable_blocks -= n_blocks
        self.available_blocks -= n_blocks
        while n_blocks:
            run = stream.shallowest
            assert run is not None, "a stream has as many idle blocks as are taken back"
            if run.blocks > n_blocks:
                run.blocks -= n_blocks
                return
            n_blocks -= run.blocks
            self._idle.remove(run)
            stream.drop_shallowest(run)

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
                stream.drop_deepest(oldest)
                stream.resident_blocks -= blocks
                if not stream.resident_blocks and not stream.holders:
                    del self._streams[stream.key]
