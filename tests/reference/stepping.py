"""The plain engine: continuous batching one step at a time, block by block. Slow on purpose; the definition of truth.

Every step is one turn of a loop, every KV block an object with a hash, a count of references and a place in a queue, as
in vLLM's V1 scheduler and block pool. Nothing is leapt over, summed in closed form or kept as a counter.
`sim.engine.replica` must give the same stamps.
"""

from __future__ import annotations

import heapq
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterable
from itertools import count
from math import inf

from sim.work import Outcome, Request


class Block:
    """Some tokens' worth of KV memory. `hash` names the content of a full block; None if it cannot be found."""

    def __init__(self) -> None:
        self.hash: int | None = None
        self.references = 0


class BlockPool:
    """All blocks of an engine. Unreferenced ones queue for reuse, least recently used first, with their content."""

    def __init__(self, n_blocks: int, blank_first: bool):
        self.blank_first = blank_first
        self.queue = OrderedDict((Block(), None) for _ in range(n_blocks))
        self.by_hash: dict[int, dict[Block, None]] = {}  # blocks of equal content, the oldest first
        self.evictions = 0
        self.reordered = 0  # blank blocks that are reused before others with content
        self.copies = 0  # blocks that got a content some other block has already

    def allocate(self) -> Block:
        block, _ = self.queue.popitem(last=False)
        if block.hash is not None:
            self._forget(block)
        block.references = 1
        return block

    def find(self, block_hash: int) -> Block | None:
        return next(iter(self.by_hash.get(block_hash, ())), None)

    def touch(self, block: Block) -> None:
        if block.references == 0:
            del self.queue[block]
        block.references += 1

    def name(self, block: Block, block_hash: int) -> None:
        block.hash = block_hash
        same = self.by_hash.setdefault(block_hash, {})
        self.copies += bool(same)
        same[block] = None

    def free(self, blocks: list[Block]) -> None:
        """Give up one reference to each, the last block first, so that it is evicted before what it was built on.

        With `blank_first` those without content are reused before all others.
        """
        for block in reversed(blocks):
            block.references -= 1
            if block.references == 0:
                self.queue[block] = None
                if self.blank_first and block.hash is None:
                    self.queue.move_to_end(block, last=False)
                    self.reordered += any(other.hash is not None for other in self.queue)

    def _forget(self, block: Block) -> None:
        self.evictions += 1
        self.unname(block)

    def unname(self, block: Block) -> None:
        same = self.by_hash[block.hash]
        del same[block]
        if not same:
            del self.by_hash[block.hash]
        block.hash = None


class TierStore:
    """One KV tier: hashes of blocks, the least recently used evicted first, and a link that does one load at a time."""

    def __init__(self, n_blocks: int, block_s: float, latency_s: float):
        self.n_blocks, self.block_s, self.latency_s = n_blocks, block_s, latency_s
        self.hashes: OrderedDict[int, None] = OrderedDict()
        self.link_free_s = 0.0

    def use(self, hashes: list[int]) -> None:
        """Make these blocks of one prompt, which are in the tier or get there now, the most recently used."""
        for block_hash in reversed(hashes):  # the head of a prompt is evicted after its tail
            self.hashes[block_hash] = None
            self.hashes.move_to_end(block_hash)
        while len(self.hashes) > self.n_blocks:
            self.hashes.popitem(last=False)


class Sequence:
    """A request in the engine: the identity of each of its tokens, how many are computed, and its blocks."""

    def __init__(self, request: Request):
        self.request = request
        call = request.call
        self.tokens: list[tuple[Hashable, int]] = [(key, i) for key, n in call.segments for i in range(n)]
        assert len(self.tokens) <= call.input_tokens, "segments cover more than the prompt"
        rest = call.input_tokens - len(self.tokens)
        assert not (call.extends_prefix and rest), "a prompt whose answer goes on with its stream is all in streams"
        self.tokens += [(self, i) for i in range(rest)]
        self.generated = 0
        self.computed = 0  # tokens in KV memory
        self.prompt = 0  # tokens that are prefilled in this stay: after a preemption the answer so far, too
        self.blocks: list[Block] = []
        self.n_named = 0  # of its blocks, the full ones, which can be found
        self.hashes: list[int] = []
        self.preempted_s: float | None = None
        self.lost = 0  # tokens in KV memory when it was preempted
        self.ready_step = 0  # the first step it may take part in
        self.loaded = 0  # tokens of its prompt that come from another replica
        self.last_token_s: float | None = None  # when its client got its latest token
        self.is_loading = self.is_loaded = False  # from a KV tier
        self.is_leaving = False  # its client went away during the step under way

    @property
    def urgency(self) -> tuple[float, ...]:
        """Its place in the order of (priority, arrival)."""
        task = self.request.task
        return task.priority, self.request.arrived_s, task.task_id, self.request.call_index

    def generate(self, now: float) -> list[float]:
        """One token more, at this moment; returns the gap since the token before, if there is one."""
        gaps = [] if self.last_token_s is None else [now - self.last_token_s]
        self.last_token_s = now
        call = self.request.call
        if call.extends_prefix:
            key, n = call.segments[-1]
            self.tokens.append((key, n + self.generated))
        else:
            self.tokens.append((self, call.input_tokens + self.generated))
        self.generated += 1
        self.request.longest_gap_s = max(self.request.longest_gap_s, *gaps, 0.0)
        return gaps


class SteppingEngine:
    """A continuous-batching engine with vLLM's rules, in the plainest form that runs.

    `seen` counts what happened in it, so that a test can tell whether it has tested anything.
    """

    def __init__(
        self,
        step_time,
        *,
        kv_blocks: int,
        max_num_seqs: int,
        max_num_batched_tokens: int,
        block_tokens: int = 16,
        prefix_caching: bool = True,
        async_scheduling: bool = False,
        scheduling_policy: str = "fcfs",
        max_queue: int | None = None,
        decode_tokens: int = 1,
        decodes_only: bool = False,
        capacity_policy: str = "max_utilization",
        chunked_prefill: bool = True,
        scheduler_reserve_full_isl: bool = False,
        blank_blocks_first: bool = False,
        kv_tiers: Iterable[tuple[int, float, float]] = (),
        host: tuple[float, int] = (0.0, 1),
    ):
        """`host`: seconds that a token of a prompt takes, and the number of tokenizers."""
        self.step_time = step_time
        self.by_priority = scheduling_policy == "priority"
        self.max_outstanding = inf if max_queue is None else max_num_seqs + max_queue
        self.decode_tokens = decode_tokens
        self.decodes_only = decodes_only
        self.never_evicts = capacity_policy == "guaranteed_no_evict"
        self.chunked_prefill = chunked_prefill
        self.admits_whole_prompts = scheduler_reserve_full_isl
        self.total_blocks = kv_blocks
        self.capacity_tokens = kv_blocks * block_tokens
        if not chunked_prefill:
            self.capacity_tokens = min(self.capacity_tokens, max_num_batched_tokens)
        self.block_tokens = block_tokens
        self.max_num_seqs = max_num_seqs
        self.max_num_batched_tokens = max_num_batched_tokens
        self.prefix_caching = prefix_caching and not decodes_only
        self.async_scheduling = async_scheduling
        self.step_number = 0  # of the step under way or last done
        self.pool = BlockPool(kv_blocks, blank_blocks_first)
        self.waiting: list[Sequence] = []
        self.running: list[Sequence] = []
        self.leaving: list[Sequence] = []  # running ones whose clients went away, in that order
        self.numbers: dict[tuple, int] = {}
        self.tiers = [TierStore(*tier) for tier in kv_tiers]
        self.prompt_token_s, n_tokenizers = host
        self.tokenizers_free_s = [0.0] * n_tokenizers
        self.tokenizing: list[Request] = []  # before the engine has them
        self.coming: list[tuple] = []  # heap of (moment, ticket, what it is about, method to call then)
        self.ticket = count()
        self.seen: Counter[str] = Counter()
        self.gaps_s: list[tuple[float, float]] = []  # (when it ends, seconds) of every gap between two tokens

    # --- time --------------------------------------------------------------------------------------------------------

    def play(
        self,
        arrivals: Iterable[tuple[float, Request]],
        on_done: Callable[[Request], Iterable[tuple[float, Request]]] = lambda request: (),
        patience_s: float = inf,
        timeout_s: float = inf,
    ) -> None:
        """Serve until nothing is left. `on_done` may return later arrivals, as the next call of a task.

        A request that arrives during a step is seen when it ends; one that arrives at that very moment, too. One that
        has not begun after `patience_s` goes away, one that has not ended after `timeout_s` likewise.
        """
        coming, ticket = self.coming, self.ticket
        coming += [(at_s, next(ticket), request, self.arrive) for at_s, request in arrivals]
        heapq.heapify(coming)

        def done(requests: list[Request]) -> None:
            for request in requests:
                for at_s, later in on_done(request):
                    heapq.heappush(coming, (at_s, next(ticket), later, self.arrive))

        def catch_up(now: float) -> None:
            while coming and coming[0][0] <= now:
                at_s, _, request, event = heapq.heappop(coming)
                if event == self.arrive and patience_s < inf:
                    heapq.heappush(coming, (at_s + patience_s, next(ticket), request, self.withdraw))
                if event == self.arrive and timeout_s < inf:
                    heapq.heappush(coming, (at_s + timeout_s, next(ticket), request, self.hang_up))
                done(event(request, at_s))

        now = 0.0
        while coming or self.waiting or self.running:
            if not self.running and all(s.is_loading for s in self.waiting):
                now = max(now, coming[0][0])
            catch_up(now)
            if not self.running and all(s.is_loading for s in self.waiting):
                continue
            step = self.schedule(now)
            if not step:
                if not self.has_preempted:  # otherwise what it preempted can be admitted now
                    assert any(s.is_loading for s in self.waiting), "an engine with requests has something to compute"
                    now = max(now, coming[0][0])
                continue
            now += self.duration_s(step)
            catch_up(now)
            done(self.finish_step(step, now))

    def arrive(self, request: Request, now: float) -> list[Request]:
        """Give a request to the tokenizer that is free first, which does one prompt after the other."""
        if not self.prompt_token_s:
            return self.enter(request, now)
        free_s = self.tokenizers_free_s
        worker = free_s.index(min(free_s))
        self.seen["waited for a tokenizer"] += free_s[worker] > now
        free_s[worker] = max(now, free_s[worker]) + self.prompt_token_s * request.input_tokens
        self.tokenizing.append(request)
        heapq.heappush(self.coming, (free_s[worker], next(self.ticket), request, self.tokenized))
        return []

    def tokenized(self, request: Request, now: float) -> list[Request]:
        if request not in self.tokenizing:
            self.seen["gone while tokenized"] += 1
            return []
        self.tokenizing.remove(request)
        return self.enter(request, now)

    def enter(self, request: Request, now: float) -> list[Request]:
        """Queue a request; returned if it is refused, because it could never fit or there are too many."""
        full = len(self.waiting) + len(self.running) + len(self.tokenizing) >= self.max_outstanding
        if full or request.input_tokens + request.output_tokens - 1 > self.capacity_tokens:
            request.end(Outcome.REFUSED, now)
            self.seen["refused for the queue"] += full
            return [request]
        s = Sequence(request)
        if self.async_scheduling:  # the next step's batch is fixed already
            s.ready_step = self.step_number + 2
        if self.decodes_only:  # it has its prompt, and its first token
            s.loaded = len(s.tokens)
            s.generate(request.first_token_s)
        self.waiting.append(s)
        self.sort_queue()
        return []

    def withdraw(self, request: Request, now: float) -> list[Request]:
        """Take back a request that has not begun; returned if so."""
        if request.admitted_s is not None or request.outcome is not None:
            return []
        if request in self.tokenizing:
            self.tokenizing.remove(request)
        else:
            self.remove_waiting(next(s for s in self.waiting if s.request is request))
        request.end(Outcome.ABANDONED, now)
        return [request]

    def hang_up(self, request: Request, now: float) -> list[Request]:
        """The client of a request goes away. A running one leaves at the end of the step; returned if it left now."""
        if request.outcome is not None or request.admitted_s is None:
            return self.withdraw(request, now)
        s = next(s for s in [*self.running, *self.waiting] if s.request is request)
        self.seen["aborted while " + ("running" if s in self.running else "preempted")] += 1
        s.is_leaving = True
        if s in self.running:
            self.leaving.append(s)
            return []
        self.remove_waiting(s)
        self.end(s, now)
        return [request]

    def remove_waiting(self, s: Sequence) -> None:
        self.seen["gone while loading"] += s.is_loading
        self.waiting.remove(s)
        self.pool.free(s.blocks)
        s.blocks, s.is_loading = [], False

    def end(self, s: Sequence, now: float) -> None:
        """A request leaves: served, or not served to the end."""
        request = s.request
        outcome = Outcome.ABORTED if s.is_leaving else request.ends_as
        self.seen["stopped"] += outcome is Outcome.STOPPED
        request.end(outcome, now)
        request.output_tokens = s.generated

    def duration_s(self, step: list[tuple[Sequence, int]]) -> float:
        """Seconds of the step that computes the given number of new tokens of each of these sequences."""
        decoding = [s for s, _ in step if s.computed >= s.prompt]
        chunks = [(new, s.computed, s.computed + new == s.prompt) for s, new in step if s.computed < s.prompt]
        self.seen["steps"] += 1
        self.seen["chunked"] += any(not completes for _, _, completes in chunks)
        return self.step_time.step_s(len(decoding), sum(s.computed for s in decoding), chunks)

    # --- a step --------------------------------------------------------------------------------------------------

    def schedule(self, now: float) -> list[tuple[Sequence, int]]:
        """Decide the next step: running sequences first, in their order; then the queue, unless one was preempted."""
        step: list[tuple[Sequence, int]] = []
        self.step_number += 1
        was_empty = not self.running  # then nothing was fixed
        budget = self.max_num_batched_tokens
        preempted = False
        i = 0
        while i < len(self.running) and budget > 0:
            s = self.running[i]
            new = min(len(s.tokens) - s.computed, budget)
            while s in self.running and not self.allocate(s, s.computed + new):
                preempted = True
                victim = self.preempt(now)
                was_scheduled = [entry for entry in step if entry[0] is victim]
                if was_scheduled:
                    self.seen["preempted though scheduled"] += 1
                    step.remove(was_scheduled[0])
                    budget += self.decode_tokens
                    i -= 1
            if s in self.running:
                step.append((s, new))
                budget -= self.decode_tokens if s.computed >= s.prompt else new
                i += 1
        while not preempted and self.waiting and budget > 0 and len(self.running) < self.max_num_seqs:
            here = sorted((s for s in self.waiting if not s.is_loading), key=lambda s: not s.is_loaded)  # it is stable
            s = next((s for s in here if s.ready_step <= self.step_number or was_empty), None)
            self.seen["not ready"] += bool(here) and s is not here[0]
            if s is None:
                break
            if s.is_loaded:
                self.admit_loaded(s, step, budget, now)
                budget -= step[-1][1]
                continue
            cached = self.cached_blocks(s)
            past = s.loaded or len(cached) * self.block_tokens
            new = min(len(s.tokens) - past, budget)
            idle = sum(block.references == 0 for block in cached)
            parts = self.in_tiers(s, len(cached))
            if parts:
                if self.blocks_for(len(s.tokens)) - len(cached) > len(self.pool.queue) - idle:
                    self.seen["no room to load"] += 1
                    break
                self.load(s, cached, parts, now)
                continue
            if self.blocks_for(past + new) - len(cached) > len(self.pool.queue) - idle:
                break
            if self.admits_whole_prompts and self.blocks_for(len(s.tokens)) - len(cached) > len(self.pool.queue) - idle:
                self.seen["only its first chunk has room"] += 1
                break
            if past + new < len(s.tokens) and not self.chunked_prefill:
                self.seen["does not fit the step"] += 1
                break
            if self.never_evicts and sum(map(self.blocks_in_the_end, [*self.running, s])) > self.total_blocks:
                self.seen["would not fit in the end"] += 1
                break
            for block in cached:
                self.pool.touch(block)
            s.blocks, s.computed, s.prompt, s.n_named = cached, past, len(s.tokens), len(cached)
            fits = self.allocate(s, past + new)
            assert fits, "it has been counted"
            self.seen["overtaken"] += any(other.request.arrived_s < s.request.arrived_s for other in self.waiting)
            self.waiting.remove(s)
            self.running.append(s)
            self.stamp_admission(s, now)
            step.append((s, new))
            budget -= new
        self.has_preempted = preempted
        return step

    # --- KV tiers ------------------------------------------------------------------------------------------------

    def in_tiers(self, s: Sequence, n_cached: int) -> list[tuple[TierStore, int]]:
        """Blocks after the cached ones that each tier adds, the tiers in order; never that of the last token."""
        parts = []
        for tier in self.tiers:
            n = 0
            while n < (len(s.tokens) - 1) // self.block_tokens and self.hash_of(s, n) in tier.hashes:
                n += 1
            if n > n_cached:
                parts.append((tier, n - n_cached))
                n_cached = n
        return parts

    def load(self, s: Sequence, cached: list[Block], parts: list[tuple[TierStore, int]], now: float) -> None:
        """Begin to load blocks into memory; the sequence takes all the blocks of its prompt."""
        for block in cached:
            self.pool.touch(block)
        s.blocks, s.n_named = cached, len(cached)
        s.blocks += [self.pool.allocate() for _ in range(self.blocks_for(len(s.tokens)) - len(cached))]
        n = s.n_named
        ready_s = now
        for tier, more in parts:
            full = (len(s.tokens) - 1) // self.block_tokens
            hashes = [self.hash_of(s, i) for i in range(full)]
            run = next((i for i, block_hash in enumerate(hashes) if block_hash not in tier.hashes), full)
            tier.use(hashes[:run])
            tier.link_free_s = max(tier.link_free_s, now) + tier.latency_s + more * tier.block_s
            ready_s = max(ready_s, tier.link_free_s)
            n += more
        s.computed, s.is_loading = n * self.block_tokens, True
        self.seen["loads"] += 1
        self.seen["loads from two tiers"] += len(parts) > 1
        if s.request.admitted_s is None:
            s.request.tier_hits = [(self.tiers.index(tier), more * self.block_tokens) for tier, more in parts]
        heapq.heappush(self.coming, (ready_s, next(self.ticket), s, self.end_load))

    def end_load(self, s: Sequence, now: float) -> list[Request]:
        if s.is_loading:
            s.is_loading, s.is_loaded = False, True
            for i in range(s.n_named, s.computed // self.block_tokens):
                self.pool.name(s.blocks[i], self.hash_of(s, i))
            s.n_named = s.computed // self.block_tokens
            if self.async_scheduling:
                s.ready_step = self.step_number + 2
        return []

    def admit_loaded(self, s: Sequence, step: list[tuple[Sequence, int]], budget: int, now: float) -> None:
        s.is_loaded, s.prompt = False, len(s.tokens)
        new = min(s.prompt - s.computed, budget)
        fits = self.allocate(s, s.computed + new)
        assert fits, "it has its blocks"
        self.waiting.remove(s)
        self.running.append(s)
        self.stamp_admission(s, now)
        step.append((s, new))

    def store(self, s: Sequence) -> None:
        """Write all full blocks of a prompt so far to every tier, as far as it has room for one prompt."""
        for tier in self.tiers:
            tier.use([self.hash_of(s, i) for i in range(min(s.computed // self.block_tokens, tier.n_blocks))])

    def finish_step(self, step: list[tuple[Sequence, int]], now: float) -> list[Request]:
        """Every sequence whose known tokens are all computed has one token more; returns the requests that leave.

        A client that stops an answer has read all of its tokens but the one that was under way by then. Those whose
        clients went away leave after those that are done.
        """
        left = []
        for s, new in step:
            was_prompt = s.computed < s.prompt
            s.computed += new
            if was_prompt:
                self.store(s)
            if s.computed == len(s.tokens):
                self.gaps_s += [(now, gap_s) for gap_s in s.generate(now)]
                if s.request.first_token_s is None:
                    s.request.first_token_s = now
            if s.generated == s.request.output_tokens - s.request.unsent_tokens:
                left.append(s)
        left += [s for s in self.leaving if s not in left]
        self.leaving = []
        for s in left:
            self.running.remove(s)
            self.release(s)
            self.end(s, now)
        return [s.request for s in left]

    def release(self, s: Sequence) -> None:
        self.pool.free(s.blocks)

    def preempt(self, now: float) -> Sequence:
        """Throw out the last running sequence, in order of admission or of priority.

        It will be computed again from what is then still cached.
        """
        s = max(self.running, key=lambda s: s.urgency) if self.by_priority else self.running[-1]
        self.seen["preempted within the batch"] += s is not self.running[-1]
        self.running.remove(s)
        for block in s.blocks[s.computed // self.block_tokens : s.n_named]:
            self.pool.unname(block)  # it was to be filled in this step
        self.pool.free(s.blocks)
        s.blocks, s.lost, s.computed, s.n_named = [], s.computed, 0, 0
        s.preempted_s = now
        s.request.preemptions += 1
        self.seen["preemptions"] += 1
        self.waiting.insert(0, s)
        self.sort_queue()
        return s

    def sort_queue(self) -> None:
        if self.by_priority:
            self.waiting.sort(key=lambda s: s.urgency)

    def stamp_admission(self, s: Sequence, now: float) -> None:
        request = s.request
        if s.loaded:
            request.decode_admitted_s = now
            request.preempted_s += now - request.first_token_s
            s.loaded = 0
            self.seen["handed over"] += 1
        elif request.admitted_s is None:
            request.admitted_s = now
            request.cached_input_tokens = s.computed
            self.seen["hits"] += s.computed > 0
        else:
            request.preempted_s += now - s.preempted_s
            request.recomputed_tokens += max(0, s.lost - s.computed)
            self.seen["hits after preemption"] += s.computed > 0

    # --- memory --------------------------------------------------------------------------------------------------

    def blocks_for(self, tokens: int) -> int:
        return -(-tokens // self.block_tokens)

    def blocks_in_the_end(self, s: Sequence) -> int:
        return self.blocks_for(s.request.input_tokens + s.request.output_tokens - 1)

    def allocate(self, s: Sequence, tokens: int) -> bool:
        """Give a sequence blocks for its first `tokens` tokens; full ones can be found at once. False if too few."""
        short = self.blocks_for(tokens) - len(s.blocks)
        if short > len(self.pool.queue):
            return False
        s.blocks += [self.pool.allocate() for _ in range(short)]
        if self.prefix_caching:
            for i in range(s.n_named, tokens // self.block_tokens):
                self.pool.name(s.blocks[i], self.hash_of(s, i))
            s.n_named = tokens // self.block_tokens
        return True

    def cached_blocks(self, s: Sequence, whole: bool = False) -> list[Block]:
        """The longest run of leading blocks in memory, not that of the last token unless the whole prompt is looked up.

        The last token must be computed.
        """
        cached: list[Block] = []
        if self.prefix_caching:
            for i in range((len(s.tokens) - (not whole)) // self.block_tokens):
                block = self.pool.find(self.hash_of(s, i))
                if block is None:
                    break
                cached.append(block)
        return cached

    def hash_of(self, s: Sequence, i: int) -> int:
        """A number for the content of block i and all before it: equal for equal tokens."""
        while len(s.hashes) <= i:
            j = len(s.hashes)
            content = tuple(s.tokens[j * self.block_tokens : (j + 1) * self.block_tokens])
            parent = s.hashes[-1] if s.hashes else None
            s.hashes.append(self.numbers.setdefault((parent, content), len(self.numbers)))
        return s.hashes[i]
