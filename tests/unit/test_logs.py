"""Exports as people have them: each kind of log is understood, and that is said; or it is refused in one line."""

from __future__ import annotations

import gzip
import json
import os
import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from sim.schema import TraceError
from sim.workload.logs import doubts
from sim.workload.logs.request_log import read_log

PLAIN = "timestamp,input_tokens,output_tokens\n"


@pytest.fixture
def log_of(tmp_path):
    """Writes text, rows or bytes to a file and reads it as a log."""

    def read(content, name="log.csv", **options):
        path = tmp_path / name
        if isinstance(content, list):
            content, path = "\n".join(map(json.dumps, content)) + "\n", tmp_path / name.replace(".csv", ".jsonl")
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_log(str(path), **options)

    return read


@pytest.fixture
def refused(log_of):
    """The one line with which a log is refused."""

    def why(content, name="log.csv", **options):
        with pytest.raises(TraceError) as error:
            log_of(content, name, **options)
        assert "\n" not in str(error.value)
        return str(error.value)

    return why


def tokens(log):
    return len(log), int(log.input_tokens.sum()), int(log.output_tokens.sum())


# Units


def chats(*moments):
    return [
        {"chat_id": i, "parent_chat_id": -1, "timestamp": t, "input_length": 100, "output_length": 10, "turn": 1}
        for i, t in enumerate(moments, 1)
    ]


def test_chats_of_bailian_are_in_seconds_and_form_trees(log_of):
    rows = chats(0.25, 12.75, 90.25)
    rows[2] |= {"parent_chat_id": 1, "turn": 2, "input_length": 200}
    log = log_of(rows)
    assert (log.span_s, log.task_ids.tolist()) == (90.0, [0, 1, 0])
    assert log.receipt.preset == "bailian" and log.receipt.sessions == 2


def test_three_names_that_several_formats_share_decide_no_unit(log_of):
    def rows(*moments):
        return [{"timestamp": t, "input_length": 110, "output_length": 12} for t in moments]

    assert log_of(json.dumps(rows(0, 5000)), "array.json").span_s == 5.0  # whole numbers: as if milliseconds, and said
    assert log_of(rows(0, 5000)).receipt.unit == "ms (assumed: whole numbers)"
    assert log_of(rows(0.25, 12.75)).span_s == 12.5
    assert log_of(rows(0, 5000), time={"unit": "s"}).span_s == 5000.0


def test_a_unit_that_nothing_tells_is_said_and_can_be_told(log_of):
    text = PLAIN + "0,310,45\n1450,120,60\n2990,905,12\n60120,77,210\n"
    log = log_of(text)
    assert log.span_s == 60_120 and any("arrivals.time.unit=ms" in what for what in log.receipt.assumed)
    assert log_of(text, time={"unit": "ms"}).span_s == 60.12


@pytest.mark.parametrize(("factor", "unit"), [(1, "s"), (10**3, "ms"), (10**6, "us"), (10**9, "ns")])
def test_stamps_since_1970_tell_their_unit_by_their_digits(log_of, factor, unit):
    log = log_of(PLAIN + f"{1770105600 * factor},110,12\n{1770105605 * factor},230,24\n")
    assert log.span_s == 5.0 and log.receipt.unit.startswith(f"{unit} (by their digits")
    assert log.begins_at.isoformat() == "2026-02-03T08:00:00+00:00"


@pytest.mark.parametrize(("name", "factor"), [("arrived_s", 1), ("timestamp_ms", 10**3), ("arrival_time_ns", 10**9)])
def test_a_name_may_hold_the_unit(log_of, name, factor):
    log = log_of(f"{name},input_tokens,output_tokens\n0,110,12\n{5 * factor},230,24\n")
    assert log.span_s == 5.0 and log.receipt.unit.endswith("(by its name)")


# Moments that no log has


def test_numbers_that_read_as_dates_are_refused_until_told(log_of, refused):
    text = PLAIN + "20260203,110,12\n20260204,230,24\n20260301,340,31\n"
    assert "reads as a date; say which: arrivals.time.format=%Y%m%d" in refused(text)
    assert log_of(text, time={"format": "%Y%m%d"}).span_s == 26 * 86_400
    days = PLAIN + "46056.25,110,12\n46056.5,230,24\n"
    assert "day of a spreadsheet; say which: arrivals.time.unit=excel_days" in refused(days)
    told = log_of(days, time={"unit": "excel_days"})
    assert told.span_s == 21_600 and told.begins_at.isoformat() == "2026-02-03T06:00:00+00:00"


def test_a_stamp_that_was_never_set_is_refused_until_told(log_of, refused):
    text = PLAIN + "1770105600,110,12\n1770105601,230,24\n0,50,5\n1770105609,70,7\n"
    said = refused(text)
    assert "line 4, column 'timestamp'" in said and "56.1 years before" in said and "allow=[long_gap]" in said
    assert len(log_of(text, allow=["long_gap"])) == 4
    year = PLAIN + "".join(f"2026-02-0{d} 08:0{m}:00,10,5\n" for d in (3, 4, 5) for m in range(9))
    assert "line 29" in refused(year + "2027-02-03 08:00:00,10,5\n")


def test_how_far_a_stamp_lies_from_the_rest_is_said_in_the_unit_of_its_size(refused):
    days = "{},1,1\n2026-02-03 08:00:00,1,1\n2026-02-03 10:30:00,1,1\n2026-02-03 13:00:00,1,1\n"
    assert "lies 3 days before all other stamps, which span 5 hours" in refused(
        PLAIN + days.format("2026-01-31 08:00:00")
    )
    minutes = "{},1,1\n2026-02-03 08:00:00,1,1\n2026-02-03 08:10:00,1,1\n2026-02-03 08:25:30,1,1\n"
    assert "lies 37 hours before all other stamps, which span 25.5 minutes" in refused(
        PLAIN + minutes.format("2026-02-01 19:00:00")
    )


def test_stages_of_a_load_test_may_lie_far_apart(log_of):
    assert len(log_of("arrived_s,input_tokens,output_tokens\n0,1,1\n1,1,1\n100000,1,1\n100001,1,1\n")) == 4


def test_stamps_that_are_all_one_moment_are_refused_but_for_a_burst_at_0(log_of, refused):
    rounded = PLAIN + "1.77011E+09,100,20\n" * 6
    assert "all 6 stamps are one moment (rounded" in refused(rounded)
    assert len(log_of(rounded, allow=["one_moment"])) == 6
    assert len(log_of("arrived_s,input_tokens,output_tokens\n" + "0.0,8100,100\n" * 10)) == 10


def test_dates_with_and_without_a_zone_are_refused_until_told(log_of, refused):
    text = PLAIN + "2026-02-03T08:00:00Z,110,12\n2026-02-03 10:00:04,230,24\n2026-02-03T08:00:09Z,340,31\n"
    assert "line 3: has no zone" in refused(text) and "arrivals.time.zone=UTC" in refused(text)
    assert log_of(text, time={"zone": "Europe/Madrid"}).span_s == 3604.0  # 09:00:04 UTC


def test_dates_are_read_in_their_own_zone_through_the_change_of_clocks(log_of):
    text = PLAIN + "2026-03-29 01:59:59,1,1\n2026-03-29 03:00:00,1,1\n"  # the clocks go forward in between
    assert log_of(text, time={"zone": "Europe/Berlin"}).span_s == 1.0
    assert log_of(text).span_s == 3601.0 and log_of(text).receipt.zone == "UTC (assumed: the stamps name none)"


def test_dates_of_other_shapes(log_of, refused):
    assert log_of(PLAIN + "2026-02-03 08:00:00.250000 UTC,110,12\n2026-02-03 08:00:07 UTC,230,24\n").span_s == 6.75
    text = PLAIN + "03/02/2026 08:00:00,110,12\n03/02/2026 08:00:07,230,24\n"
    assert "arrivals.time.format=" in refused(text)  # 3 February or 2 March?
    log = log_of(text, time={"format": "%d/%m/%Y %H:%M:%S"})
    assert log.span_s == 7.0 and log.begins_at.month == 2


@pytest.mark.parametrize(
    ("dates", "formats"),
    [
        (("03/02/2026 08:00:00", "04/02/2026 08:00:07"), ["%d/%m/%Y %H:%M:%S", "%m/%d/%Y %H:%M:%S"]),
        (("2/28/26 8:00 PM", "3/1/26 9:00 AM"), ["%m/%d/%y %I:%M %p"]),
        (("28.02.2026", "01.03.2026"), ["%d.%m.%Y"]),
    ],
)
def test_a_date_that_has_no_year_first_is_refused_with_the_words_that_read_it(log_of, refused, dates, formats):
    """American and European exports put month and day in either order; one day beyond the twelfth tells which."""
    text = PLAIN + "".join(f"{date},1,1\n" for date in dates)
    assert [f for f in formats if f"\"arrivals.time.format='{f}'\"" in refused(text)] == formats
    assert refused(text).count("time.format") == len(formats)
    assert len(log_of(text, time={"format": formats[0]})) == 2


def test_client_files_of_servegen_are_no_requests(tmp_path):
    (tmp_path / "chunk-7-trace.csv").write_text("0,1.5,1.2,Gamma,0.7,1\n600,0,0,,0,0\n")
    with pytest.raises(TraceError, match="rates, not requests: arrivals=client_mix"):
        read_log(str(tmp_path / "chunk-7-trace.csv"))


def test_a_moment_of_the_far_future_is_none(refused):
    assert "is no moment before the year 5138" in refused(PLAIN + f"{10**25},1,1\n")


# Names


def test_names_of_openai_and_missing_ones(log_of, refused):
    log = log_of(
        "created_at,model,prompt_tokens,completion_tokens\n2026-02-03T08:00:00Z,m1,410,33\n2026-02-03T08:00:09Z,m1,95,120\n"
    )
    assert (tokens(log), log.span_s, log.receipt.models) == ((2, 505, 153), 9.0, {"m1": 2})
    said = refused("when,tok_in,completion_tokens\n1,1,1\n")
    assert re.search(r"column 'arrived_s': is missing; found when, tok_in", said)
    said = refused("timestamp,size_of_prompt,completion_tokens\n1,1,1\n")
    assert said.endswith("if 'size_of_prompt' is it: arrivals.columns.input=size_of_prompt")
    told = log_of("at,x.y,completion_tokens\n1,1,1\n", columns={"arrived": "at", "input": "x.y"})
    assert tokens(told) == (1, 1, 1)
    assert "arrivals.columns.input=z: no such column; found at" in refused("at,b\n1,2\n", columns={"input": "z"})


def test_other_spellings_are_the_same_name(log_of):
    assert tokens(log_of("Timestamp,Prompt Tokens,completionTokens\n0,110,12\n5,230,24\n")) == (2, 340, 36)


def test_paths_into_nested_json(log_of):
    rows = [{"created": 1770105600 + t, "usage": {"prompt_tokens": 100, "completion_tokens": 9,
             "prompt_tokens_details": {"cached_tokens": 64}}} for t in (0, 5)]  # fmt: skip
    log = log_of(rows)
    assert (tokens(log), log.receipt.cached_tokens, log.receipt.preset) == ((2, 200, 18), 128, "openai")


def test_a_format_of_ones_own_is_a_file_of_column_names(log_of, tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "title: ours\ncolumns: {arrived: [at], input: [i], output: [o]}\ntime: {unit: ms}\n"
        "set_aside: [{column: ok, equal: ['no'], why: failed}]\n"
    )
    log = log_of("at,i,o,ok\n0,10,1,yes\n5,10,1,no\n1500,20,2,yes\n", format=str(tmp_path / "mine.yaml"))
    assert (tokens(log), log.span_s, log.receipt.set_aside) == ((2, 30, 3), 1.5, {"failed": 1})


def test_a_key_that_comes_late_is_not_overlooked(log_of):
    rows = [{"timestamp": t, "input_tokens": 10, "output_tokens": 1} for t in range(3000)]
    rows[2500] |= {"session_id": "s"}
    rows[2600] |= {"session_id": "s"}
    assert log_of(rows).receipt.sessions == 1


# Tokens


def test_cached_tokens_beside_the_input_are_part_of_the_prompt(log_of):
    text = "timestamp,input_tokens,cache_creation_input_tokens,cache_read_input_tokens,output_tokens\n"
    log = log_of(text + "0,11,3000,0,250\n30,9,420,3011,190\n60,14,310,3440,205\n")
    assert (tokens(log), log.receipt.cached_tokens) == ((3, 10_215, 645), 6451)
    assert log.receipt.cached_are == "beside the input"
    assert tokens(log_of("timestamp,prompt_tokens,cached_tokens,completion_tokens\n0,100,80,5\n")) == (1, 100, 5)


def test_cached_tokens_that_do_not_fit_inside_are_asked_about(log_of, refused):
    text = "timestamp,prompt_tokens,cached_tokens,completion_tokens\n0,20,80,5\n"
    assert "line 2: has 80 cached tokens in an input of 20" in refused(text)
    assert tokens(log_of(text, cached="beside")) == (1, 100, 5)


def test_gateways_that_count_cached_tokens_either_way_are_told_row_by_row(log_of, refused):
    head = "startTime,endTime,call_type,prompt_tokens,completion_tokens,cache_read_input_tokens\n"
    row = "2026-02-03 08:00:0{0},2026-02-03 08:00:0{0},acompletion,{1},5,{2}\n"
    assert tokens(log_of(head + row.format(0, 31, 1253)))[1] == 1284
    assert tokens(log_of(head + row.format(0, 1300, 1253)))[1] == 1300
    mixed = head + row.format(0, 31, 1253) + row.format(1, 1300, 1253)
    assert "arrivals.cached=inside or arrivals.cached=beside" in refused(mixed)
    assert tokens(log_of(mixed, cached="beside"))[1] == 31 + 1253 + 1300 + 1253


def test_reasoning_beside_the_output_is_added(log_of):
    usage = {"promptTokenCount": 50, "candidatesTokenCount": 7, "thoughtsTokenCount": 30}
    assert tokens(log_of([{"timestamp": 0, "usageMetadata": usage}])) == (1, 50, 37)


def test_rows_without_usage_are_set_aside_refused_or_imputed(log_of, refused):
    text = PLAIN + "0,110,12\n5,,\n6,230,24\n8,300,\n"
    log = log_of(text)
    assert tokens(log) == (2, 340, 36) and log.receipt.set_aside == {"without usage": 2}
    assert "line 3: has no token counts, like 2 of 4 rows" in refused(text, without_usage="refuse")
    assert tokens(log_of(text, without_usage="impute")) == (4, 110 + 110 + 230 + 230, 12 + 12 + 24 + 24)


def test_counts_of_hundreds_of_digits_are_no_counts(refused):
    assert "line 2, column 'input_tokens': 9999" in refused(PLAIN + f"0,{'9' * 400},1\n")
    assert "line 1, column 'input_tokens'" in refused([{"timestamp": 0, "input_tokens": 10**400, "output_tokens": 1}])


def test_sums_over_many_requests_are_no_requests(log_of, refused):
    text = "timestamp,num_model_requests,input_tokens,output_tokens\n1770076800,40,52000,9100\n1770080400,5,6000,700\n"
    said = refused(text)
    assert "sums over up to 40 requests" in said and "45 requests, 58000 tokens in, 9800 out" in said
    assert len(log_of(text, allow=["sums"])) == 2
    page = {"object": "page", "has_more": False, "data": [{"start_time": 0, "end_time": 60, "results": []}]}
    assert "sums over many requests" in refused(json.dumps(page), "page.json")


# Which rows are requests


def test_failures_answers_of_a_gateway_and_repeats_are_set_aside_and_counted(log_of):
    head = "request_id,call_type,prompt_tokens,completion_tokens,startTime,endTime,model,cache_hit,status\n"
    log = log_of(
        head + "r1,acompletion,500,22,2026-02-03 08:00:00.100,2026-02-03 08:00:02.100,m1,False,success\n"
        "r2,acompletion,0,0,2026-02-03 08:00:01.000,2026-02-03 08:00:01.010,m1,False,failure\n"
        "r3,acompletion,500,22,2026-02-03 08:00:05.000,2026-02-03 08:00:05.020,m1,True,success\n"
        "r4,acompletion,300,40,2026-02-03 08:00:09.500,2026-02-03 08:00:12.500,m1,False,success\n"
        "r4,acompletion,300,40,2026-02-03 08:00:09.500,2026-02-03 08:00:12.500,m1,False,success\n"
        "r5,aembedding,300,0,2026-02-03 08:00:09.500,2026-02-03 08:00:12.500,e1,False,success\n"
    )
    assert (log.receipt.preset, tokens(log), log.span_s) == ("litellm", (2, 800, 62), pytest.approx(9.4))
    assert sum(log.receipt.set_aside.values()) == 4 == log.receipt.rows_read - log.receipt.rows_kept
    assert log.receipt.set_aside["answered from the gateway's cache"] == 1


def test_several_models_are_chosen_from_or_made_applications(log_of, refused):
    text = "timestamp,request_id,model,cache_hit,input_tokens,output_tokens\n0,a,chat-large,False,110,12\n"
    text += "1,b,chat-large,True,110,12\n2,c,embed-small,False,8000,1\n5,d,chat-large,False,230,24\n"
    text += "5,d,chat-large,False,230,24\n"
    said = refused(text)
    assert "2 models (chat-large 2, embed-small 1)" in said and "arrivals.keep.model=chat-large" in said
    log = log_of(text, keep={"model": "chat-large"})
    assert tokens(log) == (2, 340, 36)
    assert log.receipt.set_aside == {"answered from a gateway's cache": 1, "another model": 1, "repeated ids": 1}
    both = log_of(text, application_from="model")
    assert both.application_names == ("chat-large", "embed-small") and both.applications.tolist() == [0, 1, 0]


def test_ids_that_most_rows_repeat_are_sessions(refused):
    text = "timestamp,request_id,input_tokens,output_tokens\n" + "".join(f"{i},a,10,1\n" for i in range(5))
    assert "arrivals.columns.session=request_id" in refused(text)


def test_a_log_of_nothing_but_failures_says_so(refused):
    assert refused("timestamp,status,input_tokens,output_tokens\n0,error,10,1\n").endswith("set aside: 1 failed")


# Sessions


def test_rows_without_a_session_are_calls_of_their_own(log_of):
    log = log_of("timestamp,session_id,input_tokens,output_tokens\n0,s1,110,12\n4,,230,24\n9,s1,350,31\n12,,45,6\n")
    assert (tokens(log), log.task_ids.tolist()) == ((4, 735, 73), [0, 1, 0, 2])


def test_gaps_from_start_to_start_hold_service_and_say_so(log_of):
    text = "timestamp,session_id,input_tokens,output_tokens\n"
    text += "".join(f"{60 * k},s1,{900 + 2400 * k},2000\n" for k in range(5))
    log = log_of(text)
    assert (log.least_gap_s.tolist(), log.wait_s.tolist()) == ([0, 60, 60, 60, 60], [0] * 5)
    assert "from start to start, so they hold service time" in log.notes[0]
    other = log_of(text, gaps="end_to_start")
    assert other.wait_s.tolist() == [0, 60, 60, 60, 60] and other.least_gap_s is None


def test_recorded_ends_leave_the_wait_alone(log_of):
    head = "arrived_s,{},session_id,input_tokens,output_tokens\n"
    for name, cells in (("finished_s", ("4", "15")), ("duration_ms", ("4000", "5000"))):
        log = log_of(head.format(name) + f"0,{cells[0]},s,100,10\n10,{cells[1]},s,130,10\n")
        assert log.wait_s.tolist() == [0.0, 6.0] and log.least_gap_s is None


def test_calls_under_way_at_once_are_siblings(log_of):
    text = "arrived_s,finished_s,session_id,input_tokens,output_tokens\n"
    log = log_of(text + "0,5,s,100,10\n6,20,s,200,10\n7,9,s,210,10\n21,22,s,300,10\n")
    assert log.task_ids.tolist() == [0, 0, 1, 1], "the last prompt holds 210 + 10 tokens, more than 200 + 10"
    assert "1 calls began while another of their session was under way" in log.notes[0]
    assert log.receipt.tasks == 2


def test_added_inputs_are_made_whole_and_whole_ones_are_left(log_of, refused):
    def rows(n_tokens, ids):
        first = {"timestamp": 0, "input_length": 1024, "output_length": 10, "hash_ids": [1, 2], "delay": None}
        later = {"input_length": n_tokens, "output_length": 20, "hash_ids": ids, "delay": 4200}
        return [{"session_id": "s"} | first, {"session_id": "s"} | later]

    added = log_of(rows(512, [9]))
    assert added.input_tokens.tolist() == [1024, 1024 + 10 + 512] and added.hash_ids is None
    assert added.wait_s.tolist() == [0.0, 4.2]
    whole = log_of(rows(1536, [1, 2, 3]))
    assert whole.input_tokens.tolist() == [1024, 1536] and len(whole.hash_ids) == 5
    assert "arrivals.prompts=whole or arrivals.prompts=added" in refused(rows(1024, [9, 2]))
    assert log_of(rows(1024, [9, 2]), prompts="whole").input_tokens.tolist() == [1024, 1024]


# Blocks


def blocks(size):
    rows = [(0, 64), (3000, 80), (6000, 640)]
    return [
        {"timestamp": t, "input_length": n, "output_length": 20, "hash_ids": list(range(-(-n // size)))}
        for t, n in rows
    ]


def test_the_size_of_blocks_is_told_by_the_rows_or_by_hand(log_of, refused):
    log = log_of(blocks(16))
    assert (tokens(log), log.block_tokens) == ((3, 784, 60), 16)
    seen, hits = set(), 0
    for begin, end in zip(log.hash_offsets[:-1], log.hash_offsets[1:], strict=True):
        row = log.hash_ids[begin:end].tolist()
        hits += sum(block in seen for block in row)
        seen.update(row)
    assert hits * 16 == 144
    assert "arrivals.block_tokens=16" in refused(blocks(7))
    by_hand = log_of(blocks(7), block_tokens=7)
    assert by_hand.block_tokens == 7
    concluded = ["that fits every row" in "\n".join(x.receipt.lines()) for x in (log, by_hand)]
    assert concluded == [True, False], "a receipt says what was concluded, not what was told"


@pytest.mark.parametrize("wrong", [7, "7,8", {"a": 1}, [1.5], [[1], [2]], [None]])
def test_blocks_are_a_list_of_names(refused, wrong):
    """A text would be taken apart into letters, and a fraction is no name: hits would be made up."""
    rows = [{"timestamp": t, "input_length": 64, "output_length": 20, "hash_ids": [1, 2]} for t in (0, 9000)]
    assert "is not a list of names of blocks" in refused([*rows, rows[0] | {"timestamp": 9500, "hash_ids": wrong}])


def test_a_block_may_repeat_within_a_prompt(log_of):
    log = log_of([{"timestamp": 0, "input_length": 1024, "output_length": 10, "hash_ids": [5, 5]}])
    assert log.hash_ids.tolist() == [0, 1]


# Containers


def test_containers_of_all_kinds_hold_the_same_log(log_of, tmp_path):
    text = PLAIN + "0,110,12\n5,230,24\n"
    frame = pd.DataFrame({"timestamp": [0, 5], "input_tokens": [110, 230], "output_tokens": [12, 24]})
    rows = frame.to_dict("records")
    packed = pa.compress(text.encode(), codec="zstd", asbytes=True)
    assert packed  # pyarrow has zstd
    with pa.output_stream(str(tmp_path / "log.csv.zst"), compression="zstd") as out:
        out.write(text.encode())
    frame.set_index("timestamp").to_parquet(tmp_path / "indexed.parquet")
    frame.iloc[:1].to_csv(tmp_path / "part-1.csv", index=False)
    frame.iloc[1:].to_csv(tmp_path / "part-2.csv", index=False)
    (tmp_path / "parts").mkdir()
    frame.iloc[:1].to_parquet(tmp_path / "parts/part-1.parquet")
    frame.iloc[1:].to_parquet(tmp_path / "parts/part-2.parquet")
    (tmp_path / "parts/_SUCCESS").touch()
    logs = [
        log_of(text),
        log_of(gzip.compress(text.encode()), "log.csv.gz"),
        read_log(str(tmp_path / "log.csv.zst")),
        log_of(text.replace(",", "\t"), "log.tsv"),
        log_of(text.replace(",", ";"), "semicolons.csv"),
        log_of(text.encode("utf-16"), "utf16.csv"),
        log_of(rows),
        log_of(json.dumps(rows), "array.json"),
        log_of(json.dumps(rows, indent=2), "indented.json"),
        log_of(gzip.compress("\n".join(map(json.dumps, rows)).encode()), "log.jsonl.gz"),
        read_log(str(tmp_path / "indexed.parquet")),
        read_log(str(tmp_path / "part-*.csv")),
        read_log(str(tmp_path / "parts")),
    ]
    for log in logs:
        assert (tokens(log), log.arrived_s.tolist()) == ((2, 340, 36), [0.0, 5.0]), log.path


def test_numbers_as_the_continent_writes_them(log_of, refused):
    log = log_of("timestamp;input_tokens;output_tokens\n0,5;110;12\n5,5;230;24\n")
    assert (tokens(log), log.span_s) == ((2, 340, 36), 5.0) and "decimal comma" in log.receipt.container
    text = "timestamp;input_tokens;output_tokens\n0,5;1.110;12\n5,5;230;24\n"
    assert "is not a whole number" in refused(text)
    assert tokens(log_of(text, thousands=".", decimal=","))[1] == 1340
    quoted = PLAIN + '0,"1,110",12\n'
    assert tokens(log_of(quoted, thousands=","))[1] == 1110


def test_other_encodings_are_told(log_of, refused):
    content = "user,timestamp,input_tokens,output_tokens\nJürgen,0,110,12\n".encode("latin-1")
    assert "arrivals.encoding=latin-1" in refused(content)
    assert tokens(log_of(content, encoding="latin-1")) == (1, 110, 12)


def test_what_is_no_log_is_said(log_of, refused, tmp_path):
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"
    assert "Git LFS pointer" in refused(pointer) and "git lfs pull" in refused(pointer)
    assert "ZIP archive" in refused(b"PK\x03\x04rest", "log.xlsx")
    os.mkfifo(tmp_path / "pipe.csv")
    for path in (str(tmp_path / "pipe.csv"), "/dev/zero"):
        with pytest.raises(TraceError, match="is not a regular file"):
            read_log(path)
    pd.DataFrame({"timestamp": [b"\xff1"], "input_tokens": 1, "output_tokens": 1}).to_parquet(tmp_path / "b.parquet")
    with pytest.raises(TraceError, match="row 1, column 'timestamp': .* is not a date and time"):
        read_log(str(tmp_path / "b.parquet"))


def test_a_small_file_that_unfolds_to_very_many_rows_is_refused_or_read_in_parts(tmp_path, monkeypatch):
    n = 300_000
    pd.DataFrame({"arrived_s": np.zeros(n), "input_tokens": 1, "output_tokens": 1}).to_parquet(tmp_path / "log.parquet")
    monkeypatch.setattr("sim.workload.logs.reading.MOST_ROWS", 100_000)
    with pytest.raises(TraceError, match="has more than 100,000 rows"):
        read_log(str(tmp_path / "log.parquet"))


def test_the_receipt_says_what_was_understood(log_of):
    log = log_of(
        "created_at,model,prompt_tokens,completion_tokens\n2026-02-03T08:00:00Z,m1,410,33\n2026-02-03T08:00:09Z,m1,95,12\n"
    )
    text = "\n".join(log.receipt.lines())
    for part in ("usual names", "input = prompt_tokens", "2026-02-03T08:00:00Z to 2026-02-03T08:00:09Z", "span 9 s",
                 "2 rows read, 2 kept", "505 in, 45 out", "m1 2", "0.1111 requests/s"):  # fmt: skip
        assert part in text
    json.dumps(log.receipt.as_dict())


def test_an_object_that_is_not_as_its_format_has_it_is_refused_in_a_line(refused):
    request = {"t": {"not": "a number"}, "type": "subagent", "requests": [{"t": 1.0, "in": 1, "out": 1}]}
    session = {"id": "s", "tool_tokens": 1, "system_tokens": 1, "requests": [request]}
    assert "is not as its format has it" in refused([session])


def test_a_list_within_an_object_is_a_log(log_of):
    rows = [{"timestamp": t, "input_tokens": 10, "output_tokens": 1} for t in (0, 5)]
    for text in (json.dumps({"meta": {"page": 1}, "data": rows}), json.dumps({"data": rows}, indent=1)):
        assert log_of(text, "page.json").span_s == 5.0


def test_thousands_and_headers_are_hinted_at(refused):
    assert refused(PLAIN + '0,"1,110",12\n').endswith("if that parts thousands: \"arrivals.thousands=','\"")
    assert "has the file no header line?" in refused("0,110,12\n5,230,24\n")


def test_tabs_leave_commas_to_decimals(log_of):
    assert log_of("timestamp\tinput_tokens\toutput_tokens\n0,5\t110\t12\n5,5\t230\t24\n", "log.tsv").span_s == 5.0


def test_a_column_that_names_no_sessions_can_be_left_out(log_of):
    text = "timestamp,session_id,input_tokens,output_tokens\n" + "".join(f"{t},default,10,1\n" for t in range(30))
    log = log_of(text)
    assert log.receipt.tasks == 1 and "one session holds 30 of 30 calls" in log.notes[0]
    assert log_of(text, columns={"session": "none"}).task_ids is None


@pytest.mark.parametrize(
    ("column", "bad"), [("status_code", "429"), ("error", "timeout"), ("success", "False"), ("finish_reason", "abort")]
)
def test_failures_by_any_usual_sign_are_set_aside(log_of, column, bad):
    good = {"status_code": "200", "error": "", "success": "True", "finish_reason": "stop"}[column]
    for prompt, answer in (("input_tokens", "output_tokens"), ("prompt_tokens", "completion_tokens")):
        log = log_of(f"timestamp,{prompt},{answer},{column}\n0,10,1,{good}\n1,10,1,{bad}\n2,10,1,{good}\n")
        assert len(log) == 2 and sum(log.receipt.set_aside.values()) == 1


@pytest.mark.parametrize(
    ("span_s", "said"),
    [(90, "90 s"), (119, "119 s"), (120, "2 minutes"), (7100, "118 minutes"), (7200, "2 hours"), (216_000, "2.5 days")],
)
def test_a_span_is_said_in_the_largest_unit_of_which_it_holds_two(span_s, said):
    """Who is asked whether a log really spans 2.5 days sees a mistaken unit at once, in 60 hours hardly."""
    assert doubts._length(span_s) == said
