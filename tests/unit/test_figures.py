"""What people look at: the curves are exact, the labels legible, the table and its verdicts honest."""

import io

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console

from sim.report.counting import mean_in_bins, peak_in_bins
from sim.report.figures import cost_against_tail_latency, timeline
from sim.report.intervals import over_replications
from sim.report.labels import place_labels
from sim.report.tables import print_comparison, print_summary
from sim.report.verdict import verdicts
from sim.report.wording import half_width, number, percent, seconds, usd
from tests.facts_builder import Book, day_of_traffic

INF = float("inf")


def run(cost, ttft_s=0.5, attained=0.995, **more):
    return dict(
        usd_total=cost, usd_per_mtok_total=cost / 1000, busy_fraction_of_paid=0.6, token_fraction_of_peak=0.2,
        batch_fill_fraction=0.1, ttft_p50_s=0.04, ttft_p95_s=ttft_s / 2, ttft_p99_s=ttft_s, e2e_p50_s=2.0,
        e2e_p95_s=4.0, e2e_p99_s=9.0, slo_attainment_fraction=attained, meets_slo=attained >= 0.99, cold_starts=3,
        api_request_fraction=0.0,
    ) | more  # fmt: skip


def sweep(cells):
    """(table, replications) of {(shape, fleet): [summary per replication] or error text}."""
    rows, single = [], []
    for (shape, fleet), runs in cells.items():
        label = dict(arrivals=shape, fleet=fleet)
        if isinstance(runs, str):
            rows.append(label | {"error": runs})
            continue
        rows.append(label | over_replications(runs))
        single += [label | {"replication": i} | summary for i, summary in enumerate(runs)]
    return pd.DataFrame(rows), pd.DataFrame(single)


WORLD = sweep({
    ("steady", "always_on"): [run(100 * f) for f in (0.8, 1.0, 1.2)],
    ("steady", "warm_floor"): [run(99 * f) for f in (0.8, 1.0, 1.2)],
    ("steady", "scale_to_zero"): [run(20, ttft_s=INF, attained=0.4)] * 3,
    ("bursty", "always_on"): [run(100, attained=0.7)] * 3,
    ("bursty", "api_only"): [run(250, attained=0.9, busy_fraction_of_paid=None)] * 3,
    ("bursty", "warm_floor"): "arrivals.rate_per_s = -5: must be [> 0]",
    ("diurnal", "always_on"): [run(100 + d) for d in (-5, 0, 5)],
    ("diurnal", "api_only"): [run(99 + d) for d in (5, 0, -5)],
})  # fmt: skip


def printed(table, replications=None, width=120):
    console = Console(file=io.StringIO(), width=width)
    print_comparison(table, replications, console=console)
    return console.file.getvalue()


def test_the_verdict_names_the_cheapest_that_meets_the_slo():
    steady, bursty, diurnal = verdicts(*WORLD)
    assert "warm_floor is the cheapest that meets the SLO: $99.00 ±49" in steady
    assert "less than always_on, resolved over 3 paired replications" in steady  # 1 % apart, in every replication
    assert "none meets the SLO; the closest is api_only (90.0 % of requests attain it, $250)" in bursty
    assert "api_only is the cheapest" in diurnal and "NOT resolved" in diurnal  # 1 % apart, but crossing over


def test_one_replication_tests_nothing():
    table, single = sweep({("steady", "a"): [run(10)], ("steady", "b"): [run(11)]})
    assert "the lead is not tested" in verdicts(table, single)[0]
    assert "the lead is not tested" in verdicts(table)[0]
    beside, _ = sweep({("steady", "a"): [run(10)], ("steady", "b"): [run(9, attained=0.5)]})
    assert "No other fleet meets it" in verdicts(beside)[0]
    alone, _ = sweep({("steady", "a"): [run(10)], ("bursty", "a"): [run(10, attained=0.5)]})
    steady, bursty = verdicts(alone)
    assert "a meets the SLO: $10.00" in steady and "Nothing else was tried" in steady
    assert bursty == "bursty: a does not meet the SLO (50.0 % of requests attain it, $10.00)."
    failed, _ = sweep({("steady", "a"): "broken"})
    assert verdicts(failed) == ["steady: no fleet ran."]


def played(cost, noise=0.0, requests=300, **more):
    """Three replications: `noise` is what chance adds to the moments, `requests` may differ from one to the next."""
    counts = [requests] * 3 if isinstance(requests, int) else requests
    return [
        run(cost, requests=n, tasks=n, input_tokens=9 * n, output_tokens=5 * n, ttft_mean_s=0.1 + noise * i,
            e2e_mean_s=1 + noise * i, **more)
        for i, n in enumerate(counts)
    ]  # fmt: skip


def test_a_log_played_again_tests_nothing():
    repeats = "(all replications played the same traffic: the lead is not tested)"
    only, single = sweep({("log", "gpu"): played(10), ("log", "api"): played(12.0, noise=0.01)})
    assert verdicts(only, single)[0].endswith(f"$2.00 (16.7 %) less than api {repeats}.")
    rounded = [row | {"usd_total": 10 * (1 + i * 1e-16)} for i, row in enumerate(played(10))]
    assert repeats in verdicts(*sweep({("log", "a"): rounded, ("log", "b"): played(11)}))[0]


def test_a_cost_that_traffic_cannot_change_is_resolved():
    """Always on at two prices: the difference is constant by nature, though every replication has its own traffic."""
    counts = [290, 300, 310]
    table, single = sweep({("steady", "dear"): played(12, 0.1, counts), ("steady", "cheap"): played(10, 0.1, counts)})
    assert "resolved over 3 paired replications (±$0)" in verdicts(table, single)[0]


def test_the_same_requests_with_chance_of_their_own_are_said_to_be_the_same():
    lives = [row | {"usd_total": 10 + 0.1 * i} for i, row in enumerate(played(10, noise=0.1))]
    table, single = sweep({("log", "cold"): lives, ("log", "warm"): played(15)})
    assert "resolved over 3 paired replications of the same requests (±$0.25): only their timing" in verdicts(
        table, single
    )[0]  # fmt: skip
    fixed = {("steady", name): played(cost, noise=0.1) for name, cost in (("a", 10), ("b", 11))}
    assert "played the same requests: the lead is not tested" in verdicts(*sweep(fixed))[0]


def test_the_lead_is_over_something_else():
    api = played(10, noise=0.1, ttft_s=1.0)
    table, single = sweep({("log", "l4, api"): api, ("log", "l40s, api"): api, ("log", "l4, on"): played(11)})
    said = verdicts(table, single)[0]
    assert "l4, api (alike: l40s, api) is the cheapest" in said and "$1.00 (9.1 %) less than l4, on" in said
    both, _ = sweep({("log", "l4, api"): api, ("log", "l40s, api"): api})
    assert "(alike: l40s, api) is the cheapest" in verdicts(both)[0] and "No other" in verdicts(both)[0]


def test_long_names_of_groups_widen_nothing():
    name = "bursty, arrivals.rate_per_s=0.2, lengths=support, slo.ttft_s=1.5"
    text = printed(sweep({(name, "always_on"): [run(100)], (name, "api_only"): [run(90)]})[0])
    table = text.split("busy: %")[0]
    assert "…" not in text and "arrivals.rate_per_s=0.2" in table and "slo.ttft_s=1.5" in table
    assert max(len(line.rstrip()) for line in table.splitlines()) <= 120


def test_the_table_fits_a_terminal_and_shows_failures():
    text = printed(*WORLD)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 120
    assert "failed: bursty, warm_floor: arrivals.rate_per_s = -5: must be [> 0]" in text
    for name in ("steady", "bursty", "diurnal", "always_on", "scale_to_zero", "warm_floor", "api_only"):
        assert name in text
    assert "∞" in text and "…" not in text and "nan" not in text.lower() and "None" not in text


def test_the_table_survives_a_trip_through_csv():
    table, single = WORLD
    again = pd.read_csv(io.StringIO(table.to_csv(index=False)))
    assert verdicts(again, single) == verdicts(table, single)
    assert printed(again) == printed(table)


def test_a_single_run_reads_well_with_and_without_intervals():
    for summary in (run(3.21), over_replications([run(3.0), run(4.0)])):
        console = Console(file=io.StringIO(), width=120)
        print_summary(summary, "steady on [two] GPUs", console)
        text = console.file.getvalue()
        assert "steady on [two] GPUs" in text and "meets the SLO" in text and "TTFT p99, s" in text
        assert ("±" in text) == ("replications" in summary)


@pytest.mark.parametrize(
    "said, meant",
    [
        (number(0.012345), "0.0123"), (number(99.97), "100"), (number(1234.5), "1,234"), (number(None), "–"),
        (number(9.996), "10.0"), (number(0.9999), "1.00"), (number(float("nan")), "–"), (number(INF), "∞"),
        (number(0), "0"), (number(12_345.6), "12,346"), (number(0.00001), "0.000010"),
        (usd(0.01234), "$0.0123"), (usd(12.345), "$12.35"), (usd(99.999), "$100"), (usd(1234.56), "$1,235"),
        (percent(0.9999), ">99.9"), (percent(1), "100"), (percent(0.00001), "<0.1"), (percent(0), "0"),
        (half_width(1.26), " ±1.3"), (half_width(3e-13), ""), (half_width(None), ""),
        (seconds(0.0042), "0.004"), (seconds(1.288), "1.29"), (seconds(9.999), "10.0"), (seconds(3600), "3600"),
    ],
)  # fmt: skip
def test_numbers_as_people_read_them(said, meant):
    assert said == meant


def test_counting_by_hand():
    """[0, 4), [2, 6) and [3, 5) seen in bins of two seconds: means 1, 2.5, 1.5; peaks 1, 3, 2."""
    start_s, end_s, edges_s = np.array([0.0, 2.0, 3.0]), np.array([4.0, 6.0, 5.0]), np.array([0.0, 2.0, 4.0, 6.0])
    assert mean_in_bins(start_s, end_s, edges_s).tolist() == [1, 2.5, 1.5]
    assert peak_in_bins(start_s, end_s, edges_s).tolist() == [1, 3, 2]


def test_counting_agrees_with_looking_often():
    rng = np.random.default_rng(4)
    start_s = rng.uniform(-20, 100, 300)
    end_s, edges_s = start_s + rng.exponential(8, 300), np.linspace(0, 100, 26)
    often = np.linspace(0, 100, 100_001)[:-1]
    there = np.searchsorted(np.sort(start_s), often, "right") - np.searchsorted(np.sort(end_s), often, "right")
    assert mean_in_bins(start_s, end_s, edges_s) == pytest.approx(there.reshape(25, -1).mean(1), rel=2e-3)
    peaks = peak_in_bins(start_s, end_s, edges_s)
    assert (peaks >= there.reshape(25, -1).max(1)).all() and (peaks - there.reshape(25, -1).max(1)).sum() <= 3


def test_labels_do_not_hide_each_other():
    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.subplots()
    axes.set(xlim=(0, 10), ylim=(0, 10))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    names = ["always on", "scale to zero", "warm floor", "hybrid overflow", "api only"]
    place_labels(axes, [(5 + 0.1 * i, 5 + 0.1 * (i % 2), name, "black") for i, name in enumerate(names)])
    boxes = [text.get_window_extent(canvas.get_renderer()) for text in axes.texts]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


@pytest.mark.parametrize("name", ["cost.png", "cost.svg"])
def test_the_cost_figure_is_written_whole(tmp_path, name):
    path = cost_against_tail_latency(WORLD[0], tmp_path / "figures" / name, slo_ttft_s=2.0)
    assert path.stat().st_size > 5000 and [p.name for p in path.parent.iterdir()] == [name]


@pytest.mark.parametrize("cheapest, shared", [(90, True), (1, False)])
def test_many_panels_stand_in_rows(tmp_path, monkeypatch, cheapest, shared):
    drawn = []
    monkeypatch.setattr("sim.report.figures._save", lambda figure, path: drawn.append(figure))
    names = [f"arrivals.rate_per_s={i}, lengths=support, seed={i}" for i in range(6)]
    table, _ = sweep({(name, "a"): [run(100 if i else cheapest)] for i, name in enumerate(names)})
    cost_against_tail_latency(table, tmp_path / "many.png", slo_ttft_s=2.0)
    (figure,) = drawn
    panels = figure.axes
    assert len(panels) == 6 and figure.get_size_inches()[0] <= 16
    assert [panel.get_title().replace("\n", " ") for panel in panels] == names
    assert (len({panel.get_ylim() for panel in panels}) == 1) == shared
    boxes = [panel.title.get_window_extent() for panel in panels]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_figures_of_odd_worlds(tmp_path):
    failed, _ = sweep({("steady", "a"): "broken"})
    cost_against_tail_latency(failed.assign(ttft_p99_s=np.nan, usd_total=np.nan), tmp_path / "failed.png")
    cost_against_tail_latency(failed, tmp_path / "failed_only.png")
    cost_against_tail_latency(sweep({("steady", "a"): [run(0.0)]})[0], tmp_path / "free.png")
    timeline(Book(gpus_per_replica=0).api(1, 2, 3).facts(), tmp_path / "api.png", "API only")
    timeline(Book().facts(), tmp_path / "nothing.png")


def test_the_timeline_is_written(tmp_path):
    facts = day_of_traffic(requests_n=2000, overflow_wait_s=5.0, service_s=120.0, patience_s=5.0)
    assert timeline(facts, tmp_path / "timeline.png", "a day").stat().st_size > 20_000
