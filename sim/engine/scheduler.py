"""Continuous batching without time: which sequences run, what each step computes, and which KV blocks it takes.

The rules are those of vLLM's default (V1) scheduler. Every step decodes one token of every decoding sequence, continues
the prompt whose prefill is under way, and admits waiting requests in order of arrival, within a token budget, a cap on
running sequences and the available KV blocks. A prompt longer than the budget is prefilled in chunks. When decoding
runs out of blocks, the sequence admitted last is preempted, and computed again later.

Time is counted in steps. A decoding sequence stores the number of the step that generates its last token, so that a
decode step need not touch it. The blocks that decoding takes follow from how many sequences need a block at each
residue of the step number modulo the block size. `tests/reference` has a plain engine, one step at a time, that this
scheduler must equal.
"""

# Compiled: every event passes through this module (see sim.hot_path).

from __future__ import annotations

from collections import deque

from mypy_extensions import mypyc_attr

from sim.engine.kv_memory import KvMemory
from sim.engine.priority_queue import PriorityQueue
from sim.engine.running import Running
from sim.engine.sequence import Sequence
from sim.engine.token_gaps import TokenGaps
from sim.gap_histogram import GapHistogram
from sim.hardware.step_time.protocol import Chunk
from sim.heap import Entry, LinedHeap
from sim.work import Request


@mypyc_attr(allow_interpreted_subclasses=True)
class Scheduler:
    """The batch of one replica, its queue of waiting sequences and its KV memory.

    At the start of a step call `schedule`, which decides what the step computes; call `advance` once that step, and any
    number of decode steps after it, are over. `decode_tokens`: tokens of the budget that a decoding sequence takes.
    Without `chunked_prefill` a prompt is computed in one step or not at all. To write another scheduler, override the
    methods that the classes in `sim.engine.schedulers` override.
    """

    fcfs = True
    """Whether the queue is in order of arrival, so that a later arrival never joins the batch before an earlier one."""

    def __init__(
        self, kv_blocks: int, max_num_seqs: int, max_num_batched_tokens: int, block_tokens: int, prefix_caching: bool,
        decode_tokens: int = 1, chunked_prefill: bool = True,
    ):  # fmt: skip
        self.memory = KvMemory(kv_blocks, block_tokens)
        self.gaps = TokenGaps(GapHistogram())
        self.waiting = self._empty_queue()
        self.running = Running()
        self.n_decoding = 0
        self.context_tokens = 0  # tokens in KV memory of all decoding sequences at the start of step `step`
        self.step = 0  # number of the step that begins or is under way
        self.partial: Sequence | None = None  # the sequence whose prompt is computed in part; there is at most one
        self._max_num_seqs = max_num_seqs
        self._budget_tokens = max_num_batched_tokens
        self._block_tokens = block_tokens
        self._prefix_caching = prefix_caching
        self._decode_tokens = decode_tokens
        self._chunked_prefill = chunked_prefill
        # Whether a sequence is admitted only if its whole prompt has room now, although it is computed in chunks.
        self.admits_whole_prompts = False
        # Decoding sequences by `end_step`. An entry that a preemption has left behind is one whose key is no longer the
        # end_step of a decoding sequence.
        self._ends = LinedHeap()
        self._n_left_behind = 0  # such entries; without any, the first entry holds and its sequence need not be read
        # Item i: how many decoding sequences need a new KV block at the steps whose number is i modulo block_tokens.
        self._n_needing_block = [0] * block_tokens
        self._paid_steps = 0  # how many steps from `step` on have their decode blocks already; 0 or 1
        self._completing: list[Sequence] = []  # sequences whose prompt the present step completes
        # Whether the next step may compute something else although no sequence ends in this one: after a preemption, or
        # because a waiting sequence may not join before the next step.
        self._next_step_may_differ = False

    def _empty_queue(self) -> deque[Sequence] | PriorityQueue:
        """The queue of waiting sequences, in the order in which they are admitted."""
        return deque()

    # --- a step ends -------------------------------------------------------------------------------------------------

    def advance(self, steps: int, now: float) -> list[Request] | None:
        """Account for the last `steps` steps, which ended at `now` seconds; returns the requests that are finished."""
        step, n, paid = self.step, self.n_decoding, self._paid_steps
        self.context_tokens += steps * n
        if n and steps > paid:
            self.memory.available_blocks -= self._decode_blocks(step + paid, steps - paid)
        self.step = step = step + steps
        if self._completing:
            self._start_decoding(now)
        return self._finish() if self._ends.least < step else None

    def _start_decoding(self, now: float) -> None:
        """Let the sequences whose prompt the last step has completed decode; that step has sampled a token of each."""
        step, size, completing = self.step, self._block_tokens, self._completing
        for sequence in completing:
            request, tokens = sequence.request, sequence.prompt_tokens
            if request.first_token_s is None:
                request.first_token_s = now
            else:
                self._end_gap(sequence, now)
            sequence.is_decoding = True
            sequence.end_step = end_step = step + sequence.left_tokens - 2
            sequence.slot = slot = (step - tokens) % size
            self._n_needing_block[slot] += 1
            self.context_tokens += tokens
            self._ends.push(float(end_step), sequence)
        self.n_decoding += len(completing)
        completing.clear()

    def _end_gap(self, sequence: Sequence, now: float) -> None:
        """A sequence that was out of the batch yields its next token."""
        last_s = sequence.last_token_s
        assert last_s is not None
        sequence.last_token_s = None
        self.gaps.add(now - last_s, now)
        sequence.request.longest_gap_s = max(sequence.request.longest_gap_s, now - last_s)

    def _finish(self) -> list[Request]:
        """Remove the sequences whose last token the steps just ended have generated; returns their requests."""
        ends, step, finished = self._ends, self.step, []
        while ends.least < step:
            entry: Entry = ends.pop()
            sequence: Sequence = entry.item
            end_step = sequence.end_step
            if self._n_left_behind and not _holds(entry):
                self._n_left_behind -= 1
            else:
                # The last token generated is never computed, so its KV is not in memory.
                left, request = sequence.left_tokens, sequence.request
                tokens = sequence.prompt_tokens + left - 1
                self.n_decoding -= 1
                self.context_tokens -= tokens
                self._n_needing_block[sequence.slot] -= 1
                if left > 1:
                    longest_s = self.gaps.longest_since(end_step - left + 2)
                    if longest_s > request.longest_gap_s:
                        request.longest_gap_s = longest_s
                self._free(sequence, tokens)
                finished.append(request)
        return finished

    def _stop_decoding(self, sequence: Sequence) -> int:
        """Count a sequence as no longer decoding; returns its tokens in KV memory."""
        tokens = sequence.decoded_tokens(self.step)
        self.n_decoding -= 1
        self.context_tokens -= tokens
        self._n_needing_block[sequence.slot] -= 1
        longest_s = self.gaps.longest_since(sequence.first_decode_step)
        sequence.request.longest_gap_s = max(sequence.request.longest_gap_s, longest_s)
        sequence.is_decoding = False
        self._n_left_behind += 1
        return tokens

    # --- a step begins -----------------------------------------------------------------------------------------------

    def schedule(self, now: float) -> list[Chunk] | None:
        """Decide the step that begins at `now` seconds: the chunks of prompts that it computes besides decoding.

        Every sequence that decodes at its start gets one token. None or an empty list if no prompt is computed.
        """
        self._next_step_may_differ = False
        memory, slot = self.memory, self.step % self._block_tokens
        need = self._n_needing_block[slot]
        if need > memory.available_blocks:
            need = self._preempt_until_decodable(slot, now)
        partial, waiting = self.partial, self.waiting
        if partial is None and not waiting:
            self._paid_steps = 0  # `advance` takes the blocks of all steps at once.
            return None
        n = self.n_decoding
        memory.available_blocks -= need
        self._paid_steps = 1
        budget = self._budget_tokens - n * self._decode_tokens
        chunks: list[Chunk] = []
        if partial is not None and budget > 0:
            if not self._go_on(partial, budget, chunks, now):
                return chunks
            budget -= chunks[0][0]
        if waiting and not self._next_step_may_differ:
            self._admit_waiting(now, budget, chunks)
        return chunks

    def has_room(self, sequence: Sequence) -> bool:
        """Whether a waiting sequence has the KV memory to be admitted, so that it waits for its turn only."""
        return self._has_room_for_prompt(sequence)

    def _has_room_for_prompt(self, sequence: Sequence) -> bool:
        return sequence.prompt_tokens <= self.memory.available_blocks * self._block_tokens

    def steps_to_next_change(self) -> int:
        """How many decode steps can be one leap: until a sequence ends, KV blocks run out or the batch may change.

        Call it after `schedule` has returned no chunks, with at least one decoding sequence.
        """
        if self._next_step_may_differ:
            return 1
        steps, available = self._first_end() - self.step + 1, self.memory.available_blocks
        # Each sequence needs at most steps // block_tokens + 1 blocks. If that many are available, no search is needed.
        if available < (steps // self._block_tokens + 1) * self.n_decoding:
            return self._steps_with_blocks(steps, available)
        return steps

    def _first_end(self) -> int:
        """The step that generates the last token of the decoding sequence that ends first."""
        ends = self._ends
        while self._n_left_behind and not _holds(ends.first):
            ends.pop()
            self._n_left_behind -= 1
        return int(ends.least)

    def _steps_with_blocks(self, steps: int, available: int) -> int:
        """How many of the next `steps` decode steps find the KV blocks that they need among `available` ones.

        At least 1, since `schedule` has preempted sequences until the first step has its blocks. Found by bisection.
        """
        first, paid = self.step + self._paid_steps, self._paid_steps
        if self._decode_blocks(first, steps - paid) <= available:
            return steps
        enough = 1
        while steps - enough > 1:
            middle = (enough + steps) // 2
            if self._decode_blocks(first, middle - paid) > available:
                steps = middle
            else:
                enough = middle
        return enough

    def _go_on(self, partial: Sequence, budget: int, chunks: list[Chunk], now: float) -> bool:
        """Schedule the next chunk of the prompt under way; False if its sequence was preempted for want of blocks."""
        if self._compute(partial, budget, chunks):
            return True
        self._preempt(partial, now)
        return False

    def _admit_waiting(self, now: float, budget: int, chunks: list[Chunk]) -> None:
        """Admit waiting sequences in the order of the queue, and append their first chunks to `chunks`.

        It ends with the first sequence that has no room, and with a budget of 0 tokens. A sequence that arrived too
        late for this step (`ready_step`) waits for the next one, unless the replica was empty and so there is no step
        to wait for.
        """
        waiting, running = self.waiting, self.running
        was_empty = running.n == 0
        while waiting and budget > 0 and running.n < self._max_num_seqs:
            sequence: Sequence = waiting[0]  # Without its type, each of its attributes would be looked up by name.
            if sequence.ready_step > self.step and not was_empty:
                self._next_step_may_differ = True
                break
            new = self._admit(sequence, budget, chunks)
            if not new:
                break
            waiting.popleft()
            running.append(sequence)
            request = sequence.request
            if request.admitted_s is None:
                request.admitted_s = now
            else:
                self._stamp_return(sequence, chunks[-1][1], now)
            budget -= new

    def _stamp_return(self, sequence: Sequence, cached_tokens: int, now: float) -> None:
        """Stamp a request that is admitted again: seconds out of the batch, and tokens to compute a second time.

        `cached_tokens`: leading tokens of the prompt that were still resident.
        """
        losses = sequence.request.losses
        if losses is not None and losses.resumed_s is None:
            losses.resumed_s = now
        assert sequence.preempted_s is not None
        sequence.request.preempted_s += now - sequence.preempted_s
        sequence.request.recomputed_tokens += max(0, sequence.lost_tokens - cached_tokens)

    def end_waits(self, now: float) -> None:
        """The run ends: count the seconds that preempted sequences have been out of the batch so far.

        A request that outlived a replica is left out: its stays on replicas say when it ran.
        """
        for sequence in self.waiting:
            request = sequence.request
            if sequence.preempted_s is not None and request.losses is None:
                request.preempted_s += now - sequence.preempted_s

    def _admit(self, sequence: Sequence, budget: int, chunks: list[Chunk]) -> int:
        """Give a waiting sequence its resident blocks and schedule its first chunk; returns the chunk's new tokens.

        Returns 0, and changes nothing, where `_compute` does; `idle` blocks become held and so are no longer available.
        """
        if not sequence.segments or not self._prefix_caching:
            if self.admits_whole_prompts and not self._has_room_for_prompt(sequence):
                return 0
            return self._compute(sequence, budget, chunks)
        memory, size = self.memory, self._block_tokens
        holds, hit, idle = memory.find(sequence.segments, sequence.prompt_tokens)
        past = hit * size
        reach = min(sequence.prompt_tokens, past + budget)
        is_cut = reach < sequence.prompt_tokens
        needed = sequence.prompt_tokens if self.admits_whole_prompts else reach
        if is_cut and not self._chunked_prefill or -(-needed // size) - hit > memory.available_blocks - idle:
            return 0
        sequence.holds = memory.hold(holds)
        sequence.shared_blocks = hit
        sequence.computed_tokens = past
        if sequence.request.admitted_s is None:
            sequence.request.cached_input_tokens = past
        return self._compute(sequence, budget, chunks)

    def _compute(self, sequence: Sequence, budget: int, chunks: list[Chunk]) -> int:
        """Append a prompt's next chunk, of at most `budget` tokens, to `chunks`; returns the chunk's new tokens.

        Returns 0, and changes nothing, if there are no KV blocks for the chunk, or if the chunk does not complete the
        prompt and `chunked_prefill` is off.
        """
        past, total, size, memory = sequence.computed_tokens, sequence.prompt_tokens, self._block_tokens, self.memory
        reach = min(total, past + budget)
        new, completes = reach - past, reach == total
        if not completes and not self._chunked_prefill:
            return 0
        blocks = -(-reach // size) - -(-past // size)
        if blocks > memory.available_blocks:
            return 0
        memory.available_blocks -= blocks
        sequence.computed_tokens = reach
        if sequence.holds is not None:
            sequence.shared_blocks += memory.publish(sequence.holds, reach, False)
        if completes:
            self.partial = None
            self._completing.append(sequence)
        else:
            self.partial = sequence
        chunks.append((new, past, completes))
        return new

    def remove_waiting(self, sequence: Sequence) -> bool:
        """Remove a waiting sequence; returns whether a step may now admit what it could not before."""
        was_head = self.waiting[0] is sequence  # It may have waited for KV blocks, and the one behind it may fit.
        self.waiting.remove(sequence)
        return was_head

    def drop(self, sequence: Sequence) -> int:
        """Remove a running sequence whose client went away, between two steps; returns the tokens of its answer."""
        generated = sequence.generated_before
        if not sequence.is_decoding:
            self.partial = None
            tokens = sequence.computed_tokens
        else:
            tokens = self._stop_decoding(sequence)
            generated += tokens - sequence.prompt_tokens + 1
        self._free(sequence, tokens)
        return generated

    # --- memory ----------------------------------------------------------------------------------------------------

    def _decode_blocks(self, first: int, steps: int) -> int:
        """KV blocks that the decoding sequences need in `steps` steps from the step with number `first` on."""
        n_needing_block, size = self._n_needing_block, self._block_tokens
        first %= size
        end = first + steps
        if end <= size:
            total = 0
            for residue in range(first, end):  # Not `sum` of a slice: that is made, and called, at a higher cost.
                total += n_needing_block[residue]
            return total
        rounds, rest = divmod(end, size)
        if rest < first:
            return rounds * self.n_decoding - sum(n_needing_block[rest:first])
        return rounds * self.n_decoding + sum(n_needing_block[first:rest])

    def _preempt_until_decodable(self, slot: int, now: float) -> int:
        """Preempt sequences until there are KV blocks for the decode step that begins; returns how many it needs."""
        while self._n_needing_block[slot] > self.memory.available_blocks:
            self._preempt(self._victim(), now)
        return self._n_needing_block[slot]

    def _victim(self) -> Sequence:
        """The running sequence to preempt when blocks run out: the one admitted last."""
        return next(reversed(self.running))

    def _preempt(self, sequence: Sequence, now: float) -> None:
        """Put a running sequence back at the head of the queue; the tokens generated so far join its prompt."""
        self._next_step_may_differ = True
        if sequence is self.partial:
            self.partial = None
            tokens = sequence.computed_tokens
        else:
            tokens = self._stop_decoding(sequence)
            sequence.last_token_s = now
            generated = tokens - sequence.prompt_tokens + 1
            sequence.prompt_tokens += generated
            sequence.left_tokens -= generated
        if self._prefix_caching:
            sequence.name_own_stream(self.memory)
        self._free(sequence, tokens)
        sequence.computed_tokens = 0
        sequence.preempted_s = now
        sequence.lost_tokens = tokens
        sequence.request.preemptions += 1
        self.waiting.appendleft(sequence)

    def _free(self, sequence: Sequence, tokens: int) -> None:
        """Remove a running sequence and free its blocks; `tokens` of it are in KV memory. Its streams stay resident."""
        self.running.remove(sequence)
        memory = self.memory
        own_blocks = -(-tokens // self._block_tokens) - sequence.shared_blocks
        if memory.blank_first and tokens % self._block_tokens:
            memory.release_blank(1)
            own_blocks -= 1
        if sequence.holds is None:
            memory.release(own_blocks)
            return
        open_ended = sequence.request.call.extends_prefix or sequence.segments[-1][0] is sequence
        own_blocks -= memory.publish(sequence.holds, tokens, open_ended)
        if own_blocks:
            memory.release(own_blocks)
        memory.let_go(sequence.holds)
        sequence.holds, sequence.shared_blocks = None, 0


def _holds(entry: Entry) -> bool:
    """Whether an entry of `_ends` says when its sequence ends: False if that was preempted, or dropped, since then."""
    sequence: Sequence = entry.item
    return sequence.is_decoding and sequence.end_step == entry.key
