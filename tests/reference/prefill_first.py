"""The plain engine with SGLang's order of steps: prompts alone while one can begin, else one token for all.

Read off SGLang 0.5.10: `managers/scheduler.py` (get_next_batch_to_run), `schedule_policy.py` (PrefillAdder),
`schedule_batch.py` (retract_decode), `mem_cache/radix_cache.py`. As `stepping`, one step at a time and block by block.
"""

from __future__ import annotations

from sim.hardware.prefill_first import PrefillFirst
from sim.work import Request
from tests.reference.stepping import Sequence, SteppingEngine


def shared_tokens(one: Sequence, other: Sequence) -> int:
    """How many leading tokens two prompts have in common."""
    pairs = enumerate(zip(one.tokens, other.tokens, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one.tokens), len(other.tokens)))


class PrefillFirstEngine(SteppingEngine):
    """`is_full`: no request is admitted until one of the batch has left it. Noticed by the decode step after that."""

    def __init__(self, step_time, *, prefill_first: PrefillFirst, **options):
        super().__init__(step_time, **options)
        self.rules = prefill_first
        self.capacity_tokens -= 2  # prompt and answer must be less than the memory, or it would never be admitted
        self.is_full = False
        self.n_gone = 0  # sequences that the engine has yet to notice have left
        self.ratio_set, self.decode_steps = prefill_first.new_token_ratio, 0  # and decode steps since it was set

    @property
    def ratio(self) -> float:
        if not self.decode_steps:
            return self.ratio_set
        rules = self.rules
        fall = (rules.new_token_ratio - rules.least_new_token_ratio) / rules.ratio_decay_steps
        return max(self.ratio_set - self.decode_steps * fall, rules.least_new_token_ratio)

    def expected(self, tokens: int) -> int:
        return min(tokens, self.rules.most_expected_tokens)

    def schedule(self, now: float) -> list[tuple[Sequence, int]]:
        self.step_number += 1
        self.has_preempted = False
        if not self.running:
            self.is_full, self.n_gone = False, 0
        return self.prefills(now) or self.decodes(now)

    # --- prompts -------------------------------------------------------------------------------------------------

    def prefills(self, now: float) -> list[tuple[Sequence, int]]:
        """The step that computes prompts: the one that was cut first, then the queue up to the first without room."""
        cut = [s for s in self.running if s.computed < s.prompt]
        if not cut and (self.is_full or not self.waiting):
            return []
        was_empty, size = not self.running, self.block_tokens
        left = sum(self.expected(s.request.output_tokens - s.generated) for s in self.running if s not in cut)
        free = len(self.pool.queue) * size
        room = free - left * self.ratio  # for prompts and whole answers
        chunk, prompts = self.max_num_batched_tokens, self.rules.max_prefill_tokens
        step: list[tuple[Sequence, int]] = []

        def compute(s: Sequence, new: int) -> None:
            nonlocal free, room, chunk, prompts
            fits = self.allocate(s, s.computed + new)
            assert fits, "it has been counted"
            step.append((s, new))
            paged = self.blocks_for(new) * size
            free -= paged + size
            answer = self.expected(s.request.output_tokens) if s.computed + new == s.prompt else 0
            room -= paged + answer + size
            chunk -= paged
            prompts -= paged

        for s in cut:
            compute(s, min(s.prompt - s.computed, chunk))
        self.sort_by_prefix(was_empty)
        for s in list(self.waiting):
            if s.ready_step > self.step_number and not was_empty:
                self.seen["not ready"] += 1
                break
            if len(self.running) + self.n_gone >= self.max_num_seqs:
                self.is_full = True
            if self.is_full:
                break
            cached = self.cached_blocks(s)
            idle = sum(block.references == 0 for block in cached) * size
            past = len(cached) * size
            new = len(s.tokens) - past
            answer = self.expected(s.request.output_tokens - s.generated)
            if new + answer >= room:
                self.is_full = True
                self.seen["no room for the answers"] += self.blocks_for(new) * size <= free
                break
            paged = self.blocks_for(new) * size
            if paged >= prompts and step:
                self.seen["prompts enough"] += 1
                break
            if new + answer >= room - idle:
                self.is_full = True
                break
            if paged > chunk:
                new = chunk // size * size
                if new <= 0:
                    break
            free, room = free - idle, room - idle
            for block in cached:
                self.pool.touch(block)
            s.blocks, s.computed, s.prompt, s.n_named = cached, past, len(s.tokens), len(cached)
            self.waiting.remove(s)
            self.running.append(s)
            self.stamp_admission(s, now)
            compute(s, new)
            if room <= 0 or free <= 0:
                self.is_full = True
                break
            if prompts <= 0 or chunk <= 0:
                break
        self.seen["stood still"] += bool(step) and any(s.computed >= s.prompt for s in self.running)
        self.seen["prompts together"] += len(step) > 1
        return step

    def sort_by_prefix(self, was_empty: bool) -> None:
        """Under lpm: the longest cached prefix first, and last who shares a prefix with one that is to compute it."""
        here = [s for s in self.waiting if s.ready_step <= self.step_number or was_empty]
        rules = self.rules
        if rules.schedule_policy != "lpm" or not self.prefix_caching or len(here) > rules.lpm_most_waiting:
            return
        cached = {s: len(self.cached_blocks(s, whole=True)) * self.block_tokens for s in here}
        first: list[Sequence] = []
        last = set()
        for s in here:
            if cached[s] <= rules.lpm_shared_tokens:
                shares = any(shared_tokens(s, other) >= rules.lpm_shared_tokens for other in first)
                (last.add if shares else first.append)(s)
        ordered = sorted(here, key=lambda s: (s in last, -cached[s] if s not in last else 0))
        self.seen["queue reordered"] += ordered != here
        self.seen["goes last for a prefix"] += len(last)
        self.waiting = ordered + [s for s in self.waiting if s not in cached]

    # --- answers -------------------------------------------------------------------------------------------------

    def decodes(self, now: float) -> list[tuple[Sequence, int]]:
        """The step that decodes all, after retractions if there are no blocks for it."""
        if not self.running:
            return []
        if self.n_gone:
            self.seen["noticed late"] += self.is_full and bool(self.waiting)
            self.is_full, self.n_gone = False, 0
        if self.has_blocks():
            self.decode_steps += 1
        else:
            self.retract(now)
        for s in self.running:
            fits = self.allocate(s, s.computed + 1)
            assert fits, "the last one has the memory for itself"
        return [(s, 1) for s in self.running]

    def has_blocks(self) -> bool:
        """Whether one more token of each has KV memory."""
        needed = sum(self.blocks_for(s.computed + 1) - len(s.blocks) for s in self.running)
        return needed <= len(self.pool.queue)

    def retract(self, now: float) -> None:
        """Throw out the sequences with the fewest tokens of answer, of these the longest prompts; never the last one.

        What they had of their answers is lost from memory, their prompts may be found again.
        """
        while not self.has_blocks() and len(self.running) > 1:
            s = min(reversed(self.running), key=lambda s: (s.generated, -s.request.input_tokens))
            self.seen["retracted, not the latest"] += s is not self.running[-1]
            self.running.remove(s)
            self.pool.free(s.blocks)
            s.blocks, s.lost, s.computed, s.n_named, s.preempted_s = [], s.computed, 0, 0, now
            s.request.preemptions += 1
            self.seen["preemptions"] += 1
            self.waiting.append(s)
        self.is_full = False
        generated = sum(s.generated for s in self.running)
        asked = sum(s.request.output_tokens for s in self.running)
        ahead = self.rules.retract_decode_steps * len(self.running)
        self.ratio_set, self.decode_steps = min(1.0, (generated + ahead) / (asked + 1)), 0

    def finish_step(self, step: list[tuple[Sequence, int]], now: float) -> list[Request]:
        """As the plain engine does. Who is done with its prompt leaves at once, others are noticed later."""
        of_prompts = any(s.computed < s.prompt for s, _ in step)
        wanted = {s: s.request.output_tokens - s.request.unsent_tokens for s in self.running}
        left = super().finish_step(step, now)
        for s, tokens in wanted.items():
            if s not in self.running:
                if of_prompts and s.generated == tokens or s.computed < s.prompt:
                    self.is_full = False
                else:
                    self.n_gone += 1
        if any(s.computed < s.prompt for s in self.running):
            self.is_full = False
        return left

    # --- memory --------------------------------------------------------------------------------------------------

    def allocate(self, s: Sequence, tokens: int) -> bool:
        """Give a sequence blocks for its first `tokens` tokens; nobody can find them yet. False if too few."""
        short = self.blocks_for(tokens) - len(s.blocks)
        if short > len(self.pool.queue):
            return False
        s.blocks += [self.pool.allocate() for _ in range(short)]
        return True

    def store(self, s: Sequence) -> None:
        """The computed part of a prompt can be found from now on."""
        self.make_known(s)

    def release(self, s: Sequence) -> None:
        """Free the blocks of a sequence that leaves for good; its answer can be found, too."""
        self.make_known(s)
        super().release(s)

    def make_known(self, s: Sequence) -> None:
        """Make the full blocks of a sequence known. One whose content is known already is given back for that one."""
        if not self.prefix_caching:
            return
        for i in range(s.n_named, s.computed // self.block_tokens):
            own, known = s.blocks[i], self.pool.find(self.hash_of(s, i))
            if known is None:
                self.pool.name(own, self.hash_of(s, i))
            else:
                self.pool.touch(known)
                s.blocks[i] = known
                self.pool.free([own])
                self.seen["copies given back"] += 1
        s.n_named = s.computed // self.block_tokens
