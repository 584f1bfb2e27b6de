"""Values of the rows of a log: JSON, and names of prefix blocks, each against a plain reading."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from sim.workload.logs import documents
from sim.workload.logs.request_log import read_log


def test_json_is_what_the_standard_library_makes_of_it():
    """Numbers to the last bit, and an error where it has one."""
    rng = np.random.default_rng(3)
    floats = rng.integers(0, 2**63, 2000).astype(np.int64).view(np.float64)
    texts = [repr(x) for x in floats[np.isfinite(floats)].tolist()]
    texts += [f"{x:.{n}f}" for n in (3, 9, 17, 25) for x in rng.uniform(0, 2e9, 200).tolist()]
    texts += [
        "NaN",
        "-Infinity",
        "1e999",
        "-0",
        "-0.0",
        str(10**60),
        '{"a": 1, "a": [2, null, true]}',
        '"\\ud83d\\ude00"',
    ]
    texts += ['"\\ud800"', "[" * 300 + "]" * 300, ' {"a" : 1.5 }\n']
    for text in texts:
        assert repr(documents.parsed(text)) == repr(json.loads(text)), text
    for text in ["", "{", "[1,]", "01", "1.", "nan", '{"a": 1} {}', "'a'", '"\t"', "\ufeff{}"]:
        with pytest.raises(ValueError) as error:
            json.loads(text)
        with pytest.raises(ValueError, match=f"^{re.escape(str(error.value))}$"):
            documents.parsed(text)


def test_names_of_blocks_are_told_apart_whatever_their_kind_and_size(tmp_path, monkeypatch):
    """Ids are numbered in order of appearance, in one batch of rows as in several, whose names differ in kind."""
    lists = [[7, 3], [], [7, 9], [3, 3, 7], [2**70, -1], ["7", 7], [-1, 2**70, 0], [10**9, 10**12], [9], ["7"]]
    numbers: dict = {}
    expected = []
    for names in lists:
        named = [(name, names[:i].count(name)) for i, name in enumerate(names)]
        expected += [numbers.setdefault(name, len(numbers)) for name in named]
    rows = [{"timestamp": i, "input_length": 1500, "output_length": 5, "hash_ids": x} for i, x in enumerate(lists)]
    for size in (1, 2, 3, 100):
        monkeypatch.setattr(documents, "BATCH_ROWS", size)
        for n in range(1, len(rows) + 1):
            path = tmp_path / f"{size}-{n}.jsonl"
            path.write_text("".join(json.dumps(row) + "\n" for row in rows[:n]))
            log = read_log(str(path))
            assert log.hash_ids.tolist() == expected[: sum(map(len, lists[:n]))], (size, n)
