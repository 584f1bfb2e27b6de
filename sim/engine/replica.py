"""Replica: one GPU group with continuous batching, simulated from one change of its batch to the next.

`Scheduler` decides what each step computes and `StepTime` how many seconds it takes; this module lets simulated time
pass. Decode steps during which the batch does not change are one event, called a leap. An arrival that may join the
batch cuts the leap at the end of the step under way.
"""

# Compiled: every event passes through this module (see sim.hot_path).

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from mypy_extensions import mypyc_attr

from sim.clock import AFTER_ARRIVALS, FIRE, Wake, call_later
from sim.engine.kv_tiers import Tier
from sim.engine.leap import leap_s, steps_begun
from sim.engine.leftovers import Leftover, leftovers
from sim.engine.scheduler import Scheduler
from sim.engine.schedulers.choice import SCHEDULERS, policy_of, token_limits
from sim.engine.schedulers.prefill_first import PrefillFirstScheduler
from sim.engine.schedulers.tiered import TieredScheduler
from sim.engine.sequence import Sequence
from sim.engine.token_gaps import TokenGaps
from sim.event_loop import Agenda, EventLoop
from sim.gap_histogram import GapHistogram
from sim.hardware.prefill_first import PrefillFirst
from sim.hardware.step_time.protocol import StepTime
from sim.hardware.step_time.roofline import Roofline
from sim.heap import CAN_MOVE, Entry
from sim.work import Outcome, Request, Segment, refusal_of

_IDLE: Final = 0
_LEAPING: Final = 1
_MIXED: Final = 2
_DECIDING: Final = 3
_LOADING: Final = 4
"""What a replica does: nothing; a leap; one step with prefill; within one moment, choosing its next step; or waiting
until the first of its requests is loaded from a KV tier."""


class _StepEnd(Wake):
    """The wake of a replica: it calls the replica itself, since a method to call back is one more object in memory, and
    what a replica among a thousand touches has left the processor's cache since its last step."""

    __slots__ = ("replica",)

    def __init__(self, replica: Replica):
        self.callbacks = None
        self.replica = replica

    def fire(self) -> None:
        self.replica._boundary(self)


def _as_roofline(step_time: StepTime) -> Roofline | None:
    """The step time if it is the compiled one: to call it as what it is needs no boxes for its numbers."""
    return step_time if isinstance(step_time, Roofline) else None


@mypyc_attr(allow_interpreted_subclasses=True)
class Replica:
    """A continuous-batching engine; implements `ReplicaView` and `Server`.

    Calls `on_done(request)` once per request, with `admitted_s`, `first_token_s`, `finished_s`, `cached_input_tokens`,
    `preemptions`, `preempted_s`, `recomputed_tokens` and `outcome` stamped. Calls `on_busy()` when the first request
    arrives at an empty replica, and `on_idle()` when the last one has left.

    A request is refused if it could never fit into KV memory or exceeds `max_model_len` tokens, or if the replica
    already has `max_num_seqs + max_queue` requests. `max_model_len` and `max_queue`: None sets no limit.
    `kv_blocks`: KV blocks of `block_tokens` tokens. `max_num_batched_tokens`: token budget of one step, of which a
    decoding sequence takes `decode_tokens`. `decodes_only`: requests arrive with their first token, computed elsewhere
    (see sim.engine.schedulers.decode_only). `new_scheduler`: a class derived from `Scheduler`, in place of the one that
    the two policies name. `n_ranks`: batches, each with the limits given here; this class plays one, and
    `sim.engine.lockstep` several. `kv_tiers`: makes the tiers behind the KV memory. `gap_histogram` takes the gaps
    between tokens (see sim.engine.token_gaps). The other options are explained in `EngineFlags`.
    """

    def __init__(
        self,
        env,
        step_time: StepTime,
        *,
        kv_blocks: int,
        max_num_seqs: int,
        max_num_batched_tokens: int,
        block_tokens: int = 16,
        prefix_caching: bool = True,
        async_scheduling: bool = False,
        scheduling_policy: str = "fcfs",
        capacity_policy: str = "max_utilization",
        chunked_prefill: bool = True,
        scheduler_reserve_full_isl: bool = False,
        blank_blocks_first: bool = False,
        prefill_first: PrefillFirst | None = None,
        max_queue: int | None = None,
        decode_tokens: int = 1,
        decodes_only: bool = False,
        n_ranks: int = 1,
        max_model_len: int | None = None,
        replica_id: int = 0,
        pool: int = 0,
        new_scheduler: Callable[..., Scheduler] | None = None,
        gap_histogram: GapHistogram | None = None,
        kv_tiers: Callable[[], list[Tier]] | None = None,
        on_done: Callable[[Request], None],
        on_busy: Callable[[], None] = lambda: None,
        on_idle: Callable[[], None] = lambda: None,
    ):
        # What every step reads comes first, and so lies together in memory: a compiled class has this order.
        self._wake: Wake = _StepEnd(self)
        self._entry = Entry(0.0, AFTER_ARRIVALS, 0, self._wake)  # in the agenda, where it is moved if a leap is cut
        self._agenda: Agenda | None = env.agenda if CAN_MOVE and isinstance(env, EventLoop) else None
        self._ends_s, self._steps = 0.0, 0  # time of the next boundary, when the batch may change, and steps until then
        # The present step or leap: its start, the seconds of its first step, by how many each exceeds the one before.
        self._start_s = self._first_step_s = self._growth_s = 0.0
        self.n_outstanding, self._mode = 0, _IDLE
        self._roofline = _as_roofline(step_time)
        self._leaving: list[Sequence] = []  # running sequences whose client went away during the present step
        self._no_arrival_cuts = False  # whether no arrival from now on can change the present leap
        self.replica_id, self.pool = replica_id, pool
        policy = policy_of(scheduling_policy, decodes_only, prefill_first is not None, kv_tiers is not None)
        scheduler = new_scheduler or SCHEDULERS[policy, capacity_policy]
        prefix_caching = prefix_caching and not decodes_only
        limits = (kv_blocks, max_num_seqs, max_num_batched_tokens, block_tokens, prefix_caching, decode_tokens)
        self._ranks: list[Scheduler] = [scheduler(*limits, chunked_prefill) for _ in range(n_ranks)]
        self._set_up(gap_histogram or GapHistogram(), scheduler_reserve_full_isl, blank_blocks_first, prefill_first)
        self._batch = self._ranks[0]
        self._tiered = self._with_tiers(kv_tiers)
        self._fcfs, self._prefills_alone = self._batch.fcfs, isinstance(self._batch, PrefillFirstScheduler)
        self._most_outstanding = None if max_queue is None else n_ranks * max_num_seqs + max_queue
        step_tokens = None if chunked_prefill else max_num_batched_tokens
        self._limits = token_limits(kv_blocks * block_tokens, max_model_len, step_tokens, self._prefills_alone)
        self._capacity_tokens, self._budget_tokens = min(self._limits.values()), max_num_batched_tokens
        self._block_tokens, self._decode_tokens, self._max_num_seqs = block_tokens, decode_tokens, max_num_seqs
        self._prefix_caching, self._async_scheduling, self._env = prefix_caching, async_scheduling, env
        self._decode_s, self._step_s, self._context_s = step_time.decode_s, step_time.step_s, step_time.context_s
        self._on_done, self._on_busy, self._on_idle = on_done, on_busy, on_idle

    def _with_tiers(self, kv_tiers: Callable[[], list[Tier]] | None) -> TieredScheduler | None:
        """The scheduler with its tiers set; None if it knows no tiers."""
        batch = self._batch
        if not isinstance(batch, TieredScheduler):
            return None
        batch.use(kv_tiers() if kv_tiers is not None else [])
        return batch

    def _set_up(
        self, gap_histogram: GapHistogram, whole_prompts: bool, blank_first: bool, prefill_first: PrefillFirst | None
    ) -> None:
        """Tell the schedulers what their constructor does not take."""
        for batch in self._ranks:
            batch.gaps = TokenGaps(gap_histogram)
            batch.admits_whole_prompts = whole_prompts
            batch.memory.blank_first = blank_first
            if prefill_first is not None and isinstance(batch, PrefillFirstScheduler):
                batch.use(prefill_first)

    # --- what policies may see (see `ReplicaView`) ---------------------------------------------------------------

    @property
    def n_waiting(self) -> int:
        return len(self._batch.waiting)

    @property
    def n_running(self) -> int:
        return len(self._batch.running)

    @property
    def oldest_wait_s(self) -> float:
        waiting = self._batch.waiting
        return self._env.now - waiting[0].request.arrived_s if waiting else 0.0

    @property
    def prefill_tokens_ahead(self) -> int:
        batch = self._batch
        tokens = batch.partial.prompt_tokens - batch.partial.computed_tokens if batch.partial else 0
        return tokens + sum(
            sequence.prompt_tokens - self.cached_tokens(sequence.segments) for sequence in batch.waiting
        )

    def prefill_s(self, tokens: int) -> float:
        """Seconds to compute `tokens` prompt tokens after the step under way, if the decoding batch stays as it is."""
        batch, left_s = self._batch, self._ends_s - self._env.now if self._mode == _MIXED else 0.0
        n, context = (0, 0) if self._prefills_alone else (batch.n_decoding, batch.context_tokens)
        budget = max(1, self._budget_tokens - n * self._decode_tokens)
        steps, rest = divmod(tokens, budget)
        full_s = steps * self._step_s(n, context, [(budget, 0, True)]) if steps else 0.0
        return left_s + full_s + (self._step_s(n, context, [(rest, 0, True)]) if rest else 0.0)

    @property
    def is_blocked(self) -> bool:
        batch = self._batch
        if not batch.waiting or len(batch.running) >= self._max_num_seqs:
            return bool(batch.waiting)
        return not batch.has_room(batch.waiting[0])

    @property
    def kv_used_fraction(self) -> float:
        """See `ReplicaView`. During a leap, the value at the start of the leap."""
        memory = self._batch.memory
        return 1.0 - int(memory.available_blocks) / int(memory.total_blocks)

    @property
    def kv_filled_fraction(self) -> float:
        memory = self._batch.memory
        return 1.0 - max(0, int(memory.available_blocks - memory.evictable_blocks)) / int(memory.total_blocks)

    @property
    def prefix_cache_tokens(self) -> int:
        return self._batch.memory.resident_blocks * self._block_tokens

    def cached_tokens(self, segments: tuple[Segment, ...]) -> int:
        if not segments or not self._prefix_caching:
            return 0
        total = sum(tokens for _, tokens in segments)
        return self._batch.memory.resident(segments, total + 1) * self._block_tokens

    # --- requests ------------------------------------------------------------------------------------------------

    def submit(self, request: Request) -> None:
        """Queue a request; it joins the batch at the next step boundary that has room for it.

        With asynchronous scheduling it joins one step later, because a step's batch is fixed when the step before
        begins.
        """
        most_outstanding = self._most_outstanding
        if (
            request.input_tokens + request.output_tokens - 1 > self._capacity_tokens
            or most_outstanding is not None
            and self.n_outstanding >= most_outstanding
        ):
            self._refuse(request)
            return
        self.n_outstanding += 1
        request.pool = self.pool
        request.replica_id = self.replica_id
        sequence = Sequence(request)
        if request.losses is not None:
            sequence.take_up(request.losses)
        batch = self._batch
        batch.waiting.append(sequence)
        mode = self._mode
        if mode == _LEAPING:
            if not self._no_arrival_cuts or self._async_scheduling:
                agenda = self._agenda
                now: float = self._env.now if agenda is None else agenda.now
                ready = self._steps_begun(now) + self._async_scheduling
                sequence.ready_step = batch.step + ready
                if not self._no_arrival_cuts:
                    # First come, first served: whatever arrives later joins no earlier than this request, at whose
                    # boundary the leap now ends.
                    self._no_arrival_cuts = self._fcfs
                    if ready < self._steps:
                        self._cut_leap(ready, now)
        elif mode == _MIXED:
            sequence.ready_step = batch.step + 1 + self._async_scheduling
        elif mode == _DECIDING:
            sequence.ready_step = batch.step + self._async_scheduling
        else:
            self._decide()
            if mode == _IDLE:
                self._on_busy()

    def _decide(self) -> None:
        """Choose the next step after all arrivals of this moment, so that they can join it together."""
        self._mode = _DECIDING
        self._steps = 0
        self._ends_s = self._env.now
        self._wake_after(0.0)

    def _begin_loads(self, tiered: TieredScheduler) -> None:
        for sequence, ready_s in tiered.new_loads:
            sequence.ready_s = ready_s
            call_later(self._env, ready_s - self._env.now, self._end_load, tiered, sequence, ready_s)
        tiered.new_loads.clear()

    def _end_load(self, tiered: TieredScheduler, sequence: Sequence, load: float) -> None:
        """A sequence has arrived from a KV tier: it joins the batch at the next step, as a new arrival would."""
        if sequence.load_state != 1 or sequence.ready_s != load or self._tiered is None:
            return  # It was withdrawn, or the replica is lost.
        tiered.end_load(sequence)
        mode, now = self._mode, self._env.now
        if mode == _LEAPING:
            ready = self._steps_begun(now) + self._async_scheduling
            sequence.ready_step = tiered.step + ready
            if ready < self._steps:
                self._cut_leap(ready, now)
        elif mode == _MIXED:
            sequence.ready_step = tiered.step + 1 + self._async_scheduling
        elif mode == _LOADING:
            self._decide()

    def _refuse(self, request: Request) -> None:
        request.replica_id = -1  # A retried request still names the replica that was lost.
        if request.losses is None:
            request.refuse(refusal_of(request, self._limits), self._env.now)
        else:
            request.end(Outcome.FAILED, self._env.now)
        self._on_done(request)

    def withdraw(self, request: Request) -> None:
        """Remove a request that has not begun. Raises ValueError if it has, or is not on this replica."""
        waiting = self._batch.waiting
        withdrawn = next((sequence for sequence in waiting if sequence.request is request), None)
        if withdrawn is None:
            raise ValueError(f"task {request.task.task_id} call {request.call_index} does not wait on this replica")
        self.n_outstanding -= 1
        if self._batch.remove_waiting(withdrawn):
            self._cut_after_this_step(self._env.now)
        if self._mode == _LOADING:
            if waiting:
                self._decide()
            else:
                self._mode = _IDLE
                self._on_idle()

    def abort(self, request: Request) -> None:
        """The client of a request that has begun goes away: it ends as ABORTED once the step under way is over.

        If it is out of the batch after a preemption, it ends at once. Raises ValueError if it is not on this replica.
        """
        batch, now = self._batch, self._env.now
        for sequence in batch.running:
            if sequence.request is request:
                request.ends_as = Outcome.ABORTED
                self._leaving.append(sequence)
                self._cut_after_this_step(now)
                return
        waiting = next((sequence for sequence in batch.waiting if sequence.request is request), None)
        self.withdraw(request)
        assert waiting is not None
        request.abort(waiting.generated_before, now)
        self._on_done(request)

    def _let_leave(self, now: float) -> None:
        """Drop the sequences whose clients went away, but for those that the step just ended has finished."""
        leaving, self._leaving, self._mode = self._leaving, [], _DECIDING
        for sequence in leaving:
            if sequence in self._batch.running:
                sequence.request.abort(self._batch.drop(sequence), now)
                self.n_outstanding -= 1
                self._on_done(sequence.request)

    def _cut_after_this_step(self, now: float) -> None:
        if self._mode == _LEAPING:
            steps = self._steps_begun(now)
            if steps < self._steps:
                self._cut_leap(steps, now)

    def stop(self) -> list[Leftover]:
        """Stop at once, and return what is left of the requests. A step that ends at this moment is lost, too."""
        now = self._env.now
        if self._mode == _LEAPING:
            self._end_leap_early(min(self._steps_begun(now), self._steps) - 1, now)
        self._wake, self._mode, self.n_outstanding = _StepEnd(self), _IDLE, 0
        self._entry = Entry(0.0, AFTER_ARRIVALS, 0, self._wake)
        self._leaving.clear()
        self._tiered = None
        return leftovers(self._batch, now, self._start_s)

    def _end_leap_early(self, steps: int, now: float) -> None:
        """Account for the first steps of the present leap, which are over; the next one is under way."""
        batch = self._batch
        if steps:
            n, start_s, first_s = batch.n_decoding, self._start_s, self._first_step_s
            batch.gaps.add_steps(n, batch.step + steps - 1, steps, start_s, first_s, self._growth_s)
            self._start_s += leap_s(steps, first_s, self._growth_s)
        batch.advance(steps, now)

    def unfinished(self) -> list[Request]:
        """All requests of this replica at the end of the run, running ones first. Waits after a preemption end here."""
        batch = self._batch
        batch.end_waits(self._env.now)
        return [sequence.request for sequences in (batch.running, batch.waiting) for sequence in sequences]

    # --- time ----------------------------------------------------------------------------------------------------

    def _boundary(self, wake: Wake) -> None:
        """A step has ended and the batch may change: begin the next step, or leap to the next change."""
        if wake is not self._wake:
            return  # The replica stopped, or the leap was cut and the entry of this wake could not be moved.
        now, batch, steps, n = self._ends_s, self._batch, self._steps, self._batch.n_decoding
        if n:
            batch.gaps.add_steps(n, batch.step + steps - 1, steps, self._start_s, self._first_step_s, self._growth_s)
        finished = batch.advance(steps, now)
        if finished:
            self._mode = _DECIDING
            self.n_outstanding -= len(finished)
            on_done = self._on_done
            for request in finished:
                request.end_served(now)
                on_done(request)
        if self._leaving:
            self._let_leave(now)
        chunks = batch.schedule(now)
        tiered = self._tiered
        if tiered is not None and tiered.new_loads:
            self._begin_loads(tiered)
        n, roofline = batch.n_decoding, self._roofline
        self._start_s = now
        if chunks:
            self._mode, self._steps, self._growth_s = _MIXED, 1, 0.0
            step_s, context = self._step_s, batch.context_tokens
            duration_s = step_s(n, context, chunks) if roofline is None else roofline.step_s(n, context, chunks)
            self._first_step_s = duration_s
        elif n:
            self._mode = _LEAPING
            # First come, first served: where the head of the queue cannot join now, nothing joins before the leap ends.
            self._no_arrival_cuts = self._fcfs and bool(batch.waiting)
            self._steps = steps = batch.steps_to_next_change()
            decode_s, context_s = self._decode_s, self._context_s
            empty_s = decode_s(n) if roofline is None else roofline.decode_s(n)
            self._first_step_s = first_step_s = empty_s + context_s * batch.context_tokens
            self._growth_s = growth_s = context_s * n
            duration_s = leap_s(steps, first_step_s, growth_s)
        elif batch.waiting:
            self._mode = _LOADING
            return
        else:
            self._mode = _IDLE
            batch.gaps.forget()
            self._on_idle()
            return
        self._ends_s = now + duration_s
        self._wake_after(duration_s)

    def _wake_after(self, delay_s: float) -> None:
        """Have `_boundary` called `delay_s` from now, and not when it was to be called until now."""
        wake, agenda = self._wake, self._agenda
        if agenda is not None:
            wake.callbacks = FIRE
            agenda.put(self._entry, delay_s)
            return
        if wake.callbacks is not None:
            self._wake = wake = _StepEnd(self)  # A wake in the schedule stays in it, and is then ignored.
        wake.schedule(self._env, delay_s, AFTER_ARRIVALS)

    def _steps_begun(self, now: float) -> int:
        """How many steps of the present leap have begun at `now`."""
        return steps_begun(now - self._start_s, self._first_step_s, self._growth_s)

    def _cut_leap(self, steps: int, now: float) -> None:
        """Let the present leap end after `steps` steps, fewer than it was to have."""
        self._steps = steps
        left_s = max(0.0, self._start_s + leap_s(steps, self._first_step_s, self._growth_s) - now)
        self._ends_s = now + left_s
        self._wake_after(left_s)
