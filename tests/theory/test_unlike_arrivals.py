"""Renewal, self-exciting, modulated and superposed arrivals against their theory, and a ladder that waits."""

import math

import numpy as np
import pytest

from sim.randomness import Streams
from sim.scenarios import compose_config, parse
from sim.schema import ConfigError, parse_config
from sim.simulation import simulate
from sim.units import HOUR_S, WEEK_S
from sim.workload.arrivals.bursty import Bursty
from sim.workload.arrivals.clients import Client, Clients
from sim.workload.arrivals.flash_crowd import FlashCrowd
from sim.workload.arrivals.hawkes import Hawkes
from sim.workload.arrivals.mmpp import Mmpp
from sim.workload.arrivals.renewal import Renewal
from sim.workload.arrivals.steady import Steady
from sim.workload.arrivals.weekly import Harmonic, Weekly
from tests.agree import assert_agrees, assert_disagrees


def times_of(arrivals, seed, horizon_s):
    blocks = list(arrivals.times(Streams(seed).generator("arrivals"), horizon_s))
    return np.concatenate(blocks) if blocks else np.empty(0)


def dispersions(arrivals, horizon_s, window_s, seeds=range(8)):
    expected = arrivals.mean_rate_per_s * window_s
    found = []
    for seed in seeds:
        counts = np.bincount((times_of(arrivals, seed, horizon_s) // window_s).astype(int))
        counts = np.resize(np.append(counts, np.zeros(2)), round(horizon_s / window_s))
        found.append(((counts - expected) ** 2).mean() / expected)
    return found


@pytest.mark.parametrize(
    ("gaps", "cv", "window_s"), [("gamma", 3.0, 0.5), ("gamma", 3.0, 20.0), ("gamma", 0.5, 5.0), ("weibull", 2.0, 5.0)]
)
def test_a_renewal_process_has_the_dispersion_of_its_renewal_function(gaps, cv, window_s):
    process = Renewal(rate_per_s=1.0, gaps=gaps, cv=cv)
    found = dispersions(process, 100_000.0, window_s, range(12))
    assert_agrees(found, process.index_of_dispersion(window_s), within=0.12)
    assert_disagrees(found, cv**2, within=0.12)  # that holds only for windows of many gaps
    assert process.index_of_dispersion(1e9) == pytest.approx(cv**2)


@pytest.mark.parametrize(("gaps", "cv"), [("gamma", 2.0), ("weibull", 2.0), ("weibull", 0.5), ("fixed", 0.0)])
def test_the_first_task_comes_after_the_rest_of_a_gap_that_was_under_way(gaps, cv):
    """Its mean is (1 + cv^2) / 2 mean gaps (Cox, Renewal Theory, 1962, ch. 5): one is more likely to look into a long
    gap. A stream that began with a whole gap would have its first task after 1."""
    process, rng = Renewal(rate_per_s=2.0, gaps=gaps, cv=cv), np.random.default_rng(1)
    waits_s = np.array([next(iter(process.times(rng, 1000.0)))[0] for _ in range(2000)])
    error_s = waits_s.std() / 2000**0.5
    assert abs(waits_s.mean() - (1 + cv**2) / 2 / 2.0) < 4 * error_s


def test_the_two_ways_to_a_renewal_process_s_dispersion_agree_where_they_meet():
    for gaps, cv in (("gamma", 1.5), ("weibull", 1.5), ("weibull", 0.4)):
        process, x = Renewal(rate_per_s=1.0, gaps=gaps, cv=cv), 8 * max(1, cv**2)
        assert process.index_of_dispersion(x * 0.999) == pytest.approx(process.index_of_dispersion(x * 1.001), rel=0.01)


def test_gamma_gaps_of_cv_one_are_poisson():
    process = Renewal(rate_per_s=2.0, gaps="gamma", cv=1.0)
    assert [process.index_of_dispersion(w) for w in (0.1, 1.0, 10.0)] == pytest.approx([1.0] * 3, abs=1e-3)


def test_gaps_have_the_mean_and_the_cv_that_were_asked_for():
    for gaps, cv in (("gamma", 2.0), ("weibull", 2.0), ("weibull", 0.3), ("fixed", 0.0)):
        found = np.diff(times_of(Renewal(rate_per_s=4.0, gaps=gaps, cv=cv), 1, 40_000.0))
        assert found.mean() == pytest.approx(0.25, rel=0.03)
        assert found.std() / found.mean() == pytest.approx(cv, rel=0.05, abs=1e-9)


def test_a_renewal_process_given_its_number_keeps_its_gaps():
    # Given n = 50 in the horizon, the first task of a very regular process is uniform on a mean gap: it is in
    # equilibrium. Streams cut at the 50th task and stretched would begin with a whole gap.
    process = Renewal(rate_per_s=1.0, gaps="gamma", cv=0.1, exact_tasks=50)
    firsts = [times_of(process, seed, 100.0)[0] for seed in range(400)]
    assert_agrees(firsts, 1.0, within=0.12)
    assert all(len(times_of(process, seed, 100.0)) == 50 for seed in range(20))


def test_two_states_by_their_rates_are_the_bursty_process():
    bursty = Bursty(rate_per_s=1.0, burst_factor=4.0, mean_burst_s=20.0, burst_time_fraction=0.2)
    states = Mmpp(
        rates_per_s=(bursty.burst_rate_per_s, bursty.quiet_rate_per_s),
        mean_stays_s=(bursty.mean_burst_s, bursty.mean_quiet_s),
    )
    assert states.mean_rate_per_s == pytest.approx(1.0)
    for window_s in (0.1, 20.0, 2000.0):
        assert states.index_of_dispersion(window_s) == pytest.approx(bursty.index_of_dispersion(window_s))


def test_three_states_that_follow_a_circle():
    circle = ((0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (1.0, 0.0, 0.0))
    states = Mmpp(rates_per_s=(0.0, 2.0, 6.0), mean_stays_s=(10.0, 4.0, 2.0), next_state=circle)
    assert states.mean_rate_per_s == pytest.approx((4 * 2 + 2 * 6) / 16)
    found = dispersions(states, 120_000.0, 30.0)
    assert_agrees(found, states.index_of_dispersion(30.0), within=0.12)
    alike = Mmpp(rates_per_s=(0.0, 2.0, 6.0), mean_stays_s=(10.0, 4.0, 2.0))
    assert_disagrees(found, alike.index_of_dispersion(30.0), within=0.12)


def test_a_chain_that_never_comes_back_is_refused():
    with pytest.raises(ConfigError, match="come back"):
        apart = [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]]
        parse_config(Mmpp, {"rates_per_s": [1, 2, 3, 4], "mean_stays_s": [1, 1, 1, 1], "next_state": apart})


@pytest.mark.parametrize("window_s", [1.0, 30.0])
def test_followers_make_a_hawkes_process_as_bursty_as_its_clusters(window_s):
    process = Hawkes(rate_per_s=1.0, branching_ratio=0.8, decay_s=5.0)
    found = dispersions(process, 150_000.0, window_s)
    assert_agrees(found, process.index_of_dispersion(window_s), within=0.12)
    assert_disagrees(found, Hawkes(rate_per_s=1.0, branching_ratio=0.7, decay_s=5.0).index_of_dispersion(window_s))
    assert process.index_of_dispersion(1e9) == pytest.approx(25.0)


def test_a_hawkes_process_is_stationary_from_the_first_second():
    process = Hawkes(rate_per_s=2.0, branching_ratio=0.9, decay_s=10.0)
    first_minutes = [len(times_of(process, seed, 60.0)) for seed in range(400)]
    assert_agrees(first_minutes, 120.0, within=0.15)  # begun empty, it would bring 12 in the first seconds' rate


def office_hours(process):
    return Weekly(process=process, hours=(*([0.2] * 8), *([2.0] * 10), *([0.2] * 6), *([0.1] * 24)))


def test_a_weekly_profile_moves_tasks_and_keeps_the_gaps_relative_to_the_rate():
    week = office_hours(Renewal(rate_per_s=0.5, gaps="gamma", cv=2.0))
    counts = np.array([np.bincount((times_of(week, s, WEEK_S) // HOUR_S).astype(int), minlength=168) for s in range(8)])
    expected = 0.5 * np.diff(week.operational_s(np.arange(169) * HOUR_S))
    for hour in (10, 24 + 14):
        assert_agrees(counts[:, hour], expected[hour], within=0.3)
    assert expected[12] / expected[3] == pytest.approx(10.0)
    gaps = np.diff(week.operational_s(times_of(week, 1, WEEK_S)))
    assert gaps.std() / gaps.mean() == pytest.approx(2.0, rel=0.05)
    found = dispersions(week, WEEK_S, 30.0)
    assert_agrees(found, week.index_of_dispersion(30.0), within=0.1)
    assert_disagrees(found, office_hours(Steady(rate_per_s=0.5)).index_of_dispersion(30.0), within=0.1)


def test_harmonics_make_a_day_with_one_peak():
    day = Harmonic(cycles_per_week=7, amplitude_fraction=0.6, peak_hour=14)
    week = Weekly(process=Steady(rate_per_s=1.0), harmonics=(day,))
    speed = week.weekly_speed(np.arange(24) * HOUR_S + 1800)
    assert speed.argmax() in (13, 14) and speed.max() / speed.min() == pytest.approx(1.6 / 0.4, rel=0.05)
    with pytest.raises(ConfigError, match="rate must be >= 0"):
        parse_config(Weekly, {"process": {"kind": "steady", "rate_per_s": 1},
                              "harmonics": [{"cycles_per_week": 7, "amplitude_fraction": 1.5}]})  # fmt: skip


def test_a_week_of_exactly_so_many_tasks_however_deep_their_number_stands():
    exactly = Steady(rate_per_s=1.0, exact_tasks=700)
    crowd = FlashCrowd(process=exactly, begins_s=1000.0, peak_factor=8.0, rise_s=60.0, decay_s=300.0)
    crew = Clients(clients={"one": Client(arrivals=exactly), "other": Client(arrivals=Steady(rate_per_s=0.01))})
    for process in (exactly, crowd):
        assert len(times_of(office_hours(process), 1, WEEK_S)) == len(times_of(office_hours(process), 1, 3600.0)) == 700
    assert len(times_of(office_hours(crew), 1, 3600.0)) >= 700


def test_a_flash_crowd_brings_as_many_more_tasks_as_its_shape_holds():
    crowd = FlashCrowd(
        process=Steady(rate_per_s=0.5), begins_s=1000.0, peak_factor=8.0, rise_s=60.0, hold_s=600.0, decay_s=300.0
    )
    more = [len(times_of(crowd, seed, 20_000.0)) - 10_000 for seed in range(12)]
    assert_agrees(more, 0.5 * 7 * (30 + 600 + 300), within=0.1)
    times = times_of(crowd, 1, 20_000.0)
    assert np.sum((times >= 1060) & (times < 1660)) == pytest.approx(0.5 * 8 * 600, rel=0.1)
    assert np.sum(times < 1000) == pytest.approx(500, rel=0.2)


@pytest.mark.parametrize("every_s", [None, 407.0])
def test_a_sudden_crowd_begins_when_it_says_and_not_before(every_s):
    dense = FlashCrowd(process=Steady(rate_per_s=100.0), begins_s=5.0, peak_factor=3.0, decay_s=300.0, every_s=every_s)
    times = times_of(dense, 1, 413.0)
    assert np.sum(times < 1) == pytest.approx(100, rel=0.4), "there are tasks from the first second on"
    assert np.sum(times < 5) == pytest.approx(500, rel=0.2)
    assert np.sum((times >= 5) & (times < 6)) == pytest.approx(300, rel=0.25)
    if every_s is not None:
        before = np.sum((times >= 407) & (times < 412))
        assert before == pytest.approx(5 * 100 * (1 + 2 * math.exp(-404 / 300)), rel=0.2)
        assert np.sum((times >= 412) & (times < 413)) > before / 5 + 100


def test_crowds_that_overlap_add_up():
    crowd = FlashCrowd(process=Steady(rate_per_s=1.0), begins_s=0.0, peak_factor=3.0, decay_s=500.0, every_s=700.0)
    t_s = np.linspace(0, 10_000, 5001)
    speed = np.gradient(crowd.operational_s(t_s), t_s)
    summed = 1 + 2 * sum(np.where(t_s >= k * 700, np.exp(-np.maximum(t_s - k * 700, 0) / 500), 0) for k in range(15))
    assert np.median(np.abs(speed / summed - 1)) < 0.01
    assert speed[1:-1].mean() == pytest.approx(summed.mean(), rel=0.01)


def test_unlike_clients_add_up():
    metronome = Renewal(rate_per_s=0.2, gaps="fixed", cv=0.0)
    bursty = Bursty(rate_per_s=0.2, burst_factor=5, mean_burst_s=20, burst_time_fraction=0.2)
    clients = Clients(clients={"metronomes": Client(n=3, arrivals=metronome), "b": Client(n=2, arrivals=bursty)})
    assert clients.mean_rate_per_s == pytest.approx(1.0)
    found = dispersions(clients, 40_000.0, 20.0)
    assert_agrees(found, clients.index_of_dispersion(20.0), within=0.12)
    assert_disagrees(found, bursty.index_of_dispersion(20.0), within=0.12)


def test_clients_of_one_sort_are_independent_of_each_other():
    two = Clients(clients={"a": Client(n=2, arrivals=Renewal(rate_per_s=1.0, gaps="fixed", cv=0.0))})
    phases = np.array([times_of(two, seed, 1.0) for seed in range(200)])
    assert (np.diff(phases, axis=1) > 0).all()
    assert np.corrcoef(phases[:, 0], phases[:, 1])[0, 1] == pytest.approx(0.5, abs=0.2)  # order statistics of two


def ladder(**stages):
    return parse(
        compose_config(
            "arrivals=ladder", "lengths=fixed", "scaling=always_on", "cold_start=instant", "engine=linear_server",
            f"arrivals.stages={stages['stages']}", f"arrivals.pause_s={stages.get('pause_s', 0)}",
        )
    )  # fmt: skip


def test_each_stage_waits_for_the_one_before():
    scenario = ladder(
        stages="[{rate_per_s:20,n_tasks:200},{n_clients:4,n_tasks:40},{rate_per_s:1,n_tasks:9}]", pause_s=7
    )
    requests = simulate(scenario).facts.requests
    order = np.argsort(requests["task_id"])
    arrived_s, finished_s = requests["arrived_s"][order], requests["finished_s"][order]
    assert len(order) == 249 and np.isfinite(finished_s).all()
    for first in (200, 240):
        assert arrived_s[first] == pytest.approx(finished_s[:first].max() + 7, abs=1e-6)
        assert (np.diff(arrived_s)[first:] >= 0).all()
    inside = [(np.sum((arrived_s <= t) & (finished_s > t))) for t in arrived_s[200:240]]
    assert max(inside) == 4, "a stage of four clients"
    assert math.isclose(arrived_s[0], 0.0)
