"""Prompts that go on from earlier ones: how far back, how much, and no further than what there is."""

from __future__ import annotations

import numpy as np
import pytest

from sim.randomness import Streams
from sim.schema import ConfigError, parse_config
from sim.work import SHARED_KEY
from sim.workload.lengths.fixed import Fixed
from sim.workload.lengths.uniform import Uniform
from sim.workload.tasks.continued_calls import ContinuedCalls
from tests.agree import assert_agrees, assert_disagrees

FOUR = Fixed(input_tokens=400, output_tokens=10)


def continued(lag=1, fraction=1.0, common=1.0, **more):
    rows = [{"from_input_tokens": 0, "fraction": fraction, "common_fraction": common}]
    return parse_config(ContinuedCalls, {"lag_calls": lag, "continuing": rows, "piece_tokens": 100} | more)


def prompts(tasks, n, blocks=1, lengths=FOUR, seed=1):
    streams, tasks, found = Streams(seed), tasks.in_order(), []
    rng, lengths_rng = streams.generator("tasks"), streams.generator("lengths")
    for _ in range(blocks):
        drawn = tasks.draw(rng, lengths_rng, lengths, n)
        found += [calls[0].segments for calls in tasks.calls(drawn, len(found))]
    return found


def test_each_prompt_repeats_the_one_before():
    first, *others = prompts(continued(), 5)
    assert first == (((0, 0), 100), ((0, 1), 100), ((0, 2), 100), ((0, 3), 100))
    assert others == [first] * 4


def test_half_of_a_prompt_is_old_and_half_of_that_older():
    """Three prompts: the second has the first half of the first, the third that of the second, which is the same."""
    keys = [[key for key, _ in segments] for segments in prompts(continued(common=0.5), 3)]
    assert keys == [
        [(0, 0), (0, 1), (0, 2), (0, 3)], [(0, 0), (0, 1), (1, 2), (1, 3)], [(0, 0), (0, 1), (2, 2), (2, 3)],
    ]  # fmt: skip


def test_common_text_comes_first_and_is_no_piece():
    found = prompts(continued(shared_prefix_tokens=150, common=1.0), 2)
    assert found[0] == ((SHARED_KEY, 150), ((0, 0), 100), ((0, 1), 100)) and found[1] == found[0]


def test_draws_in_order_go_on_from_draw_to_draw():
    assert prompts(continued(), 1, blocks=5) == prompts(continued(), 5)
    tasks, streams = continued(), Streams(1)
    alone = [
        next(tasks.calls(tasks.draw(streams.generator("tasks"), streams.generator("lengths"), FOUR, 1), i))[0].segments
        for i in range(2)
    ]
    assert alone[0] != alone[1], "each draw by itself begins with no earlier prompts"


def test_the_old_share_of_all_tokens_is_fraction_times_common():
    """A third of the prompts has 60 % of its text from an earlier one; among prompts of one length it is all found."""
    tasks, shares = continued(lag=40, fraction=1 / 3, common=0.6, piece_tokens=10), []
    for seed in range(6):
        found = prompts(tasks, 2000, seed=seed)
        old = [sum(key[0] != i for key, _ in segments) for i, segments in enumerate(found)]
        shares.append(np.mean(old) / 40)
    assert_agrees(shares, 0.2, within=0.1)
    assert_disagrees(shares, 0.26, within=0.1)


def test_nothing_is_old_beyond_the_prompt_that_it_is_from():
    for segments in prompts(continued(lag=3), 300, lengths=Uniform(max_input_tokens=2000, max_output_tokens=5)):
        owners = [key[0] for key, _ in segments]
        assert owners == sorted(owners), "older text comes first"
        assert [key[1] for key, _ in segments] == list(range(len(segments))), "without a gap"


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"continuing": []}, "continuing"),
        ({"continuing": [{"from_input_tokens": 5, "fraction": 0.5, "common_fraction": 0.5}]}, "must ascend from 0"),
        ({"continuing": [{"from_input_tokens": 0, "fraction": 0.5, "common_fraction": 1.5}]}, "must be <= 1"),
        ({"continuing": [{"from_input_tokens": 0, "fraction": 2, "common_fraction": 0.5}]}, "fraction = 2"),
        ({"piece_tokens": 0}, "piece_tokens = 0"),
    ],
)
def test_what_cannot_be_is_refused(keys, said):
    with pytest.raises(ConfigError, match=said):
        continued(**keys)
