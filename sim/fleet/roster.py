"""The roster: every replica's life, from the request for a GPU to its release, entered stretch by stretch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sim.clock import Wake
from sim.engine.replica import Replica
from sim.records import Recorder, ReplicaState


@dataclass(eq=False, slots=True)
class Member:
    """One replica: its present state and since when; `engine` once it is ready."""

    replica_id: int
    state: ReplicaState
    since_s: float
    engine: Replica | None = None
    stages: tuple[tuple[ReplicaState, float], ...] = ()
    idle_check: Wake | None = None


class Roster:
    """Who is starting, ready, idle or draining.

    `on_ready(member)` when a cold start is over; `on_idle(member)` when a ready replica has nothing to do. A draining
    replica is released as soon as it is empty.
    """

    def __init__(
        self,
        env,
        *,
        new_replica: Callable[..., Replica],
        draw_cold_start: Callable[[], tuple[tuple[ReplicaState, float], ...]],
        recorder: Recorder,
        on_ready: Callable[[Member], None],
        on_idle: Callable[[Member], None],
        first_replica_id: int = 0,
    ):
        self._env = env
        self._new_replica = new_replica
        self._draw_cold_start = draw_cold_start
        self._recorder = recorder
        self._on_ready = on_ready
        self._on_idle = on_idle
        self.members: dict[int, Member] = {}
        self.starting: dict[Member, None] = {}  # earliest first
        self.ready: dict[Replica, Member] = {}
        self.idle: dict[Member, None] = {}  # longest idle first
        self._next_id = first_replica_id
        self._cold_s = self._cold_since_s = 0.0

    def cold_clock_s(self) -> float:
        """Seconds so far during which some replica was starting."""
        return self._cold_s + (self._env.now - self._cold_since_s if self.starting else 0.0)

    def add_ready(self) -> None:
        """Add a replica that is warm from the start."""
        self._become_ready(self._new_member(ReplicaState.IDLE))

    def start(self) -> None:
        """Ask for a GPU: a cold start begins."""
        if not self.starting:
            self._cold_since_s = self._env.now
        member = self._new_member(ReplicaState.ALLOCATION)
        member.stages = self._draw_cold_start()
        self.starting[member] = None
        Wake(lambda _: self._started(member)).schedule(self._env, sum(s for _, s in member.stages))

    def call_off(self) -> None:
        """Give up the replica that began to start last; it was paid for until now."""
        member, now = next(reversed(self.starting)), self._env.now
        self._enter_stages(member, now)
        self._cold_s, self._cold_since_s = self.cold_clock_s(), now
        del self.starting[member]
        del self.members[member.replica_id]

    def victim(self) -> Member:
        """The ready replica to give up first: the longest idle, else the one with the least to finish."""
        if self.idle:
            return next(iter(self.idle))
        return self.ready[min(self.ready, key=lambda r: (r.n_outstanding, -r.replica_id))]

    def drain(self, member: Member) -> None:
        """Send nothing more to a ready replica; it is released when it is empty."""
        del self.ready[member.engine]
        if member in self.idle:
            del self.idle[member]
            self._release(member)
        else:
            self._change(member, ReplicaState.DRAINING)

    def close(self) -> None:
        """The run ends: enter the stretches still open."""
        now = self._env.now
        for member in self.members.values():
            if member in self.starting:
                self._enter_stages(member, now)
            else:
                self._recorder.span(member.replica_id, member.state, member.since_s, now)

    def _new_member(self, state: ReplicaState) -> Member:
        member = Member(self._next_id, state, self._env.now)
        self._next_id += 1
        self.members[member.replica_id] = member
        return member

    def _started(self, member: Member) -> None:
        if member in self.starting:
            self._become_ready(member)

    def _become_ready(self, member: Member) -> None:
        now = self._env.now
        self._enter_stages(member, now)
        if member in self.starting:
            self._cold_s, self._cold_since_s = self.cold_clock_s(), now
            del self.starting[member]
        member.state, member.since_s = ReplicaState.IDLE, now
        member.engine = self._new_replica(
            replica_id=member.replica_id,
            on_busy=lambda: self._now_busy(member),
            on_idle=lambda: self._now_idle(member),
        )
        self.ready[member.engine] = member
        self.idle[member] = None
        self._on_ready(member)
        if member in self.idle:
            self._on_idle(member)

    def _now_busy(self, member: Member) -> None:
        del self.idle[member]
        self._change(member, ReplicaState.BUSY)

    def _now_idle(self, member: Member) -> None:
        if member.engine not in self.ready:
            self._release(member)
            return
        self._change(member, ReplicaState.IDLE)
        self.idle[member] = None
        self._on_idle(member)

    def _change(self, member: Member, state: ReplicaState) -> None:
        now = self._env.now
        self._recorder.span(member.replica_id, member.state, member.since_s, now)
        member.state, member.since_s = state, now

    def _enter_stages(self, member: Member, end_s: float) -> None:
        at_s = member.since_s
        for state, stage_s in member.stages:
            self._recorder.span(member.replica_id, state, min(at_s, end_s), min(at_s + stage_s, end_s))
            at_s += stage_s

    def _release(self, member: Member) -> None:
        self._recorder.span(member.replica_id, member.state, member.since_s, self._env.now)
        del self.members[member.replica_id]
