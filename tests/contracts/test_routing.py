"""Every router and every placement keeps the contract that its base class states, and none is an oracle."""

from __future__ import annotations

from functools import cache
from itertools import product
from types import SimpleNamespace
from typing import ClassVar, Literal

import numpy as np
import pytest
import simpy
from omegaconf import DictConfig, open_dict

from sim.assembly import at_the_bills_prices
from sim.moment_zero import MONDAY
from sim.records import Backend
from sim.routing.placement.by_load import LoadBased
from sim.routing.placement.placement import Placement
from sim.routing.router import Router
from sim.scenarios import compose_config, parse
from sim.work import NO_PROFILE, Call, PreviousCall, Request, Task, TaskProfile
from tests.at_work import start
from tests.contracts.found import files, names, raw

ROUTING = names("routing", Router)
PLACEMENT = names("placement", Placement)


class Frozen(SimpleNamespace):
    """Something a policy may look at and not change."""

    __hash__ = object.__hash__
    __eq__ = object.__eq__

    def __setattr__(self, name, value):
        raise AssertionError(f"a policy set {name}")


class OracleRead(AssertionError):
    """A policy read what cannot be known beforehand."""


class BlindCall:
    """A call that does not tell how long its answer will be."""

    def __init__(self, call):
        self._call = call

    def __getattr__(self, name):
        if name == "output_tokens":
            raise OracleRead(name)
        return getattr(self._call, name)

    def __getitem__(self, index):
        raise OracleRead("a call by position")


class BlindTask:
    """A task that tells neither its calls nor how many there are."""

    def __init__(self, task):
        self.__dict__.update({name: value for name, value in task._asdict().items() if name != "calls"})

    def __getattr__(self, name):
        raise OracleRead(name)

    def __setattr__(self, name, value):
        raise AssertionError(f"a policy set {name} of a task")


class BlindRequest:
    """A request as a policy may see it: nothing of it can be set, and its output is not known."""

    def __init__(self, request):
        task, call = BlindTask(request.task), BlindCall(request.task.calls[request.call_index])
        seen = dict(task=task, call=call)
        self.__dict__.update(request=request, seen=seen)

    def __getattr__(self, name):
        if name == "output_tokens":
            raise OracleRead(name)
        return self.seen[name] if name in self.seen else getattr(self.request, name)

    def __setattr__(self, name, value):
        raise AssertionError(f"a policy set {name} of its request")


ALIKE = dict(
    n_outstanding=3, n_running=3, n_waiting=0, prefill_tokens_ahead=0, is_blocked=True, kv_used_fraction=0.1,
    kv_filled_fraction=0.2, oldest_wait_s=0.0, cached_tokens=lambda segments: 0, prefill_s=lambda tokens: tokens / 1e4,
)  # fmt: skip


def some_requests():
    for task_id, call_index, backend, replica_id in product((0, 1, 17), (0, 2), Backend, (-1, 0, 5)):
        profile = {0: NO_PROFILE, 1: TaskProfile("chat", (1.6, 3.0)), 17: TaskProfile("coding", (21.9,))}[task_id]
        task = Task(task_id, 0.0, (Call(100, 10), Call(120, 10), Call(140, 10)), profile=profile)
        previous = PreviousCall(backend, replica_id=replica_id) if call_index else None
        yield BlindRequest(Request(task, call_index, 1.0, previous))


def some_systems(router):
    for n_ready, n_waiting, wait_s in product((0, 1, 4), (0, 3, 1000), (0.0, 3.0, 1e4)):
        one = Frozen(**ALIKE | dict(replica_id=2, kv_used_fraction=min(0.99, wait_s / 3), oldest_wait_s=wait_s))
        fleet = Frozen(
            now_s=9.0, n_ready=n_ready, n_starting=1, n_waiting=n_waiting, n_outstanding=n_waiting + n_ready, n_idle=0,
            oldest_wait_s=wait_s, predicted_wait_s=wait_s, next_ready_s=None, replicas=(one,) * n_ready,
            queued_prompt_tokens=100 * n_waiting, placed=lambda request, one=one, n=n_ready: one if n else None,
        )  # fmt: skip
        api = Frozen(n_outstanding=3, expected_wait_s=0.0)
        yield Frozen(now_s=9.0, fleet=fleet if router.needs_fleet else None, api=api if router.needs_api else None)


def some_offers():
    rng = np.random.default_rng(5)
    for size in (1, 2, 5, 9):
        for _ in range(5):
            loads = rng.integers(0, 100, size).tolist()
            yield tuple(
                Frozen(**ALIKE | dict(replica_id=i, n_outstanding=n, n_waiting=n // 9, kv_used_fraction=n / 100))
                for i, n in enumerate(loads, start=int(rng.integers(0, 4)))
            )


@cache
def whole_config() -> DictConfig:
    return compose_config("api=ideal")


@cache
def policy_of(group: str, name: str) -> Router | Placement:
    """As the program would read it: a file may refer to other parts of the configuration."""
    keys = {"kind": name.removeprefix("kind=")} if name.startswith("kind=") else raw(files(group)[name])
    config = whole_config().copy()
    with open_dict(config):
        config[group] = keys
    scenario = parse(config)
    return at_the_bills_prices(scenario, MONDAY) if group == "routing" else scenario.placement


@pytest.fixture(params=ROUTING)
def router(request):
    return policy_of("routing", request.param)


@pytest.fixture(params=PLACEMENT)
def placement(request):
    return policy_of("placement", request.param)


def ruled(policy, base) -> bool:
    """Whether the rule itself can be asked, not only what its `start` returns."""
    return type(policy).choose is not base.choose


def test_a_router_names_a_backend_it_said_it_needs_and_changes_nothing(router):
    needs = {Backend.FLEET: router.needs_fleet, Backend.API: router.needs_api}
    allowed = {backend for backend in Backend if needs[backend]}
    for system in some_systems(router):
        for request in some_requests():
            first = start(router).choose(request, system)
            assert first in allowed and isinstance(first, Backend)
            assert start(router).choose(request, system) is first


def test_what_routes_in_a_run_answers_at_first_as_the_rule_does(router):
    if not ruled(router, Router):
        pytest.skip("has no rule of its own")
    for system in some_systems(router):
        for request in some_requests():
            assert start(router).choose(request, system) is router.choose(request, system)


def test_a_placement_picks_from_the_offer_and_changes_nothing(placement):
    first_run, second_run = start(placement), start(placement)
    for offer in some_offers():
        for request in some_requests():
            first = first_run.choose(request, offer)
            assert any(first is replica for replica in offer)
            assert second_run.choose(request, offer) is first


def test_equal_replicas_are_taken_lowest_id_first_or_share_alike(placement):
    offer = tuple(Frozen(replica_id=i, **ALIKE) for i in (2, 4, 7))
    at_work = start(placement)
    picks = [
        at_work.choose(BlindRequest(Request(Task(task_id, 0.0, (Call(1, 1),)), 0, 0.0)), offer).replica_id
        for task_id in range(900)
    ]
    shares = [picks.count(replica_id) for replica_id in (2, 4, 7)]
    assert shares == [900, 0, 0] or all(abs(share - 300) < 60 for share in shares), "60 is 4 standard deviations"


def test_what_places_in_a_run_answers_as_the_rule_does_and_every_run_alike(placement):
    env = simpy.Environment()
    offers = [offer for offer in some_offers() if len(offer) > 1]
    requests = list(some_requests())

    def picks(seed):
        choose = start(placement, env, seed).choose
        return [offer.index(choose(request, offer)) for offer in offers for request in requests]

    assert picks(1) == picks(1)
    by_chance = picks(1) != picks(2)
    if ruled(placement, Placement) and not by_chance:
        rule = [offer.index(placement.choose(request, offer)) for offer in offers for request in requests]
        assert picks(1) == rule


def test_old_metrics_do_not_change_who_may_be_chosen(placement):
    if not isinstance(placement, LoadBased):
        pytest.skip("does not look at loads")
    env = simpy.Environment()
    live = start(placement, env).choose
    lagging = start(placement.model_copy(update={"refresh_s": 5.0}), env).choose
    for offer in some_offers():
        for request in some_requests():
            assert lagging(request, offer) is live(request, offer), "loads that stand still are never old"


class PeekingRouter:
    """What the stand-ins are there to catch."""

    needs_fleet: ClassVar[bool] = True
    kind: Literal["peeking"] = "peeking"

    def choose(self, request, view):
        return Backend(request.call.output_tokens > 100)


def test_an_oracle_and_a_meddler_are_caught():
    request = next(some_requests())
    with pytest.raises(OracleRead):
        PeekingRouter().choose(request, None)
    with pytest.raises(OracleRead):
        _ = request.output_tokens
    with pytest.raises(OracleRead):
        _ = request.call.output_tokens
    with pytest.raises(OracleRead):
        _ = request.task.calls
    with pytest.raises(AssertionError):
        request.backend = 1
    with pytest.raises(AssertionError):
        next(some_offers())[0].n_running = 0


@pytest.mark.parametrize("bundle", files("fleet"))
def test_a_placement_of_ones_choice_replaces_that_of_the_bundle(bundle):
    chosen = parse(compose_config(f"fleet={bundle}", "placement=least_kv")).placement
    assert chosen == policy_of("placement", "least_kv")


@pytest.mark.parametrize("bundle", ["scale_to_zero", "warm_floor"])
def test_a_fleet_that_shrinks_fills_batches_as_large_as_its_engine_holds(bundle):
    placement = parse(compose_config(f"fleet={bundle}", "engine.max_num_seqs=24")).placement
    assert (placement.kind, placement.target_requests_per_replica) == ("fill_first", 24)
