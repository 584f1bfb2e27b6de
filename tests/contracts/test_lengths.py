"""Every length distribution keeps the contract that `Lengths` states: whole, positive, reproducible, with its means."""

import numpy as np
import pytest

from sim.randomness import Streams
from sim.workload.lengths.base import Lengths
from tests.agree import assert_agrees, assert_disagrees
from tests.contracts.found import load, names


@pytest.fixture(params=names("lengths", Lengths))
def lengths(request, tmp_path):
    return load(Lengths, "lengths", request.param, tmp_path)


def draw(lengths, seed, n=2000):
    return lengths.draw(Streams(seed).generator("lengths"), n)


def test_tokens_are_whole_and_positive(lengths):
    for tokens in draw(lengths, 1):
        assert tokens.shape == (2000,)
        assert tokens.dtype == np.int64
        assert tokens.min() >= 1


def test_the_same_stream_gives_the_same_tokens(lengths):
    for first, again in zip(draw(lengths, 1), draw(lengths, 1), strict=True):
        assert np.array_equal(first, again)


def test_the_means_are_as_stated(lengths):
    samples = np.array([[tokens.mean() for tokens in draw(lengths, seed, 10_000)] for seed in range(12)])
    for means, stated in zip(samples.T, (lengths.mean_input_tokens, lengths.mean_output_tokens), strict=True):
        assert_agrees(means, stated, within=0.06)
        assert_disagrees(means, 1.15 * stated, within=0.06)
