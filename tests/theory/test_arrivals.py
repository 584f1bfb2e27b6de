"""Arrival processes against their theory: dispersion, profiles, conditioning, and the laws of rescaling a log."""

import math
from pathlib import Path

import numpy as np
import pytest

from sim.moment_zero import MomentZero
from sim.randomness import Streams
from sim.units import DAY_S, HOUR_S, WEEK_S
from sim.workload.arrivals.bursty import Bursty
from sim.workload.arrivals.diurnal import Diurnal
from sim.workload.arrivals.replay import Replay
from sim.workload.arrivals.steady import Steady
from tests.agree import assert_agrees, assert_disagrees

TRACES = Path(__file__).parents[3] / "shared" / "traces"
CHAT_DAY = (1.02, 1.11, 1.09, 0.90, 0.92, 1.00, 1.15, 1.24, 1.27, 1.23, 1.11, 1.17,
            1.31, 1.45, 1.52, 1.42, 1.29, 1.24, 1.23, 1.16, 1.05, 0.88, 0.79, 0.82)  # fmt: skip


def times_of(arrivals, seed, horizon_s):
    blocks = list(arrivals.times(Streams(seed).generator("arrivals"), horizon_s))
    return np.concatenate(blocks) if blocks else np.empty(0)


def counts_of(times, horizon_s, window_s):
    """Counts in complete windows."""
    n = int(horizon_s // window_s)
    return np.histogram(times, bins=n, range=(0, n * window_s))[0]


def dispersions(arrivals, horizon_s, window_s, seeds=range(12)):
    """Var/E of the counts, around the true mean: unbiased where windows of one replication depend on each other."""
    mean = arrivals.mean_rate_per_s * window_s
    counts = [counts_of(times_of(arrivals, seed, horizon_s), horizon_s, window_s) for seed in seeds]
    return [((each - mean) ** 2).mean() / mean for each in counts]


def test_poisson_counts_have_dispersion_one_at_every_scale():
    steady = Steady(rate_per_s=2.0)
    for window_s in (1.0, 10.0, 100.0):
        measured = dispersions(steady, 40_000.0, window_s, range(20))
        assert_agrees(measured, 1.0, within=0.15)
        assert_disagrees(measured, 1.25, within=0.15)


def test_poisson_gaps_are_exponential():
    times = times_of(Steady(rate_per_s=2.0), 1, 10_000.0)
    gaps = np.sort(np.diff(times))
    distance = np.abs(np.arange(1, len(gaps) + 1) / len(gaps) - (1 - np.exp(-2.0 * gaps))).max()
    assert distance < 1.63 / math.sqrt(len(gaps))  # Kolmogorov, 1 %
    wrong = np.abs(np.arange(1, len(gaps) + 1) / len(gaps) - (1 - np.exp(-2.1 * gaps))).max()
    assert wrong > 1.63 / math.sqrt(len(gaps))


@pytest.mark.parametrize("window_s", [2.0, 20.0, 200.0])
def test_bursty_dispersion_is_that_of_heffes_and_lucantoni(window_s):
    bursty = Bursty(rate_per_s=1.0, burst_factor=4.0, mean_burst_s=20.0, burst_time_fraction=0.2)
    measured = dispersions(bursty, 200_000.0, window_s, range(16))
    assert_agrees(measured, bursty.index_of_dispersion(window_s), within=0.12)
    only_the_limit = bursty.index_of_dispersion(1e12)
    assert_disagrees(measured, only_the_limit, within=0.12)


def test_bursty_dispersion_rises_from_one_to_the_limit_of_an_interrupted_poisson_process():
    # All in bursts: IDC(inf) = 1 + 2 rate (1 - d)^2 T, T the mean cycle, d the share of time in bursts (Kuczura 1973).
    bursty = Bursty(rate_per_s=3.0, burst_factor=5.0, mean_burst_s=10.0, burst_time_fraction=0.2)
    assert bursty.quiet_rate_per_s == 0
    assert bursty.index_of_dispersion(1e-9) == pytest.approx(1.0)
    assert bursty.index_of_dispersion(1e12) == pytest.approx(1 + 2 * 3.0 * 0.8**2 * 50.0)


@pytest.mark.slow
def test_bursty_starts_in_its_stationary_state():
    bursty = Bursty(rate_per_s=1.0, burst_factor=4.0, mean_burst_s=1000.0, burst_time_fraction=0.2)
    first_minute = [len(times_of(bursty, seed, 60.0)) for seed in range(3000)]
    assert_agrees(first_minute, 60.0, within=0.15)
    assert_disagrees(first_minute, 60.0 * 15 / 16 / 2, within=0.15)


def test_bursts_last_as_long_and_are_as_dense_as_asked():
    bursty = Bursty(rate_per_s=10.0, burst_factor=4.0, mean_burst_s=100.0, burst_time_fraction=0.2)
    shares = []
    for seed in range(12):
        counts = counts_of(times_of(bursty, seed, 30_000.0), 30_000.0, 5.0)
        shares.append((counts > 100).mean())  # a burst brings 200 in 5 s, quiet times 12.5
    assert_agrees(shares, 0.2, within=0.3)
    assert_disagrees(shares, 0.3, within=0.3)


def diurnal(**changes):
    given = {"rate_per_s": 0.5, "profile": CHAT_DAY, "weekday_factor": 1.14, "weekend_factor": 0.65}
    return Diurnal(**(given | changes))


def test_diurnal_counts_per_hour_follow_the_profile():
    process = diurnal(peak_to_trough=6.0)
    hourly = np.array([counts_of(times_of(process, seed, WEEK_S), WEEK_S, HOUR_S) for seed in range(15)])
    edges = np.arange(169) * HOUR_S
    expected = np.diff(process.weekly_rate.integral(edges))
    for hour in (4, 14, 22, 24 + 9, 5 * 24 + 4, 6 * 24 + 14):
        assert_agrees(hourly[:, hour], expected[hour], within=0.15)
    assert_disagrees(hourly[:, 14], expected[22], within=0.15)
    # Over all hours at once: (count - expected)^2 / expected is chi-squared.
    chi2 = ((hourly.sum(axis=0) - 15 * expected) ** 2 / (15 * expected)).sum()
    assert 168 - 4 * math.sqrt(2 * 168) < chi2 < 168 + 4 * math.sqrt(2 * 168)


def test_diurnal_rate_has_the_asked_peak_to_trough_weekend_and_mean():
    process = diurnal(peak_to_trough=6.0)
    rate = process.weekly_rate
    tuesday = rate(DAY_S + np.arange(0, DAY_S, 30.0))
    assert tuesday.max() / tuesday.min() == pytest.approx(6.0, rel=1e-6)
    assert (rate.integral(WEEK_S) - rate.integral(0.0)) / WEEK_S == pytest.approx(0.5)
    assert rate(5.5 * DAY_S) / rate(1.5 * DAY_S) == pytest.approx(0.65 / 1.14)
    fine = np.arange(0, 3 * HOUR_S, 0.5)
    numeric = np.concatenate(([0], np.cumsum((rate(fine)[1:] + rate(fine)[:-1]) / 2 * 0.5)))
    assert np.allclose(rate.integral(fine) - rate.integral(0.0), numeric, rtol=1e-6, atol=1e-6)
    assert np.allclose(rate(fine + WEEK_S), rate(fine)), "periodic"
    jumps = np.abs(np.diff(rate(np.arange(0, WEEK_S, 1.0))))
    assert jumps.max() < 0.5 / 1000, "smooth, midnight and weekend included"


def test_diurnal_begins_when_it_is_told():
    noon_on_saturday = diurnal().starting(MomentZero.parse("2026-03-07T12:00"))
    first_hour = [len(times_of(noon_on_saturday, seed, HOUR_S)) for seed in range(40)]
    rate = noon_on_saturday.weekly_rate
    assert_agrees(first_hour, rate.integral(5.5 * DAY_S + HOUR_S) - rate.integral(5.5 * DAY_S), within=0.05)
    assert_disagrees(first_hour, rate.integral(HOUR_S) - rate.integral(0.0), within=0.05)


def test_diurnal_dispersion_is_that_of_a_window_at_a_random_moment():
    process = diurnal(peak_to_trough=6.0)
    measured = dispersions(process, WEEK_S, 6 * HOUR_S, range(10))
    # 28 fixed windows of 6 h stand for all moments: near enough for 15 %.
    assert np.mean(measured) == pytest.approx(process.index_of_dispersion(6 * HOUR_S), rel=0.15)
    assert process.index_of_dispersion(1.0) < 1.5
    assert process.index_of_dispersion(WEEK_S) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "process",
    [
        Steady(rate_per_s=1.0, exact_tasks=3000),
        Bursty(rate_per_s=1.0, burst_factor=4, mean_burst_s=50, burst_time_fraction=0.2, exact_tasks=3000),
        diurnal(peak_to_trough=6.0, exact_tasks=3000),
    ],
    ids=lambda process: process.kind,
)
def test_exact_tasks_gives_exactly_that_many(process):
    for seed in range(5):
        assert len(times_of(process, seed, DAY_S)) == 3000


def test_given_the_count_poisson_moments_are_uniform_and_counts_binomial():
    process = Steady(rate_per_s=1.0, exact_tasks=10_000)
    tenths = [(times_of(process, seed, 1000.0) < 100.0).sum() for seed in range(2000)]
    assert_agrees(tenths, 1000.0, within=0.01)
    assert_agrees((np.array(tenths) - 1000.0) ** 2, 10_000 * 0.1 * 0.9, within=0.3)  # binomial variance
    assert_disagrees((np.array(tenths) - 1000.0) ** 2, 10_000 * 0.1 * 1.6, within=0.3)


def test_given_the_count_diurnal_moments_follow_the_profile():
    process = diurnal(peak_to_trough=6.0, exact_tasks=20_000)
    mornings = [((t >= 6 * HOUR_S) & (t < 12 * HOUR_S)).sum() for t in (times_of(process, s, DAY_S) for s in range(10))]
    rate = process.weekly_rate
    share = (rate.integral(12 * HOUR_S) - rate.integral(6 * HOUR_S)) / (rate.integral(DAY_S) - rate.integral(0.0))
    assert_agrees(mornings, 20_000 * share, within=0.02)
    assert_disagrees(mornings, 20_000 * 0.25, within=0.02)


@pytest.fixture(scope="module")
def bursty_log(tmp_path_factory):
    """A log of a bursty process: long enough that its own dispersion is a good yardstick."""
    path = tmp_path_factory.mktemp("log") / "log.csv"
    process = Bursty(rate_per_s=2.0, burst_factor=4, mean_burst_s=4, burst_time_fraction=0.2)
    rows = "".join(f"{t:.6f},10,5\n" for t in times_of(process, 1, 20_000.0))
    path.write_text("arrived_s,input_tokens,output_tokens\n" + rows)
    return str(path)


def dispersion_of_replay(replay, seed, window_s):
    counts = counts_of(times_of(replay, seed, replay.default_horizon_s), replay.default_horizon_s, window_s)
    return counts.var(ddof=1) / counts.mean()


def test_stretched_logs_have_the_dispersion_of_a_wider_window(bursty_log):
    log = Replay(path=bursty_log)
    faster = Replay(path=bursty_log, scale={"faster_clock": 3})
    assert faster.mean_rate_per_s == pytest.approx(3 * log.mean_rate_per_s)
    assert dispersion_of_replay(faster, 1, 4.0) == pytest.approx(dispersion_of_replay(log, 1, 12.0), rel=1e-3)
    assert dispersion_of_replay(faster, 1, 4.0) != pytest.approx(dispersion_of_replay(log, 1, 4.0), rel=0.05)


def test_thinned_logs_come_closer_to_poisson(bursty_log):
    log, thinned = Replay(path=bursty_log), Replay(path=bursty_log, scale={"more_users": 0.3})
    measured = [dispersion_of_replay(thinned, seed, 10.0) for seed in range(10)]
    assert_agrees(measured, 1 + 0.3 * (dispersion_of_replay(log, 1, 10.0) - 1), within=0.05)
    assert_disagrees(measured, dispersion_of_replay(log, 1, 10.0), within=0.05)


def test_a_log_of_strong_bursts_says_beforehand_how_dispersed_its_thinned_replay_will_be(tmp_path):
    """Twenty requests every hundred seconds: in windows of 50 s the counts are 20 and 0 in turn, so that D is 10."""
    path = tmp_path / "waves.csv"
    rows = "".join(f"{100 * wave + 0.1 * i:.1f},10,5\n" for wave in range(400) for i in range(20))
    path.write_text("arrived_s,input_tokens,output_tokens\n" + rows)
    log, thinned = Replay(path=str(path)), Replay(path=str(path), scale={"more_users": 0.3})
    assert log.index_of_dispersion(50.0) == pytest.approx(10, rel=0.01)
    measured = [dispersion_of_replay(thinned, seed, 50.0) for seed in range(10)]
    assert_agrees(measured, thinned.index_of_dispersion(50.0), within=0.05)
    for wrong in (log.index_of_dispersion(50.0), 0.3 * log.index_of_dispersion(50.0), 1.0):
        assert_disagrees(measured, wrong, within=0.05)


def test_superposed_logs_keep_their_dispersion(bursty_log):
    log, more = Replay(path=bursty_log), Replay(path=bursty_log, scale={"more_users": 4})
    measured = [dispersion_of_replay(more, seed, 10.0) for seed in range(10)]
    assert_agrees(measured, dispersion_of_replay(log, 1, 10.0), within=0.15)
    assert_disagrees(measured, 4 * dispersion_of_replay(log, 1, 10.0), within=0.15)  # as copies without shifts would


@pytest.mark.parametrize(
    ("name", "dequantize_s", "known"),
    [
        ("azure_2023_code.csv", 0.0, {1: 13.2, 10: 71.9, 60: 166.9}),
        ("azure_2023_conv.csv", 0.0, {1: 1.39, 10: 3.87, 60: 16.4}),
        ("mooncake_synthetic.jsonl", 0.0, {1: 1.09, 10: 1.19}),
        ("mooncake_conversation.jsonl", 0.0, {1: 7.9, 10: 2.1}),
        ("mooncake_conversation.jsonl", 3.0, {1: 1.05, 10: 1.51}),
    ],
)
def test_real_logs_have_their_known_dispersion(name, dequantize_s, known):
    if not (TRACES / name).exists():
        pytest.skip(f"REAL LOG ABSENT: {TRACES / name}")
    replay = Replay(path=str(TRACES / name), dequantize_s=dequantize_s)
    for window_s, value in known.items():
        assert replay.index_of_dispersion(window_s) == pytest.approx(value, rel=0.05)
