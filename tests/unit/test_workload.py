"""Workload: one stream of tasks from arrivals, lengths and tasks, the same tasks whatever the traffic's shape."""

from itertools import islice, takewhile
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from sim.cli.sample_log import main as sample_log
from sim.randomness import Streams
from sim.schema import ConfigError, TraceError
from sim.work import Call, Task
from sim.workload.arrivals.bursty import Bursty
from sim.workload.arrivals.diurnal import Diurnal
from sim.workload.arrivals.replay import Replay
from sim.workload.arrivals.steady import Steady
from sim.workload.lengths.empirical import Empirical
from sim.workload.lengths.fixed import Fixed
from sim.workload.lengths.lognormal import Lognormal
from sim.workload.logs.sample_log import write_sample_log
from sim.workload.spread import Spread
from sim.workload.tasks.agent_loop import AgentLoop
from sim.workload.tasks.single_call import SingleCall
from sim.workload.workload import Workload

TRACES = Path(__file__).parents[3] / "shared" / "traces"
CHAT = Lognormal.model_validate(
    {"input": {"mean_tokens": 1155, "cv": 0.96}, "output": {"median_tokens": 129, "p95_tokens": 451}}
)
AGENT = {
    "calls_per_task": {"median": 6, "sigma": 0.45, "min": 3, "max": 12},
    "first_input_tokens": 7300, "new_input_tokens": 231, "output_tokens": 299, "shared_prefix_tokens": 6570,
    "wait_s": {"median": 0.3, "sigma": 1.0},
}  # fmt: skip


def all_tasks(workload, horizon_s=None, seed=1, api=False):
    horizon_s = horizon_s or workload.default_horizon_s
    return [task for block in workload.task_blocks(Streams(seed), horizon_s, api) for task in block]


def test_shapes_with_equal_counts_carry_the_same_tasks():
    shapes = [
        Steady(rate_per_s=0.1, exact_tasks=3000),
        Bursty(rate_per_s=9.0, burst_factor=4, mean_burst_s=300, burst_time_fraction=0.2, exact_tasks=3000),
        Diurnal(rate_per_s=0.1, profile=tuple(range(1, 25)), exact_tasks=3000),
    ]
    for tasks in (SingleCall(), AgentLoop.model_validate(AGENT)):
        played = [all_tasks(Workload(shape, CHAT, tasks), 50_000.0, api=True) for shape in shapes]
        assert [len(p) for p in played] == [3000] * 3
        without_times = [[task._replace(arrived_s=0.0) for task in p] for p in played]
        assert without_times[0] == without_times[1] == without_times[2]
        assert len({p[100].arrived_s for p in played}) == 3


def test_tasks_are_numbered_sorted_and_typed():
    tasks = all_tasks(Workload(Steady(rate_per_s=2.0), CHAT, SingleCall()), 2000.0)
    assert [task.task_id for task in tasks] == list(range(len(tasks)))
    assert 3700 < len(tasks) < 4300
    times = [task.arrived_s for task in tasks]
    assert times == sorted(times) and times[0] >= 0 and times[-1] < 2000.0
    assert all(type(task) is Task and type(task.calls[0]) is Call and type(task.arrived_s) is float for task in tasks)


def test_api_luck_does_not_change_the_tasks():
    workload = Workload(Steady(rate_per_s=1.0), CHAT, AgentLoop.model_validate(AGENT))
    plain, lucky = all_tasks(workload, 500.0), all_tasks(workload, 500.0, api=True)
    quantiles = np.array([call.api_quantiles for task in lucky for call in task.calls])
    assert ((quantiles > 0) & (quantiles < 1)).all()
    assert len(np.unique(quantiles)) == quantiles.size
    assert quantiles.mean() == pytest.approx(0.5, abs=0.05)
    stripped = [t._replace(calls=tuple(c._replace(api_quantiles=(0.5, 0.5)) for c in t.calls)) for t in lucky]
    assert stripped == plain


def test_saturating_tasks_are_the_same_mix_at_once_without_waits():
    workload = Workload(Steady(rate_per_s=0.5), CHAT, AgentLoop.model_validate(AGENT))
    tasks = list(islice(workload.saturating_tasks(Streams(1)), 500))
    assert [task.task_id for task in tasks] == list(range(500))
    assert all(task.arrived_s == 0 and call.wait_s == 0 for task in tasks for call in task.calls)
    ordinary = all_tasks(workload, 400.0)
    for mine, other in zip(tasks, ordinary, strict=False):
        assert [call.input_tokens for call in mine.calls] == [call.input_tokens for call in other.calls]


def test_the_mix_is_described_without_rates_and_waits():
    def described(rate, wait_s, **tasks):
        agent = AgentLoop.model_validate(AGENT | {"wait_s": wait_s} | tasks)
        return Workload(Steady(rate_per_s=rate), CHAT, agent).mix_description()

    assert described(1.0, 0.0) == described(2.0, 5.0)
    assert described(1.0, 0.0) != described(1.0, 0.0, output_tokens=300)
    single = [Workload(Steady(rate_per_s=1), Fixed(input_tokens=n, output_tokens=1), SingleCall()) for n in (1, 2)]
    assert single[0].mix_description() != single[1].mix_description()


def test_agent_contexts_follow_the_stated_sum():
    # Sum of inputs over k calls = k I0 + g k (k - 1) / 2, g = new input + output.
    for task in all_tasks(Workload(Steady(rate_per_s=1.0), None, AgentLoop.model_validate(AGENT)), 100.0):
        k = len(task.calls)
        assert sum(call.input_tokens for call in task.calls) == k * 7300 + (231 + 299) * k * (k - 1) // 2
        last = task.calls[-1]
        assert last.segments == (("shared", 6570), (task.task_id, last.input_tokens - 6570))


def test_compaction_starts_the_context_anew():
    limits = {"max_context_tokens": 8400, "summary_tokens": 100, "calls_per_task": 4}
    workload = Workload(Steady(rate_per_s=1.0), None, AgentLoop.model_validate(AGENT | limits))
    calls = all_tasks(workload, 20.0)[3].calls
    assert [call.input_tokens for call in calls] == [7300, 7830, 7300 + 100 + 231, 7300 + 100 + 231]
    assert [call.segments[1][0] for call in calls] == [3, 3, (3, 1), (3, 2)]


def test_a_context_grows_fastest_at_its_beginning_and_a_rewritten_prompt_shares_nothing():
    """A coding agent reads its files first; where an old tool result is dropped, the cache before it is lost."""
    grown = AGENT | {"calls_per_task": 4, "early_input_tokens": [5000, 1000]}
    calls = all_tasks(Workload(Steady(rate_per_s=1.0), None, AgentLoop.model_validate(grown)), 20.0)[3].calls
    assert [call.input_tokens for call in calls] == [7300, 12_599, 13_898, 14_428]
    rewritten = grown | {"rewritten_fraction": 1.0, "rewritten_size": 0.9, "calls_per_task": 2}
    calls = all_tasks(Workload(Steady(rate_per_s=1.0), None, AgentLoop.model_validate(rewritten)), 20.0)[3].calls
    assert [call.input_tokens for call in calls] == [7300, round(0.9 * 7599)]
    assert [call.segments[1][0] for call in calls] == [3, (3, 1)]


def test_an_answer_has_to_fit_into_the_context_beside_its_prompt():
    """An engine counts both against max_model_len: a third prompt of 8360 fits, but not with 299 tokens of answer."""
    limits = {"max_context_tokens": 8400, "summary_tokens": 100, "calls_per_task": 3}
    calls = all_tasks(Workload(Steady(rate_per_s=1.0), None, AgentLoop.model_validate(AGENT | limits)), 20.0)[3].calls
    assert [call.input_tokens for call in calls] == [7300, 7830, 7300 + 100 + 231]


def test_calls_per_task_of_the_archetypes_have_their_known_moments():
    known = [((6, 0.45, 3, 12), 6.3, 7.1), ((9, 0.35, 5, 15), 9.2, 9.9), ((10, 0.4, 5, 20), 10.5, 11.7)]
    for (median, sigma, low, high), mean, clustering in (*known, ((16, 0.8, 2, 200), 21.9, 39.7)):
        first, second = Spread(median=median, sigma=sigma, min=low, max=high).whole_moments
        assert first == pytest.approx(mean, abs=0.06)
        assert second / first == pytest.approx(clustering, abs=0.06)


@pytest.fixture
def sessions(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(
        "arrived_s,input_tokens,output_tokens,session_id\n0,100,10,x\n2,50,5,y\n10,130,10,x\n15,20,10,x\n16,9,1,z\n"
    )
    return str(path)


def test_replayed_sessions_are_tasks_whose_prompts_extend_one_another(sessions):
    x, y, z = all_tasks(Workload(Replay(path=sessions)))
    assert [task.arrived_s for task in (x, y, z)] == [0.0, 2.0, 16.0]
    assert [call.wait_s for call in x.calls] == [0.0, 0.0, 0.0]
    assert [call.least_gap_s for call in x.calls] == [0.0, 10.0, 5.0]
    assert [call.segments for call in x.calls] == [(((0, 0), 100),), (((0, 0), 130),), ()]
    assert [call.extends_prefix for call in x.calls] == [True, True, False]


def test_replay_of_a_time_window_begins_at_zero(sessions):
    tasks = all_tasks(Workload(Replay(path=sessions, start_s=1.0, duration_s=10.0)))
    assert [(task.arrived_s, task.calls[0].input_tokens) for task in tasks] == [(1.0, 50)]
    assert Replay(path=sessions, start_s=1.0, duration_s=10.0).default_horizon_s == 10.0
    with pytest.raises(TraceError, match="no request arrives from 100 s"):
        all_tasks(Workload(Replay(path=sessions, start_s=100.0)))


def test_replay_loops_only_when_told_to_and_then_as_other_users(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"timestamp": 0, "input_length": 600, "output_length": 5, "hash_ids": [0, 1]}\n' * 2)
    once, again = Replay(path=str(path)), Replay(path=str(path), loop=True, dequantize_s=1.0)
    assert len(all_tasks(Workload(once), 10.0)) == 2
    looped = all_tasks(Workload(again), 10.0)
    assert len(looped) == 20
    assert (
        looped[0].calls[0].segments == looped[1].calls[0].segments == ((0, 600),)
    )  # Its two blocks always come together.
    assert looped[2].calls[0].segments == ((2, 600),)
    saturating = list(islice(Workload(once).saturating_tasks(Streams(1)), 5))
    assert [task.calls[0].segments[0][0] for task in saturating] == [0, 0, 2, 2, 4]


def test_replay_can_take_lengths_from_the_config(sessions):
    replay = Replay(path=sessions, lengths_from="config")
    tasks = all_tasks(Workload(replay, Fixed(input_tokens=7, output_tokens=3), SingleCall()), 30.0)
    assert [(t.arrived_s, t.calls[0].input_tokens) for t in tasks] == [(0.0, 7), (2.0, 7), (16.0, 7)]
    with pytest.raises(ConfigError, match="tasks: is required"):
        Workload(replay)


def test_laws_of_configuration_are_stated_with_their_values():
    burst = {"rate_per_s": 1, "burst_factor": 4, "mean_burst_s": 10, "burst_time_fraction": 0.3}
    with pytest.raises(ValidationError, match=r"burst_factor \* burst_time_fraction must be <= 1, not 4 \* 0.3 = 1.2"):
        Bursty.model_validate(burst)
    with pytest.raises(ValidationError, match="shared_prefix_tokens = 8000 must be <= the least .* = 7300"):
        AgentLoop.model_validate(AGENT | {"shared_prefix_tokens": 8000})
    with pytest.raises(ValidationError, match="max_context_tokens = 7500 must hold .* = 7830"):
        AgentLoop.model_validate(AGENT | {"max_context_tokens": 7500})
    with pytest.raises(ValidationError, match="either median_tokens and p95_tokens, or mean_tokens and cv"):
        Lognormal.model_validate({"input": {"mean_tokens": 5}, "output": {"mean_tokens": 5, "cv": 1}})
    with pytest.raises(ConfigError, match="lengths: is required"):
        Workload(Steady(rate_per_s=1.0), None, SingleCall())
    with pytest.raises(ConfigError, match="exact_tasks = 5: none of .* paths of this process comes near"):
        never = Bursty(rate_per_s=1, burst_factor=1e6, mean_burst_s=1e-3, burst_time_fraction=1e-6, exact_tasks=5)
        all_tasks(Workload(never, CHAT, SingleCall()), 1e-3)


def test_logs_are_named_by_content(tmp_path):
    paths = [str(tmp_path / name) for name in ("a.csv", "b.csv", "c.csv")]
    for path, seed in zip(paths, (1, 1, 2), strict=True):
        write_sample_log(path, 50, seed)
    for workload_of in (
        lambda path: Workload(Replay(path=path)),
        lambda path: Workload(Steady(rate_per_s=1), Empirical(path=path), SingleCall()),
    ):
        a, b, c = (workload_of(path) for path in paths)
        assert a.mix_description() == b.mix_description() != c.mix_description()
        assert list(a.content_hashes()) == [paths[0]]
        assert list(a.content_hashes().values()) == list(b.content_hashes().values())


def test_the_sample_log_replays_and_refuses_nonsense(tmp_path, capsys):
    path = tmp_path / "log.csv"
    assert sample_log([str(path), "--requests", "300", "--seed", "5"]) == 0
    assert path.read_text().startswith("TIMESTAMP,ContextTokens,GeneratedTokens\n2025-01-06 09:0")
    tasks = all_tasks(Workload(Replay(path=str(path))))
    assert len(tasks) == 300
    (tmp_path / "file").touch()
    assert sample_log([str(tmp_path / "file" / "log.csv")]) == 2
    assert "log.csv: " in capsys.readouterr().err
    with pytest.raises(SystemExit) as refused:
        sample_log([str(path), "--requests", "0"])
    assert refused.value.code == 2


@pytest.mark.parametrize(
    ("name", "blocks", "hit_fraction"),
    [("mooncake_conversation.jsonl", 288_500, 0.3664), ("mooncake_synthetic.jsonl", 121_877, 0.6396)],
)
def test_prefix_blocks_of_real_logs_have_their_known_hit_ratio(name, blocks, hit_fraction):
    if not (TRACES / name).exists():
        pytest.skip(f"REAL LOG ABSENT: {TRACES / name}")
    seen, hits, total = set(), 0, 0
    for task in all_tasks(Workload(Replay(path=str(TRACES / name)))):
        call = task.calls[0]
        assert sum(tokens for _, tokens in call.segments) == call.input_tokens
        of_runs = [(key, -(-tokens // 512)) for key, tokens in call.segments]  # Blocks that always come together.
        hits += sum(n for _, n in takewhile(lambda run: run[0] in seen, of_runs))
        total += sum(n for _, n in of_runs)
        seen.update(key for key, _ in of_runs)
    assert total == blocks
    assert hits / total == pytest.approx(hit_fraction, abs=5e-5)


def test_coarse_real_time_stamps_are_remarked_on_until_spread():
    path = TRACES / "mooncake_conversation.jsonl"
    if not path.exists():
        pytest.skip(f"REAL LOG ABSENT: {path}")
    assert "ticks of 3 s" in Workload(Replay(path=str(path))).notes[0]
    assert Workload(Replay(path=str(path), dequantize_s=3.0)).notes == ()
