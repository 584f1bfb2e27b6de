"""A run too long for memory keeps its tables on disk, and every number of it is the same to the last bit."""

from __future__ import annotations

import os
import pickle
from functools import partial

import numpy as np
import pandas as pd
import pytest

import sim.columns
from sim.columns import OnDisk, blocks, folder_for, n_rows, select
from sim.recorder import Recorder
from sim.records import ReplicaState
from sim.scenarios import compose_config, parse
from sim.schema import ConfigError
from sim.simulation import simulate as play
from sim.study.job import write_finished
from sim.study.played import requests_table, spans_table
from sim.study.replicate import replicate, simulate
from sim.study.steadiness import _number_inside
from tests.laws.test_any_valid_scenario import valid_scenario

SHORT = ["horizon_s=100", "warmup_s=20", "seed=3", "arrivals.rate_per_s=1"]
SCENARIOS = {
    "an API, hedged": [
        "fleet=api_only",
        "model=llama_3_3_70b",
        "api=rate_limited",
        "+api.hedge.after_s=0.6",
    ],
    "a fleet with an overflow": ["fleet=hybrid_overflow", "tasks=support"],
    "cold starts": ["fleet=scale_to_zero", "arrivals=bursty", "cold_start=cold_node"],
    "several applications": ["tasks=chat_and_support"],
    "sessions as graphs": ["tasks=coding_session", "arrivals.rate_per_s=0.01", "horizon_s=600"],
    "tiers of KV memory": ["tasks=agent", "kv_tiers=host_and_disk", "engine.kv_cache_blocks=1500"],
    "prefill and decode apart": ["disaggregation={prefill_replicas:1,link_gb_per_s:50}"],
}
ANY = (3, 14, 28, 40, 57, 66, 71, 95)
"""Draws of scenarios from losses, pools, limits and clients that leave, that take a moment."""


def tiny_blocks(monkeypatch):
    """Tables go to disk from seven rows on, and what is done row by row is done to five at a time."""
    monkeypatch.setattr(sim.columns, "BLOCK_ROWS", 7)
    monkeypatch.setattr(sim.columns, "ROWS_AT_ONCE", 5)


def assert_same(scenario, monkeypatch):
    monkeypatch.setattr("sim.study.replicate.play", partial(play, measure_peak=False))  # it takes longer than the run
    in_memory = simulate(scenario)
    with monkeypatch.context() as patch:
        tiny_blocks(patch)
        on_disk = simulate(scenario)
        assert isinstance(in_memory.run.facts.requests, dict)
        assert n_rows(in_memory.run.facts.requests) < 7 or isinstance(on_disk.run.facts.requests, OnDisk)
        assert repr(on_disk.summary) == repr(in_memory.summary)  # repr tells every bit, and NaN from nothing
        assert on_disk.usage.to_json() == in_memory.usage.to_json()
        assert on_disk.notes == in_memory.notes
        pd.testing.assert_frame_equal(on_disk.bill, in_memory.bill, check_exact=True)
        for table in (requests_table, spans_table):
            pd.testing.assert_frame_equal(table(on_disk.run.facts), table(in_memory.run.facts), check_exact=True)
        assert np.array_equal(*(_number_inside(run.run.facts) for run in (on_disk, in_memory)))


@pytest.mark.parametrize("what", SCENARIOS)
def test_the_numbers_are_those_of_tables_in_memory(what, monkeypatch):
    assert_same(parse(compose_config(*SHORT, *SCENARIOS[what])), monkeypatch)


@pytest.mark.parametrize("number", ANY)
def test_so_they_are_for_any_scenario(number, monkeypatch):
    assert_same(valid_scenario(number), monkeypatch)


@pytest.mark.slow
def test_the_files_of_a_run_are_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr("sim.study.replicate.play", partial(play, measure_peak=False))
    scenario = parse(compose_config(*SHORT, "replications=2", "tasks=chat_and_support", "horizon_s=60"))
    found = []
    for blocks_are in (lambda patch: None, tiny_blocks):
        with monkeypatch.context() as patch:
            blocks_are(patch)
            folder = tmp_path / str(len(found))
            result = replicate(scenario, keep_runs=True)
            write_finished(folder, "0" * 12, {"output": {}}, scenario, result, alone=True)
        found.append(folder)
    in_memory, on_disk = ({path.name: path for path in folder.iterdir()} for folder in found)
    assert in_memory.keys() == on_disk.keys()
    for name, path in in_memory.items():
        if path.suffix == ".parquet":
            tables = (pd.read_parquet(one) for one in (path, on_disk[name]))
            pd.testing.assert_frame_equal(*tables, check_exact=True)
        elif name != "row.json":  # which has the sizes of the others
            assert path.read_bytes() == on_disk[name].read_bytes(), name


def a_long_table(folder, monkeypatch, n=100):
    """Spans of n replicas on disk, in blocks of seven: number i is idle from i to i + 1."""
    tiny_blocks(monkeypatch)
    recorder = Recorder(folder=folder)
    for i in range(n):
        recorder.span(0, i, ReplicaState.IDLE, i, i + 1)
    return recorder.spans()


def test_columns_on_disk_are_read_as_from_memory(tmp_path, monkeypatch):
    spans = a_long_table(tmp_path, monkeypatch)
    assert isinstance(spans, OnDisk) and n_rows(spans) == 100
    assert spans["end_s"].tolist() == list(range(1, 101)) and spans["replica_id"].dtype == np.int32
    assert spans.between("start_s", 5, 23).tolist() == list(range(5, 23)), "over the edges of blocks"
    begins, parts = zip(*blocks(spans, "start_s"), strict=True)
    assert begins == tuple(range(0, 100, 5)) and np.concatenate([p["start_s"] for p in parts]).tolist() == [*range(100)]
    odd = select(spans, spans["replica_id"] % 2 == 1)
    assert n_rows(odd) == 50 and select(odd, np.array([0, 2]))["start_s"].tolist() == [1, 5]
    assert pickle.loads(pickle.dumps(spans))["start_s"].tolist() == [*range(100)], "another process has its own"


def test_nothing_is_left_of_them(tmp_path, monkeypatch):
    spans = a_long_table(tmp_path, monkeypatch)
    if os.name == "posix":
        assert not list(tmp_path.iterdir()), "the file has no name even while it is there"
    del spans
    assert not list(tmp_path.iterdir())


def test_a_disk_that_takes_nothing_is_told_in_one_line(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match=r"gone: No such file .* output\.dir names another folder") as told:
        a_long_table(tmp_path / "gone", monkeypatch)
    assert "\n" not in str(told.value)


def test_they_lie_where_results_will(tmp_path):
    assert folder_for(str(tmp_path / "outputs" / "not yet there")) == tmp_path
