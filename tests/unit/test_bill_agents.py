"""`bill-agents` sets ways to serve the same sessions beside each other, in dollars that a reader can add up."""

from __future__ import annotations

import json

import pytest

from sim.study.agents.asked import asked, folder_of
from sim.study.agents.bill import JSON_NAME, bill_agents
from sim.study.agents.text import as_text, times
from sim.study.search import lab
from sim.workload.logs.request_log import read_log
from sim.workload.logs.sample_log import write_sample_sessions

PRICES = [
    "gpu=l4", "engine.weight_dtype=fp8", "prices.gpu.usd_per_gpu_hour.l4=1", *(
        f"+prices.api.models.llama_3_1_8b.usd_per_mtok_{what}={usd}" if what == "cached_input"
        else f"prices.api.models.llama_3_1_8b.usd_per_mtok_{what}={usd}"
        for what, usd in (("input", 1), ("cached_input", 0.1), ("output", 10))
    ),
]  # fmt: skip


@pytest.fixture
def two_sessions(tmp_path):
    """Two sessions of two users: 2,000 then 3,000 tokens with answers of 100; 4,000 then 5,000 with answers of 200."""
    rows = [(0, "ann", "a", 2000, 100, 0), (20, "ann", "a", 3000, 100, 10),
            (60, "bob", "b", 4000, 200, 0), (90, "bob", "b", 5000, 200, 10)]  # fmt: skip
    heads = "arrived_s,user,session_id,input_tokens,output_tokens,wait_s"
    (tmp_path / "two.csv").write_text("\n".join([heads, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return str(tmp_path / "two.csv")


def billed(log, tmp_path, *words):
    return bill_agents(asked(log, [*PRICES, f"output.dir={tmp_path}", *words]), n_jobs=1)


def per_task(found):
    return {line.name: line.usd_per_task.mean for line in found.lines}


def test_two_sessions_in_whole_numbers(two_sessions, tmp_path):
    """14,000 tokens in, of which the API has 6,000 in its cache, and 600 out, at $1, $0.10 and $10 per million.

    Cached they are 8,600 + 6,000 millionths of a dollar, else 14,000 + 6,000, for two tasks. In a window of two hours
    two tasks begin, so 730 in a month, for which two cards at $1 an hour are paid 1,460 times.
    """
    found = billed(two_sessions, tmp_path, "horizon_s=7200", "scaling.n_replicas=2")
    usd = per_task(found)
    assert usd["API, cached input"] == pytest.approx(0.0073)
    assert usd["API, no prompt cache"] == pytest.approx(0.0100)
    assert usd["2 x l4, always on"] == usd["2 x l4, with host memory"] == pytest.approx(2.00)
    assert found.tasks_per_month == pytest.approx(730) and found.seats == (2, "the users that the log names")
    assert found.usd_per_seat(found.base).mean == pytest.approx(0.0073 * 365)
    assert found.usd_per_seat(found.lines[2]).mean == pytest.approx(730)
    assert times(found, found.lines[1]) == "1.37" and times(found, found.lines[2]) == "274"


def test_own_cards_are_paid_around_the_clock_an_api_by_the_token(two_sessions, tmp_path):
    """Half of the month is like the log: half as many tasks, each as dear at the API and twice as dear on cards."""
    words = ("horizon_s=7200", "scaling.n_replicas=2", "month.hours=365", "month.sessions_per_seat=73")
    found = billed(two_sessions, tmp_path, *words)
    usd = per_task(found)
    assert usd["API, cached input"] == pytest.approx(0.0073) and usd["2 x l4, always on"] == pytest.approx(4.00)
    assert found.seats[0] == pytest.approx(365 / 73)


def test_every_row_serves_the_same_tokens_and_a_compaction_its_summaries_beside(two_sessions, tmp_path):
    words = ("scaling.n_replicas=1", "other.model=qwen3_8b", "other.compact_at_tokens=4500", "other.summary_tokens=100")
    found = billed(two_sessions, tmp_path, *words)
    rows = [(line, *map(line.of_task, ("requests", "input_tokens", "output_tokens"))) for line in found.lines]
    same = {tuple(counts) for line, *counts in rows if not line.row.is_compacted}
    assert same == {(2.0, 7000.0, 300.0)} and len(rows) == 7
    compacted = {tuple(counts) for line, *counts in rows if line.row.is_compacted}
    # Of session b the second call is too long: one more of 4,200 tokens, then 4,000 + 100 + 800.
    assert compacted == {(2.5, (2000 + 3000 + 4000 + 4200 + 4900) / 2, (200 + 400 + 100) / 2)}
    assert all(line.finished_fraction == 1 for line, *_ in rows)
    assert [name for name, _ in found.left_out] == ["with qwen3_8b: API, cached input"]


@pytest.mark.slow
def test_the_days_of_a_week_give_intervals_and_pairs_make_them_narrow(tmp_path):
    calls, sessions = write_sample_sessions(tmp_path / "week.csv", 1, 3)
    log = read_log(str(tmp_path / "week.csv"))
    assert (len(log), log.receipt.sessions, log.receipt.users) == (calls, sessions, 1)
    found = billed(str(tmp_path / "week.csv"), tmp_path, "gpu=h100_sxm", "scaling.n_replicas=1", "kv_tiers=none")
    assert [line.repeats for line in found.lines] == [False] * 3 and len(found.lines[0].samples) == 10
    api, uncached, own = found.lines
    difference, alone = found.difference(uncached), uncached.usd_per_task
    assert difference.low > 0 and difference.half_width < alone.half_width
    assert own.usd_per_task.low < own.usd_per_task.mean < own.usd_per_task.high
    low, high = (float(end.replace(",", "")) for end in times(found, own).partition("(")[2][:-1].split("-"))
    assert low < own.usd_per_task.mean / api.usd_per_task.mean < high
    assert "draws the log's days anew" in as_text(found)


@pytest.mark.slow
def test_of_cards_that_cannot_hold_the_long_sessions_no_bargain_is_told(two_sessions, tmp_path):
    found = billed(two_sessions, tmp_path, "scaling.n_replicas=1", "kv_tiers=none", "other.model=llama_2_7b")
    api, *_, own = found.lines
    assert own.finished_fraction == 0.5 and times(found, own) == "other tasks" and api.finished_fraction == 1
    assert "50.0 % of tasks come to their end; calls are longer than its context" in as_text(found)


@pytest.mark.slow
def test_the_command_answers_within_80_columns_and_plays_nothing_twice(two_sessions, tmp_path, play, monkeypatch):
    played = []
    real = lab.play_one
    monkeypatch.setattr(lab, "play_one", lambda *given: played.append(given) or real(*given))
    more = ["other.compact_at_tokens=4500", "other.summary_tokens=100"]
    ask = ["bill-agents", two_sessions, *PRICES, *more, "--jobs", "1"]
    said = play(*ask, f"output.dir={tmp_path}")
    assert said.code == 0, said.err
    assert max(len(line) for line in said.out.splitlines() if str(tmp_path) not in line) <= 80
    assert "API, cached input: $0.00730 a task" in said.out and "0.500 summaries a task" in said.out
    first = len(played)
    again = play(*ask, "--json", f"output.dir={tmp_path}")
    assert len(played) == first > 0
    found = json.loads(again.out)
    folder = folder_of(asked(two_sessions, [*ask[2:-2], f"output.dir={tmp_path}"]))
    assert found == json.loads((folder / JSON_NAME).read_text())
    assert [row["name"] for row in found["rows"]][2:4] == ["1 x l4, always on", "1 x l4, with host memory"]


def test_days_on_which_nothing_is_asked_leave_the_times_of_the_others(two_sessions, tmp_path):
    """One session a week apart from the other: some draws of the days hold none."""
    lines = (tmp_path / "two.csv").read_text().splitlines()
    later = [
        line.replace(line.partition(",")[0], str(int(line.partition(",")[0]) + 6 * 86_400), 1) for line in lines[3:]
    ]
    (tmp_path / "apart.csv").write_text("\n".join([*lines[:3], *later]) + "\n")
    found = billed(str(tmp_path / "apart.csv"), tmp_path, "allow=[long_gap]", "scaling.n_replicas=1", "kv_tiers=none")
    tasks = [sample.figures["tasks"] for sample in found.base.samples]
    assert 0 in tasks and max(tasks) > 0
    assert 0 < found.base.mean_of("ttft_p95_s") < 10 and 0 < found.base.mean_of("task_mean_s") < 100


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["seats=0"], "error: seats = 0: should be greater than 0"),
        (["seats=2", "month.sessions_per_seat=3"], "error: seats = 2 and month.sessions_per_seat = 3: one of"),
        (["month.hours=800"], "error: month.hours = 800: should be less than or equal to 730"),
        (["other.model=nope"], "error: model=nope: is not one of"),
        (["other.compact_at_tokens=2000"], "error: other: compact_at_tokens = 2000 must be > summary"),
        (["other.compact_at_tokens=9000", "columns.session=none"], "error: other.compact_at_tokens = 9000: needs"),
        (["fleet=always_on"], "error: fleet=always_on: the rows of the bill choose it"),
        (["seats=1,2"], "error: seats=1,2: must be key=value, with one value"),
        (["nonsense=1"], "error: nonsense"),
    ],
)  # fmt: skip
def test_bad_words_are_one_line(two_sessions, tmp_path, play, words, line):
    said = play("bill-agents", two_sessions, *PRICES, f"output.dir={tmp_path / 'out'}", *words)
    assert said.code == 2 and said.line.startswith(line), said.err
    assert not (tmp_path / "out").exists()
