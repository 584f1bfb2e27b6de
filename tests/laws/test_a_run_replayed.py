"""A run written out and replayed is the same run: the same calls at the same moments, served alike."""

from __future__ import annotations

import numpy as np
import pytest
from omegaconf import OmegaConf

from sim.scenarios import compose_config, parse
from sim.study.job import run_alone
from sim.study.replicate import simulate

SHORT = ("horizon_s=900", "arrivals.rate_per_s=0.2", "seed=3")


@pytest.mark.parametrize("tasks", ["chat", "support"])
def test_requests_parquet_is_a_log(tasks, tmp_path):
    words = [f"tasks={tasks}", *SHORT, f"output.dir={tmp_path}", "tasks.shared_prefix_tokens=0"]
    folder = run_alone(OmegaConf.to_container(compose_config(*words), resolve=True))
    replay = compose_config("arrivals=replay", f"arrivals.path={folder / 'requests.parquet'}", "horizon_s=900")
    first, again = simulate(parse(compose_config(*words))), simulate(parse(replay))
    one, two = first.run.facts.requests, again.run.facts.requests
    assert len(one["task_id"]) > 100
    for name in ("task_id", "call_index", "input_tokens", "output_tokens", "cached_input_tokens", "outcome"):
        assert np.array_equal(one[name], two[name]), name
    for name in ("arrived_s", "first_token_s", "finished_s"):
        assert two[name] == pytest.approx(one[name], abs=1e-6), name
