"""A mixture of applications: each keeps its shape, and all are known by name."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import pytest

from sim.ledger.usage import Usage
from sim.randomness import Streams
from sim.records import Backend
from sim.scenarios import compose_config, parse
from sim.schema import ConfigError, parse_config
from sim.simulation import simulate
from sim.workload.lengths.fixed import Fixed
from sim.workload.tasks.mixed import Mixed
from sim.workload.workload import Workload

AGENT = dict(kind="agent_loop", shared_prefix_tokens=50, calls_per_task=4, first_input_tokens=100, new_input_tokens=10,
             output_tokens=5)  # fmt: skip
PARTS = {
    "chat": {"share": 0.75, "tasks": {"kind": "single_call", "shared_prefix_tokens": 30}},
    "agents": {"share": 0.25, "tasks": AGENT},
}
MIXED = Mixed(applications=PARTS)


def some_tasks(n=2000):
    scenario = parse(compose_config("arrivals.rate_per_s=1", "horizon_s=4000"))
    workload = Workload(scenario.arrivals, Fixed(input_tokens=70, output_tokens=8), MIXED)
    assert workload.application_names == {0: "chat", 1: "agents"}
    return list(islice((task for block in workload.task_blocks(Streams(1), 4000) for task in block), n))


def test_every_application_keeps_its_shape_its_share_and_its_text():
    tasks = some_tasks()
    assert 0.72 < Counter(task.application for task in tasks)[0] / len(tasks) < 0.78
    owners = {}
    for task in tasks:
        if task.application == 0:
            assert [(c.input_tokens, c.output_tokens, c.extends_prefix) for c in task.calls] == [(70, 8, False)]
            assert task.calls[0].segments == ((("chat", "shared"), 30),)
        else:
            assert [c.input_tokens for c in task.calls] == [100, 115, 130, 145]
            assert all(c.extends_prefix and c.segments[0] == (("agents", "shared"), 50) for c in task.calls)
            keys = {c.segments[1][0] for c in task.calls}
            assert len(keys) == 1 and owners.setdefault(keys.pop(), task.task_id) == task.task_id


def test_routers_know_name_and_expected_calls_and_not_more():
    known = {(task.application, task.profile.application, task.profile.expected_calls) for task in some_tasks()}
    assert known == {(0, "chat", (1.0,)), (1, "agents", (4.0, 4.0, 4.0, 4.0))}


def test_shares_make_a_whole():
    with pytest.raises(ConfigError, match="the sum of the shares must be 1"):
        parse_config(Mixed, {"applications": {"chat": PARTS["chat"]}})
    with pytest.raises(ConfigError, match="belong to applications"):
        parse_config(Mixed, {"applications": PARTS, "shared_prefix_tokens": 9})


@pytest.mark.parametrize("router", ["by_application", "by_calls"])
@pytest.mark.parametrize("arrivals", [["arrivals.rate_per_s=1"], ["arrivals=closed_loop", "arrivals.n_clients=4"]])
def test_a_router_parts_them_and_the_bill_names_them(router, arrivals):
    words = ["tasks=chat_and_coding", "horizon_s=400", "drain_s=20000", "api=ideal", f"routing={router}"]
    facts = simulate(parse(compose_config(*arrivals, *words)), measure_peak=False).facts
    requests = facts.requests
    chat = requests["application"] == 0
    assert facts.applications == {0: "chat", 1: "coding"} == Usage.from_facts(facts).applications
    assert chat.any() and not chat.all()
    assert (requests["backend"][chat] == Backend.API).all() and (requests["backend"][~chat] == Backend.FLEET).all()


def test_an_application_may_be_of_any_kind_but_a_mixture():
    inner = {"kind": "mixed", "applications": {"a": {"share": 1.0, "tasks": {"kind": "single_call"}}}}
    with pytest.raises(ConfigError, match="applications.b.tasks: is a mixture, too"):
        parse_config(Mixed, {"applications": {"b": {"share": 1.0, "tasks": inner}}})
    with pytest.raises(ConfigError, match="applications.b.tasks.kind = 'agent_lop': .*did you mean agent_loop"):
        parse_config(Mixed, {"applications": {"b": {"share": 1.0, "tasks": {"kind": "agent_lop"}}}})
