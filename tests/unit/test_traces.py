"""Readers of request logs: known answers on real logs, every format, and every way a log can be wrong."""

import json
import re
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sim.schema import TraceError
from sim.workload.sample_log import main as sample_log
from sim.workload.traces import read_log

TRACES = Path(__file__).parents[3] / "shared" / "traces"
AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
PLAIN = "arrived_s,input_tokens,output_tokens\n"


@pytest.fixture
def log_of(tmp_path):
    """Writes text to a file and reads it as a log."""

    def read(text, name="log.csv", format="auto"):
        (tmp_path / name).write_text(text)
        return read_log(str(tmp_path / name), format)

    return read


@pytest.mark.parametrize(
    ("name", "rows", "input_tokens", "output_tokens", "span_s"),
    [
        ("azure_2023_code.csv", 8_819, 18_059_974, 245_896, 3435.948),
        ("azure_2023_conv.csv", 19_366, 22_361_870, 4_088_665, 3501.722),
        ("mooncake_conversation.jsonl", 12_031, 144_793_823, 4_122_048, 3536.999),
        ("mooncake_synthetic.jsonl", 3_993, 61_194_628, 595_432, 1022.025),
    ],
)
def test_real_logs_are_read_in_full(name, rows, input_tokens, output_tokens, span_s):
    if not (TRACES / name).exists():
        pytest.skip(f"REAL LOG ABSENT: {TRACES / name}")
    log = read_log(str(TRACES / name))
    assert (len(log), log.input_tokens.sum(), log.output_tokens.sum()) == (rows, input_tokens, output_tokens)
    assert log.span_s == pytest.approx(span_s, abs=6e-4)
    assert log.notes == ()


def test_twenty_thousand_rows_take_well_under_a_second(tmp_path):
    path = tmp_path / "log.csv"
    assert sample_log([str(path), "--requests", "20000"]) == 0
    began = time.process_time()
    assert len(read_log(str(path))) == 20_000
    assert time.process_time() - began < 0.5


def test_azure_times_with_any_digits_and_zones(log_of):
    stamps = ["03.9799600", "04+00:00", "05.5Z", "06"]
    log = log_of(AZURE + "".join(f"2023-11-16 18:17:{stamp},10,5\n" for stamp in stamps))
    assert log.arrived_s == pytest.approx([0.0, 0.02004, 1.52004, 2.02004], abs=1e-9)


def test_mooncake_blocks_are_kept_row_by_row(log_of):
    rows = [
        {"timestamp": 0, "input_length": 600, "output_length": 5, "hash_ids": [7, 8]},
        {"timestamp": 1500, "input_length": 512, "output_length": 6, "hash_ids": [7]},
    ]
    log = log_of("\n".join(map(json.dumps, rows)) + "\n", "log.jsonl")
    assert log.arrived_s.tolist() == [0.0, 1.5]
    assert (log.hash_ids.tolist(), log.hash_offsets.tolist(), log.block_tokens) == ([7, 8, 7], [0, 2, 3], 512)


def test_plain_csv_and_parquet_say_the_same(log_of, tmp_path):
    text = "arrived_s,input_tokens,output_tokens,task_id,wait_s\n5,10,1,b,0\n6,20,2,a,0\n8.5,40,3,b,2\n"
    log = log_of(text)
    assert log.arrived_s.tolist() == [0.0, 1.0, 3.5]
    assert log.task_ids.tolist() == [0, 1, 0]
    assert log.wait_s.tolist() == [0.0, 0.0, 2.0]
    pd.read_csv(tmp_path / "log.csv").to_parquet(tmp_path / "log.parquet")
    other = read_log(str(tmp_path / "log.parquet"))
    for name in ("arrived_s", "input_tokens", "output_tokens", "task_ids", "wait_s"):
        assert np.array_equal(getattr(log, name), getattr(other, name))


def test_plain_timestamps_may_be_dates_or_seconds(log_of):
    dated = log_of("timestamp,input_tokens,output_tokens\n2025-01-01T00:00:00,1,1\n2025-01-01T00:01:00.5,1,1\n")
    seconds = log_of("timestamp,input_tokens,output_tokens\n1735689600,1,1\n1735689660.5,1,1\n")
    assert dated.arrived_s.tolist() == seconds.arrived_s.tolist() == [0.0, 60.5]


def test_out_of_order_rows_are_sorted_and_counted(log_of):
    log = log_of(PLAIN + "3,30,1\n1,10,1\n2,20,1\n")
    assert log.input_tokens.tolist() == [10, 20, 30]
    assert log.lines.tolist() == [3, 4, 2]
    assert re.search("1 rows were out of order", log.notes[0])


def test_rows_without_tokens_are_dropped_and_counted(log_of):
    log = log_of(PLAIN + "0,10,0\n1,10,5\n2,0,5\n3,10,5\n")
    assert log.lines.tolist() == [3, 5]
    assert log.arrived_s.tolist() == [0.0, 2.0]
    assert log.notes == ("2 of 4 rows without input or output tokens were dropped",)


def test_coarse_time_stamps_are_noticed(log_of):
    ticks = log_of(PLAIN + "".join(f"{3 * (i // 10)},10,5\n" for i in range(300)))
    assert ticks.tick_s == 3.0
    assert log_of(PLAIN + "".join(f"{3 * i},10,5\n" for i in range(300))).tick_s is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("TIMESTAMP,ContextTokens\n2023-11-16 18:00:00,1\n", "column 'GeneratedTokens': is missing; found TIMESTAMP"),
        ("when,input_tokens,output_tokens\n1,1,1\n", "line 1, column 'arrived_s': is missing; found when,"),
        (AZURE + "2023-11-16 18:00:00,1,1\nyesterday,1,1\n", "line 3, column 'TIMESTAMP': 'yesterday' is not a date"),
        (AZURE + "2023-11-16 18:00:00,1,many\n", "line 2, column 'GeneratedTokens': 'many' is not a whole number"),
        (PLAIN + "0,1,1\n\n1,-5,1\n", "line 4, column 'input_tokens': -5 is not a whole number of tokens >= 0"),
        (PLAIN + "0,1.5,1\n", "line 2, column 'input_tokens': 1.5 is not a whole number"),
        (PLAIN + "0,1,1\n1,,1\n", "line 3, column 'input_tokens': an empty field is not a whole number"),
        (PLAIN + "0,1,1\ninf,1,1\n", "line 3, column 'arrived_s': inf is not a number of seconds"),
        (PLAIN + "0,1,1\n1,1,1,1\n", "line 3"),
        (PLAIN, "holds no request"),
        (PLAIN + "0,1,0\n", "holds no request"),
        ("", "is empty"),
        ('{"timestamp": 0, "input_length": 5}\n', "column 'output_length': is missing; found timestamp, in"),
        ('{"timestamp": 0, "input_length": 5, "output_length": 1}\n{"timest\n', "line 2: is not JSON"),
        ('{"timestamp": 0, "input_length": 5, "output_length": -1}\n', "line 1, column 'output_length': -1 is not"),
        (
            '{"timestamp": 0, "input_length": 5, "output_length": 1, "hash_ids": [1, 2]}\n',
            "line 1, column 'hash_ids': [1, 2] is not a list of at most 1 whole numbers",
        ),
    ],
)
def test_bad_logs_are_refused_in_one_line_that_names_the_place(log_of, text, said):
    with pytest.raises(TraceError, match=re.escape(said)) as error:
        log_of(text)
    assert "log.csv" in str(error.value)
    assert "\n" not in str(error.value)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(TraceError, match="no_such.csv: cannot be read: No such file"):
        read_log(str(tmp_path / "no_such.csv"))
    with pytest.raises(TraceError, match="cannot be read"):
        read_log(str(tmp_path))
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(TraceError, match="bad.parquet: is not a readable Parquet file"):
        read_log(str(tmp_path / "bad.parquet"))
    (tmp_path / "bad.csv").write_bytes(b"\xff\xfe\x00\x01,\x9d\n\xff")
    with pytest.raises(TraceError, match="bad.csv"):
        read_log(str(tmp_path / "bad.csv"))


def test_a_changed_file_is_read_anew(log_of):
    assert len(log_of(PLAIN + "0,1,1\n")) == 1
    assert len(log_of(PLAIN + "0,1,1\n1,1,1\n")) == 2
