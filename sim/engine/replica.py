"""One replica: continuous batching on one GPU group, leaping from change to change.

`Scheduler` says what each step computes and `StepTime` how long it takes; this module lets the time pass. Decode steps
without any change of the batch are one event, cut at the end of the step under way when somebody arrives.
"""

# Compiled: every event passes through this module (see sim.hot_path).

from __future__ import annotations

from collections.abc import Callable

from mypy_extensions import mypyc_attr

from sim.clock import AFTER_ARRIVALS, Wake
from sim.engine.leap import leap_s, steps_begun
from sim.engine.leftovers import Leftover, leftovers
from sim.engine.scheduler import Scheduler
from sim.engine.schedulers.decode_only import DecodeScheduler
from sim.engine.schedulers.priority import PriorityScheduler
from sim.engine.schedulers.reserving import ReservingScheduler
from sim.engine.sequence import Sequence
from sim.hardware.step_time.protocol import StepTime
from sim.work import Outcome, Request, Segment

_SCHEDULERS: dict[tuple[str, str], type[Scheduler]] = {
    ("fcfs", "max_utilization"): Scheduler,
    ("fcfs", "guaranteed_no_evict"): ReservingScheduler,
    ("priority", "max_utilization"): PriorityScheduler,
    ("decodes_only", "max_utilization"): DecodeScheduler,
}
"""By order of the queue, or that prompts arrive computed, and by when there is room for one more."""

_IDLE, _LEAPING, _MIXED, _DECIDING = range(4)
_FINISHED = Outcome.FINISHED  # looking a member up on its enum costs as much as a call


@mypyc_attr(allow_interpreted_subclasses=True)
class Replica:
    """A continuous-batching engine; implements `ReplicaView` and `Server`.

    Calls `on_done(request)` once per request, with `admitted_s`, `first_token_s`, `finished_s`, `cached_input_tokens`,
    `preemptions`, `preempted_s`, `recomputed_tokens` and `outcome` stamped; `on_busy()` and `on_idle()` when it falls
    out of and into having nothing to do. A request that could never fit its KV memory is refused; so is one that finds
    `max_num_seqs + max_queue` requests here. `decode_tokens`: what a decoding sequence takes of the token budget.
    `decodes_only`: requests arrive with their first token, computed elsewhere (see sim.engine.schedulers.decode_only).
    `new_scheduler`: a class derived from `Scheduler`, in place of the one that the two policies name.
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
        max_queue: int | None = None,
        decode_tokens: int = 1,
        decodes_only: bool = False,
        max_model_len: int | None = None,
        replica_id: int = 0,
        pool: int = 0,
        new_scheduler: Callable[..., Scheduler] | None = None,
        on_done: Callable[[Request], None],
        on_busy: Callable[[], None] = lambda: None,
        on_idle: Callable[[], None] = lambda: None,
    ):
        self.replica_id, self.pool = replica_id, pool
        if new_scheduler is None:
            new_scheduler = _SCHEDULERS["decodes_only" if decodes_only else scheduling_policy, capacity_policy]
        prefix_caching = prefix_caching and not decodes_only
        self._batch = new_scheduler(
            kv_blocks, max_num_seqs, max_num_batched_tokens, block_tokens, prefix_caching, decode_tokens,
            chunked_prefill,
        )  # fmt: skip
        self._fcfs = self._batch.fcfs
        self._most_outstanding = None if max_queue is None else max_num_seqs + max_queue
        self._capacity_tokens = kv_blocks * block_tokens  # the last token generated is never in memory
        if max_model_len is not None:
            self._capacity_tokens = min(self._capacity_tokens, max_model_len - 1)
        if not chunked_prefill:  # a step must hold any prompt, also one that grew before it was preempted
            self._capacity_tokens = min(self._capacity_tokens, max_num_batched_tokens)
        self._block_tokens = block_tokens
        self._max_num_seqs, self._budget_tokens = max_num_seqs, max_num_batched_tokens
        self._decode_tokens = decode_tokens
        self._prefix_caching = prefix_caching
        self._async_scheduling = async_scheduling
        self._env = env
        self._decode_s, self._step_s = step_time.decode_s, step_time.step_s
        self._context_s = step_time.context_s
        self._on_done, self._on_busy, self._on_idle = on_done, on_busy, on_idle
        self.n_outstanding = 0
        self._mode = _IDLE
        self._schedule = env.schedule
        self._on_wake = (self._boundary,)
        self._wake = Wake(self._boundary)
        self._ends_s = 0.0  # when the next boundary is
        self._steps = 0  # that end at the next boundary
        self._settled = False  # no arrival can change the present leap
        self._leap_start_s = self._first_s = self._growth_s = 0.0

    # --- what others may see -------------------------------------------------------------------------------------

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
        return tokens + sum(s.prompt_tokens - self.cached_tokens(s.segments) for s in batch.waiting)

    def prefill_s(self, tokens: int) -> float:
        batch, left_s = self._batch, self._ends_s - self._env.now if self._mode == _MIXED else 0.0
        n, context = batch.n_decoding, batch.context_tokens
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
        """As of the last change of the batch."""
        return 1.0 - self._batch.memory.available_blocks / self._batch.memory.total_blocks

    @property
    def kv_filled_fraction(self) -> float:
        memory = self._batch.memory
        return 1.0 - max(0, memory.available_blocks - memory.evictable_blocks) / memory.total_blocks

    @property
    def prefix_cache_tokens(self) -> int:
        return self._batch.memory.resident_blocks * self._block_tokens

    def cached_tokens(self, segments: tuple[Segment, ...]) -> int:
        if not segments or not self._prefix_caching:
            return 0
        total = sum(tokens for _, tokens in segments)
        return self._batch.memory.resident(segments, total + 1) * self._block_tokens

    # --- requests come and go ------------------------------------------------------------------------------------

    def submit(self, request: Request) -> None:
        """Queue a request; it joins the batch at the next step boundary that has room for it.

        With asynchronous scheduling a step's batch is fixed when the step before it begins: it joins one step later.
        """
        most = self._most_outstanding
        if (
            request.input_tokens + request.output_tokens - 1 > self._capacity_tokens
            or most is not None
            and self.n_outstanding >= most
        ):
            request.replica_id = -1  # a retried request still names the replica that was lost
            request.end(Outcome.REFUSED if request.losses is None else Outcome.FAILED, self._env.now)
            self._on_done(request)
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
            if not self._settled or self._async_scheduling:
                now = self._env.now
                ready = self._steps_begun(now) + self._async_scheduling
                sequence.ready_step = batch.step + ready
                if not self._settled:
                    self._settled = self._fcfs  # then later arrivals join at the same boundary, or are awaited there
                    if ready < self._steps:
                        self._cut_leap(ready, now)
        elif mode == _MIXED:
            sequence.ready_step = batch.step + 1 + self._async_scheduling
        elif mode == _DECIDING:
            sequence.ready_step = batch.step + self._async_scheduling
        else:
            self._mode = _DECIDING  # once everybody who arrives at this very moment is here
            self._steps = 0
            self._ends_s = self._env.now
            self._wake.schedule(self._env, 0.0, AFTER_ARRIVALS)
            self._on_busy()

    def withdraw(self, request: Request) -> None:
        """Take back a request that has not begun. ValueError if it has."""
        waiting = self._batch.waiting
        was_head = waiting and waiting[0].request is request
        waiting.remove(next(s for s in waiting if s.request is request))
        self.n_outstanding -= 1
        if was_head and self._mode == _LEAPING:
            now = self._env.now
            steps = self._steps_begun(now)
            if steps < self._steps:
                self._cut_leap(steps, now)

    def stop(self) -> list[Leftover]:
        """Lose everything at once; what is left of the requests that were here. A step that ends now is lost, too."""
        now = self._env.now
        if self._mode == _LEAPING:
            self._batch.advance(min(self._steps_begun(now), self._steps) - 1, now)
        self._wake, self._mode, self.n_outstanding = Wake(self._boundary), _IDLE, 0
        return leftovers(self._batch, now)

    def unfinished(self) -> list[Request]:
        """Every request that is in here now."""
        return [s.request for sequences in (self._batch.running, self._batch.waiting) for s in sequences]

    # --- time ----------------------------------------------------------------------------------------------------

    def _boundary(self, wake: Wake) -> None:
        """A step has ended and the batch may change: begin the next step, or leap to the next change."""
        if wake is not self._wake:
            return  # called off
        now, batch = self._ends_s, self._batch
        finished = batch.advance(self._steps, now)
        if finished:
            self._mode = _DECIDING
            self.n_outstanding -= len(finished)
            on_done = self._on_done
            for request in finished:
                request.end(_FINISHED, now)
                on_done(request)
        chunks = batch.schedule(now)
        n = batch.n_decoding
        if chunks:
            self._mode = _MIXED
            self._steps = 1
            step_s = self._step_s
            duration_s = step_s(n, batch.context_tokens, chunks)
        elif n:
            self._mode = _LEAPING
            self._settled = self._fcfs and bool(batch.waiting)  # its head does not fit before something ends
            self._steps = steps = batch.steps_to_next_change()
            self._leap_start_s = now
            decode_s, context_s = self._decode_s, self._context_s
            self._first_s = first_s = decode_s(n) + context_s * batch.context_tokens
            self._growth_s = growth_s = context_s * n
            duration_s = leap_s(steps, first_s, growth_s)
        else:
            self._mode = _IDLE
            self._on_idle()
            return
        self._ends_s = now + duration_s
        wake.callbacks = self._on_wake  # Wake.schedule, without the call
        schedule = self._schedule
        schedule(wake, AFTER_ARRIVALS, duration_s)

    def _steps_begun(self, now: float) -> int:
        """Steps of the present leap that have begun."""
        return steps_begun(now - self._leap_start_s, self._first_s, self._growth_s)

    def _cut_leap(self, steps: int, now: float) -> None:
        """End the present leap after `steps` steps, which are fewer than it has."""
        self._steps = steps
        self._wake = wake = Wake(self._boundary)
        left_s = max(0.0, self._leap_start_s + leap_s(steps, self._first_s, self._growth_s) - now)
        self._ends_s = now + left_s
        wake.schedule(self._env, left_s, AFTER_ARRIVALS)
