"""NVIDIA Dynamo's mocker and this program play one log with equal memory and step times: the same hits, alike waits."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fidelity import another_simulator

TRACE = Path(__file__).parents[3] / "shared" / "traces" / "mooncake_conversation.jsonl"


@pytest.mark.slow
def test_two_simulators_find_the_same_prefixes_and_make_requests_wait_alike():
    pytest.importorskip("dynamo._core", reason="ai-dynamo-runtime is not installed: the extra another-simulator has it")
    if not TRACE.exists():
        pytest.skip("the Mooncake trace is not at hand")
    other = another_simulator.by_the_mocker(str(TRACE))
    own = another_simulator.by_this_program(str(TRACE), another_simulator.polynomials())
    assert own.requests == other.requests == 12_031
    assert own.prefix_hit_fraction == pytest.approx(other.prefix_hit_fraction, abs=0.01)
    assert own.ttft_p50_s == pytest.approx(other.ttft_p50_s, rel=0.10)
