"""Continuous batching without the clock: who runs, what each step computes, and what memory it takes.

The rules are those of vLLM's default (V1) scheduler: every step serves all decoding sequences first, then goes on with
the prompt under way, then admits waiting requests in order of arrival, within a token budget, a cap on running
sequences and the KV blocks there are. A prompt longer than the budget is prefilled in chunks. When decoding runs out of
blocks the youngest sequence is preempted, and recomputed later.

Steps are counted. A decoding sequence stores the step that generates its last token, so a step costs it nothing; the
blocks it takes follow from a count of sequences per residue of the step number. `tests/reference` holds the plain
engine that this must equal.
"""

# Compiled: every event passes through this module (see sim.hot_path).

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from math import inf

from mypy_extensions import mypyc_attr

from sim.engine.kv_memory import KvMemory
from sim.engine.priority_queue import PriorityQueue
from sim.engine.sequence import Sequence
from sim.hardware.step_time.protocol import Chunk
from sim.work import Request


@mypyc_attr(allow_interpreted_subclasses=True)
class Scheduler:
    """The batch of one replica, its queue and its memory.

    Between steps call `schedule`, which decides the next step, then `advance` once that step and any pure decode steps
    after it are over. `decode_tokens`: what a decoding sequence takes of the budget.
    """

    fcfs = True

    def __init__(
        self, kv_blocks: int, max_num_seqs: int, max_num_batched_tokens: int, block_tokens: int, prefix_caching: bool,
        decode_tokens: int = 1, chunked_prefill: bool = True,
    ):  # fmt: skip
        self.memory = KvMemory(kv_blocks, block_tokens)
        self.waiting = self._empty_queue()
        self.running: dict[Sequence, None] = {}  # in order of admission
        self.n_decoding = 0
        self.context_tokens = 0  # KV tokens of the decoding sequences at the start of step `step`
        self.step = 0
        self.partial: Sequence | None = None  # the one prompt under way
        self._max_num_seqs = max_num_seqs
        self._budget_tokens = max_num_batched_tokens
        self._block_tokens = block_tokens
        self._prefix_caching = prefix_caching
        self._decode_tokens = decode_tokens
        self._chunked_prefill = chunked_prefill
        self._ends: list[tuple] = [(inf, 0, None)]  # heap of (end_step, entry, sequence); stale after a preemption
        self._entries = 0
        self._need_at = [0] * block_tokens  # decoding sequences that need a block at steps = index (mod block_tokens)
        self._paid_steps = 0  # coming steps whose decode blocks are already taken
        self._completing: list[Sequence] = []
        self._may_change = False  # though nothing ends: somebody was preempted or came too late for this step

    def _empty_queue(self) -> deque[Sequence] | PriorityQueue:
        return deque()

    # --- a step ends -------------------------------------------------------------------------------------------------

    def advance(self, steps: int, now: float) -> list[Request] | None:
        """Account for `steps` steps that ended now; returns the requests that have their last token."""
        step, n, paid = self.step, self.n_decoding, self._paid_steps
        self.context_tokens += steps * n
        if n and steps > paid:
            self.memory.available_blocks -= self._decode_blocks(step + paid, steps - paid)
        self.step = step = step + steps
        if self._completing:
            self._start_decoding(now)
        return self._finish() if self._ends[0][0] < step else None

    def _start_decoding(self, now: float) -> None:
        """The prompts computed in the step that just ended have yielded their next token."""
        step, size, completing = self.step, self._block_tokens, self._completing
        for s in completing:
            request, tokens = s.request, s.prompt_tokens
            if request.first_token_s is None:
                request.first_token_s = now
            s.end_step = end_step = step + s.left_tokens - 2
            s.slot = slot = (step - tokens) % size
            self._need_at[slot] += 1
            self.context_tokens += tokens
            self._entries = entry = self._entries + 1
            heappush(self._ends, (end_step, entry, s))
        self.n_decoding += len(completing)
        completing.clear()

    def _finish(self) -> list[Request]:
        """Those who had their last token in the step that just ended leave."""
        ends, step, finished = self._ends, self.step, []
        while ends[0][0] < step:
            end_step, _, s = heappop(ends)
            if s.end_step == end_step:
                tokens = s.prompt_tokens + s.left_tokens - 1  # nobody computes the last one
                self.n_decoding -= 1
                self.context_tokens -= tokens
                self._need_at[s.slot] -= 1
                self._free(s, tokens)
                finished.append(s.request)
        return finished

    def _stop_decoding(self, s: Sequence) -> int:
        """Take a sequence out of the decoding batch; returns its tokens in KV memory."""
        tokens = s.decoded_tokens(self.step)
        self.n_decoding -= 1
        self.context_tokens -= tokens
        self._need_at[s.slot] -= 1
        s.end_step = None
        return tokens

    # --- a step begins -----------------------------------------------------------------------------------------------

    def schedule(self, now: float) -> list[Chunk] | None:
        """Decide the next step: the chunks of prompt it computes besides one token of every decoding sequence."""
        self._may_change = False
        memory, slot = self.memory, self.step % self._block_tokens
        need = self._need_at[slot]
        if need > memory.available_blocks:
            need = self._preempt_until_decodable(slot, now)
        partial, waiting = self.partial, self.waiting
        if partial is None and not waiting:
            self._paid_steps = 0
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
        if waiting and not self._may_change:
            self._admit_waiting(now, budget, chunks)
        return chunks

    def has_room(self, s: Sequence) -> bool:
        """Whether a waiting sequence waits for its turn to be computed only, not for memory."""
        return s.prompt_tokens <= self.memory.available_blocks * self._block_tokens

    def steps_to_next_change(self) -> int:
        """Decode steps until a sequence ends, the KV blocks run out or the decision may be another one."""
        if self._may_change:
            return 1
        ends = self._ends
        while ends[0][2].end_step != ends[0][0]:
            heappop(ends)  # preempted since
        steps, available = ends[0][0] - self.step + 1, self.memory.available_blocks
        if available < (steps // self._block_tokens + 1) * self.n_decoding:
            return self._steps_with_blocks(steps, available)
        return steps

    def _steps_with_blocks(self, steps: int, available: int) -> int:
        """How many of the coming decode steps have the blocks they need; at least 1 (see _preempt_until_decodable)."""
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
        """Schedule the next chunk of the prompt under way; False if it had to be preempted instead."""
        if self._compute(partial, budget, chunks):
            return True
        self._preempt(partial, now)
        return False

    def _admit_waiting(self, now: float, budget: int, chunks: list[Chunk]) -> None:
        waiting, running = self.waiting, self.running
        was_empty = not running
        while waiting and budget > 0 and len(running) < self._max_num_seqs:
            s = waiting[0]
            if s.ready_step > self.step and not was_empty:
                self._may_change = True
                break
            new = self._admit(s, budget, chunks)
            if not new:
                break
            waiting.popleft()
            running[s] = None
            request = s.request
            if request.admitted_s is None:
                request.admitted_s = now
            else:
                self._stamp_return(s, chunks[-1][1], now)
            budget -= new

    def _stamp_return(self, s: Sequence, cached_tokens: int, now: float) -> None:
        losses = s.request.losses
        if losses is not None and losses.resumed_s is None:
            losses.resumed_s = now
        assert s.preempted_s is not None
        s.request.preempted_s += now - s.preempted_s
        s.request.recomputed_tokens += max(0, s.lost_tokens - cached_tokens)

    def _admit(self, s: Sequence, budget: int, chunks: list[Chunk]) -> int:
        """Give a waiting sequence its cached blocks and its first chunk; 0, changing nothing, if it has no room."""
        if not s.segments or not self._prefix_caching:
            return self._compute(s, budget, chunks)
        memory, size = self.memory, self._block_tokens
        holds, hit, idle = memory.find(s.segments, s.prompt_tokens)
        past = hit * size
        reach = min(s.prompt_tokens, past + budget)
        is_cut = reach < s.prompt_tokens
        if is_cut and not self._chunked_prefill or -(-reach // size) - hit > memory.available_blocks - idle:
            return 0
        s.holds = memory.hold(holds)
        s.shared_blocks = hit
        s.computed_tokens = past
        if s.request.admitted_s is None:
            s.request.cached_input_tokens = past
        return self._compute(s, budget, chunks)

    def _compute(self, s: Sequence, budget: int, chunks: list[Chunk]) -> int:
        """Schedule the next chunk of a prompt, and say how long; 0, changing nothing, if there are no blocks for it."""
        past, total, size, memory = s.computed_tokens, s.prompt_tokens, self._block_tokens, self.memory
        reach = min(total, past + budget)
        new, completes = reach - past, reach == total
        if not completes and not self._chunked_prefill:
            return 0
        blocks = -(-reach // size) - -(-past // size)
        if blocks > memory.available_blocks:
            return 0
        memory.available_blocks -= blocks
        s.computed_tokens = reach
        if s.holds is not None:
            s.shared_blocks += memory.publish(s.holds, reach, False)
        if completes:
            self.partial = None
            self._completing.append(s)
        else:
            self.partial = s
        chunks.append((new, past, completes))
        return new

    # --- memory ----------------------------------------------------------------------------------------------------

    def _decode_blocks(self, first: int, steps: int) -> int:
        """Blocks that the decoding sequences need in `steps` steps from step `first` on."""
        need_at, size = self._need_at, self._block_tokens
        first %= size
        end = first + steps
        if end <= size:
            return need_at[first] if steps == 1 else sum(need_at[first:end])
        rounds, rest = divmod(end, size)
        return rounds * self.n_decoding + sum(need_at[:rest]) - sum(need_at[:first])

    def _preempt_until_decodable(self, slot: int, now: float) -> int:
        """Preempt until there are blocks for the next decode step; returns how many it needs."""
        while self._need_at[slot] > self.memory.available_blocks:
            self._preempt(self._victim(), now)
        return self._need_at[slot]

    def _victim(self) -> Sequence:
        """Who is preempted when blocks run out: the youngest."""
        return next(reversed(self.running))

    def _preempt(self, s: Sequence, now: float) -> None:
        """Throw a running sequence back to the head of the queue; what it generated becomes part of its prompt."""
        self._may_change = True
        if s is self.partial:
            self.partial = None
            tokens = s.computed_tokens
        else:
            tokens = self._stop_decoding(s)
            generated = tokens - s.prompt_tokens + 1
            s.prompt_tokens += generated
            s.left_tokens -= generated
        if self._prefix_caching:
            s.name_own_stream(self.memory)
        self._free(s, tokens)
        s.computed_tokens = 0
        s.preempted_s = now
        s.lost_tokens = tokens
        s.request.preemptions += 1
        self.waiting.appendleft(s)

    def _free(self, s: Sequence, tokens: int) -> None:
        """Give back all blocks of a sequence that has `tokens` in KV memory; named content stays findable."""
        del self.running[s]
        memory = self.memory
        own = -(-tokens // self._block_tokens) - s.shared_blocks
        if s.holds is None:
            memory.release(own)
            return
        own -= memory.publish(s.holds, tokens, s.request.call.extends_prefix or s.segments[-1][0] is s)
        if own:
            memory.release(own)
        memory.let_go(s.holds)
        s.holds, s.shared_blocks = None, 0
