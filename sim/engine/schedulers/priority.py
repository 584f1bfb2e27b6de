"""Scheduling by priority, as vLLM's `--scheduling-policy priority`.

The queue is in order of (priority, arrival), a lower number being more urgent, and when blocks run out the running
sequence that comes last in that order is preempted. Nobody is preempted for one who waits.

Known limit: where a sequence in the middle of the batch is itself the one to preempt, vLLM computes nothing more of
those behind it in that step; here they go on.
"""

# Compiled: every event passes through this module (see sim.hot_path).

from __future__ import annotations

from mypy_extensions import mypyc_attr

from sim.engine.priority_queue import PriorityQueue, urgency
from sim.engine.scheduler import Scheduler
from sim.engine.sequence import Sequence
from sim.hardware.step_time.protocol import Chunk


def _urgency(s: Sequence) -> tuple[float, ...]:
    return urgency(s.request)


@mypyc_attr(allow_interpreted_subclasses=True)
class PriorityScheduler(Scheduler):
    """The scheduler with its queue and its victims in order of priority."""

    fcfs = False

    def _empty_queue(self) -> PriorityQueue:
        return PriorityQueue(_urgency)

    def _admit_waiting(self, now: float, budget: int, chunks: list[Chunk]) -> None:
        """As first come first served, but that one who came too late for this step holds nobody up."""
        waiting, running = self.waiting, self.running
        was_empty = not running
        at = 0
        while at < len(waiting) and budget > 0 and len(running) < self._max_num_seqs:
            s = waiting[at]
            if s.ready_step > self.step and not was_empty:
                self._may_change = True
                at += 1
                continue
            if not self._admit(s, budget, chunks):
                break
            del waiting[at]
            running[s] = None
            if s.request.admitted_s is None:
                s.request.admitted_s = now
            else:
                self._stamp_return(s, chunks[-1][1], now)
            budget -= chunks[-1][0]

    def _go_on(self, partial: Sequence, budget: int, chunks: list[Chunk], now: float) -> bool:
        while not self._compute(partial, budget, chunks):
            victim = self._victim()
            if victim is not partial and victim.slot == self.step % self._block_tokens:
                self.memory.release(1)  # which it was given for this step
            self._preempt(victim, now)
            if victim is partial:
                return False
        return True

    def _victim(self) -> Sequence:
        return max(self.running, key=_urgency)
