"""Scheduling with KV tiers behind the KV memory of the GPUs, as vLLM with its offloading connector.

Every full block of a prompt is written to all tiers once its chunk is computed (write-through; what decoding computes
is not). A prompt whose next blocks a tier has is loaded from there: it takes the KV blocks of its whole prompt, others
go on meanwhile, and it takes no place in the batch. Once all has arrived it is admitted before those behind it, and the
rest of its prompt is computed.

Stores take no time that anything waits for. Blocks can be found in a tier from the end of the step that computed them.

Known limit: where blank blocks are reused first and a sequence is preempted that holds blocks for what is left of its
prompt, vLLM has evicted all idle blocks by then; here some may stay.
"""

# Compiled: every event passes through this module (see sim.hot_path).

from __future__ import annotations

from typing import Final

from mypy_extensions import mypyc_attr

from sim.engine.kv_tiers import Tier
from sim.engine.scheduler import Scheduler
from sim.engine.sequence import Sequence
from sim.hardware.step_time.protocol import Chunk
from sim.work import Request, Segment

_LOADING: Final = 1
_LOADED: Final = 2


@mypyc_attr(allow_interpreted_subclasses=True)
class TieredScheduler(Scheduler):
    """A scheduler that loads prompts from `tiers`, in their order, and stores them there.

    `new_loads`: (sequence, the moment at which its load is over) of the loads that the last `schedule` began; the
    replica empties the list and calls `end_load` at these moments.
    """

    fcfs = False  # A later arrival may join the batch while an earlier one is being loaded.
    tiers: list[Tier] = []
    new_loads: list[tuple[Sequence, float]] = []
    _computed: list[Sequence] = []

    def use(self, tiers: list[Tier]) -> None:
        """Set the tiers, before the first request."""
        self.tiers, self.new_loads, self._computed = tiers, [], []

    def schedule(self, now: float) -> list[Chunk] | None:
        """Decide a step as `Scheduler` does; again, if loads hold so much memory that all others were preempted."""
        chunks = super().schedule(now)
        if not chunks and not self.n_decoding and self._next_step_may_differ:
            self.step += (
                1  # Nothing decodes, so no step is skipped; a number must not be that of two starts of a sequence.
            )
            chunks = super().schedule(now)
        return chunks

    def advance(self, steps: int, now: float) -> list[Request] | None:
        """Account for the steps as `Scheduler` does, and store the prompts that they computed."""
        if self._computed:
            for sequence in self._computed:
                segments, tokens = self._whole_prompt(sequence), sequence.computed_tokens
                for tier in self.tiers:
                    tier.store(segments, tokens)
            self._computed.clear()
        return super().advance(steps, now)

    def _whole_prompt(self, sequence: Sequence) -> tuple[Segment, ...]:
        """Streams of all tokens of a prompt: those that belong to none are found again only after a preemption."""
        segments = sequence.segments
        rest = sequence.prompt_tokens - sum(tokens for _, tokens in segments)
        return (*segments, (sequence, rest)) if rest else segments

    def _admit_waiting(self, now: float, budget: int, chunks: list[Chunk]) -> None:
        """Admit as `Scheduler` does, but first what is loaded, and pass over what is being loaded, to go on behind it.

        The loaded ones have their KV blocks already: behind one that has none, they would wait for each other.
        """
        was_empty = not self.running
        if any([sequence.load_state == _LOADED for sequence in self.waiting]):
            budget = self._admit_in_order(_LOADED, now, budget, chunks, was_empty)
        self._admit_in_order(0, now, budget, chunks, was_empty)

    def _admit_in_order(self, state: int, now: float, budget: int, chunks: list[Chunk], was_empty: bool) -> int:
        """Admit those of one `load_state`, in the order of the queue; returns what is left of the budget."""
        waiting, running = self.waiting, self.running
        place = 0
        while place < len(waiting) and budget > 0 and len(running) < self._max_num_seqs:
            sequence = waiting[place]
            if sequence.load_state != state:
                place += 1
                continue
            if sequence.ready_step > self.step and not was_empty:
                self._next_step_may_differ = True
                place += 1
                continue
            if state != _LOADED and sequence.segments and self._prefix_caching:
                began = self._load(sequence, now)
                if began is None:
                    break
                if began:
                    place += 1
                    continue
            new = self._admit(sequence, budget, chunks)
            if not new:
                break
            del waiting[place]
            running.append(sequence)
            if sequence.request.admitted_s is None:
                sequence.request.admitted_s = now
            else:
                self._stamp_return(sequence, chunks[-1][1], now)
            budget -= new
        return budget

    def _load(self, sequence: Sequence, now: float) -> bool | None:
        """Begin to load what tiers have beyond the KV memory; False if that is nothing, None if there is no room."""
        memory, total, segments = self.memory, sequence.prompt_tokens, self._whole_prompt(sequence)
        holds, hit, idle = memory.find(sequence.segments, total)
        parts, past = [], hit
        for tier in self.tiers:
            blocks = tier.resident(segments, total)
            if blocks > past:
                parts.append((tier, blocks - past))
                past = blocks
        if not parts:
            return False
        own_blocks = -(-total // self._block_tokens) - hit
        if own_blocks > memory.available_blocks - idle:
            return None
        sequence.holds = memory.hold(holds)
        sequence.shared_blocks = hit
        memory.available_blocks -= own_blocks
        sequence.reserved_blocks = own_blocks
        sequence.computed_tokens = past * self._block_tokens
        sequence.load_state = _LOADING
        ready_s = max([tier.load(segments, total, blocks, now) for tier, blocks in parts])
        self.new_loads.append((sequence, ready_s))
        if sequence.request.admitted_s is None:
            sequence.request.tier_hits = [(tier.number, blocks * self._block_tokens) for tier, blocks in parts]
        return True

    def end_load(self, sequence: Sequence) -> None:
        """All blocks of a loading sequence have arrived, and others may find them."""
        sequence.load_state = _LOADED
        past = sequence.computed_tokens
        sequence.reserved_blocks -= past // self._block_tokens - sequence.shared_blocks
        assert sequence.holds is not None
        sequence.shared_blocks += self.memory.publish(sequence.holds, past, False)

    def _admit(self, sequence: Sequence, budget: int, chunks: list[Chunk]) -> int:
        """Admit as `Scheduler` does; one that is loaded has its blocks already."""
        if sequence.load_state != _LOADED:
            return super()._admit(sequence, budget, chunks)
        if sequence.request.admitted_s is None:
            sequence.request.cached_input_tokens = sequence.computed_tokens
        new = self._compute(sequence, budget, chunks)
        if new:
            sequence.load_state = 0
        return new

    def _compute(self, sequence: Sequence, budget: int, chunks: list[Chunk]) -> int:
        """Schedule a chunk as `Scheduler` does, with the blocks that the sequence has reserved."""
        memory, reserved = self.memory, sequence.reserved_blocks
        memory.available_blocks += reserved
        size, past = self._block_tokens, sequence.computed_tokens
        new = super()._compute(sequence, budget, chunks)
        if reserved:
            sequence.reserved_blocks = reserved - (-(-(past + new) // size) - -(-past // size))
            memory.available_blocks -= sequence.reserved_blocks
        if new:
            self._computed.append(sequence)
        return new

    def remove_waiting(self, sequence: Sequence) -> bool:
        """Remove as `Scheduler` does, with the KV blocks of a loading or loaded sequence."""
        super().remove_waiting(sequence)
        if sequence.load_state:
            memory, holds = self.memory, sequence.holds
            assert holds is not None
            memory.release_blank(-(-sequence.prompt_tokens // self._block_tokens) - sequence.shared_blocks)
            memory.let_go(holds)
            sequence.holds, sequence.shared_blocks, sequence.reserved_blocks, sequence.load_state = None, 0, 0, 0
        return True

    def _free(self, sequence: Sequence, tokens: int) -> None:
        """Free as `Scheduler` does, and what was reserved for the rest of the prompt."""
        if sequence.reserved_blocks:
            self.memory.release_blank(sequence.reserved_blocks)
            sequence.reserved_blocks = 0
        super()._free(sequence, tokens)
