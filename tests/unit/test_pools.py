"""Several pools in one deployment: which pool serves a request, what each costs, and that no request is lost."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf

from sim.fleet.pools import PooledFleet, Spill
from sim.ledger.audit import audit
from sim.ledger.bill import bill, bill_by_application, bill_by_hour, money
from sim.ledger.prices import Prices
from sim.ledger.usage import Usage
from sim.records import Backend, Outcome, ReplicaState
from sim.report.metrics import summarize
from sim.scenarios import compose_config, parse
from sim.schema import AuditError, ConfigError, parse_config
from sim.simulation import simulate
from sim.study.folder import digest, read_json
from sim.work import Call, PreviousCall, Request, Task
from tests.facts_builder import Book
from tests.unit.cli import TINY

ROOT = Path(__file__).parents[2]
CLOCK = [
    "engine=linear_server", "engine.step_time.base_s=1", "engine.step_time.per_sequence_s=0",
    "engine.step_time.per_context_token_s=0", "engine.step_time.per_prefill_token_s=0", "engine.max_num_seqs=1",
]  # fmt: skip
TWO_GPUS_OF_TWO_SLOTS = [
    "+engine@pools.spot.engine=linear_server", "pools.spot.engine.step_time.base_s=1",
    "pools.spot.engine.step_time.per_sequence_s=0", "pools.spot.engine.step_time.per_context_token_s=0",
    "pools.spot.engine.step_time.per_prefill_token_s=0", "pools.spot.engine.max_num_seqs=2",
    "pools.spot.engine.tensor_parallel=2",
]  # fmt: skip
FOUR_SECONDS_TO_START = ["cold_start@pools.spot.cold_start=instant", "pools.spot.cold_start.allocation_s=4"]
AT_ONCE = [
    "pools.spot.spill.queue_per_replica=0",
    "routing.queue_per_replica=0",
    "routing.when_cold=false",
    "api=ideal",
]
TWO_POOLS = ["pools=spot_a100", "scaling@pools.spot.scaling=always_on", "prices=reserved_and_spot"]
WAVES = ["arrivals=bursty", "arrivals.rate_per_s=12", "horizon_s=1500", "arrivals.mean_burst_s=100"]


def read(*words):
    return parse(compose_config("fleet=baseline_spot_api", *words))


def report(scenario):
    facts = simulate(scenario).facts
    audit(facts)
    usage = Usage.from_facts(facts)
    lines = bill(usage, scenario.prices, scenario.gpu.name, scenario.model.name)
    return facts, usage, lines, summarize(facts, usage, money(lines, usage), scenario.slo)


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """A step takes a second and every answer three of them. One H100 with one slot; two A100s with two; an API.

    0.0  joins the baseline, 0 to 3. 0.5 joins it too and waits, 3 to 6. 1.0 finds a request waiting there and goes to
    the spot pool, which has nothing and takes four seconds to start: 5 to 8. 2.0 finds one waiting at both: API.
    6.5 finds the baseline free, to 9.5. The spot machines are given back at 10, two seconds after their last request.
    """
    log = tmp_path_factory.mktemp("log") / "log.csv"
    log.write_text("arrived_s,input_tokens,output_tokens\n" + "".join(f"{t},10,3\n" for t in (0, 0.5, 1, 2, 6.5)))
    scaling = [
        "pools.spot.scaling.max_replicas=1", "pools.spot.scaling.idle_timeout_s=2",
        "pools.spot.scaling.target_requests_per_replica=1",
    ]  # fmt: skip
    return report(read(
        "arrivals=replay", f"arrivals.path={log}", "horizon_s=20", *CLOCK, *TWO_GPUS_OF_TWO_SLOTS,
        *FOUR_SECONDS_TO_START, *AT_ONCE, *scaling,
    ))  # fmt: skip


def test_who_serves_whom(story):
    requests = story[0].requests
    order = np.argsort(requests["arrived_s"])
    assert requests["backend"][order].tolist() == [0, 0, 0, 1, 0]
    assert requests["replica_id"][order].tolist() == [0, 0, 1, -1, 0]
    assert requests["pool"][order].tolist() == [0, 0, 1, -1, 0]
    ours = order[[0, 1, 2, 4]]
    assert requests["admitted_s"][ours].tolist() == pytest.approx([0, 3, 5, 6.5])
    assert requests["finished_s"][ours].tolist() == pytest.approx([3, 6, 8, 9.5])
    assert requests["cold_start_wait_s"][order].tolist() == pytest.approx([0, 0, 4, 0, 0])


def test_each_pool_is_paid_to_its_own_payee(story):
    """20 s of one GPU at 1.75 $ an hour, reserved; 9 s of two at 0.82, on the spot; 13 tokens at 0.18 $ per million."""
    facts, usage, lines, summary = story
    seconds = {
        pool.name: {state.name: part.state_seconds(state) for state in ReplicaState if part.state_seconds(state)}
        for pool, part in usage.by_pool
    }
    assert seconds["baseline"] == pytest.approx({"BUSY": 9, "IDLE": 11})
    assert seconds["spot"] == pytest.approx({"ALLOCATION": 4, "BUSY": 3, "IDLE": 2})
    owed = lines.groupby(["pool", "payee"])["usd"].sum()
    assert owed.to_dict() == pytest.approx({
        ("baseline", "GPU cloud, one year"): 20 * 1.75 / 3600,
        ("spot", "RunPod and Nebius spot"): 9 * 2 * 0.82 / 3600,
        ("", "Together"): 13 * 0.18e-6,
    })  # fmt: skip
    assert summary["usd_idle"] == pytest.approx((11 * 1.75 + 2 * 2 * 0.82) / 3600)
    assert summary["usd_cold_start"] == pytest.approx(4 * 2 * 0.82 / 3600)
    assert summary["pool_spot_usd_gpu"] == pytest.approx(18 * 0.82 / 3600)
    assert summary["usd_gpu"] == pytest.approx(summary["pool_spot_usd_gpu"] + summary["pool_baseline_usd_gpu"])


def test_the_three_utilizations_over_pools_and_of_each(story):
    """Saturated, the baseline gives 13 tokens in 3 s; the spot replica, with two slots, 26."""
    facts, _, _, summary = story
    assert [pool.peak_tokens_per_s for pool in facts.pools] == pytest.approx([13 / 3, 26 / 3])
    expected = {
        "gpu_hours_paid": (20 + 2 * 9) / 3600,
        "pool_baseline_gpu_hours_paid": 20 / 3600,
        "pool_spot_gpu_hours_paid": 2 * 9 / 3600,
        "busy_fraction_of_paid": (9 + 2 * 3) / (20 + 2 * 9),
        "pool_baseline_busy_fraction_of_paid": 9 / 20,
        "pool_spot_busy_fraction_of_paid": 3 / 9,
        "token_fraction_of_peak": 4 * 13 / (20 * 13 / 3 + 9 * 26 / 3),
        "pool_baseline_token_fraction_of_peak": 3 * 13 / (20 * 13 / 3),
        "pool_spot_token_fraction_of_peak": 13 / (9 * 26 / 3),
        "batch_fill_fraction": (9 + 2 * 3) / (9 + 2 * 3 * 2),  # seconds count by GPUs
        "batch_slot_hours": (9 + 2 * 3 * 2) / 3600,
        "tokens_at_peak": 20 * 13 / 3 + 9 * 26 / 3,
        "pool_baseline_batch_fill_fraction": 1.0,
        "pool_spot_batch_fill_fraction": 0.5,
        "pool_baseline_request_fraction": 3 / 5,
        "pool_spot_request_fraction": 1 / 5,
        "api_request_fraction": 1 / 5,
        "cold_starts": 1,
    }  # fmt: skip
    assert {key: summary[key] for key in expected} == pytest.approx(expected)


@pytest.fixture(scope="module")
def waves():
    scenario = read(*WAVES)
    return scenario, *report(scenario)


def test_nothing_is_lost_between_pools(waves):
    scenario, facts, usage, _, summary = waves
    requests = facts.requests
    assert (requests["outcome"] == Outcome.FINISHED).all() and len(requests["outcome"]) == facts.requests_started
    tokens = [int(part.fleet["output_tokens"].sum()) for _, part in usage.by_pool]
    assert min(tokens) > 0 and usage.api["output_tokens"].sum() > 0, "all three have work"
    assert sum(tokens) + usage.api["output_tokens"].sum() == usage.output_tokens == requests["output_tokens"].sum()
    shares = [summary[f"pool_{name}_request_fraction"] for name in ("baseline", "spot")]
    assert sum(shares) + summary["api_request_fraction"] == pytest.approx(1)
    alone = simulate(parse(compose_config(*WAVES, "fleet=api_only")), measure_peak=False).facts.requests
    for name in ("arrived_s", "input_tokens", "output_tokens"):
        assert np.array_equal(np.sort(alone[name]), np.sort(requests[name])), "others face the same tasks"


def test_bills_by_parts_add_up_pool_by_pool(waves):
    scenario, _, usage, lines, _ = waves
    for by in (bill_by_hour, bill_by_application):
        parts = by(usage, scenario.prices, "h100_sxm", scenario.model.name)
        whole = lines.groupby(["pool", "item"])[["quantity", "usd"]].sum()
        mine = parts.groupby(["pool", "item"])[["quantity", "usd"]].sum().reindex(whole.index, fill_value=0.0)
        assert np.allclose(mine, whole)


def test_pools_survive_json(waves):
    usage = waves[2]
    text = usage.to_json()
    again = Usage.from_json(text)
    assert again.to_json() == text and again.pools == usage.pools
    assert [part.gpu_hours_paid for _, part in again.by_pool] == [part.gpu_hours_paid for _, part in usage.by_pool]


def test_what_version_3_wrote_is_still_read():
    usage = Usage.from_facts(Book().replica(0, ("busy", 0, 50)).request(0, 1, 2, 50).facts())
    data = json.loads(usage.to_json())
    for table in ("replicas", "gpu", "fleet"):
        del data[table]["pool"]
    ((_, _, gpus),) = data.pop("pools")
    assert Usage.from_json(json.dumps(data | {"version": 3, "gpus_per_replica": gpus})).to_json() == usage.to_json()


def test_what_version_4_wrote_of_several_pools_is_still_read(waves):
    data = json.loads(waves[2].to_json())
    (_, gpu, gpus), *further = data.pop("pools")
    again = Usage.from_json(json.dumps(data | {"version": 4, "gpus_per_replica": gpus, "further_pools": further}))
    assert [pool.gpu for pool in again.pools] == [None, "a100_80gb_pcie"], "the first one's stood beside the usage"
    scenario, _, usage, lines, _ = waves
    assert bill(again, scenario.prices, gpu, scenario.model.name).equals(lines)


# --- who takes a request ---------------------------------------------------------------------------------------------


class Stub(SimpleNamespace):
    def submit(self, request):
        self.taken.append(request)


def stubs(*waiting, spills):
    """A fleet of ready replicas, one per pool, with this many requests waiting."""
    pools = [
        Stub(
            view=SimpleNamespace(n_waiting=n, n_ready=1, predicted_wait_s=10.0 * n, would_refuse=False),
            taken=[],
            name=i,
            pools=(i,),
        )
        for i, n in enumerate(waiting)
    ]
    return pools, PooledFleet(pools, spills)


def goes_to(waiting, spills, previous=None):
    pools, fleet = stubs(*waiting, spills=spills)
    task = Task(0, 0.0, (Call(1, 1), Call(1, 1)))
    served = None
    if previous is not None:
        is_api = previous == "api"
        served = PreviousCall(Backend(is_api), -1 if is_api else previous, -1 if is_api else 7)
    request = Request(task, 0 if served is None else 1, 0.0, served)
    seen = fleet.view_for(request)
    fleet.submit(request)
    (taker,) = [pool for pool in pools if pool.taken]
    assert seen is taker.view, "a router sees the pool that the request would join"
    return taker.name


def test_the_first_pool_that_can_take_it_in_time():
    on_queue, on_wait = Spill(queue_per_replica=2), Spill(predicted_wait_s=15)
    assert goes_to((2, 0, 0), (on_queue, on_queue)) == 0
    assert goes_to((3, 0, 0), (on_queue, on_queue)) == 1
    assert goes_to((3, 3, 0), (on_queue, on_queue)) == 2
    assert goes_to((3, 3, 9), (on_queue, on_queue)) == 2, "the last one takes the rest"
    assert goes_to((2, 0, 0), (on_wait, on_queue)) == 1, "20 s are more than 15"
    assert goes_to((1, 0, 0), (on_wait, on_queue)) == 0


def test_later_calls_stay_or_go_further_but_not_back():
    stay, back = Spill(queue_per_replica=2), Spill(queue_per_replica=2, stay_with_task=False)
    assert goes_to((0, 0, 0), (stay, stay), previous=1) == 1
    assert goes_to((0, 3, 0), (stay, stay), previous=1) == 2
    assert goes_to((0, 0, 0), (back, stay), previous=1) == 0
    assert goes_to((0, 0, 0), (stay, back), previous=1) == 1, "it spilled by the first rule, which keeps it"
    assert goes_to((0, 0, 0), (stay, back), previous=2) == 0, "by the second rule, which does not"
    assert goes_to((0, 0, 0), (stay, stay), previous=0) == 0
    assert goes_to((3, 0, 0), (stay, stay), previous=0) == 1
    assert goes_to((0, 0, 0), (stay, stay), previous="api") == 0


def test_a_pool_that_would_refuse_is_passed_over():
    pools, fleet = stubs(0, 0, spills=(Spill(queue_per_replica=5),))
    pools[0].view.would_refuse = True
    request = Request(Task(0, 0.0, (Call(1, 1),)), 0, 0.0)
    assert fleet.view_for(request) is pools[1].view


def test_full_queues_refuse_only_when_all_are_full(tmp_path):
    """One slot and no queue each: the third at once has nowhere to go."""
    log = tmp_path / "log.csv"
    log.write_text("arrived_s,input_tokens,output_tokens\n0,10,3\n0.1,10,3\n0.2,10,3\n")
    facts = simulate(parse(compose_config(
        "arrivals=replay", f"arrivals.path={log}", *CLOCK, "queue.max_waiting_requests=0", *TWO_POOLS,
    )), measure_peak=False).facts  # fmt: skip
    audit(facts)
    order = np.argsort(facts.requests["arrived_s"])
    assert facts.requests["outcome"][order].tolist() == [Outcome.FINISHED, Outcome.FINISHED, Outcome.REFUSED]
    assert facts.requests["pool"][order].tolist() == [0, 1, -1]


def test_an_api_that_covers_for_cold_machines_still_wakes_them(tmp_path):
    """At 1.0 a request waits at the baseline and no spot machine is ready: API, and one starts, ready at 5.

    At 5.1 the next one waits at the baseline for its second answer, and 5.2 finds the spot machine.
    """
    log = tmp_path / "log.csv"
    log.write_text("arrived_s,input_tokens,output_tokens\n" + "".join(f"{t},10,3\n" for t in (0, 0.5, 1, 5.1, 5.2)))
    facts = simulate(read(
        "arrivals=replay", f"arrivals.path={log}", *CLOCK, *FOUR_SECONDS_TO_START, *AT_ONCE, "routing.when_cold=true",
        "pools.spot.scaling.target_requests_per_replica=1",
    ), measure_peak=False).facts  # fmt: skip
    audit(facts)
    order = np.argsort(facts.requests["arrived_s"])
    assert facts.requests["pool"][order].tolist() == [0, 0, -1, 0, 1]
    assert facts.requests["admitted_s"][order][4] == pytest.approx(5.2)


def test_spot_machines_are_lost_and_the_baseline_is_not():
    """Lives of two minutes without notice: the baseline keeps its one replica, and the books still agree."""
    words = ["reliability.spot.mean_lifetime_s=120", "reliability.spot.notice_s=0", "reliability.spot.zone_outage_s=0"]
    facts = simulate(read(*WAVES, *(f"pools.spot.{word}" for word in words)), measure_peak=False).facts
    audit(facts)
    pool = facts.spans["pool"]
    assert facts.replicas_lost > 3 and len(np.unique(facts.spans["replica_id"][pool == 1])) > facts.replicas_lost
    assert set(facts.spans["replica_id"][pool == 0]) == {0}
    retried = facts.requests["retries"] > 0
    assert retried.any() and (facts.requests["pool"][retried] == 1).all()


def test_agent_tasks_find_their_context_in_their_pool():
    """Tasks of many calls, no API: calls of one task are served by one pool, or by a later one from some call on."""
    facts = simulate(parse(compose_config(
        "tasks=support", "arrivals.rate_per_s=6", "horizon_s=300", "engine.max_num_seqs=32", *TWO_POOLS,
    )), measure_peak=False).facts  # fmt: skip
    audit(facts)
    served = facts.requests["replica_id"] >= 0  # the others were still in a queue when the run ended
    requests = {name: column[served] for name, column in facts.requests.items()}
    pool = requests["pool"]
    order = np.lexsort((requests["call_index"], requests["task_id"]))
    same = np.diff(requests["task_id"][order]) == 0
    assert set(pool.tolist()) == {0, 1} and (np.diff(pool[order])[same] >= 0).all()


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words, message",
    [
        (["scaling@pools.spot.scaling=none"], "pools.spot: scaling.max_replicas = 0"),
        (["pools.spot.spill.queue_per_replica=null"], "pools.spot.spill: needs queue_per_replica or predicted_wait_s"),
        (["pools.spot.spill.queue_per_replica=9"], r"pools.spot.spill.queue_per_replica = 9: must be <= routing"),
        (["model=llama_3_3_70b", "engine.tensor_parallel=4", "+engine@pools.spot.engine=vllm"], "a100_80gb_pcie gives"),
        (["gpu@pools.spot.gpu=l4"], "prices.pools.spot.usd_per_gpu_hour: no price for 'l4'"),
        (["prices=nebius_on_demand"], "no price for 'a100_80gb_pcie'.*[+]prices.gpu.usd_per_gpu_hour.a100_80gb_pcie="),
        (["prices=lambda_h200_one_year", "gpu=h200_sxm"], "prices.pools.spot: is required: the first pool holds the 1"),
        (
            ["gpu@pools.spot.gpu=h100_sxm", "pools.spot.reliability.spot.on_demand_fallback=true"],
            "prices.pools.spot_on_demand: is required: on-demand GPUs cannot be rented at reserved prices",
        ),
        (["~prices.pools.spot", "+prices.pools.sport=${prices.gpu}"], "no plan for pool 'spot', but plans for sport"),
        (["+disaggregation={prefill_replicas:1,link_gb_per_s:50}"], "pools: cannot be had together"),
        (["queue.max_waiting_requests=0"], "only a request that waits wakes a fleet at zero"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said(words, message):
    with pytest.raises(ConfigError, match=message):
        read(*words)


def test_a_pool_may_not_take_the_name_of_those_that_stand_in_for_spot():
    config = compose_config("fleet=baseline_spot_api", "reliability=spot", "reliability.spot.on_demand_fallback=true")
    raw = OmegaConf.to_container(config, resolve=True)
    raw["pools"] = {"on_demand": raw["pools"]["spot"]}
    with pytest.raises(ConfigError, match="pools.on_demand: is what the replicas on demand"):
        parse(raw)


def test_there_is_a_first_pool():
    with pytest.raises(ConfigError, match="pools: need a first pool before them"):
        parse(compose_config("fleet=api_only", "pools=spot_a100"))


def test_the_first_pool_keeps_its_name():
    raw = {"gpu": {"kind": "on_demand", "provider": "x", "as_of": "x", "usd_per_gpu_hour": {}}, "api": {"kind": "none"}}
    with pytest.raises(ConfigError, match="pools.baseline: the first pool is paid for by prices.gpu"):
        parse_config(Prices, raw | {"pools": {"baseline": raw["gpu"]}, "api": {
            "kind": "token_tariff", "provider": "x", "as_of": "x", "usd_per_mtok_input": 1, "usd_per_mtok_output": 1,
        }})  # fmt: skip


def test_the_laws_hold_pool_by_pool(waves):
    facts = waves[1]
    lost = {name: column.copy() for name, column in facts.spans.items()}
    lost["pool"][lost["pool"] == 1] = 2
    with pytest.raises(AuditError, match="every replica belongs to a pool: replica [1-9]+ in pool 2, 2 pools"):
        audit(dataclasses.replace(facts, spans=lost))
    strays = {name: column.copy() for name, column in facts.spans.items()}
    strays["pool"][np.flatnonzero(strays["pool"] == 1)[-1]] = 0
    with pytest.raises(AuditError, match="a replica stays in its pool: replica [1-9]+"):
        audit(dataclasses.replace(facts, spans=strays))
    swapped = {name: column.copy() for name, column in facts.requests.items()}
    swapped["pool"][np.flatnonzero(swapped["pool"] == 1)[0]] = 0
    with pytest.raises(AuditError, match="a request is in the pool of its replica: row [0-9]+: replica [1-9]+, pool 0"):
        audit(dataclasses.replace(facts, requests=swapped))
    first, second = facts.pools
    with pytest.raises(AuditError, match="running sequences <= max_num_seqs: replica [1-9]+.*= 1$"):
        audit(dataclasses.replace(facts, pools=(first, second._replace(max_num_seqs=1))))


def test_the_pools_of_a_run_add_up(waves):
    """Every request is in one pool or at the API, every span in one pool, and no replica number occurs twice."""
    facts, usage = waves[1], waves[2]
    requests, spans = facts.requests, facts.spans
    assert ((requests["pool"] == -1) == (requests["backend"] == Backend.API)).all()
    assert sum(part.state_seconds() for _, part in usage.by_pool) == pytest.approx(usage.state_seconds())
    of_pool = [set(spans["replica_id"][spans["pool"] == number].tolist()) for number in range(len(facts.pools))]
    assert not of_pool[0] & of_pool[1] and of_pool[0] | of_pool[1] == set(range(len(of_pool[0]) + len(of_pool[1])))


# --- on the command line ---------------------------------------------------------------------------------------------

CHANGED = ("prices.pools.spot.usd_per_gpu_hour.a100_80gb_pcie=1.64",)


def test_a_run_with_pools_is_told_drawn_and_priced_anew(play, reprice, tmp_path):
    said = play(
        *TINY[:2], "fleet=baseline_spot_api", "arrivals.rate_per_s=3", "engine.max_num_seqs=8", "replications=2"
    )
    assert said.code == 0 and "baseline" in said.out and "spot" in said.out
    (run,) = (tmp_path / "outputs/runs").iterdir()
    old = read_json(run / "summary.json")
    assert old["pool_spot_usd_gpu"] > 0
    spans = pd.read_parquet(run / "spans.parquet")
    assert set(spans["pool"]) == {"baseline", "spot"} and spans.groupby("replica_id")["pool"].nunique().max() == 1
    requests = pd.read_parquet(run / "requests.parquet")
    assert ((requests["pool"] == "") == (requests["backend"] == Backend.API)).all()
    assert reprice(str(run), "prices=reserved_and_spot").code == 0
    assert (run / "repriced/reserved_and_spot/bill.csv").read_text() == (run / "bill.csv").read_text()
    assert reprice(str(run), *CHANGED, "--by", "hour").code == 0
    (folder,) = (p for p in (run / "repriced").iterdir() if p.name.startswith("changed"))
    new = read_json(folder / "summary.json")
    assert new["pool_spot_usd_gpu"] == pytest.approx(2 * old["pool_spot_usd_gpu"])
    assert new["pool_baseline_usd_gpu"] == old["pool_baseline_usd_gpu"] and new["usd_api"] == old["usd_api"]
    assert reprice(str(run), "prices=market_2026").code == 0, "all pools by the second, as the list has it"


def test_another_order_of_pools_is_another_scenario():
    assert digest({"pools": {"a": 1, "b": 2}}) != digest({"pools": {"b": 2, "a": 1}})


@pytest.mark.parametrize("path", sorted((ROOT / "conf/pools").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_pools_file_plays(path):
    scenario = read(f"pools={path.stem}", "arrivals.rate_per_s=5", "horizon_s=60")
    audit(simulate(scenario, measure_peak=False).facts)
