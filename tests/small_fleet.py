"""A fleet whose steps take a second each, whatever is in them, told when its replicas are lost and how many to have."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import simpy

from sim.engine.replica import Replica
from sim.fleet.fleet import Fleet
from sim.fleet.supply.cold_start import ColdStart
from sim.fleet.supply.reliability import Reliability
from sim.fleet.supply.supply import Supply
from sim.fleet.victims.by_load import LongestIdle
from sim.hardware.step_time.affine import AffineStepTime
from sim.randomness import Streams
from sim.recorder import Recorder
from sim.records import ReplicaState
from sim.routing.placement.by_load import LeastLoaded
from sim.schema import parse_config
from sim.work import Backend, Call, Request, Task

TEN_SECONDS = dict(
    allocation_s=2, image_s=3, storage_tier="network", bandwidth_gb_per_s=1, engine_start_s=4, spread_sigma=0
)  # fmt: skip
"""For one GB of weights."""


class ScriptedHazards:
    """Loses what the story says."""

    def __init__(self, *, fail, warn):
        self.fail, self.warn = fail, warn

    def assign_zone(self, member, refused=False):
        return False

    def closed_for_s(self, member):
        return 0.0

    def gpu_granted(self, member): ...

    released = gpu_granted


class SmallFleet:
    """`n_replicas` warm ones at first; `sizes`: (when, how many from then on). Four requests to a replica."""

    def __init__(self, n_replicas=1, sizes=(), cold_start=(), victim=None, **reliability):
        self.env = env = simpy.Environment()
        self.recorder, self.done = Recorder(), []
        losses = dict(gpu_mtbf_hours=1.0) | reliability
        self.fleet = Fleet(
            env, scaler=_scaler(env, n_replicas, sizes), placement=LeastLoaded(), streams=Streams(0),
            new_replica=partial(
                Replica, env, AffineStepTime(base_s=1.0), kv_blocks=1000, max_num_seqs=4, max_num_batched_tokens=1000
            ),
            supply=Supply(parse_config(ColdStart, TEN_SECONDS | dict(cold_start)), 1e9, Streams(1)),
            victim=victim or LongestIdle(), reliability=parse_config(Reliability, losses), new_hazards=self._hazards,
            max_requests_per_replica=4, patience_s=None, recorder=self.recorder, on_done=self._done,
        )  # fmt: skip
        for at_s, _ in sizes:
            self.at(at_s, self.fleet._ask)

    def _hazards(self, **hooks):
        self.hazards = ScriptedHazards(**hooks)
        return self.hazards

    def _done(self, request):
        self.done.append(request)
        self.recorder.request(request)

    def at(self, when_s, function, *arguments):
        self.env.timeout(when_s).callbacks.append(lambda _: function(*arguments))

    def request(self, at_s, input_tokens=10, output_tokens=5, **call) -> Request:
        request = Request(Task(len(self.done), at_s, (Call(input_tokens, output_tokens, **call),)), 0, at_s)
        request.backend = Backend.FLEET
        self.at(at_s, self.fleet.submit, request)
        return request

    def loses(self, at_s, *replica_ids, warned=False):
        def lose():
            members = [self.fleet._roster.members[i] for i in replica_ids]
            (self.hazards.warn if warned else self.hazards.fail)(members)

        self.at(at_s, lose)

    def play(self, until_s):
        self.env.run(until=until_s)
        self.fleet.close()
        spans = self.recorder.spans()
        lives: dict[int, list] = {}
        for _, replica_id, state, start_s, end_s in zip(*(column.tolist() for column in spans.values()), strict=True):
            lives.setdefault(replica_id, []).append((ReplicaState(state).name.lower(), start_s, end_s))
        return lives


def _scaler(env, n_replicas, sizes):
    def target(view):
        return [n for at_s, n in ((0.0, n_replicas), *sizes) if at_s <= env.now][-1]

    return SimpleNamespace(
        start=lambda clock, rng: SimpleNamespace(target_replicas=target), initial_replicas=n_replicas, tick_s=None,
        idle_timeout_s=None, asks_on_arrival=False, asks_on_idle=False, asks_at_zero=False, counts_tokens=False,
        calls_off_starting=False,
    )  # fmt: skip
