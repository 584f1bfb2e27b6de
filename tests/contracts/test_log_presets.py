"""Every preset of a log format knows its own format, and no other's; every reader keeps the lines of its rows."""

from __future__ import annotations

import json

import pytest

from sim.schema import kinds_of
from sim.workload.logs.presets import presets
from sim.workload.logs.readers.reader import LogReader
from sim.workload.logs.request_log import read_log
from sim.workload.logs.roles import ROLES, Columns
from tests.contracts.log_samples import SAMPLES, SUMS


def written(tmp_path, content):
    is_text = isinstance(content, str)
    path = tmp_path / ("log.csv" if is_text else "log.jsonl")
    path.write_text(content if is_text else "\n".join(map(json.dumps, content)) + "\n")
    return str(path)


def test_every_preset_but_that_of_sums_has_a_sample():
    assert set(SAMPLES) == {name for name, preset in presets().items() if not preset.sums}


@pytest.mark.parametrize("name", SAMPLES)
def test_a_log_of_each_format_is_known_and_read(tmp_path, name):
    sample = SAMPLES[name]
    log = read_log(written(tmp_path, sample.content))
    assert log.receipt.preset == name
    assert (log.input_tokens.tolist(), log.output_tokens.tolist()) == (sample.input_tokens, sample.output_tokens)
    assert log.arrived_s.tolist() == pytest.approx(sample.arrived_s)
    assert (None if log.task_ids is None else log.task_ids.tolist()) == sample.tasks
    if sample.wait_s is not None:
        assert log.wait_s.tolist() == pytest.approx(sample.wait_s)
    assert log.receipt.cached_tokens == sample.cached


@pytest.mark.parametrize("name", [name for name, preset in presets().items() if not preset.sums])
def test_a_preset_names_columns_for_what_every_log_has(name):
    columns = presets()[name].columns
    assert columns.of("input") and columns.of("output") and (columns.of("arrived") or columns.of("ended"))
    assert set(ROLES) == set(Columns.model_fields)


@pytest.mark.parametrize("kind", kinds_of(LogReader))
def test_a_reader_keeps_lines_and_passes_over_what_is_no_call(kind):
    reader = kinds_of(LogReader)[kind]()
    samples = [sample.content for name, sample in SAMPLES.items() if presets()[name].reader.kind == kind]
    documents = SUMS.get(kind) or next(content for content in samples if not isinstance(content, str))
    rows = list(reader.rows(iter(enumerate(documents, 7))))
    assert rows and all(7 <= line < 7 + len(documents) and isinstance(row, dict) for line, row in rows)
    assert list(reader.rows(iter([]))) == []
