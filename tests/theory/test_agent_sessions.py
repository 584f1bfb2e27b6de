"""Sessions of agents on three clocks: how many calls, how bursty, in what order, and what a cache keeps of them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import simpy

from sim.ledger.audit import audit
from sim.randomness import Streams
from sim.recorder import Recorder
from sim.records import Backend, Outcome, rows_of_previous_calls
from sim.routing.gateway import Gateway
from sim.routing.one_backend import FleetOnly
from sim.scenarios import compose_config, parse
from sim.schema import ConfigError, parse_config
from sim.simulation import simulate
from sim.work import Call, Task, returning_tokens
from sim.workload.spread import Spread
from sim.workload.tasks.agent_session import AgentSession, SubAgents
from sim.workload.workload import _block_sizes
from tests.agree import assert_agrees, assert_disagrees

PLAIN = dict(
    turns_per_session=Spread(median=3, sigma=0.9, min=1, max=40),
    steps_per_turn=Spread(median=4, sigma=0.9, min=1, max=60),
    first_input_tokens=Spread(median=5000),
    turn_input_tokens=Spread(median=100),
    step_input_tokens=Spread(median=500, sigma=1.0, max=8000),
    output_tokens=Spread(median=200, sigma=1.0, max=4000),
    shared_prefix_tokens=3000,
)
HELPERS = SubAgents(
    step_fraction=0.15,
    n=Spread(median=2, sigma=0.5, min=1, max=5),
    steps=Spread(median=4, sigma=0.5, min=1, max=20),
    first_input_tokens=Spread(median=2000),
    shared_prefix_tokens=500,
)


def sessions(**changes) -> AgentSession:
    return AgentSession(**(PLAIN | changes))


def drawn(tasks: AgentSession, n: int, seed: int = 1):
    rng = np.random.default_rng(seed)
    return tasks.draw(rng, rng, None, n)


def calls_per_session(tasks: AgentSession, n: int = 4000) -> list[float]:
    return [len(drawn(tasks, n, seed).input_tokens) / n for seed in range(8)]


def test_calls_per_session_are_turns_times_steps():
    tasks = sessions()
    turns, steps = tasks.turns_per_session.whole_moments[0], tasks.steps_per_turn.whole_moments[0]
    assert tasks.mean_calls_per_task == pytest.approx(turns * steps)
    assert_agrees(calls_per_session(tasks), turns * steps, within=0.1)
    assert_disagrees(calls_per_session(tasks), turns + steps, within=0.1)


@pytest.mark.slow
def test_caps_abandonment_retries_and_sub_agents_change_the_mean_as_stated():
    tasks = sessions(max_steps_per_turn=8, abandon_fraction=0.2, retry_fraction=0.25, max_attempts=3, subagents=HELPERS)
    assert_agrees(calls_per_session(tasks), tasks.mean_calls_per_task, within=0.1)
    values, shares = tasks.steps_per_turn.whole_shares
    steps = float(np.minimum(values, 8) @ shares)
    values, shares = tasks.turns_per_session.whole_shares
    turns = sum(float(shares[values >= t].sum()) * 0.8 ** (t - 1) for t in range(1, 41))
    attempts = (1 - 0.25**3) / 0.75
    beside = 0.15 * (steps - 1) * HELPERS.n.whole_moments[0] * HELPERS.steps.whole_moments[0]
    assert tasks.mean_calls_per_task == pytest.approx(turns * (steps + beside) * attempts)


@pytest.mark.slow
def test_calls_of_poisson_sessions_are_as_bursty_as_sessions_are_uneven():
    tasks = sessions()
    (turns, turns2), (steps, steps2) = (
        spread.whole_moments for spread in (tasks.turns_per_session, tasks.steps_per_turn)
    )
    second = turns * (steps2 - steps**2) + turns2 * steps**2  # of a random sum
    assert tasks.calls_moments[1] == pytest.approx(second)
    window_s, rate_per_s, found = 20_000.0, 0.02, []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        counts = rng.poisson(rate_per_s * window_s, 60)
        sizes = np.diff(drawn(tasks, int(counts.sum()), seed + 100).offsets)
        calls = np.add.reduceat(sizes, np.cumsum(counts) - counts)
        found.append(calls.var(ddof=1) / calls.mean())
    assert_agrees(found, tasks.calls_moments[1] / tasks.calls_moments[0], within=0.35)
    assert_disagrees(found, 1.0, within=0.35)


def test_three_clocks_set_the_waits():
    tasks = sessions(tool_wait_s=Spread(median=2.0), human_wait_s=Spread(median=300.0))
    found = drawn(tasks, 500)
    waits, counts = np.unique(found.wait_s, return_counts=True)
    assert waits.tolist() == [0.0, 2.0, 300.0]
    assert counts[0] == 500, "a session begins at once"
    turns = counts[2] + 500
    assert turns / 500 == pytest.approx(tasks.turns_per_session.whole_moments[0], rel=0.15)


def test_reasoning_stays_for_the_turn_and_is_dropped_by_the_next_one():
    tasks = sessions(
        turns_per_session=Spread(median=2), steps_per_turn=Spread(median=2), step_input_tokens=Spread(median=500),
        output_tokens=Spread(median=200), reasoning_tokens=Spread(median=1000),
    )  # fmt: skip
    (calls,) = tasks.calls(drawn(tasks, 1), 7)
    assert [(call.input_tokens, call.output_tokens) for call in calls] == [
        (5000, 1200), (6700, 1200), (6000, 1200), (7700, 1200)  # 6000 = 5000 + 200 + 500 + 200 + 100
    ]  # fmt: skip
    kept = [returning_tokens(before, call) for before, call in pairwise(calls)]
    assert kept == [5000 + 1200 - 1, 5000 - 1, 6000 + 1200 - 1], "the next turn shares the first prompt alone"


def test_a_compacted_context_shares_the_system_prompt_alone():
    tasks = sessions(
        turns_per_session=Spread(median=1), steps_per_turn=Spread(median=6), step_input_tokens=Spread(median=3000),
        output_tokens=Spread(median=200), max_context_tokens=12_150, summary_tokens=700,
    )  # fmt: skip
    (calls,) = tasks.calls(drawn(tasks, 1), 0)
    assert [call.input_tokens for call in calls] == [5000, 8200, 11400, 5000 + 700 + 3000, 11900, 8700]
    kept = [returning_tokens(before, call) for before, call in pairwise(calls)]
    assert kept[2] == kept[4] == 3000, "the shared prefix"
    assert kept[0] == 5199


def test_a_discarded_answer_is_in_no_later_prompt():
    tasks = sessions(retry_fraction=0.9, max_attempts=2, turns_per_session=Spread(median=1))
    found = drawn(tasks, 200)
    for calls in tasks.calls(found, 0):
        for before, call in pairwise(calls):
            assert call.input_tokens > before.input_tokens + before.output_tokens or not before.extends_prefix
            assert before.extends_prefix or call.input_tokens == before.input_tokens
    share = 1 - np.mean(found.extended)
    assert share == pytest.approx(0.9 / 1.9, abs=0.03)


class Instant:
    """A backend that answers `seconds` after it has got a request, but never the request `fails` asks about."""

    def __init__(self, env, done, fails=lambda request: False):
        self.env, self.done, self.fails, self.sent, self.n_ready = env, done, fails, [], 1

    def view_for(self, request):
        return self

    def submit(self, request):
        self.sent.append((request.task.task_id, request.call_index, self.env.now, request.previous))
        self.env.process(self._serve(request))

    def _serve(self, request):
        yield self.env.timeout(request.output_tokens)
        request.admitted_s = request.first_token_s = request.arrived_s
        request.replica_id, request.pool = request.call_index, 0
        request.end(Outcome.ABANDONED if self.fails(request) else Outcome.FINISHED, self.env.now)
        self.done(request)


def played(task: Task, fails=lambda request: False):
    env = simpy.Environment()
    gateway = Gateway(env, FleetOnly(), np.random.default_rng(1), Recorder())
    gateway.fleet = Instant(env, gateway.fleet_done, fails)
    ended = []
    gateway.on_task_end = ended.append
    gateway.begin(task)
    env.run()
    assert gateway.tasks_running == 0 and len(ended) == 1
    return [(index, now_s) for _, index, now_s, _ in gateway.fleet.sent], gateway.fleet.sent


FORK = Task(
    0, 0.0, (Call(9, 10), Call(5, 3), Call(5, 4, 1.0), Call(5, 20), Call(9, 1, 2.0)),
    graph=((), (0,), (1,), (0,), (0, 2, 3)),
)  # fmt: skip


def test_sub_agents_work_at_once_and_the_next_step_waits_for_the_slowest():
    moments, sent = played(FORK)
    assert moments == [(0, 0.0), (1, 10.0), (3, 10.0), (2, 14.0), (4, 32.0)]
    previous = {index: before and before.replica_id for _, index, _, before in sent}
    assert previous == {0: None, 1: 0, 3: 0, 2: 1, 4: 0}, "the step goes on from the one that started them"


def test_a_call_that_does_not_finish_ends_the_task_with_what_is_under_way():
    moments, _ = played(FORK, fails=lambda request: request.call_index == 1)
    assert moments == [(0, 0.0), (1, 10.0), (3, 10.0)], "the other sub-agent is served, and nothing after it"


def scenario(*overrides: str):
    return parse(compose_config("scaling=always_on", "cold_start=instant", *overrides))


def test_sessions_with_sub_agents_play_and_keep_every_law():
    facts = simulate(
        scenario(
            "tasks=research_session",
            "tasks.subagents.step_fraction=0.3",
            "arrivals.rate_per_s=0.02",
            "horizon_s=1000",
            "drain_s=40000",
        ),
        measure_peak=False,
    ).facts
    audit(facts)
    requests = facts.requests
    apart = requests["previous_call"] != requests["call_index"] - 1
    assert apart.any() and (requests["previous_call"] < requests["call_index"]).all()
    assert (requests["outcome"] == Outcome.FINISHED).all() and (requests["backend"] == Backend.FLEET).all()
    hurried = {name: column.copy() for name, column in requests.items()}
    late = np.flatnonzero(apart)[0]
    hurried["arrived_s"][late] = hurried["task_arrived_s"][late] - 1  # a wrong twin: before what it goes on from
    with pytest.raises(Exception, match="audit"):
        audit(type(facts)(**{**vars(facts), "requests": hurried}))


def turns_of(tasks: AgentSession, seed: int, n: int) -> dict[tuple[int, int], tuple[int, int]]:
    """(conversation, turn) of each call by (task_id, call_index), of the first n tasks of a run, drawn again."""
    rng, found, first_id = Streams(seed).generator("tasks"), {}, 0
    for size in _block_sizes(tasks.largest_block):
        block = tasks.draw(rng, rng, None, size)
        for i in range(size):
            rows = block.streams[block.offsets[i] : block.offsets[i + 1], [0, 2]].tolist()
            found |= {(first_id + i, k): tuple(row) for k, row in enumerate(rows)}
        first_id += size
        if first_id >= n:
            return found


def test_the_cache_keeps_what_its_lifetime_says_and_so_turns_of_humans_hit_less_than_steps_of_tools():
    # Nothing is fitted: laws of gaps and tokens from TraceLab and kv-cache-tester, and a server whose memory keeps a
    # context for about five minutes. TraceLab's providers: 97.5 % of the input after a tool, 78 to 87 % after a human.
    played = scenario(
        "tasks=coding_session", "model=llama_3_3_70b", "engine.tensor_parallel=8", "arrivals.rate_per_s=0.01",
        "horizon_s=14400", "drain_s=0",
    )  # fmt: skip
    requests = simulate(played, measure_peak=False).facts.requests
    turns = turns_of(played.tasks, played.seed, int(requests["task_id"].max()) + 1)
    calls = zip(requests["task_id"].tolist(), requests["call_index"].tolist(), strict=True)
    place = np.array([turns[call] for call in calls])
    before = rows_of_previous_calls(requests)
    counted = (before >= 0) & np.isfinite(requests["admitted_s"]) & (requests["arrived_s"] > 5760)
    counted &= place[:, 0] == place[before, 0]
    after_human = counted & (place[:, 1] != place[before, 1])
    after_tool = counted & ~after_human

    def hit(rows):
        return requests["cached_input_tokens"][rows].sum() / requests["input_tokens"][rows].sum()

    assert 0.94 < hit(after_tool) < 0.99 and 0.75 < hit(after_human) < 0.92
    gap_s = requests["arrived_s"] - requests["finished_s"][before]
    reach = np.minimum(requests["returning_tokens"], requests["input_tokens"] - 1)
    kept = requests["cached_input_tokens"] >= 0.9 * reach - 16
    by_gap = [kept[counted & (gap_s >= low) & (gap_s < high)].mean() for low, high in ((0, 60), (1200, np.inf))]
    assert by_gap[0] > 0.99 and by_gap[1] < 0.1, "a lifetime decides, not the kind of gap"


def kept_by(tasks: AgentSession, lifetime_s: float) -> tuple[float, float]:
    """Shares of the input found cached after a tool and after a human, where a context is kept for so long."""
    rng, found, asked = np.random.default_rng(1), np.zeros(2), np.zeros(2)
    for _ in range(12):
        drawn = tasks.draw(rng, rng, None, 128)
        later = np.ones(len(drawn.input_tokens), bool)
        later[drawn.offsets[:-1]] = False
        stream, compacted, turn, _ = drawn.streams.T
        goes_on = (stream == np.roll(stream, 1)) & (compacted == np.roll(compacted, 1)) & (drawn.wait_s < lifetime_s)
        kept = np.where(goes_on, np.roll(drawn.input_tokens + drawn.output_tokens, 1), tasks.shared_prefix_tokens)
        after_human = turn != np.roll(turn, 1)
        for i, rows in enumerate((later & ~after_human, later & after_human)):
            found[i] += np.minimum(kept, drawn.input_tokens)[rows].sum()
            asked[i] += drawn.input_tokens[rows].sum()
    return tuple((found / asked).tolist())


def test_one_lifetime_explains_both_hit_rates_of_a_large_provider():
    # GitHub Copilot, June 2026: 90 % of the input is cached within a turn, about 55 % across turns. One number, how
    # long a context is kept, has to give both: the laws of gaps, growth and compaction are not set by them.
    tasks = scenario("tasks=copilot_session").tasks
    after_tool, after_human = kept_by(tasks, 75.0)
    assert after_tool == pytest.approx(0.90, abs=0.03) and after_human == pytest.approx(0.55, abs=0.03)
    after_tool, after_human = kept_by(tasks, 480.0)  # a wrong twin, as long as TraceLab's providers keep one
    assert after_tool == pytest.approx(0.90, abs=0.05) and after_human > 0.75


def test_impossible_sessions_are_refused_in_one_line():
    with pytest.raises(ConfigError, match="need a max"):
        parse_config(AgentSession, PLAIN | {"turns_per_session": {"median": 3, "sigma": 1, "min": 1}})
    with pytest.raises(ConfigError, match="must hold the largest first prompt"):
        parse_config(AgentSession, PLAIN | {"max_context_tokens": 9000})
