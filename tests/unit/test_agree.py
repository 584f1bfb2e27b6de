"""The judge of the theory tests is itself put on trial."""

import pytest

from tests.agree import Disagreement, NotEnoughEvidence, assert_agrees, assert_disagrees

TEN = [9.9, 10.1, 10.0, 9.95, 10.05, 10.02, 9.98]


def test_agrees_with_the_truth_and_rejects_what_is_wrong():
    assert_agrees(TEN, 10.0)
    assert_disagrees(TEN, 10.5)
    with pytest.raises(Disagreement):
        assert_agrees(TEN, 10.5)


def test_scattered_samples_prove_nothing():
    with pytest.raises(NotEnoughEvidence, match="half-width"):
        assert_agrees([1.0, 20.0, 9.0, 11.0], 10.0)
    with pytest.raises(NotEnoughEvidence, match="at least 3"):
        assert_agrees([10.0, 10.0], 10.0)
    with pytest.raises(NotEnoughEvidence, match="finite"):
        assert_agrees([10.0, float("nan"), 10.0], 10.0)


def test_a_twin_that_is_not_rejected_fails():
    with pytest.raises(AssertionError, match="failed to reject"):
        assert_disagrees(TEN, 10.01)


def test_identical_samples_agree_with_themselves_only():
    assert_agrees([3.0] * 4, 3.0)
    assert_disagrees([3.0] * 4, 3.0001)
