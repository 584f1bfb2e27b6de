"""Scalers that look ahead: a timetable on real calendars, a planner with a capacity; and how a fleet obeys."""

from __future__ import annotations

from types import SimpleNamespace

import pandas as pd
import pytest

from sim.assembly import requests_per_s_on_paper
from sim.hardware.capacity import requests_per_s
from sim.hardware.step_time.affine import AffineStepTime
from sim.moment_zero import MomentZero
from sim.records import ReplicaState
from sim.scaling.windows import Extreme, RequestsInWindow
from sim.scenarios import compose_config, parse, scenario
from sim.schema import ConfigError
from sim.simulation import simulate
from tests.at_work import start
from tests.scripted_fleet import play
from tests.unit.test_scaling_trajectories import conf

HOUR_S, DAY_S = 3600, 86400


def begun(starts_at: str, **changes):
    """conf/scaling/business_hours.yaml in a run with this second 0."""
    return conf("business_hours", **changes).starting(MomentZero.parse(starts_at))


def openings(scaler, days: int) -> list[float]:
    """Hours since the start at which the office opens, without its lead."""
    return [(at_s + 600) / HOUR_S for at_s, n in play(scaler, [], days * DAY_S) if n == 2]


def test_business_hours_in_berlin_in_summer():
    changes = play(conf("business_hours"), [], 2 * DAY_S)
    assert changes == [
        (6 * HOUR_S - 600, 2),  # 08:00 in Berlin is 06:00 UTC; ten minutes early
        (16 * HOUR_S, 0),  # 18:00; both have been idle all day
        (30 * HOUR_S - 600, 2),
        (40 * HOUR_S, 0),
    ]


@pytest.mark.slow
def test_weekends_and_summer_time():
    spring = begun("2024-03-25T00:00")  # the clocks change on Sunday 31 March
    winter, summer = [7 + 24 * day for day in range(5)], [6 + 24 * day for day in range(7, 12)]
    assert openings(spring, 13) == winter + summer
    offset = begun("2024-03-25T00:00", time_zone="+01:00")
    assert openings(offset, 13) == winter + [hour + 1 for hour in summer]
    kolkata = conf("business_hours", time_zone="Asia/Kolkata")  # +05:30
    assert openings(kolkata, 1) == [2.5]
    assert openings(begun("2024-05-13T00:00 Asia/Kolkata", time_zone=None), 2) == [8, 32]  # the scenario's own zone


def test_a_run_may_begin_within_a_period():
    assert begun("2024-05-13T09:00").initial_replicas == 2
    assert begun("2024-05-12T09:00").initial_replicas == 0  # a Sunday


def test_within_a_period_the_load_decides_between_the_bounds():
    scaler = begun("2024-05-13T06:00", idle_timeout_s=300)
    script = [(60, 130), (120, 1000), (180, 0)]
    assert play(scaler, script, HOUR_S) == [(60, 3), (120, 4), (480, 2)]
    night = conf("business_hours")
    assert play(night, [(60, 130), (180, 0)], HOUR_S) == [(60, 1), (780, 0)]


def test_a_bare_timetable_does_not_look_at_the_load():
    scaler = conf("business_hours", target_requests_per_replica=None)
    assert play(scaler, [(60, 1000)], DAY_S) == [(6 * HOUR_S - 600, 2), (16 * HOUR_S, 0)]


PERIOD = dict(days=["mon", "tue"], start="08:00", end="12:00", min_replicas=1, max_replicas=2)


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("business_hours", dict(periods=[PERIOD, PERIOD | dict(start="11:00", end="24:00")]), "overlap"),
        ("business_hours", dict(periods=[PERIOD | dict(start="22:00", end="06:00")]), "a night is two periods"),
        ("business_hours", dict(periods=[PERIOD | dict(end="12.30")]), "must be HH:MM"),
        ("business_hours", dict(periods=[PERIOD | dict(max_replicas=0)]), "max_replicas = 0 must be >= min_repl"),
        ("business_hours", dict(time_zone="Europe/Nowhere"), "neither a zone of the IANA database nor an offset"),
        ("business_hours", dict(time_zone="+25:00"), "neither a zone of the IANA database nor an offset"),
        ("business_hours", dict(begins_utc="2024-05-13T00:00"), "is said once for the whole scenario, by starts_at"),
        ("knative_kpa", dict(initial_replicas=9), "initial_replicas = 9 must be within"),
        ("kubernetes_hpa", dict(min_replicas=0), "min_replicas = 0"),
        ("baseten", dict(min_replicas=5), "max_replicas = 4 must be >= min_replicas = 5"),
        ("modal", dict(idle_timeout_s=1201), "idle_timeout_s = 1201"),
    ],
)  # fmt: skip
def test_nonsense_is_refused_by_name(name, changes, said):
    with pytest.raises(ConfigError, match=said.replace("+", r"\+")):
        conf(name, **changes)


# --- the planner -----------------------------------------------------------------------------------------------------


ONE_LOOP = dict(throughput_interval_s=None, load=None)


def planned(predictor: str, arrivals, prompts, outputs=50) -> list[int]:
    """The replicas that the planner wants after intervals with these numbers of requests and mean prompt tokens."""
    scaler = conf(
        "sla_planner", predictor=predictor, max_replicas=100, tick_s=180, throughput_interval_s=None, load=None
    )
    at_work, wanted, requests, tokens = start(scaler), [], 0, 0
    for i, (arrived, prompt) in enumerate(zip(arrivals, prompts, strict=True), 1):
        requests, tokens = requests + arrived, tokens + arrived * prompt
        view = SimpleNamespace(
            now_s=180.0 * i, n_ready=1, n_starting=0, n_outstanding=0, arrived_requests=requests,
            arrived_input_tokens=tokens, finished_requests=requests, finished_output_tokens=requests * outputs,
            replica_requests_per_s=lambda inputs, outputs, itl_s: 1000 / (inputs + 10 * outputs),
        )  # fmt: skip
        wanted.append(at_work.target_replicas(view))
    return wanted


@pytest.mark.parametrize(
    ("predictor", "wanted"),
    [
        ("constant", [2, 4, 6, 1]),  # 2, 4, 3 requests/s; a replica serves 1, 1 and, with long prompts, 0.5
        ("mean", [2, 3, 6, 5]),  # 2, 3, 3, 9/4 requests/s; the prompts of the empty interval are those before
        ("trend", [2, 6, 8, 1]),  # 2; 2, 4 -> 6; 2, 4, 3 -> 3 + 2*0.5 = 4; 2, 4, 3, 0 -> 2.25 - 2.5*0.7 = 0.5
    ],
)
def test_the_planner_divides_the_predicted_rate_by_a_replicas_own(predictor, wanted):
    assert planned(predictor, (360, 720, 540, 0), (500, 500, 1500, 0)) == wanted


def looked_at(rule, *looks) -> list[int]:
    """Answers to views of (time, ready, starting, KV in use, waiting), without a request for the throughput loop."""
    at_work, answers = start(rule), []
    for now_s, n_ready, n_starting, kv_used_fraction, n_waiting in looks:
        view = SimpleNamespace(
            now_s=now_s, n_ready=n_ready, n_starting=n_starting, n_waiting=n_waiting, arrived_requests=0,
            arrived_input_tokens=0, finished_requests=0, finished_output_tokens=0,
            replicas=[SimpleNamespace(kv_used_fraction=kv_used_fraction)] * n_ready,
            replica_requests_per_s=lambda inputs, outputs, itl_s: 1.0,
        )  # fmt: skip
        answers.append(at_work.target_replicas(view))
    return answers


def test_the_load_loop_adds_one_above_and_removes_one_below_its_thresholds():
    full, long_queue, between, idle = (10, 2, 0, 0.95, 0), (20, 2, 0, 0.6, 11), (30, 2, 0, 0.6, 2), (40, 2, 0, 0.1, 0)
    assert looked_at(conf("sla_planner"), full, long_queue, between, idle) == [3, 3, 2, 1]


def test_the_load_loop_never_goes_below_what_the_throughput_loop_asks_for():
    rule = conf("sla_planner", min_replicas=2)
    assert looked_at(rule, (10, 3, 0, 0.0, 0), (20, 2, 0, 0.0, 0)) == [2, 2]


def test_a_patient_planner_leaves_starting_replicas_alone_and_an_impatient_one_orders_again():
    starting = [(10, 1, 0, 0.95, 9), (20, 1, 1, 0.95, 9), (30, 1, 1, 0.95, 9)]
    assert looked_at(conf("sla_planner"), *starting) == [2, 2, 2]
    assert looked_at(conf("sla_planner", waits_for_starting=False), *starting) == [2, 3, 3], "one more at each look"


def test_an_impatient_planner_is_warned_about():
    def notes(**words):
        one = scenario("cold_start=cold_node", horizon_s=60, scaling=conf("sla_planner", **words))
        return " ".join(simulate(one, measure_peak=False).notes)

    assert "does not wait for those that are starting" in notes(waits_for_starting=False)
    assert "starting" not in notes() and "starting" not in notes(
        waits_for_starting=False, tick_s=3600, throughput_interval_s=None, load=None
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (dict(throughput_interval_s=15), "throughput_interval_s = 15 must be a multiple of tick_s = 10"),
        (dict(load=None), "without load, nothing happens at tick_s in between"),
        (dict(load=dict(kv_up=0.5, kv_down=0.6, queue_up=5, queue_down=0)), "kv_up = 0.5 must be > kv_down = 0.6"),
    ],
)
def test_loops_that_do_not_fit_together_are_refused(changes, said):
    with pytest.raises(ConfigError, match=said):
        conf("sla_planner", **changes)


LIMITS = dict(max_num_seqs=100, max_num_batched_tokens=4096, kv_tokens=10**6)


def test_a_replica_serves_what_its_step_time_allows():
    step = AffineStepTime(base_s=0.01, per_sequence_s=0.001, per_prefill_token_s=1e-5)
    # ITL(n) = 10 ms + n * (1 ms + (1000 * 10 us + 1 ms) / 100): 18 sequences take 29.98 ms
    served = requests_per_s(step, input_tokens=1000, output_tokens=100, itl_s=0.03, **LIMITS)
    assert served == pytest.approx(18 / (100 * 0.02998))
    few = requests_per_s(step, input_tokens=1000, output_tokens=100, itl_s=0.03, **LIMITS | dict(max_num_seqs=5))
    assert few == pytest.approx(5 / (100 * 0.01555))
    tight = requests_per_s(step, input_tokens=1000, output_tokens=100, itl_s=0.03, **LIMITS | dict(kv_tokens=4400))
    assert tight == pytest.approx(4 / (100 * 0.01444))
    never = requests_per_s(step, input_tokens=1000, output_tokens=100, itl_s=0.001, **LIMITS)
    assert never == pytest.approx(1 / (100 * 0.01111))


@pytest.mark.parametrize(("input_tokens", "output_tokens", "n"), [(512, 256, 16), (512, 256, 200), (3000, 150, 32)])
def test_the_engine_serves_what_the_paper_says(input_tokens, output_tokens, n):
    """A closed loop keeps n sequences in the batch of the real engine; on paper it is the largest batch allowed."""
    scenario = parse(
        compose_config(
            "arrivals=closed_loop", f"arrivals.n_clients={n}", "arrivals.n_tasks=null", f"engine.max_num_seqs={n}",
            "lengths=fixed", f"lengths.input_tokens={input_tokens}", f"lengths.output_tokens={output_tokens}",
            "horizon_s=120",
        )
    )  # fmt: skip
    finished_s = simulate(scenario, measure_peak=False).facts.requests["finished_s"]
    served_per_s = ((finished_s > 40) & (finished_s <= 120)).sum() / 80
    paper_per_s = requests_per_s_on_paper(scenario, input_tokens, output_tokens, itl_s=1.0)
    assert 0.92 * paper_per_s < served_per_s <= 1.01 * paper_per_s  # the engine also waits between requests


# --- memory, and the fleet that is asked -----------------------------------------------------------------------------


def test_a_window_averages_over_just_its_length():
    window = RequestsInWindow(10)
    moments = [(0, 0, 3), (4, 12, 3), (8, 24, 0), (20, 24, 0), (25, 49, 5)]  # time, integral, requests
    views = [SimpleNamespace(now_s=t, outstanding_request_seconds=a, n_outstanding=n) for t, a, n in moments]
    means = [window.look(view) for view in views]
    assert means == [3, 3, 3, 0, 25 / 10]


def test_an_extreme_forgets_what_is_as_old_as_its_window():
    highest, lowest = Extreme(10), Extreme(10, -1)
    said = [(0, 5), (4, 2), (8, 3), (10, 1), (18, 1), (30, 4)]
    assert [highest.say(t, n) for t, n in said] == [5, 5, 5, 3, 1, 4]
    assert [lowest.say(t, n) for t, n in said] == [5, 2, 2, 1, 1, 4]


class Obeyed:
    """A scripted scaler that notes what it was shown."""

    min_replicas, max_replicas, initial_replicas = 0, 9, 1
    tick_s, idle_timeout_s = 10.0, None
    asks_on_arrival = asks_on_idle = asks_at_zero = False
    calls_off_starting = counts_tokens = is_patient = True

    def __init__(self, *script: int):
        self.script, self.shown = script, []

    def start(self, clock, rng):
        return self

    def target_replicas(self, view):
        counts = (view.arrived_requests, view.arrived_input_tokens, view.finished_requests, view.finished_output_tokens)
        self.shown.append((view.now_s, view.n_outstanding, view.outstanding_request_seconds, *counts))
        return self.script[min(len(self.shown), len(self.script)) - 1]


def obeyed(*script: int):
    scenario = parse(
        compose_config(
            "engine=linear_server", "engine.request_overhead_s=0", "cold_start=instant", "cold_start.engine_start_s=60",
            "arrivals.rate_per_s=0.5", "horizon_s=400", "lengths=fixed", "lengths.output_tokens=300",
        )
    )  # fmt: skip
    scaler = Obeyed(*script)
    run = simulate(scenario.model_copy(update={"scaling": scaler}), measure_peak=False)
    return scaler, run.facts


def test_the_fleet_counts_what_its_requests_did():
    scaler, facts = obeyed(1)
    requests = pd.DataFrame(facts.requests)
    assert max(n for _, n, *_ in scaler.shown) > 3
    for at_s, n_outstanding, integral, arrived, input_tokens, finished, output_tokens in scaler.shown:
        came = requests[requests.arrived_s <= at_s]
        gone = came[came.finished_s <= at_s]
        assert (arrived, finished, n_outstanding) == (len(came), len(gone), len(came) - len(gone))
        assert integral == pytest.approx((came.finished_s.clip(upper=at_s) - came.arrived_s).sum(), abs=1e-6)
        assert (input_tokens, output_tokens) == (came.input_tokens.sum(), gone.output_tokens.sum())


def test_replicas_that_still_start_are_called_off_first_the_latest_before_the_others():
    _, facts = obeyed(2, 4, 2, 2, 2, 2, 2, 1)
    spans = pd.DataFrame(facts.spans)
    lives = spans.groupby("replica_id").agg(begin=("start_s", "min"), end=("end_s", "max"))
    assert lives.begin.to_list()[1:] == [10, 20, 20]  # two wanted from 10 s on, four from 20 s on, two again at 30 s
    assert lives.end.to_list()[2:] == [30, 30]
    of_the_first = spans[spans.replica_id == 1]
    starting = of_the_first[of_the_first.state.isin([s.value for s in ReplicaState if s.is_cold_start])]
    assert starting.end_s.max() - starting.start_s.min() == 60
