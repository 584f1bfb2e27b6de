"""Gaps between tokens, as stories in whole seconds, and the laws of their histogram."""

from __future__ import annotations

import numpy as np
import pytest

import sim
from sim.gap_histogram import EDGES_S, N_BINS, GapHistogram, bin_of, percentiles_s
from sim.ledger.usage import Usage
from sim.report.metrics import summarize
from sim.report.slo import Slo
from sim.simulation import simulate
from sim.work import Call, Outcome, Task
from tests.facts_builder import Book
from tests.reference.worlds import ProbeStepTime, World, play_replica, play_stepping

ENGINE = {"kv_blocks": 100, "max_num_seqs": 8, "max_num_batched_tokens": 100}
A_SECOND_A_TOKEN = ProbeStepTime(1.0, 0.0, 0.0, 1.0, 0.0, 0.0)
"""A step takes 1 s, and 1 s more for each token of a prompt."""


def entered(histogram: GapHistogram) -> dict[float, int]:
    """Counts of gaps by length, in whole seconds."""
    middles = np.sqrt(np.array(EDGES_S[1:]) * np.array(EDGES_S[:-1]))
    return {round(middles[i]): n for i, n in enumerate(histogram.counts) if n}


def played_by_both(*tasks: Task, **engine):
    world = World(list(tasks), A_SECOND_A_TOKEN, ENGINE | engine)
    truth, stepping = play_stepping(world)
    played, _, histogram = play_replica(world)
    assert sum(histogram.counts) == len(stepping.gaps_s)
    assert [played[key].longest_gap_s for key in sorted(truth)] == [truth[key].longest_gap_s for key in sorted(truth)]
    return truth, histogram


def test_a_long_prefill_is_one_long_gap_for_all_who_decode():
    """Two answers stream at a token a second until, at 10 s, a prompt of 29 tokens joins: 30 s without a token."""
    short = [Task(i, 0.0, (Call(1, 21),)) for i in range(2)]
    truth, histogram = played_by_both(*short, Task(2, 10.0, (Call(29, 2),)))
    assert entered(histogram) == {1: 19 + 19 + 1, 30: 2}
    assert [truth[i, 0].longest_gap_s for i in range(3)] == [30.0, 30.0, 1.0]


def test_who_joins_after_the_long_prefill_has_no_long_gap():
    truth, _ = played_by_both(Task(0, 0.0, (Call(1, 30),)), Task(1, 5.0, (Call(19, 20),)), Task(2, 40.0, (Call(1, 3),)))
    assert [truth[i, 0].longest_gap_s for i in range(3)] == [20.0, 2.0, 1.0]


def test_time_out_of_the_batch_is_a_gap():
    """Four blocks of four tokens: the second answer is thrown out, and waits for the end of the first."""
    tasks = [Task(i, 0.0, (Call(4, 8),)) for i in range(2)]
    truth, _ = played_by_both(*tasks, kv_blocks=4, block_tokens=4, prefix_caching=False)
    first, second = truth[0, 0], truth[1, 0]
    assert second.preemptions == 1
    assert second.longest_gap_s > first.finished_s - 13.0 > 2.0


def test_every_token_but_the_first_ends_a_gap():
    """Law: gaps = output tokens less one per finished request; their sum is the time from first to last tokens."""
    run = simulate(sim.scenario("arrivals=bursty", "lengths=chat", horizon_s=300))
    requests, counts = run.facts.requests, run.facts.token_gaps
    assert (requests["outcome"] == Outcome.FINISHED).all()
    assert counts.sum() == (requests["output_tokens"] - 1).sum()
    middles = np.sqrt(np.array(EDGES_S[1:]) * np.array(EDGES_S[:-1]))
    streamed_s = (requests["finished_s"] - requests["first_token_s"]).sum()
    assert counts @ middles == pytest.approx(streamed_s, rel=0.01)
    tpot_s = (requests["finished_s"] - requests["first_token_s"]) / np.maximum(requests["output_tokens"] - 1, 1)
    assert (requests["itl_max_s"] >= tpot_s * (1 - 1e-9)).all()


def test_a_percentile_is_within_a_percent_of_the_exact_one():
    gaps_s = np.random.default_rng(0).lognormal(-4, 2, 10_000)
    histogram = GapHistogram()
    for gap_s in gaps_s.tolist():
        histogram.add(gap_s)
    percents = (1, 50, 95, 99, 100)
    found = percentiles_s(histogram.counts, percents)
    assert found == pytest.approx(np.percentile(gaps_s, percents, method="inverted_cdf").tolist(), rel=0.01)


def test_a_series_is_its_gaps_one_by_one():
    rng = np.random.default_rng(1)
    for _ in range(300):
        n, steps = int(rng.integers(1, 9)), int(rng.integers(1, 200))
        first_s, growth_s = float(rng.lognormal(-4, 3)), float(rng.choice([0.0, 1e-7, 1e-3, 10.0]))
        series, single = GapHistogram(), GapHistogram()
        series.add_series(n, steps, first_s, growth_s)
        for i in range(steps):
            single.add(first_s + growth_s * i, n)
        assert series.counts == single.counts


def test_what_is_out_of_range_is_in_the_outermost_bins():
    histogram = GapHistogram()
    histogram.add(0.0)
    histogram.add_series(1, 3, 1e-9, 1e9)
    assert (histogram.counts[0], histogram.counts[-1]) == (2, 2)
    assert bin_of(EDGES_S[N_BINS]) == N_BINS - 1


def test_gaps_before_the_window_are_left_out():
    world = World([Task(0, 0.0, (Call(1, 21),))], A_SECOND_A_TOKEN, ENGINE, gaps_from_s=10.5)
    *_, histogram = play_replica(world)
    assert entered(histogram) == {1: 22 - 10}  # the first token comes at 2 s, the last at 22 s


def test_the_tokens_of_an_api_come_evenly():
    book = Book(gpus_per_replica=0).api(0, 1, 9, output_tokens=5, itl_max_s=2.0)
    summary = summarize(book.facts(), Usage.from_facts(book.facts()), {}, Slo(ttft_s=2))
    assert [summary[f"itl_p{p}_s"] for p in (50, 95, 99)] == pytest.approx([2.0] * 3, rel=0.01)


def test_one_gap_that_is_too_long_misses_the_slo():
    requests = Book().request(0, 1, 2, 9, itl_max_s=3.0).request(0, 1, 2, 9, itl_max_s=2.0).facts().requests
    slo = Slo(ttft_s=10, itl_max_s=2.0)
    assert slo.attained(requests).tolist() == [False, True]
    assert slo.factors(requests).tolist() == [1.5, 1.0]
