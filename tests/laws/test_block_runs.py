"""Blocks that no prompt of a log has apart are played as one stream: fewer segments, the same run to the last bit."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest

from sim.scenarios import compose_config, parse
from sim.simulation import simulate
from sim.workload.logs import log as logs
from sim.workload.logs import request_log
from sim.workload.logs.block_runs import BlockRuns, runs_of

SIZE = 32
N_WORLDS = 16


def alone(ids: np.ndarray, offsets: np.ndarray) -> BlockRuns:
    """Every block is a run of its own."""
    counts = np.diff(offsets)
    return BlockRuns(ids, np.arange(len(ids)) - np.repeat(offsets[:-1], counts) + 1, offsets)


def pairs(ids: np.ndarray, offsets: np.ndarray) -> BlockRuns:
    """A wrong twin: the first two blocks of every prompt are one run, though other prompts have the first alone."""
    runs = alone(ids, offsets)
    rows = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    kept = (runs.ends != 2) | (np.diff(offsets)[rows] < 2)
    ends = np.where((runs.ends == 1) & (np.diff(offsets)[rows] >= 2), 2, runs.ends)
    return BlockRuns(ids[kept], ends[kept], np.concatenate(([0], np.cumsum(np.bincount(rows[kept])))))


def rows_of(rng: random.Random) -> list[dict]:
    """Requests that come together, whose prompts go on from one another's at any block, or repeat them."""
    chains: list[list[int]] = []
    rows, n_blocks, moment_ms = [], 0, 0.0
    for _ in range(rng.randint(20, 80)):
        moment_ms += rng.choice([0, 1, 20, 200]) * rng.random()
        before = rng.choice(chains)[: rng.randint(0, 12)] if chains and rng.random() < 0.7 else []
        n_new = rng.randint(0 if before else 1, 12)
        chains.append([*before, *range(n_blocks, n_blocks + n_new)])
        n_blocks += n_new
        for _ in range(1 + (rng.random() < 0.15)):
            tokens = {
                "input_length": SIZE * len(chains[-1]) - rng.randrange(SIZE),
                "output_length": rng.randint(1, 900),
            }
            rows.append({"timestamp": int(moment_ms), **tokens, "hash_ids": chains[-1]})
    return rows


def played(path, words, runs, monkeypatch) -> dict[str, np.ndarray]:
    request_log._read.cache_clear()  # What a log holds is kept with it, its runs too.
    monkeypatch.setattr(logs, "runs_of", runs)
    log = [f"arrivals.path={path}", f"arrivals.block_tokens={SIZE}"]
    scenario = parse(compose_config("arrivals=replay", *log, "horizon_s=2000", *words))
    return simulate(scenario, measure_peak=False).facts.requests


@pytest.fixture(autouse=True)
def _forget():
    yield
    request_log._read.cache_clear()


def test_runs_of_blocks_play_as_their_blocks_do(tmp_path, monkeypatch):
    rng = random.Random(5)
    n_preempted = n_hit = n_wrong = 0
    for world in range(N_WORLDS):
        path = tmp_path / f"{world}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows_of(rng)))
        words = [
            f"engine={rng.choice(['vllm', 'sglang'])}", f"engine.block_tokens={rng.choice([16, 32, 48])}",
            f"engine.kv_cache_blocks={rng.choice([120, 200, 400])}", f"engine.max_num_seqs={rng.choice([4, 16, 64])}",
            f"engine.max_num_batched_tokens={rng.choice([64, 256, 2048])}", f"scaling.n_replicas={rng.choice([1, 2])}",
            "gpu=h100_sxm", "model=llama_3_1_8b", "queue.max_requests_per_replica=100000",
        ]  # fmt: skip
        plain, joined, wrong = (played(path, words, runs, monkeypatch) for runs in (alone, runs_of, pairs))
        for name, column in plain.items():
            assert np.array_equal(column, joined[name], equal_nan=column.dtype.kind == "f"), (world, words, name)
        n_preempted += int(plain["preemptions"].sum() > 0)
        n_hit += int(plain["cached_input_tokens"].sum() > 0)
        n_wrong += not np.array_equal(plain["cached_input_tokens"], wrong["cached_input_tokens"])
    assert n_preempted > N_WORLDS / 4 and n_hit > N_WORLDS / 2  # The hard cases have been among them,
    assert n_wrong > N_WORLDS / 4  # and blocks joined wrongly would have been seen.


def test_a_run_ends_where_prompts_part_end_or_come_from_elsewhere():
    prompts = [[0, 1, 2, 3], [0, 1, 4, 5], [0, 1, 4, 5], [6, 7], [6], [], [8, 9, 10], [11, 9, 12]]
    ids = np.concatenate([np.array(prompt, np.int64) for prompt in prompts])
    offsets = np.concatenate(([0], np.cumsum([len(prompt) for prompt in prompts])))
    runs = runs_of(ids, offsets)
    found = [
        list(zip(runs.ids[low:high].tolist(), runs.ends[low:high].tolist(), strict=True))
        for low, high in zip(runs.offsets, runs.offsets[1:], strict=False)
    ]
    assert found == [
        [(0, 2), (2, 4)], [(0, 2), (4, 4)], [(0, 2), (4, 4)], [(6, 1), (7, 2)], [(6, 1)], [],
        [(8, 1), (9, 2), (10, 3)], [(11, 1), (9, 2), (12, 3)],
    ]  # fmt: skip
