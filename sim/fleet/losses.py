"""Lost replicas: what a fleet does with them and with the requests on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sim.clock import call_later
from sim.engine.leftovers import Leftover
from sim.fleet.dispatch import Dispatch
from sim.fleet.queue import RequestQueue
from sim.fleet.roster import Member, Roster
from sim.fleet.supply.reliability import Reliability
from sim.recorder import Recorder
from sim.records import ReplicaState
from sim.work import Losses, Outcome, Request


class LostReplicas:
    """Takes lost replicas out of a fleet; requests that were on them are tried again on the others, or fail.

    `on_failed(request)`: a request has failed. `replace()`: a replica was lost or will be; order another one.
    """

    def __init__(
        self,
        env: Any,
        reliability: Reliability,
        roster: Roster,
        queue: RequestQueue,
        dispatch: Dispatch,
        recorder: Recorder,
        *,
        on_failed: Callable[[Request], None],
        replace: Callable[[], None],
    ):
        self._env = env
        self._reliability = reliability
        self._roster, self._queue, self._dispatch = roster, queue, dispatch
        self._recorder = recorder
        self._on_failed, self._replace = on_failed, replace

    def warn(self, members: Sequence[Member]) -> None:
        """The provider will take replicas back: send them nothing more, and order others now."""
        spot = self._reliability.spot
        assert spot is not None
        lost_now = []
        for member in filter(self._is_here, members):
            is_ready = member.engine in self._roster.ready
            if not spot.notice_s or not is_ready and member.state is not ReplicaState.DRAINING:
                lost_now.append(member)
                continue
            member.is_doomed = True
            self._recorder.replica_lost_s.append(self._env.now)
            if is_ready:
                self.drain(member)
            call_later(self._env, spot.notice_s, self._cut_off, [member])
        self.lose(lost_now)

    def lose(self, members: Sequence[Member]) -> None:
        """Replicas fail, or are taken back without notice."""
        n_lost = sum(not member.is_doomed for member in filter(self._is_here, members))
        self._recorder.replica_lost_s.extend([self._env.now] * n_lost)
        self._cut_off(members)
        self._replace()

    def drain(self, member: Member) -> None:
        """Send nothing more to a ready replica; after the drain limit it is lost, with any requests left on it."""
        self._dispatch.withhold(member.engine)
        self._roster.drain(member)
        if self._reliability.drain_limit_s is not None and member.state is ReplicaState.DRAINING:
            call_later(self._env, self._reliability.drain_limit_s, self._end_drain, member, member.since_s)

    def _end_drain(self, member: Member, since_s: float) -> None:
        if member.state is ReplicaState.DRAINING and member.since_s == since_s:
            self._cut_off([member])

    def _cut_off(self, members: Sequence[Member]) -> None:
        """Replicas are gone now: try the requests that were on them again, on the others."""
        lost: list[Leftover] = []
        for member in filter(self._is_here, members):
            self._dispatch.withhold(member.engine)
            lost += self._roster.lose(member)
        for leftover in reversed(sorted(lost, key=lambda leftover: leftover.request.arrived_s)):
            if set_back(leftover, self._reliability, self._env.now):
                self._queue.put_back(leftover.request)
            else:
                self._on_failed(leftover.request)
        while self._queue and self._dispatch.open:
            self._dispatch.send(self._queue.pop())

    def _is_here(self, member: Member) -> bool:
        return self._roster.members.get(member.replica_id) is member


def set_back(leftover: Leftover, reliability: Reliability, now_s: float) -> bool:
    """Put a request back to where it can be tried again, keeping what was computed on record; False if it fails."""
    request, losses = leftover.request, leftover.request.losses
    if request.ends_as is Outcome.ABORTED:  # Its client had gone away during the step under way.
        request.abort(leftover.generated_tokens, now_s)
        return False
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
        return True  # It was only waiting on the lost replica: no work is lost.
    losses.stays.append((request.pool, request.replica_id, begun_s, now_s))
    losses.resumed_s, losses.lost_s, losses.computed_tokens = None, leftover.lost_s, leftover.computed_tokens
    if reliability.lost_requests == "resume":
        losses.generated_tokens, losses.last_token_s = leftover.generated_tokens, leftover.last_token_s
    else:
        request.first_token_s, request.longest_gap_s = None, 0.0
    return True
