"""LockstepReplica: a replica of several attention ranks, each with its own batch, queue and KV memory.

Attention data parallelism of a mixture-of-experts model: every rank computes attention for requests of its own, and all
ranks together compute the routed experts. So they wait for one another in every layer: a step takes as long as that of
the rank with most to do, and a rank without work computes a dummy token. A rank schedules by the rules of any other
engine (`Scheduler`).

A leap is a series of steps in which no rank's batch changes and one rank, the leader, is the slowest. All contexts grow
by the number of sequences of their rank, so a rank of more sequences may overtake the leader: there the leap ends.
"""

from __future__ import annotations

from collections.abc import Sequence as Sized
from typing import Any

from sim.clock import Wake
from sim.engine.leap import leap_s
from sim.engine.leftovers import Leftover, leftovers
from sim.engine.replica import _DECIDING, _IDLE, _LEAPING, _MIXED, Replica
from sim.engine.scheduler import Scheduler
from sim.hardware.step_time.protocol import Chunk, LockstepTime
from sim.work import Request, Segment

_WEIGHT_OF_WAITING = 4
"""A waiting request counts as four running ones where a rank is chosen (vLLM 0.24.0, vllm/v1/engine/core_client.py)."""


class LockstepReplica(Replica):
    """A `Replica` of `n_ranks` attention ranks that step together.

    A request joins the rank with the least 4 x waiting + running at its arrival, of equal ones the next in turn, and
    stays there. vLLM's front end sees counts up to 0.1 s old, corrected by what it sent itself; here they are present.
    Its prompt is looked up in that rank's prefix cache only.

    Limits on sequences, tokens of a step and KV blocks are those of one rank; `max_queue` is of the replica. The views
    of policies are those of the whole replica, or of the rank that a new request would join: see each.
    """

    def __init__(self, env: Any, step_time: LockstepTime, **options: Any):
        super().__init__(env, step_time.own, **options)
        self._shared_s = step_time.shared_s
        self._is_async = self._async_scheduling
        self._fcfs = False  # What arrives later may join another rank earlier, so every arrival cuts a leap.
        self._next_rank = 0

    # --- what policies may see (see `ReplicaView`) ---------------------------------------------------------------

    @property
    def n_waiting(self) -> int:
        return sum(len(batch.waiting) for batch in self._ranks)

    @property
    def n_running(self) -> int:
        return sum(len(batch.running) for batch in self._ranks)

    @property
    def oldest_wait_s(self) -> float:
        arrived_s = [batch.waiting[0].request.arrived_s for batch in self._ranks if batch.waiting]
        return self._env.now - min(arrived_s) if arrived_s else 0.0

    @property
    def prefill_tokens_ahead(self) -> int:
        """On the rank that a new request would join."""
        joined = self._ranks[self._rank_in_turn()]
        partial = joined.partial
        ahead = partial.prompt_tokens - partial.computed_tokens if partial else 0
        return ahead + sum(s.prompt_tokens - self._cached_tokens(joined, s.segments) for s in joined.waiting)

    def prefill_s(self, tokens: int) -> float:
        """On the rank that a new request would join, if the others decode the while what they decode now."""
        joined = self._ranks[self._rank_in_turn()]
        left_s = self._ends_s - self._env.now if self._mode == _MIXED else 0.0
        n = 0 if self._prefills_alone else joined.n_decoding
        budget = max(1, self._budget_tokens - n * self._decode_tokens)
        steps, rest = divmod(tokens, budget)

        def step_s(new: int) -> float:
            return self._step_of_ranks_s([[(new, 0, True)] if batch is joined else [] for batch in self._ranks])

        return left_s + (steps * step_s(budget) if steps else 0.0) + (step_s(rest) if rest else 0.0)

    @property
    def is_blocked(self) -> bool:
        """Of the rank that a new request would join."""
        batch = self._ranks[self._rank_in_turn()]
        if not batch.waiting or len(batch.running) >= self._max_num_seqs:
            return bool(batch.waiting)
        return not batch.has_room(batch.waiting[0])

    @property
    def kv_used_fraction(self) -> float:
        return 1.0 - self._blocks("available_blocks") / self._blocks("total_blocks")

    @property
    def kv_filled_fraction(self) -> float:
        empty = sum(max(0, b.memory.available_blocks - b.memory.evictable_blocks) for b in self._ranks)
        return 1.0 - empty / self._blocks("total_blocks")

    @property
    def prefix_cache_tokens(self) -> int:
        return self._blocks("resident_blocks") * self._block_tokens

    def cached_tokens(self, segments: tuple[Segment, ...]) -> int:
        """On the rank that has most of the prompt, as a router sees it that knows replicas and not their ranks."""
        return max(self._cached_tokens(batch, segments) for batch in self._ranks)

    def _cached_tokens(self, batch: Scheduler, segments: tuple[Segment, ...]) -> int:
        if not segments or not self._prefix_caching:
            return 0
        return batch.memory.resident(segments, sum(tokens for _, tokens in segments) + 1) * self._block_tokens

    def _blocks(self, kind: str) -> int:
        return sum(getattr(batch.memory, kind) for batch in self._ranks)

    # --- requests ------------------------------------------------------------------------------------------------

    def _rank_in_turn(self) -> int:
        """Number of the rank that a request would join now."""
        ranks, first = self._ranks, self._next_rank
        in_turn = [*range(first, len(ranks)), *range(first)]
        return min(in_turn, key=lambda i: _WEIGHT_OF_WAITING * len(ranks[i].waiting) + len(ranks[i].running))

    def submit(self, request: Request) -> None:
        number = self._rank_in_turn()
        self._next_rank = (number + 1) % len(self._ranks)
        self._batch = batch = self._ranks[number]
        self._async_scheduling = self._is_async and bool(batch.running)  # An empty rank has no step fixed ahead.
        super().submit(request)

    def withdraw(self, request: Request) -> None:
        self._batch = self._rank_of(request)
        super().withdraw(request)

    def abort(self, request: Request) -> None:
        self._batch = self._rank_of(request)
        super().abort(request)

    def _rank_of(self, request: Request) -> Scheduler:
        """The rank that has a request; any if none has it, so that the error is that of `Replica`."""
        for batch in self._ranks:
            if any(s.request is request for part in (batch.running, batch.waiting) for s in part):
                return batch
        return self._batch

    def stop(self) -> list[Leftover]:
        left = super().stop()
        others = (batch for batch in self._ranks if batch is not self._batch)
        return left + [item for batch in others for item in leftovers(batch, self._env.now, self._start_s)]

    def _end_leap_early(self, steps: int, now: float) -> None:
        for batch in self._ranks:
            self._add_gaps(batch, steps)
            batch.advance(steps, now)
        self._start_s += leap_s(steps, self._first_step_s, self._growth_s)

    def _add_gaps(self, batch: Scheduler, steps: int) -> None:
        """Enter the gaps of the first steps of the present leap, which are over."""
        n = batch.n_decoding
        if n and steps:
            last = batch.step + steps - 1
            batch.gaps.add_steps(n, last, steps, self._start_s, self._first_step_s, self._growth_s)

    def unfinished(self) -> list[Request]:
        ranks = self._ranks
        for rank in ranks:
            rank.end_waits(self._env.now)
        parts = [part for parts in ((b.running for b in ranks), (b.waiting for b in ranks)) for part in parts]
        return [sequence.request for part in parts for sequence in part]

    # --- time ----------------------------------------------------------------------------------------------------

    def _boundary(self, wake: Wake) -> None:
        """See `Replica._boundary`. First all ranks end their steps, then the clients hear of it, then all go on."""
        if wake is not self._wake:
            return
        now = self._ends_s
        self._end_steps(now)
        chunks = [batch.schedule(now) or () for batch in self._ranks]
        self._start_s = now
        if any(chunks):
            self._mode, self._steps, self._growth_s = _MIXED, 1, 0.0
            self._first_step_s = duration_s = self._step_of_ranks_s(chunks)
        elif any(batch.n_decoding for batch in self._ranks):
            self._mode = _LEAPING
            duration_s = self._plan_leap()
        else:
            self._mode = _IDLE
            self._on_idle()
            return
        self._ends_s = now + duration_s
        self._wake_after(duration_s)

    def _end_steps(self, now: float) -> None:
        """Account for the steps that are over, and let the requests leave that are done or whose clients left."""
        steps, leaving, self._leaving = self._steps, self._leaving, []
        left: list[tuple[Request, int | None]] = []  # with the tokens generated of those whose clients left
        for batch in self._ranks:
            self._add_gaps(batch, steps)
            left += [(request, None) for request in batch.advance(steps, now) or ()]
            left += [(s.request, batch.drop(s)) for s in leaving if s in batch.running]
            if not batch.running:
                batch.gaps.forget()
        if left:
            self._mode = _DECIDING
            self.n_outstanding -= len(left)
        for request, generated in left:
            if generated is None:
                request.end_served(now)
            else:
                request.abort(generated, now)
            self._on_done(request)

    def _step_of_ranks_s(self, chunks: Sized[Sized[Chunk]]) -> float:
        """Seconds of a step that computes these chunks of prompts on each of the ranks, besides decoding."""
        own_s, n_decode, prompt_tokens = 0.0, 0, 0
        for batch, parts in zip(self._ranks, chunks, strict=True):
            n, context = batch.n_decoding, batch.context_tokens
            if parts and self._prefills_alone:
                n = context = 0
            if n or parts:
                own_s = max(own_s, self._step_s(n, context, parts))
                n_decode += n
                prompt_tokens += sum(new for new, _past, _completes in parts)
            else:
                n_decode += 1  # the dummy token
        return own_s + self._shared_s(n_decode, prompt_tokens)

    def _plan_leap(self) -> float:
        """Plan decode steps until a batch changes or another rank becomes the slowest; returns their seconds."""
        steps, growth_s = 1 << 62, self._context_s
        own = []  # (seconds of the first step, sequences) of each rank that decodes
        for batch in self._ranks:
            if n := batch.n_decoding:
                own.append((self._decode_s(n) + growth_s * batch.context_tokens, n))
                steps = min(steps, batch.steps_to_next_change())
        first_s, most = max(own)
        for other_s, n in own:
            if n > most and growth_s:
                steps = min(steps, int((first_s - other_s) / (growth_s * (n - most))) + 1)
        idle = len(self._ranks) - len(own)
        self._steps = steps
        self._first_step_s = first_s + self._shared_s(sum(n for _, n in own) + idle, 0)
        self._growth_s = growth_s * most
        return leap_s(steps, self._first_step_s, self._growth_s)
