"""Scheduling by priority, as vLLM's `--scheduling-policy priority`.

The queue is in order of (priority, arrival), a lower priority number being more urgent. When KV blocks run out, the
running sequence that comes last in that order is preempted. No sequence is preempted to make room for a waiting one.

Known limit: where a sequence in the middle of the batch is itself the one to preempt, vLLM computes nothing in that
step of the sequences behind it in the batch; here they are computed.
"""

# Compiled: every event passes through this module (see sim.hot_path).

from __future__ import annotations

from mypy_extensions import mypyc_attr

from sim.engine.priority_queue import PriorityQueue, urgency
from sim.engine.scheduler import Scheduler
from sim.engine.sequence import Sequence
from sim.hardware.step_time.protocol import Chunk


def _urgency(sequence: Sequence) -> tuple[float, ...]:
    """Sort key of a sequence: that of its request."""
    return urgency(sequence.request)


@mypyc_attr(allow_interpreted_subclasses=True)
class PriorityScheduler(Scheduler):
    """A scheduler that admits the most urgent waiting sequence first, and preempts the least urgent running one."""

    fcfs = False

    def _empty_queue(self) -> PriorityQueue:
        """A queue in order of urgency."""
        return PriorityQueue(_urgency)

    def _admit_waiting(self, now: float, budget: int, chunks: list[Chunk]) -> None:
        """Admit as `Scheduler` does, but pass over a sequence that arrived too late for this step.

        Such a sequence may stand at the head of this queue, before sequences that arrived earlier.
        """
        waiting, running = self.waiting, self.running
        was_empty = not running
        place = 0
        while place < len(waiting) and budget > 0 and len(running) < self._max_num_seqs:
            sequence = waiting[place]
            if sequence.ready_step > self.step and not was_empty:
                self._next_step_may_differ = True
                place += 1
                continue
            if not self._admit(sequence, budget, chunks):
                break
            del waiting[place]
            running.append(sequence)
            if sequence.request.admitted_s is None:
                sequence.request.admitted_s = now
            else:
                self._stamp_return(sequence, chunks[-1][1], now)
            budget -= chunks[-1][0]

    def _go_on(self, partial: Sequence, budget: int, chunks: list[Chunk], now: float) -> bool:
        """Schedule the next chunk of the prompt under way, preempting less urgent sequences until it has its blocks."""
        while not self._compute(partial, budget, chunks):
            victim = self._victim()
            if victim is not partial and victim.slot == self.step % self._block_tokens:
                self.memory.release_blank(1)  # The block that `schedule` has given the victim for this step.
            self._preempt(victim, now)
            if victim is partial:
                return False
        return True

    def _victim(self) -> Sequence:
        """The least urgent running sequence."""
        return max(self.running, key=_urgency)
