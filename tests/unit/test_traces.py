"""Readers of request logs: known answers on real logs, every format, and every way a log can be wrong."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sim.schema import TraceError
from sim.workload.logs.request_log import read_log

TRACES = Path(__file__).parents[3] / "shared" / "traces"
AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
PLAIN = "arrived_s,input_tokens,output_tokens\n"
MOONCAKE_ROW = {"timestamp": 0, "input_length": 5, "output_length": 1}


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


def test_azure_times_with_any_digits_and_zones(log_of):
    stamps = ["03.9799600", "04+00:00", "05.5Z", "06"]
    log = log_of(AZURE + "".join(f"2023-11-16 18:17:{stamp},10,5\n" for stamp in stamps))
    assert log.arrived_s == pytest.approx([0.0, 0.02004, 1.52004, 2.02004], abs=1e-9)


@pytest.mark.parametrize("ids", [(7, 8), (2**64 - 1, 2**63), (-(2**70), 2**70)])
def test_mooncake_blocks_are_kept_row_by_row(log_of, ids):
    """The ids are names, of any size; blocks are numbered as they appear."""
    rows = [
        {"timestamp": 0, "input_length": 600, "output_length": 5, "hash_ids": list(ids)},
        {"timestamp": 1500, "input_length": 512, "output_length": 6, "hash_ids": [ids[0]]},
    ]
    log = log_of("\n".join(map(json.dumps, rows)) + "\n", "log.jsonl")
    assert log.arrived_s.tolist() == [0.0, 1.5]
    assert (log.hash_ids.tolist(), log.hash_offsets.tolist(), log.block_tokens) == ([0, 1, 0], [0, 2, 3], 512)


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


MOMENTS = pd.to_datetime(
    ["2025-03-30T00:59:59.9999999Z", "2025-03-30T01:00:00Z", "2025-03-30T03:00:00.25Z"], format="ISO8601"
)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin"])  # where that night lacks an hour
def test_a_column_of_moments_says_the_same_in_csv_and_parquet(tmp_path, unit, zone):
    moments = (MOMENTS.tz_localize(None) if zone is None else MOMENTS.tz_convert(zone)).as_unit(unit)
    frame = pd.DataFrame({"timestamp": moments, "input_tokens": 10, "output_tokens": 5})
    frame.to_csv(tmp_path / "log.csv", index=False)
    frame.to_parquet(tmp_path / "log.parquet")
    assert frame["timestamp"].dtype.kind == "M"
    read = [read_log(str(tmp_path / f"log.{ending}")).arrived_s for ending in ("csv", "parquet")]
    assert read[0].tolist() == read[1].tolist() == ((moments - moments[0]) / pd.Timedelta("1s")).tolist()
    assert 7200 <= read[0][-1] <= 7201.25


def test_moments_of_python_and_days_in_parquet(tmp_path):
    day = pd.Timestamp("2025-03-30")
    for stamps in (
        [day.to_pydatetime(), day.to_pydatetime() + pd.Timedelta("1D")],
        [day.date(), (day + pd.Timedelta("2D")).date()],
    ):
        pd.DataFrame({"timestamp": stamps, "input_tokens": 10, "output_tokens": 5}).to_parquet(tmp_path / "log.parquet")
        span_s = (pd.Timestamp(stamps[1]) - pd.Timestamp(stamps[0])).total_seconds()
        assert read_log(str(tmp_path / "log.parquet")).span_s == span_s


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("arrived_s", MOMENTS, "'2025-03-30 00:59:59.999999900+00:00' is not a number of seconds"),
        ("arrived_s", pd.to_timedelta([1, 2, 3], unit="s"), "'0 days 00:00:01' is not a number of seconds"),
        ("arrived_s", [1735689600000, 1735689600250, 1735689601000], "looks like milliseconds, must be seconds"),
        ("timestamp", [MOMENTS[0], None, MOMENTS[2]], "row 2, column 'timestamp': an empty field is not a date"),
        ("timestamp", pd.to_datetime(["3025-01-01"] * 3), "is not a year from 1678 to 2261"),
        ("input_tokens", MOMENTS, "is not a whole number of tokens >= 0"),
        ("wait_s", MOMENTS, "is not a number of seconds >= 0"),
        ("priority", MOMENTS, "is not a whole number"),
    ],
)
def test_moments_and_milliseconds_are_not_taken_for_seconds(tmp_path, column, values, said):
    frame = pd.DataFrame({"input_tokens": [10] * 3, "output_tokens": 5, "task_id": 1} | {column: values})
    if column not in ("arrived_s", "timestamp"):
        frame["arrived_s"] = range(3)
    frame.to_parquet(tmp_path / "log.parquet")
    with pytest.raises(TraceError, match=re.escape(said)) as error:
        read_log(str(tmp_path / "log.parquet"))
    assert "\n" not in str(error.value)


def test_a_byte_order_mark_is_no_text(log_of):
    for name, text in (("log.csv", PLAIN + "0,10,5\n"), ("log.jsonl", json.dumps(MOONCAKE_ROW) + "\n")):
        assert len(log_of("\ufeff" + text, name)) == 1
    with pytest.raises(TraceError, match="is empty"):
        log_of("\ufeff\n")


def test_a_comma_after_every_row_is_no_field(log_of):
    assert len(log_of(PLAIN + "0,10,5,\n1,10,5,\n")) == 2


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
        (PLAIN + "0,1,1\ninf,1,1\n", "line 3, column 'arrived_s': inf is not a number of seconds"),
        (PLAIN + "0,1,1\n1,1,1,1\n", "line 3"),
        (PLAIN + "0,5,10,7\n1,5,10,7\n", "line 2: has 4 fields, but the header names 3: arrived_s,input_tokens,output"),
        (PLAIN + "0,5,10,\n\n1,5,10,7\n", "line 4: has 4 fields, but the header names 3"),
        ("a;b;c\n0,5;1;1\n", "line 1, column 'arrived_s': is missing; found a, b, c"),
        (PLAIN + "1735689600000,1,1\n", "line 2, column 'arrived_s': 1735689600000 looks like milliseconds, must be s"),
        (
            json.dumps(MOONCAKE_ROW | {"timestamp": 1735689600000000, "hash_ids": [1]}),
            "line 1, column 'timestamp': 1735689600000000 looks like microseconds, must be milliseconds",
        ),
        (PLAIN, "holds no request"),
        (PLAIN + "0,1,0\n", "holds no request"),
        ("", "is empty"),
        ('{"timestamp": 0, "input_length": 5}\n', "column 'output_tokens': is missing; found timestamp, in"),
        ('{"timestamp": 0, "input_length": 5, "output_length": 1}\n{"timest\n', "line 2: is not JSON"),
        ('{"timestamp": 0, "input_length": 5, "output_length": -1}\n', "line 1, column 'output_length': -1 is not"),
        (
            '{"timestamp": 0, "input_length": 5, "output_length": 1, "hash_ids": [1, 2]}\n',
            "line 1, column 'hash_ids': is a list of 2 blocks, must be of at most 1",
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
