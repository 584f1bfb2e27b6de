"""A replica that forgets nothing finds of a real log's prompts what can be read off the log."""

from __future__ import annotations

from pathlib import Path

import pytest

from sim.randomness import Streams
from sim.scenarios import compose_config, parse
from sim.simulation import simulate
from sim.workload.arrivals.replay import Replay
from sim.workload.workload import Workload

LOG = Path(__file__).parents[3] / "shared" / "traces" / "mooncake_conversation.jsonl"
BLOCK, LOG_BLOCK = 16, 512


def found_in_log(calls) -> dict[int, tuple[int, int]]:
    """By task: (leading blocks of the log that an earlier prompt had, tokens of them that an engine can find)."""
    seen, found = set(), {}
    for task_id, call in enumerate(calls):
        hit = next((i for i, (key, _) in enumerate(call.segments) if key not in seen), len(call.segments))
        tokens = sum(tokens for _, tokens in call.segments[:hit])
        found[task_id] = hit, min(tokens, call.input_tokens - 1) // BLOCK * BLOCK
        seen.update(key for key, _ in call.segments)
    return found


def test_infinite_memory_hits_what_the_mooncake_log_repeats():
    if not LOG.exists():
        pytest.skip(f"REAL LOG ABSENT: {LOG}")
    replay = Replay(path=str(LOG))
    workload = Workload(replay)
    tasks = [t for block in workload.task_blocks(Streams(0), workload.default_horizon_s) for t in block]
    direct = found_in_log(task.calls[0] for task in tasks)
    blocks = sum(len(task.calls[0].segments) for task in tasks)
    assert sum(hit for hit, _ in direct.values()) / blocks == pytest.approx(0.366, abs=5e-4)

    scenario = parse(
        compose_config(
            "arrivals=replay", f"arrivals.path={LOG}", "engine=linear_server", "engine.max_num_batched_tokens=1000000",
            "gpu.memory_gb=30000", "gpu.device_total_gb=30000", "drain_s=100000",
        )
    )  # fmt: skip
    requests = simulate(scenario, measure_peak=False).facts.requests
    played = dict(zip(requests["task_id"].tolist(), requests["cached_input_tokens"].tolist(), strict=True))
    assert played == {task_id: tokens for task_id, (_, tokens) in direct.items()}
    whole = sum(-(-tokens // LOG_BLOCK) for tokens in played.values())
    assert whole / blocks == pytest.approx(0.366, abs=1e-3)
