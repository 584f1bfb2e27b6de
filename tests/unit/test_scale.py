"""A log grown to next quarter's traffic, and its days drawn anew: what stays as it was, and what changes."""

from __future__ import annotations

from datetime import timedelta
from itertools import chain, pairwise

import numpy as np
import pytest

from sim.moment_zero import MomentZero
from sim.randomness import Streams
from sim.scenarios import compose_config, parse
from sim.schema import ConfigError, TraceError
from sim.study.replicate import replicate
from sim.units import DAY_S, HOUR_S
from sim.work import returning_tokens
from sim.workload.arrivals.days import Days
from sim.workload.arrivals.replay import Replay
from sim.workload.workload import Workload


def tasks_of(replay: Replay, seed: int = 1):
    workload = Workload(replay)
    return list(chain.from_iterable(workload.task_blocks(Streams(seed), workload.default_horizon_s)))


def calls_of(tasks):
    return [call for task in tasks for call in task.calls]


@pytest.fixture(scope="module")
def sessions(tmp_path_factory):
    """Fifty sessions of four calls a minute apart, whose prompts go on from one another."""
    path = tmp_path_factory.mktemp("log") / "sessions.csv"
    rows = [(300.0 * s + 60 * k, 1000 * (k + 1), 200, f"s{s}") for s in range(50) for k in range(4)]
    lines = "".join(f"{a},{i},{o},{s}\n" for a, i, o, s in rows)
    path.write_text("arrived_s,input_tokens,output_tokens,session_id\n" + lines)
    return str(path)


@pytest.fixture(scope="module")
def fortnight(tmp_path_factory):
    """Two weeks in Berlin: every day from 08:00 ten requests an hour, for about three hours, on weekends for less."""
    path = tmp_path_factory.mktemp("log") / "fortnight.csv"
    clock = MomentZero.parse("2026-03-23T00:00 Europe/Berlin")  # the clocks go forward on the first Sunday
    lines = ["timestamp,input_tokens,output_tokens\n", f"{clock.moment.isoformat()},100,10\n"]
    for day in range(14):
        begin_s = clock.same_time_s(timedelta(days=day))
        for i in range(26 + day if clock.local(begin_s).weekday() < 5 else 8):
            opens = clock.local(begin_s).replace(hour=8, tzinfo=None)
            moment = clock.local(clock.second_of(opens) + 360.0 * i)
            lines.append(f"{moment.isoformat()},{1000 + day},10\n")
    lines.append(f"{clock.local(clock.same_time_s(timedelta(days=14)) - 60).isoformat()},100,10\n")
    path.write_text("".join(lines))
    return str(path)


def test_more_users_are_other_users_with_whole_sessions(sessions):
    log, more = tasks_of(Replay(path=sessions)), tasks_of(Replay(path=sessions, scale={"more_users": 2.5}))
    assert len(log) == 50 and 2 * 50 < len(more) < 3 * 50
    assert {len(task.calls) for task in more} == {4}
    assert [task.arrived_s for task in more] == sorted(task.arrived_s for task in more)
    assert len({task.calls[0].segments[0][0] for task in more}) == len(more), "nothing shared between users"
    fewer = tasks_of(Replay(path=sessions, scale={"more_users": 0.4}))
    assert 8 <= len(fewer) <= 32 and {len(task.calls) for task in fewer} == {4}


def test_more_calls_per_user_are_made_within_the_same_sessions(sessions):
    log, more = tasks_of(Replay(path=sessions)), tasks_of(Replay(path=sessions, scale={"more_calls_per_user": 1.5}))
    assert [task.arrived_s for task in more] == [task.arrived_s for task in log]
    assert len(calls_of(more)) == 1.5 * len(calls_of(log)) and {len(task.calls) for task in more} == {6}
    at_an_api = Workload(Replay(path=sessions, scale={"more_calls_per_user": 1.5})).task_blocks(
        Streams(1), 1e6, api=True
    )
    assert [len(task.calls) for block in at_an_api for task in block] == [6] * 50
    assert np.mean([call.input_tokens for call in calls_of(more)]) == pytest.approx(2500, rel=0.1)
    for task in more:
        assert sum(call.least_gap_s for call in task.calls) == pytest.approx(5 * 60 / 1.5, rel=0.21)
        for before, call in pairwise(task.calls):  # asked again, a prompt returns whole; else it goes on as recorded
            assert returning_tokens(before, call) == min(before.input_tokens + 199, call.input_tokens)


def test_a_log_without_sessions_has_no_more_calls_per_user(tmp_path):
    (tmp_path / "log.csv").write_text("arrived_s,input_tokens,output_tokens\n0,10,1\n5,10,1\n")
    with pytest.raises(TraceError, match=r"more_calls_per_user = 2 needs sessions; .* which column .*more_users"):
        tasks_of(Replay(path=str(tmp_path / "log.csv"), scale={"more_calls_per_user": 2}))


def test_longer_contexts_share_as_large_a_part(sessions, tmp_path):
    log, longer = tasks_of(Replay(path=sessions)), tasks_of(Replay(path=sessions, scale={"longer_contexts": 1.3}))
    assert [c.input_tokens for c in calls_of(longer)] == [round(1.3 * c.input_tokens) for c in calls_of(log)]
    assert [c.output_tokens for c in calls_of(longer)] == [c.output_tokens for c in calls_of(log)]
    blocks = tmp_path / "blocks.jsonl"
    row = '{{"timestamp": {0}, "input_length": {1}, "output_length": 5, "hash_ids": {2}}}\n'
    blocks.write_text(row.format(0, 1300, [0, 1, 2]) + row.format(9, 1100, [0, 1, 3]))
    one, other = calls_of(tasks_of(Replay(path=str(blocks), scale={"longer_contexts": 1.3})))
    assert (one.input_tokens, other.input_tokens) == (1690, 1430)
    assert one.segments[0] == other.segments[0] == (0, 1331)  # Two blocks of 1.3 x 512 = 665.6 that come together.
    assert sum(tokens for _, tokens in one.segments) == 1690 and sum(tokens for _, tokens in other.segments) == 1430


def test_days_are_drawn_for_days_of_their_kind(fortnight):
    replay = Replay(path=fortnight, bootstrap="days", time={"zone": "Europe/Berlin"})
    days = replay.days
    assert len(days) == 14 and len(days.classes) == 2 and np.flatnonzero(days.is_weekend).tolist() == [5, 6, 12, 13]
    assert np.diff(days.edges_s / HOUR_S).tolist() == [24] * 6 + [23] + [24] * 7
    seen = set()
    for seed in range(8):
        tasks = tasks_of(replay, seed)
        clock = replay.log.begins_at and MomentZero(replay.log.begins_at, "Europe/Berlin")
        office = [task for task in tasks if task.calls[0].input_tokens >= 1000]
        assert {clock.local(task.arrived_s).hour for task in office} <= {8, 9, 10, 11}, "at their time of day"
        for task in office:
            source = task.calls[0].input_tokens - 1000
            day = int(np.searchsorted(days.edges_s, task.arrived_s, side="right")) - 1
            assert days.is_weekend[source] == days.is_weekend[day]
        seen.add(tuple(sorted({task.calls[0].input_tokens for task in office})))
    assert len(seen) == 8, "each replication draws others"
    assert [t.arrived_s for t in tasks_of(replay, 3)] == [t.arrived_s for t in tasks_of(replay, 3)], "by its seed"


def test_replications_of_drawn_days_have_intervals(fortnight):
    words = ("arrivals=replay", f"arrivals.path={fortnight}", "fleet=api_only", "api=ideal", "replications=4")
    replayed = replicate(parse(compose_config(*words)))
    assert replayed["usd_total"].half_width == 0 and len({row["usd_total"] for row in replayed.per_replication}) == 1
    told = (
        "all 4 replications played the same log: no figure is tested; with arrivals.bootstrap=days each draws its days"
    )
    assert told in replayed.notes
    drawn = replicate(parse(compose_config(*words, "arrivals.bootstrap=days")))
    assert drawn["usd_total"].half_width > 0 and told not in drawn.notes
    assert drawn["usd_total"].mean == pytest.approx(replayed["usd_total"].mean, rel=0.1)
    assert any(
        "every replication draws from 10 weekdays and 4 days at weekends" in s for s in drawn.receipts[0].lines()
    )


@pytest.mark.slow
def test_copies_of_a_long_log_are_moved_by_whole_days(fortnight):
    replay = Replay(path=fortnight, scale={"more_users": 2}, time={"zone": "Europe/Berlin"})
    clock = MomentZero(replay.log.begins_at, "Europe/Berlin")
    office = [task for task in tasks_of(replay) if task.calls[0].input_tokens >= 1000]
    for task in office:  # no day is played twice at once, and weekends stay weekends
        day = int(np.searchsorted(replay.days.edges_s, task.arrived_s, side="right")) - 1
        source = task.calls[0].input_tokens - 1000
        assert replay.days.is_weekend[source] == replay.days.is_weekend[day]
    assert len({task.arrived_s for task in office}) > 0.5 * len(office)
    assert len(office) == 2 * (10 * 26 + sum(day for day in range(14) if day % 7 < 5) + 4 * 8)
    assert {clock.local(task.arrived_s).hour for task in office} <= {8, 9, 10, 11}


def test_a_log_of_one_day_says_so(sessions):
    with pytest.raises(TraceError, match="arrivals.bootstrap = days needs two whole days, and the log has none"):
        tasks_of(Replay(path=sessions, bootstrap="days"))
    with pytest.raises(TraceError, match="arrivals.scale.shift = days needs as many whole days as copies, 2"):
        tasks_of(Replay(path=sessions, scale={"more_users": 2, "shift": "days"}))
    assert len(Days.of(1.96 * DAY_S, None)) == 2 and len(Days.of(1.9 * DAY_S, None)) == 1


def test_each_way_says_what_it_keeps_and_changes(sessions):
    scale = {"more_users": 2, "more_calls_per_user": 1.5, "longer_contexts": 2, "faster_clock": 3}
    lines = Workload(Replay(path=sessions, scale=scale)).receipts[0].lines()
    played = [line for line in lines if line.startswith("  played: ")]
    assert len(played) == 4 and all("keeps " in line and "changes " in line for line in played)
    assert not [line for line in Workload(Replay(path=sessions)).receipts[0].lines() if "played" in line]


@pytest.mark.parametrize("word", ["arrivals.rate_scale=2", "arrivals.rescale=thin", "+arrivals.rate_scale=2"])
def test_the_old_words_name_the_new_ones(word, sessions):
    from sim.errors import REFUSABLE, one_line

    with pytest.raises(REFUSABLE) as refused:
        parse(compose_config("arrivals=replay", f"arrivals.path={sessions}", word))
    assert "arrivals.scale" in one_line(refused.value) and not isinstance(refused.value, KeyError | AssertionError)
    with pytest.raises(ConfigError, match="more_users = 0"):
        parse(compose_config("arrivals=replay", f"arrivals.path={sessions}", "arrivals.scale.more_users=0"))


def test_copies_never_play_the_same_day_at_once_while_there_are_enough():
    fortnight = Days.of(14 * DAY_S, MomentZero.parse("2026-03-02T00:00"))
    for played in (fortnight.moved(4), fortnight.drawn(np.random.default_rng(1), 4)):
        assert all(len(set(column)) == 4 for column in played.T[:5])
    assert (fortnight.moved(4)[0] == np.arange(14)).all() and fortnight.moved(15) is None
    assert all(len(set(column)) == 2 for column in fortnight.drawn(np.random.default_rng(1), 2).T)
    counts = np.bincount(np.concatenate([fortnight.drawn(np.random.default_rng(s), 1)[0] for s in range(700)]))
    assert counts.min() > 0.85 * 700 and counts.max() < 1.15 * 700, "each day as often as any other"


def test_longer_answers_leave_prompts_alone(sessions):
    log, longer = tasks_of(Replay(path=sessions)), tasks_of(Replay(path=sessions, scale={"longer_answers": 1.5}))
    assert [c.input_tokens for c in calls_of(longer)] == [c.input_tokens for c in calls_of(log)]
    assert {c.output_tokens for c in calls_of(log)} == {200} and {c.output_tokens for c in calls_of(longer)} == {300}


def test_sharper_bursts_keep_every_hour_and_the_order(tmp_path):
    rng = np.random.default_rng(3)
    minutes = rng.gamma(2.0, 5.0, 150)  # two hours and a half, each minute with a rate of its own
    moments = np.sort(np.concatenate([60 * i + 60 * rng.random(rng.poisson(m)) for i, m in enumerate(minutes)]))
    (tmp_path / "log.csv").write_text("arrived_s,input_tokens,output_tokens\n" + "".join(
        f"{m:.6f},{100 + i},10\n" for i, m in enumerate(moments - moments[0])
    ))  # fmt: skip
    path, found = str(tmp_path / "log.csv"), {}
    for exponent in (0.0, 0.5, 1.0, 1.5, 2.0):
        replay = Replay(path=path, scale={"sharper_bursts": exponent})
        tasks = tasks_of(replay)
        moments_s = np.array([task.arrived_s for task in tasks])
        assert [c.input_tokens for c in calls_of(tasks)] == list(range(100, 100 + len(moments)))
        assert np.histogram(moments_s, [0, 3600, 7200, 1e9])[0].tolist() == found.setdefault(
            "hours", np.histogram(moments_s, [0, 3600, 7200, 1e9])[0].tolist()
        )
        found[exponent] = replay.index_of_dispersion(60.0)
    assert found[1.0] == Replay(path=path).index_of_dispersion(60.0)
    assert found[0.0] < 1 < found[0.5] < found[1.0] < found[1.5] < found[2.0]


def test_blocks_of_an_hour_are_drawn_anew(sessions):
    replay = Replay(path=sessions, bootstrap="blocks")
    days = replay.days
    assert len(days) == 12 and not replay.repeats_itself
    drawn = [[task.arrived_s for task in tasks_of(replay, seed)] for seed in (1, 2, 3)]
    assert len({tuple(moments) for moments in drawn}) == 3 and all(len(moments) >= 40 for moments in drawn)
    within = [np.array(moments) % days.edges_s[1] for moments in drawn]
    log = {round(task.arrived_s % days.edges_s[1], 6) for task in tasks_of(Replay(path=sessions))}
    assert {round(moment, 6) for moments in within for moment in moments} <= log, "at their place within the block"
    assert any("12 blocks" in line for line in replay.receipt_lines)
