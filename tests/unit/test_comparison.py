"""The table of a sweep at any width: labels whole, no line too wide, dollars a month, and what is not shown."""

import io
import re

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from sim.report.comparison import COLUMNS, comparison, without_common_parts
from sim.report.monthly import common_factor, is_a_month
from sim.report.tables import print_comparison, print_summary
from sim.report.verdict import verdicts
from sim.units import MONTH_S
from tests.unit.sweeps import run, sweep

WIDTHS = (60, 80, 100, 140)
HOUR_RUN = {"window_s": 3600.0}


def of_an_hour(usd, **more):
    """A run of an hour, which a month has 730 of."""
    return run(usd, usd_per_month=730 * usd, **HOUR_RUN, **more)


def named(labels, shape="steady"):
    return sweep({(shape, label): [of_an_hour(10.0 + n)] for n, label in enumerate(labels)})[0]


def printed(table, width, replications=None):
    console = Console(file=io.StringIO(), width=width)
    print_comparison(table, replications, console=console)
    return console.file.getvalue()


def labels_of(rng, n):
    """Labels as sweeps make them, of up to four parts; some have long words."""
    keys = ("gpu", "scaling.n_replicas", "engine.max_num_batched_tokens", "prices.gpu.usd_per_gpu_hour.h100_sxm")
    words = ("always_on", "hybrid_overflow", "b200", "16384", "mine/" + "folder/" * 12 + "log.csv", "0.25")
    found = {
        ", ".join(f"{rng.choice(keys)}={rng.choice(words)}" for _ in range(rng.integers(1, 5))) + f", v{number}"
        for number in range(n)
    }
    return sorted(found)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("seed", range(8))
def test_labels_are_whole_and_no_line_is_wider_than_the_screen(seed, width):
    labels = labels_of(np.random.default_rng(seed), 1 + 5 * seed)
    text = printed(named(labels, shape="a question, " + "slo.ttft_s=1.5, " * 8 + "end"), width)
    assert max(map(len, text.splitlines())) <= width, text
    assert "…" not in text
    together = "".join(text.split())
    common, rest = without_common_parts(labels)
    for part in [common, *rest]:
        assert "".join(part.split()) in together, part


@pytest.mark.parametrize("width", WIDTHS)
def test_the_month_the_slo_and_the_tail_are_shown_at_every_width(width):
    text = printed(named(["always_on", "api_only", "hybrid_overflow"]), width)
    assert "$ a month" in text and "$7,300" in text and "SLO, %" in text and "p99" in text
    (left_out,) = re.findall(r"not shown, for want of width: (.*?);", " ".join(text.split())) or [""]
    assert (width < 140) == bool(left_out)
    if left_out:
        assert "results.csv has them" in text and "batch" in left_out


def test_the_least_deciding_columns_go_first_and_all_are_named():
    ranks = {column.name: column.rank for column in COLUMNS}
    assert sorted(ranks.values()) == list(range(len(COLUMNS)))
    table = named(["always_on", "api_only"])
    before = set(ranks)
    for width in range(160, 40, -1):
        left_out = set(comparison(table, width).left_out)
        assert {ranks[name] for name in left_out} >= set(range(len(COLUMNS) - len(left_out), len(COLUMNS)))
        assert set(comparison(table, width - 1).left_out) >= left_out or left_out < before
    assert comparison(table, 160).left_out == []


def test_a_column_that_says_nothing_is_not_shown():
    text = printed(sweep({("s", f): [run(1.0, busy_fraction_of_paid=None)] for f in "ab"})[0], 140)
    assert "busy:" not in text and "a month" not in text, "these rows have no window"


def test_a_run_of_a_month_has_one_cost():
    month = {"window_s": MONTH_S, "usd_per_month": 55.0}
    table = sweep({("s", f): [run(55.0, **month)] for f in "ab"})[0]
    text = printed(table, 140)
    assert "$ a month" in text and "cost of" not in text
    assert "a is the cheapest" not in text or "$55.00 a month" in text
    assert is_a_month(month | {"usd_total": 55.0}) and not is_a_month({"usd_total": 1.0})
    assert common_factor(table.to_dict("records")) == 1


def test_the_verdict_tells_dollars_a_month_with_the_interval_scaled():
    cells = {("s", name): [of_an_hour(f * usd) for f in (0.9, 1.0, 1.1)] for name, usd in (("a", 10), ("b", 12))}
    table, single = sweep(cells)
    (line,) = verdicts(table, single)
    half = float(table["usd_total_ci95"].iloc[0])
    monthly = float(re.search(r"\$7,300 ±([\d,]+) a month \(\$10.00 ±", line)[1].replace(",", ""))
    assert monthly == pytest.approx(730 * half, rel=0.05)
    assert "$1,460 a month (16.7 %) less than b, resolved over 3 paired replications (±$" in line
    assert float(re.search(r"replications \(±\$([\d,]+)", line)[1].replace(",", "")) == pytest.approx(
        730 * 0.5, rel=0.1
    )
    (none,) = verdicts(*sweep({("s", "a"): [of_an_hour(10, attained=0.5)], ("s", "b"): [of_an_hour(9, attained=0.4)]}))
    assert "the closest is a (50.0 % of calls attain it, $7,300 a month ($10.00 in the run)" in none


def test_windows_of_different_length_are_compared_by_the_run():
    """A closed loop that ends by itself lasts as long as its fleet takes; the month of each is still told."""
    table = sweep({("s", "a"): [of_an_hour(10)], ("s", "b"): [run(12, usd_per_month=4380.0, window_s=7200.0)]})[0]
    assert common_factor(table.to_dict("records")) == 1
    (line,) = verdicts(table)
    assert "$7,300 a month ($10.00 in the run)" in line and "$2.00 (16.7 %) less than b" in line


def test_what_all_labels_share_is_said_once_above():
    labels = ["gpu=l4, slo=1, always_on", "gpu=l4, slo=1, api_only"]
    text = printed(named(labels), 80)
    assert text.split("Percentiles")[0].count("gpu=l4") == 1 and "all: gpu=l4, slo=1\n" in text
    assert without_common_parts(["one, two"]) == ("", ["one, two"])
    assert without_common_parts(["a, b", "a"]) == ("", ["a, b", "a"]), "a label would be empty"


def test_applications_stand_under_their_scenario_with_their_share_of_the_month():
    parts = {"application_chat_slo_target_fraction": 0.99, "application_chat_slo_attainment_fraction": 1.0,
             "application_chat_meets_slo": True, "application_chat_usd": 4.0, "application_chat_input_tokens": 1e6,
             "application_chat_output_tokens": 1e6, "application_chat_ttft_p99_s": 0.5}  # fmt: skip
    row = of_an_hour(10.0) | {"arrivals": "s", "fleet": "a", "replications": 1} | parts
    lines = [line.plain for line in comparison(pd.DataFrame([row]), 100).lines]
    assert [line.split()[:2] for line in lines[-2:]] == [["a", "$7,300"], ["chat", "$2,920"]]


@pytest.mark.parametrize("width", WIDTHS)
def test_the_parts_of_a_run_are_whole_at_every_width(width):
    names = ["chat", "coding_agents_of_the_night", "search", "documents"]
    parts = {f"application_{name}_{key}": 12.5 for name in names for key in ("requests", "ttft_p95_s", "usd")}
    summary = of_an_hour(10.0) | parts | {f"application_{name}_requests_never_sent": 0 for name in names}
    console = Console(file=io.StringIO(), width=width)
    print_summary(summary, console=console)
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= width and "…" not in text
    assert all(text.count(name) == 1 for name in names) and text.count("$12.50") == len(names)


def test_where_many_labels_are_too_long_all_stand_above_their_figures():
    long = [f"gpu=h100_sxm, scaling.n_replicas={n}, hybrid_overflow" for n in range(4)]
    for labels, is_beside in (([*long, "api_only"], False), ([*long[:1], "api_only", "always_on", "a", "b"], True)):
        lines = [line.plain for line in comparison(named(labels), 80).lines]
        (own,) = [line for line in lines if line.startswith(" api_only")]
        assert ("$" in own) == is_beside
        assert all(label in "\n".join(lines) for label in labels)
