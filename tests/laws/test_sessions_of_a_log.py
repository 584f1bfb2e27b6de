"""Sessions of a log as a server of equal speed would have them: service is served once, contexts hold what they can."""

from __future__ import annotations

import pandas as pd
import pytest

from sim.scenarios import compose_config, parse
from sim.study.replicate import replicate


def summary_of(tmp_path, rows, columns, *words):
    pd.DataFrame(rows, columns=columns).sort_values("arrived_s").to_csv(tmp_path / "log.csv", index=False)
    return replicate(parse(compose_config("arrivals=replay", f"arrivals.path={tmp_path / 'log.csv'}", *words))).summary


def test_calls_recorded_back_to_back_are_served_back_to_back(tmp_path):
    """Ten calls of 10 s, recorded 10 s apart, are a task of 100 s; with the gaps as waits as well, of 190 s."""
    rows = [(t * 100.0 + k * 10.0, 512, 100, t) for t in range(20) for k in range(10)]
    columns = ["arrived_s", "input_tokens", "output_tokens", "task_id"]
    still = [f"engine.step_time.{key}=0" for key in ("per_sequence_s", "per_context_token_s", "per_prefill_token_s")]
    server = ("engine=linear_server", "engine.step_time.base_s=0.1", *still, "cold_start=instant")
    assert summary_of(tmp_path, rows, columns, *server)["task_p95_s"] == pytest.approx(100, abs=0.5)
    twice = summary_of(tmp_path, rows, columns, *server, "arrivals.gaps=end_to_start")
    assert twice["task_p95_s"] == pytest.approx(190, abs=0.5)


def test_a_prompt_that_cannot_hold_the_one_before_is_not_billed_as_cached(tmp_path):
    """4.8 Mtok in at $5 and 0.012 Mtok out at $25: what the same calls cost without sessions."""
    rows = [(s * 1.0 + k * 30.0, 8000, 20, s) for s in range(60) for k in range(10)]
    words = ("fleet=api_only", "api=anthropic_sonnet_4_6", "prices=claude_opus_5_cache_write")
    usd = [
        summary_of(tmp_path, rows, ["arrived_s", "input_tokens", "output_tokens", name], *words)["usd_total"]
        for name in ("session_id", "of_no_meaning")
    ]
    assert usd == pytest.approx([24.30, 24.30])
