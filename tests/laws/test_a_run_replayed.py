"""A run written out and replayed is the same run: the same calls at the same moments, served alike."""

from __future__ import annotations

import numpy as np
import pytest

from sim.scenarios import compose_config, parse
from sim.simulation import simulate
from sim.study.played import requests_table
from sim.workload.logs.request_log import read_log

SHORT = ("horizon_s=300", "arrivals.rate_per_s=0.2", "seed=3")
SMALL = "{median: 2, sigma: 0.6, min: 1, max: 4}"
AGENTS = (
    "tasks=coding_session", "tasks.first_input_tokens=3000", "tasks.shared_prefix_tokens=2000",
    f"tasks.turns_per_session={SMALL}", f"tasks.steps_per_turn={SMALL}", "tasks.reasoning_tokens=100",
    "tasks.human_wait_s=20", "tasks.tool_wait_s=2", "tasks.retry_fraction=0.1", "tasks.step_input_tokens=700",
    "tasks.output_tokens=120", "tasks.turn_input_tokens=90", "tasks.max_context_tokens=8000",
    "tasks.subagents.step_fraction=0.3", f"tasks.subagents.steps={SMALL}", "tasks.subagents.first_input_tokens=1500",
    "tasks.subagents.shared_prefix_tokens=1000",
)  # fmt: skip
WORLDS = {
    "single calls with a common prompt": ("tasks=single_call", "lengths=fixed", "tasks.shared_prefix_tokens=300"),
    "chains of calls": ("tasks=support",),
    "sub-agents, retries, reasoning and compaction": AGENTS,
}


def played(*words):
    return simulate(parse(compose_config(*words)), measure_peak=False)


def ordered(run):
    """The requests of a run, as columns in order of tasks and of time within each."""
    requests = run.facts.requests
    order = np.lexsort((requests["input_tokens"], requests["arrived_s"].round(6), requests["task_id"]))
    return {name: column[order] for name, column in requests.items()}


@pytest.mark.parametrize("words", WORLDS.values(), ids=WORLDS)
def test_requests_parquet_is_a_log(words, tmp_path):
    first = played(*SHORT, *words)
    requests_table(first.facts).to_parquet(tmp_path / "requests.parquet")
    again = played("arrivals=replay", f"arrivals.path={tmp_path / 'requests.parquet'}", SHORT[0])
    one, two = ordered(first), ordered(again)
    assert len(one["task_id"]) > 40 and one["cached_input_tokens"].sum() > 0
    for name in (
        "task_id", "calls_in_task", "input_tokens", "output_tokens", "returning_tokens", "cached_input_tokens",
        "outcome", "shared_prefix_tokens", "prefix_tokens", "answer_is_repeated",
    ):  # fmt: skip
        assert np.array_equal(one[name], two[name]), name
    for name in ("arrived_s", "first_token_s", "finished_s"):
        assert two[name] == pytest.approx(one[name], abs=1e-6), name


def test_calls_that_join_are_worth_telling(tmp_path):
    """Without the calls that each one waits for, sub-agents would be tasks of their own."""
    written = requests_table(played(*SHORT, *AGENTS).facts)
    joins = written[written["wait_for"].map(len) > 1]
    assert len(joins) > 10
    ended = written.set_index(["task_id", "call_index"])["finished_s"]
    for row in joins.itertuples():
        assert row.arrived_s >= max(ended[row.task_id, i] for i in row.wait_for) - 1e-9
    flat = written.drop(columns="wait_for")
    flat.to_parquet(tmp_path / "flat.parquet")
    log = read_log(str(tmp_path / "flat.parquet"))
    assert log.task_ids.max() + 1 > written["task_id"].nunique()
