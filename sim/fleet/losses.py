"""A fleet whose replicas are lost, and what becomes of the requests on them."""

from __future__ import annotations

from collections.abc import Sequence

from sim.clock import call_later
from sim.engine.leftovers import Leftover
from sim.fleet.roster import Member
from sim.fleet.supply.reliability import Reliability
from sim.fleet.view import ObservedFleet
from sim.records import ReplicaState
from sim.work import Losses, Outcome


class MortalFleet(ObservedFleet):
    """The part of a fleet that copes with losses."""

    def _warn(self, members: Sequence[Member]) -> None:
        """Their provider will take replicas back: send them nothing more, and have others started now."""
        notice_s, at_once = self._reliability.spot.notice_s, []
        for member in filter(self._is_here, members):
            is_ready = member.engine in self._roster.ready
            if not notice_s or not is_ready and member.state is not ReplicaState.DRAINING:
                at_once.append(member)
                continue
            member.is_doomed = True
            self._recorder.replicas_lost += 1
            if is_ready:
                self._drain(member)
            call_later(self._env, notice_s, self._cut_off, [member])
        self._lose(at_once)

    def _lose(self, members: Sequence[Member]) -> None:
        """Replicas fail, or are taken back without notice."""
        self._recorder.replicas_lost += sum(not member.is_doomed for member in filter(self._is_here, members))
        self._cut_off(members)
        self._replace()

    def _cut_off(self, members: Sequence[Member]) -> None:
        """Replicas are gone at once: try what was on them again, elsewhere."""
        lost: list[Leftover] = []
        for member in filter(self._is_here, members):
            if member.engine in self._open:
                self._open.remove(member.engine)
            lost += self._roster.lose(member)
        for left in reversed(sorted(lost, key=lambda left: left.request.arrived_s)):
            request = left.request
            if set_back(left, self._reliability, self._env.now):
                self._queue.appendleft(request)
                self._cold_clock_at_queueing_s[request] = self._roster.cold_clock_s()
            else:
                self._replica_done(request)
        while self._queue and self._open:
            request = self._queue.popleft()
            self._leave_queue(request)
            replica = self._choose(request, self._open)
            replica.submit(request)
            if replica.n_outstanding >= self._max_per_replica and replica in self._open:
                self._open.remove(replica)

    def _replace(self) -> None:
        """Have as many replicas as before a loss. A scaler that looks at the clock is not asked out of turn."""
        if self._scaler.tick_s is None:
            self._ask()
        for _ in range(self._wanted - self.n_ready - self.n_starting):
            self._roster.start()

    def _is_here(self, member: Member) -> bool:
        return self._roster.members.get(member.replica_id) is member


def set_back(left: Leftover, reliability: Reliability, now_s: float) -> bool:
    """Put a request back to where it can be tried again, keeping what was computed on record; False if it fails."""
    request, losses = left.request, left.request.losses
    if reliability.lost_requests == "fail" or losses is not None and losses.retries >= reliability.max_retries:
        request.end(Outcome.FAILED, now_s)
        return False
    if losses is None:
        if not reliability.max_retries:
            request.end(Outcome.FAILED, now_s)
            return False
        request.losses = losses = Losses()
    losses.retries += 1
    begun_s = losses.resumed_s if losses.stays else request.admitted_s
    if begun_s is None:
        return True  # it was only waiting there
    losses.stays.append((request.pool, request.replica_id, begun_s, now_s))
    losses.resumed_s, losses.lost_s, losses.computed_tokens = None, left.lost_s, left.computed_tokens
    if reliability.lost_requests == "resume":
        losses.generated_tokens = left.generated_tokens
    else:
        request.first_token_s = None
    return True
