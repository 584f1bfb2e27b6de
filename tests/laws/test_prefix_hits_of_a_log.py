"""A replica that forgets nothing finds of a real log's prompts what can be read off the log."""

from __future__ import annotations

from pathlib import Path

import pytest

from sim.scenarios import compose_config, parse
from sim.simulation import simulate
from sim.workload.arrivals.replay import Replay

LOG = Path(__file__).parents[3] / "shared" / "traces" / "mooncake_conversation.jsonl"
BLOCK, LOG_BLOCK = 16, 512


def found_in_log(log) -> dict[int, tuple[int, int]]:
    """By task: (leading blocks of the log that an earlier prompt had, tokens of them that an engine can find)."""
    seen, found = set(), {}
    for task_id, (begin, end) in enumerate(zip(log.hash_offsets, log.hash_offsets[1:], strict=False)):
        ids, input_tokens = log.hash_ids[begin:end].tolist(), int(log.input_tokens[task_id])
        hit = next((i for i, name in enumerate(ids) if name not in seen), len(ids))
        found[task_id] = hit, min(hit * LOG_BLOCK, input_tokens - 1) // BLOCK * BLOCK
        seen.update(ids)
    return found


@pytest.mark.slow
def test_infinite_memory_hits_what_the_mooncake_log_repeats():
    if not LOG.exists():
        pytest.skip(f"REAL LOG ABSENT: {LOG}")
    replay = Replay(path=str(LOG))
    direct, blocks = found_in_log(replay.log), len(replay.log.hash_ids)
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
