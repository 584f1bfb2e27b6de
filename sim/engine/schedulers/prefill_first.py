"""Scheduling as SGLang does: a step computes prompts only, or it decodes all answers. Prompts go first.

While a waiting request can be admitted, steps compute prompts, up to a budget of tokens, and all answers stand still. A
prompt that the budget cuts goes first in the next step. Only when nothing can be admitted a step decodes.

A request is admitted if its prompt and whole answer fit beside a share of what the running answers may still generate
(`PrefillFirst`). The first one that does not fit ends admissions until a decode step has noticed that a sequence left.
When decoding runs out of KV memory, the sequences with the fewest tokens of answer are retracted to the end of the
queue. The prompt of a retracted sequence may be found again, its answer is computed again.

The queue is in order of arrival, or sorted before each step of prompts by how much of each is in the prefix cache.

A prompt can be found from the end of the step that computed it; of equal blocks one is kept. What is evicted is found
as in `KvMemory`, block by block, where SGLang evicts whole leaves of its tree.

The number of a step counts decode steps only, so that the step of a sequence's last token does not change while it
stands still.
"""

# Compiled: every event passes through this module (see sim.hot_path).

from __future__ import annotations

from mypy_extensions import mypyc_attr

from sim.engine.scheduler import Scheduler
from sim.engine.sequence import Sequence
from sim.engine.token_gaps import Standstill
from sim.hardware.prefill_first import PrefillFirst
from sim.hardware.step_time.protocol import Chunk
from sim.work import Request


class _Room:
    """What is left for the step of prompts that is put together, in tokens.

    `free`: KV memory. `beyond_answers`: KV memory beside what answers are expected to take. `chunk`: of the step's
    budget. `prompts`: of the prompts that one step may take up.
    """

    __slots__ = ("free", "beyond_answers", "chunk", "prompts")

    def __init__(self, free: int, beyond_answers: float, chunk: int, prompts: int):
        self.free = free
        self.beyond_answers = beyond_answers
        self.chunk = chunk
        self.prompts = prompts

    def take(self, new: int, answer: int, block_tokens: int) -> None:
        """Take `new` tokens of a prompt and an answer; a block more for each, as SGLang does."""
        paged = -(-new // block_tokens) * block_tokens
        self.free -= paged + block_tokens
        self.beyond_answers -= paged + answer + block_tokens
        self.chunk -= paged
        self.prompts -= paged


def _shared_tokens(one: Sequence, other: Sequence) -> int:
    """How many leading tokens two prompts have in common, as far as they are in streams."""
    tokens = 0
    for (key, length), (other_key, other_length) in zip(one.segments, other.segments, strict=False):
        if key != other_key:
            break
        tokens += min(length, other_length)
        if length != other_length:
            break
    return tokens


@mypyc_attr(allow_interpreted_subclasses=True)
class PrefillFirstScheduler(Scheduler):
    """A scheduler whose steps compute prompts or decode. Call `use` before the first request."""

    _is_full: bool = False
    """Whether no request is admitted until a sequence has left the batch."""
    _n_gone: int = 0
    """Sequences that have left since the last decode step, which still count as running."""
    _stands: bool = False
    """Whether the step under way computes prompts, so that no sequence decodes."""
    _n_standing: int = 0
    _standing_tokens: int = 0
    _computed: list[Sequence] = []
    _n_answers: int = 0
    _ends_sum: int = 0
    """Of the `_n_answers` decoding sequences, each one's number of the step after its last token, all added up."""
    _latest_end: int = 0
    """No decoding sequence has a later one."""
    _ratio_set: float = 0.0
    _decode_steps: int = 0
    _fall: float = 0.0
    _least_ratio: float = 0.0
    _max_prefill_tokens: int = 0
    _most_expected_tokens: int = 0
    _retract_decode_steps: int = 0
    _sorts: bool = False
    """Whether the queue is sorted by cached prefixes before each step of prompts."""
    _most_sorted: int = 0
    _shared_tokens: int = 0

    def use(self, rules: PrefillFirst) -> None:
        """Set the rules of admission, before the first request."""
        self._computed = []
        self._ratio_set, self._least_ratio = rules.new_token_ratio, rules.least_new_token_ratio
        self._fall = (rules.new_token_ratio - rules.least_new_token_ratio) / rules.ratio_decay_steps
        self._max_prefill_tokens, self._most_expected_tokens = rules.max_prefill_tokens, rules.most_expected_tokens
        self._retract_decode_steps = rules.retract_decode_steps
        self._sorts = rules.schedule_policy == "lpm" and self._prefix_caching
        self._most_sorted, self._shared_tokens = rules.lpm_most_waiting, rules.lpm_shared_tokens

    # --- a step ends -------------------------------------------------------------------------------------------------

    def advance(self, steps: int, now: float) -> list[Request] | None:
        """Account for decode steps as `Scheduler` does, or for one step of prompts, which has no number."""
        if not self._stands:
            if self.n_decoding:
                self._decode_steps += steps
            finished = super().advance(steps, now)
            if finished:
                self._n_gone += len(finished)
            return finished
        self._stands = False
        self.n_decoding, self.context_tokens = self._n_standing, self._standing_tokens
        for sequence in self._computed:
            if sequence.holds is not None:
                sequence.shared_blocks += self.memory.share(sequence.holds, sequence.computed_tokens, False)
        self._computed.clear()
        standstill = self.gaps.standstill
        assert standstill is not None
        joining = [sequence for sequence in self._completing if sequence.left_tokens > 1]
        self._start_decoding(now)
        for sequence in joining:
            sequence.last_token_s = now
            standstill.joined.append(sequence)
            end = self.step + self._all_left_tokens(sequence)
            self._n_answers += 1
            self._ends_sum += end
            self._latest_end = max(self._latest_end, end)
        for sequence in reversed(self.waiting):
            if sequence.ready_step < self.step:
                break  # It waited before the last decode step, and so do those ahead of it.
            if sequence.ready_step > self.step:
                sequence.ready_step -= 1  # One step less to wait for, although the number is the same.
        finished = self._finish() if self._ends.least < self.step else None
        if finished or self.partial is not None:
            self._is_full = False
        return finished

    def drop(self, sequence: Sequence) -> int:
        """Remove as `Scheduler` does."""
        if not sequence.is_decoding:
            self._is_full = False
        else:
            self._n_gone += 1
            self._leave_standstill(sequence)
        return super().drop(sequence)

    def _leave_standstill(self, sequence: Sequence) -> None:
        """A decoding sequence leaves the batch before it has had the token that it waits for."""
        standstill = self.gaps.standstill
        if standstill is not None and sequence.last_token_s is not None:
            standstill.joined.remove(sequence)

    # --- a step begins -----------------------------------------------------------------------------------------------

    def schedule(self, now: float) -> list[Chunk] | None:
        """Decide the step that begins at `now` seconds: the chunks of prompts that it computes; None if it decodes."""
        self._next_step_may_differ = False
        if not self.running:
            self._is_full, self._n_gone = False, 0
        if self.partial is not None or self.waiting and not self._is_full:
            chunks = self._prefill(now)
            if chunks:
                if self.gaps.standstill is None:
                    self.gaps.standstill = Standstill(now)
                self._stands = True
                self._n_standing, self._standing_tokens = self.n_decoding, self.context_tokens
                self.n_decoding = self.context_tokens = 0
                return chunks
        if self._n_gone:
            self._n_gone = 0
            if self._is_full:
                self._is_full = False
                self._next_step_may_differ = bool(self.waiting)
        if self._n_needing_block[self.step % self._block_tokens] > self.memory.available_blocks:
            self._retract(now)
        return None

    def _prefill(self, now: float) -> list[Chunk]:
        """Put a step of prompts together: the one that was cut, then the queue up to the first that has no room."""
        waiting, running, partial, size = self.waiting, self.running, self.partial, self._block_tokens
        was_empty, room, chunks = not running, self._room(), list[Chunk]()
        if partial is not None:
            new = min(partial.prompt_tokens - partial.computed_tokens, room.chunk)
            self._take(partial, new, chunks)
            room.take(new, self._answer_tokens(partial) if chunks[0][2] else 0, size)
        if self._sorts:
            self._sort_by_prefix(was_empty)
        while waiting:
            sequence = waiting[0]
            if sequence.ready_step > self.step and not was_empty:
                self._next_step_may_differ = True
                break
            if len(running) + self._n_gone >= self._max_num_seqs:
                self._is_full = True
            if self._is_full or not self._begin(sequence, room, chunks):
                break
            waiting.popleft()
            running.append(sequence)
            if sequence.request.admitted_s is None:
                sequence.request.admitted_s = now
            else:
                self._stamp_return(sequence, chunks[-1][1], now)
            if room.beyond_answers <= 0 or room.free <= 0:
                self._is_full = True
                break
            if room.prompts <= 0 or room.chunk <= 0:
                break
        return chunks

    def _sort_by_prefix(self, was_empty: bool) -> None:
        """Sort the queue: the longest cached prefix first; last who shares a prefix with one that is to compute it.

        Who arrived too late for this step stays behind all others.
        """
        here = [s for s in self.waiting if s.ready_step <= self.step or was_empty]
        if len(here) > self._most_sorted:
            return
        late = [s for s in self.waiting if s.ready_step > self.step and not was_empty]
        first: list[Sequence] = []
        keys: list[tuple[int, int]] = []  # for each of them: minus its cached tokens, or 1 if it goes last; its place
        for place, sequence in enumerate(here):
            _, hit, _ = self.memory.find(sequence.segments, sequence.prompt_tokens + 1)
            key = -hit * self._block_tokens
            if -key <= self._shared_tokens:
                if any([_shared_tokens(sequence, other) >= self._shared_tokens for other in first]):
                    key = 1
                else:
                    first.append(sequence)
            keys.append((key, place))
        keys.sort()
        self.waiting.clear()
        self.waiting.extend([here[place] for _, place in keys])
        self.waiting.extend(late)

    def _begin(self, sequence: Sequence, room: _Room, chunks: list[Chunk]) -> bool:
        """Schedule the first chunk of a waiting sequence. False without room: then nothing changes but `_is_full`."""
        memory, size, total = self.memory, self._block_tokens, sequence.prompt_tokens
        holds, hit, idle = None, 0, 0
        if sequence.segments and self._prefix_caching:
            holds, hit, idle = memory.find(sequence.segments, total)
        new, idle_tokens = total - hit * size, idle * size
        tokens = new + self._left_tokens(sequence)
        if tokens >= room.beyond_answers:
            self._is_full = True
            return False
        paged = -(-new // size) * size
        if paged >= room.prompts and chunks:
            return False
        if tokens >= room.beyond_answers - idle_tokens:
            self._is_full = True
            return False
        if paged > room.chunk:
            new = room.chunk // size * size
            if new <= 0:
                return False
        if holds is not None:
            sequence.holds = memory.hold(holds)
            sequence.shared_blocks = hit
        sequence.computed_tokens = past = hit * size
        if sequence.request.admitted_s is None:
            sequence.request.cached_input_tokens = past
        room.free -= idle_tokens
        room.beyond_answers -= idle_tokens
        self._take(sequence, new, chunks)
        room.take(new, self._answer_tokens(sequence) if chunks[-1][2] else 0, size)
        return True

    def _take(self, sequence: Sequence, new: int, chunks: list[Chunk]) -> None:
        """Schedule a prompt's next chunk, of `new` tokens, which have room."""
        past, size = sequence.computed_tokens, self._block_tokens
        sequence.computed_tokens = reach = past + new
        self.memory.available_blocks -= -(-reach // size) - -(-past // size)
        completes = reach == sequence.prompt_tokens
        if completes:
            self.partial = None
            self._completing.append(sequence)
        else:
            self.partial = sequence
        self._computed.append(sequence)
        chunks.append((new, past, completes))

    def has_room(self, sequence: Sequence) -> bool:
        """Whether a waiting sequence could be admitted if it were the first of the next step."""
        if self._is_full:
            return False
        hit = idle = 0
        if sequence.segments and self._prefix_caching:
            _, hit, idle = self.memory.find(sequence.segments, sequence.prompt_tokens)
        tokens = sequence.prompt_tokens - (hit - idle) * self._block_tokens + self._left_tokens(sequence)
        return tokens < self._room().beyond_answers

    # --- answers to come ---------------------------------------------------------------------------------------------

    def _room(self) -> _Room:
        """What a step of prompts may take up, before it has any."""
        free: int = self.memory.available_blocks * self._block_tokens
        if not self._n_answers:
            self._latest_end = 0
        expected = self._ends_sum - self._n_answers * self.step
        if self._latest_end - self.step > self._most_expected_tokens:
            expected = sum([self._left_tokens(s) for s in self.running if s.is_decoding])
        return _Room(free, free - expected * self._ratio(), self._budget_tokens, self._max_prefill_tokens)

    def _ratio(self) -> float:
        """The share of the running answers' tokens for which memory is kept."""
        if self._decode_steps <= 0:
            return self._ratio_set
        return max(self._ratio_set - self._decode_steps * self._fall, self._least_ratio)

    def _answer_tokens(self, sequence: Sequence) -> int:
        """Tokens of a whole answer, as far as they count in an admission. The engine does not know who will stop it."""
        return min(sequence.request.output_tokens, self._most_expected_tokens)

    def _left_tokens(self, sequence: Sequence) -> int:
        """Tokens that an answer may still have at the start of this step, as far as they count in an admission."""
        return min(self._all_left_tokens(sequence), self._most_expected_tokens)

    def _all_left_tokens(self, sequence: Sequence) -> int:
        left = sequence.end_step - self.step + 1 if sequence.is_decoding else sequence.left_tokens
        return left + sequence.request.unsent_tokens

    def _stop_decoding(self, sequence: Sequence) -> int:
        """Count a sequence as no longer decoding, as `Scheduler` does, with its answer."""
        self._end_answer(sequence)
        return super()._stop_decoding(sequence)

    def _end_answer(self, sequence: Sequence) -> None:
        self._n_answers -= 1
        self._ends_sum -= self.step + self._all_left_tokens(sequence)

    # --- memory ------------------------------------------------------------------------------------------------------

    def _retract(self, now: float) -> None:
        """Retract sequences until the others have KV blocks for one step, or one is left; then set the ratio anew."""
        slot, asked = self.step % self._block_tokens, 0
        while self._n_needing_block[slot] > self.memory.available_blocks and self.n_decoding > 1:
            self._preempt(self._victim(), now)
        self._is_full, self._next_step_may_differ = False, True
        generated = self._retract_decode_steps * len(self.running)
        for sequence in self.running:
            asked += sequence.request.output_tokens
            generated += self._generated(sequence)
        self._ratio_set, self._decode_steps = min(1.0, generated / (asked + 1)), -1  # This step does not lower it.

    def _generated(self, sequence: Sequence) -> int:
        return sequence.request.output_tokens - self._all_left_tokens(sequence)

    def _victim(self) -> Sequence:
        """The sequence with the fewest tokens of answer; of these the one with the longest prompt, then the latest."""
        victim = next(reversed(self.running))
        fewest, longest = self._generated(victim), victim.request.input_tokens
        for sequence in reversed(self.running):
            generated, tokens = self._generated(sequence), sequence.request.input_tokens
            if generated < fewest or generated == fewest and tokens > longest:
                victim, fewest, longest = sequence, generated, tokens
        return victim

    def _preempt(self, sequence: Sequence, now: float) -> None:
        """Put a decoding sequence at the end of the queue; the tokens generated so far join its prompt."""
        memory = self.memory
        self._leave_standstill(sequence)
        # Its entry goes, since steps of prompts have no number: once it decodes again, it may end at the same step.
        self._ends.remove(sequence)
        tokens = self._stop_decoding(sequence)
        self._n_left_behind -= 1
        if sequence.last_token_s is None:
            standstill = self.gaps.standstill
            sequence.last_token_s = now if standstill is None else standstill.since_s
        if self._prefix_caching:
            sequence.name_own_stream(memory)
        self.running.remove(sequence)
        holds = sequence.holds
        if holds is not None:
            sequence.shared_blocks += memory.share(holds, sequence.prompt_tokens, True)
        memory.release_blank(-(-tokens // self._block_tokens) - sequence.shared_blocks)
        if holds is not None:
            memory.let_go(holds)
            sequence.holds, sequence.shared_blocks = None, 0
        generated = tokens - sequence.prompt_tokens + 1
        sequence.prompt_tokens += generated
        sequence.left_tokens -= generated
        sequence.computed_tokens = 0
        sequence.preempted_s = now
        sequence.lost_tokens = tokens
        sequence.ready_step = self.step + 1
        sequence.request.preemptions += 1
        self.waiting.append(sequence)

    def _free(self, sequence: Sequence, tokens: int) -> None:
        """Free as `Scheduler` does, but of equal blocks keep one."""
        if sequence.is_decoding and sequence.left_tokens > 1:  # It is done, and nothing has stopped it before.
            self._end_answer(sequence)
        if sequence.holds is not None:
            open_ended = sequence.request.call.extends_prefix or sequence.segments[-1][0] is sequence
            sequence.shared_blocks += self.memory.share(sequence.holds, tokens, open_ended)
        super()._free(sequence, tokens)
