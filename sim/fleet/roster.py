"""The roster: every replica's life, from the request for a GPU to its release, entered stretch by stretch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

from sim.clock import Wake, call_later
from sim.engine.leftovers import Leftover
from sim.engine.replica import Replica
from sim.fleet.supply.hazards import Hazards
from sim.fleet.supply.nodes import Machine
from sim.fleet.supply.sleep import Sleep
from sim.fleet.supply.supply import Stages, Start, Supply
from sim.fleet.victims.victims import VictimAtWork
from sim.recorder import Recorder
from sim.records import ReplicaState
from sim.views import ReplicaView


@dataclass(eq=False, slots=True)
class Member:
    """One replica: its present state and since when; `engine` once it is ready."""

    state: ReplicaState
    since_s: float
    pool: int = -1
    replica_id: int = -1
    engine: Replica | None = None
    stages: Stages = ()
    expected_s: float = 0.0  # when a starting replica is expected to be ready
    machine: Machine | None = None
    is_doomed: bool = False  # Its provider has announced that it takes the GPU back.
    idle_check: Wake | None = None


class Numbering:
    """How the facts of a run tell a fleet's replicas from those of its other fleets.

    `pools`: place in the run's list of pools of the fleet's replicas, and of those on demand that stand in for missing
    spot ones, if any do. `replica_ids` numbers the replicas of all fleets of a run, in the order of their orders.
    """

    __slots__ = ("pools", "replica_ids")

    def __init__(self, pools: tuple[int, ...] = (0,), replica_ids: Iterator[int] | None = None):
        self.pools = pools
        self.replica_ids = count() if replica_ids is None else replica_ids


class Roster:
    """The replicas of a fleet that are starting, ready, idle, draining or asleep.

    `on_ready(member)` when a cold start is over; `on_idle(member)` when a ready replica has nothing to do. A draining
    replica is released, or falls asleep, as soon as it is empty.
    """

    def __init__(
        self,
        env: Any,
        *,
        new_replica: Callable[..., Replica],
        supply: Supply,
        victim: VictimAtWork,
        hazards: Hazards | None,
        recorder: Recorder,
        on_ready: Callable[[Member], None],
        on_idle: Callable[[Member], None],
        numbering: Numbering,
    ):
        self._env = env
        self._new_replica = new_replica
        self._supply = supply
        self._victim = victim
        self._hazards = hazards
        self._recorder = recorder
        self._on_ready = on_ready
        self._on_idle = on_idle
        self.members: dict[int, Member] = {}
        self.starting: dict[Member, None] = {}  # earliest ordered first
        self.ready: dict[ReplicaView, Member] = {}  # by their engines
        self.idle: dict[Member, None] = {}  # longest idle first
        self._asleep: dict[Member, None] = {}  # replicas that may be woken, the one that fell asleep last at the end
        self._numbering = numbering
        self._cold_s = self._cold_since_s = 0.0

    def cold_clock_s(self) -> float:
        """Seconds so far during which some replica was starting."""
        return self._cold_s + (self._env.now - self._cold_since_s if self.starting else 0.0)

    # --- starting ----------------------------------------------------------------------------------------------------

    def add_ready(self) -> None:
        """Add a replica that is warm from the start."""
        member = Member(ReplicaState.IDLE, self._env.now, machine=self._supply.place(self._env.now))
        self._number(member)
        if self._hazards is not None:
            self._hazards.assign_zone(member)
            self._hazards.gpu_granted(member)
        self._become_ready(member, has_started=False)

    def start(self) -> None:
        """Wake a sleeping replica, or ask for a GPU: then a cold start begins once one is granted."""
        now = self._env.now
        if not self.starting:
            self._cold_since_s = now
        if self._asleep:
            self._wake()
            return
        member = Member(ReplicaState.ALLOCATION, now, machine=self._supply.place(now))
        self._get_gpu(member, self._supply.order(member.machine, now))

    def _get_gpu(self, member: Member, start: Start) -> None:
        if self._hazards is None:
            self._number(member)
            self._expect(member, start)
            return
        on_demand = self._hazards.assign_zone(member, refused=start.wait_s > 0)
        wait_s = 0.0 if on_demand else start.wait_s
        self._number(member, on_demand)
        now = self._env.now
        member.stages, member.expected_s, member.since_s = start.stages, now + start.mean_s, now + wait_s
        self.starting[member] = None
        call_later(self._env, wait_s, self._begin_start, member)

    def _begin_start(self, member: Member) -> None:
        """Begin the cold start; if the zone has closed since the order, wait until one grants a GPU again."""
        assert self._hazards is not None
        if self.members.get(member.replica_id) is not member:
            return  # It was called off while it waited for a GPU.
        closed_s = self._hazards.closed_for_s(member)
        member.since_s = self._env.now + closed_s
        if closed_s > 0:
            call_later(self._env, closed_s, self._begin_start, member)
            return
        allocation_s = sum(s for state, s in member.stages if state is ReplicaState.ALLOCATION)
        call_later(self._env, allocation_s, self._gpu_granted, member)
        Wake(lambda _: self._started(member)).schedule(self._env, sum(s for _, s in member.stages))

    def _expect(self, member: Member, start: Start) -> None:
        """Let a replica start, from when its GPU is granted."""
        now = self._env.now
        member.stages, member.expected_s, member.since_s = start.stages, now + start.mean_s, now + start.wait_s
        self.starting[member] = None
        delay_s = start.wait_s + sum(s for _, s in start.stages)
        Wake(lambda _: self._started(member)).schedule(self._env, delay_s)

    def _gpu_granted(self, member: Member) -> None:
        assert self._hazards is not None
        if self.members.get(member.replica_id) is member:
            self._hazards.gpu_granted(member)

    def _number(self, member: Member, on_demand: bool = False) -> None:
        numbering = self._numbering
        member.pool = numbering.pools[1 if on_demand else 0]
        member.replica_id = next(numbering.replica_ids)
        self.members[member.replica_id] = member

    def _started(self, member: Member) -> None:
        if member in self.starting:
            self._become_ready(member)

    def _become_ready(self, member: Member, has_started: bool = True) -> None:
        now = self._env.now
        self._enter_stages(member, now)
        if member in self.starting:
            self._starts_no_more(member)
        if member.engine is None:  # Otherwise it was asleep, and its node has counted it already.
            self._supply.ready(member.machine, has_started)
        member.state, member.since_s = ReplicaState.IDLE, now
        member.engine = self._new_replica(
            replica_id=member.replica_id,
            pool=member.pool,
            on_busy=lambda: self._now_busy(member),
            on_idle=lambda: self._now_idle(member),
        )
        self.ready[member.engine] = member
        self.idle[member] = None
        self._on_ready(member)
        if member in self.idle:
            self._on_idle(member)

    def _starts_no_more(self, member: Member) -> None:
        self._cold_s, self._cold_since_s = self.cold_clock_s(), self._env.now
        del self.starting[member]

    # --- working -----------------------------------------------------------------------------------------------------

    def _now_busy(self, member: Member) -> None:
        del self.idle[member]
        self._change(member, ReplicaState.BUSY)

    def _now_idle(self, member: Member) -> None:
        if member.engine not in self.ready:
            self._empty(member)
            return
        self._change(member, ReplicaState.IDLE)
        self.idle[member] = None
        self._on_idle(member)

    def _change(self, member: Member, state: ReplicaState) -> None:
        now = self._env.now
        self._recorder.span(member.pool, member.replica_id, member.state, member.since_s, now)
        member.state, member.since_s = state, now

    def _enter_stages(self, member: Member, end_s: float) -> None:
        begin_s = member.since_s
        for state, stage_s in member.stages:
            stage_end_s = begin_s + stage_s
            self._recorder.span(member.pool, member.replica_id, state, min(begin_s, end_s), min(stage_end_s, end_s))
            begin_s = stage_end_s

    # --- leaving -----------------------------------------------------------------------------------------------------

    def call_off(self) -> None:
        """Give up the replica that began to start last; it was paid for until now."""
        self.lose(next(reversed(self.starting)))

    def victim(self) -> Member:
        """The ready replica to give up first."""
        idle = [member.engine for member in self.idle if member.engine is not None]
        return self.ready[self._victim.choose(list(self.ready), idle)]

    def drain(self, member: Member) -> None:
        """Send nothing more to a ready replica; it leaves when it is empty."""
        assert member.engine is not None
        del self.ready[member.engine]
        if member in self.idle:
            del self.idle[member]
            self._empty(member)
        else:
            self._change(member, ReplicaState.DRAINING)

    def lose(self, member: Member) -> list[Leftover]:
        """Remove a replica at once; returns what is left of the requests on it."""
        if member in self.starting:
            self._enter_stages(member, self._env.now)
            self._starts_no_more(member)
            self._leave(member)
            return []
        engine = member.engine
        assert engine is not None  # A member that is not starting has been ready.
        self.ready.pop(engine, None)
        self.idle.pop(member, None)
        self._asleep.pop(member, None)
        leftovers = engine.stop()
        self._release(member)
        return leftovers

    def close(self) -> None:
        """The run ends: enter the stretches still open."""
        now = self._env.now
        for member in self.members.values():
            if member in self.starting:
                self._enter_stages(member, now)
            else:
                self._recorder.span(member.pool, member.replica_id, member.state, member.since_s, now)

    def _empty(self, member: Member) -> None:
        sleep = self._supply.sleep
        if sleep is None or member.is_doomed:
            self._release(member)
        else:
            self._fall_asleep(member, sleep)

    def _release(self, member: Member) -> None:
        self._recorder.span(member.pool, member.replica_id, member.state, member.since_s, self._env.now)
        self._leave(member)

    def _leave(self, member: Member) -> None:
        self._forget(member)
        self._supply.released(member.machine, was_ready=member.engine is not None, now_s=self._env.now)

    def _forget(self, member: Member) -> None:
        del self.members[member.replica_id]
        if self._hazards is not None:
            self._hazards.released(member)

    # --- sleeping ----------------------------------------------------------------------------------------------------

    def _fall_asleep(self, member: Member, sleep: Sleep) -> None:
        self._change(member, ReplicaState.ASLEEP)
        call_later(self._env, sleep.fall_asleep_s, self._now_asleep, member, sleep)

    def _now_asleep(self, member: Member, sleep: Sleep) -> None:
        """Let a replica whose weights are now in host RAM sleep; one on a shared GPU gives the GPU up."""
        if self.members.get(member.replica_id) is not member:
            return
        if sleep.gpu == "shared":
            self._recorder.span(member.pool, member.replica_id, member.state, member.since_s, self._env.now)
            self._forget(member)
        self._asleep[member] = None
        if sleep.keep_s is not None:
            call_later(self._env, sleep.keep_s, self._slept_enough, member, member.since_s)

    def _slept_enough(self, member: Member, since_s: float) -> None:
        if member not in self._asleep or member.since_s != since_s:
            return  # It was woken meanwhile.
        del self._asleep[member]
        if member.replica_id in self.members:
            self._release(member)
        else:
            self._supply.released(member.machine, was_ready=True, now_s=self._env.now)

    def _wake(self) -> None:
        """Start the replica that fell asleep last: on the GPU it has kept, or as a new member on a shared GPU."""
        member, _ = self._asleep.popitem()
        start = self._supply.wake()
        if member.replica_id in self.members:
            self._change(member, ReplicaState.ENGINE_START)
            self._expect(member, start)
            return
        woken = Member(ReplicaState.ENGINE_START, self._env.now, machine=member.machine, engine=member.engine)
        self._get_gpu(woken, start)
