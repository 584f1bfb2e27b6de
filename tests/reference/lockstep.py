"""Several plain engines in lockstep: attention ranks of one replica, one step at a time."""

from __future__ import annotations

from math import inf

from sim.work import Outcome, Request
from tests.reference.prefill_first import PrefillFirstEngine
from tests.reference.stepping import Sequence, SteppingEngine

Step = list[list[tuple[Sequence, int]]]  # what each rank computes


class SteppingRanks(SteppingEngine):
    """Ranks that begin and end every step together; the slowest of them says how long it takes.

    A request joins the rank with the least 4 x waiting + running, of equal ones the first from the rank after the one
    joined last, and remains there.
    """

    def __init__(self, step_time, *, n_ranks: int, max_queue: int | None = None, **engine):
        limits = {name: engine[name] for name in ("kv_blocks", "max_num_seqs", "max_num_batched_tokens")}
        super().__init__(step_time.own, **limits)
        plain = PrefillFirstEngine if "prefill_first" in engine else SteppingEngine
        self.ranks = [plain(step_time.own, **engine) for _ in range(n_ranks)]
        self.shared_s = step_time.shared_s
        self.max_outstanding = inf if max_queue is None else n_ranks * self.max_num_seqs + max_queue
        self.turn = 0
        del self.waiting, self.running, self.pool, self.leaving
        for rank in self.ranks:
            rank.seen = self.seen
            rank.numbers = self.numbers

    def __getattr__(self, name: str):
        if name in ("waiting", "running"):
            return [s for rank in self.ranks for s in getattr(rank, name)]
        raise AttributeError(name)

    def rank_of(self, request: Request) -> SteppingEngine | None:
        return next((r for r in self.ranks if any(s.request is request for s in [*r.running, *r.waiting])), None)

    def arrive(self, request: Request, now: float) -> list[Request]:
        n = len(self.ranks)
        in_turn = [(self.turn + i) % n for i in range(n)]
        joined = min(in_turn, key=lambda i: 4 * len(self.ranks[i].waiting) + len(self.ranks[i].running))
        self.turn = (joined + 1) % n
        self.seen["joined another rank than in turn"] += joined != in_turn[0]
        if len(self.waiting) + len(self.running) >= self.max_outstanding:
            request.end(Outcome.REFUSED, now)
            self.seen["refused for the queue"] += 1
            return [request]
        return self.ranks[joined].arrive(request, now)

    def withdraw(self, request: Request, now: float) -> list[Request]:
        rank = self.rank_of(request)
        return rank.withdraw(request, now) if rank else []

    def hang_up(self, request: Request, now: float) -> list[Request]:
        rank = self.rank_of(request)
        return rank.hang_up(request, now) if rank else []

    def schedule(self, now: float) -> Step:
        step = [rank.schedule(now) for rank in self.ranks]
        self.has_preempted = any(rank.has_preempted for rank in self.ranks)
        return step if any(step) else []

    def duration_s(self, step: Step) -> float:
        """The longest step of a rank by itself, and what all do together, with one dummy token of an idle rank."""
        own_s = [rank.duration_s(part) for rank, part in zip(self.ranks, step, strict=True) if part]
        entries = [entry for part in step for entry in part]
        n_decode = sum(s.computed >= s.prompt for s, _ in entries) + step.count([])
        self.seen["idle ranks"] += step.count([])
        self.seen["ranks that wait for a slower one"] += sum(one_s < max(own_s) for one_s in own_s)
        return max(own_s) + self.shared_s(n_decode, sum(new for s, new in entries if s.computed < s.prompt))

    def finish_step(self, step: Step, now: float) -> list[Request]:
        left = [r for rank, part in zip(self.ranks, step, strict=True) for r in rank.finish_step(part, now)]
        self.gaps_s = [gap for rank in self.ranks for gap in rank.gaps_s]
        return left
