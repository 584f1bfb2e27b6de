"""Sessions of a log whose contexts are compacted earlier: what is asked for then, call by call."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest

from sim.randomness import Streams
from sim.schema import ConfigError, TraceError, parse_config
from sim.work import Call, returning_tokens
from sim.workload.arrivals.compaction import Compaction
from sim.workload.arrivals.replay import Replay
from sim.workload.logs.compacted import compacted
from sim.workload.tasks.agent_session import AgentSession
from sim.workload.workload import Workload

RULE = Compaction(at_tokens=1000, summary_tokens=50)


def conversation(*prompts, key="c", output=100):
    return tuple(Call(n, output, wait_s=1.0, segments=((key, n),), extends_prefix=True) for n in prompts)


def tokens(calls):
    return [(call.input_tokens, call.output_tokens) for call in calls]


def test_a_context_that_would_be_too_long_goes_on_as_first_prompt_summary_and_what_is_new():
    """Prompts of 400, 700 and 920 add 200 and 120 tokens; 920 + 100 are over 1,000."""
    calls, graph = compacted(RULE, 7, conversation(400, 700, 920, 1120))
    assert tokens(calls) == [(400, 100), (700, 100), (800, 50), (570, 100), (770, 100)] and graph is None
    summary, anew, later = calls[2:]
    assert (summary.wait_s, anew.wait_s, later.wait_s) == (1.0, 0.0, 1.0)
    assert returning_tokens(calls[1], summary) == 799, "all but the last token of the answer, which is never computed"
    assert returning_tokens(summary, anew) == 400, "the first prompt stays"
    assert returning_tokens(anew, later) == 669


def test_prompts_that_the_log_begins_anew_stay_as_they_are():
    calls = (*conversation(400, 920), *conversation(300, 600, key="d"))
    found, _ = compacted(RULE, 7, calls)
    assert tokens(found) == [(400, 100), (500, 50), (870, 100), (300, 100), (600, 100)]
    assert found[3:] == calls[2:]


def test_prompts_that_share_blocks_are_one_conversation():
    """Prompts of 400, 700 and 920 tokens whose whole blocks of 64 have names, as 0, 1, 2, ...; their ends have none."""
    calls = tuple(Call(n, 100, segments=tuple((block, 64) for block in range(n // 64))) for n in (400, 700, 920))
    found, _ = compacted(RULE, 7, calls)
    assert tokens(found) == [(400, 100), (700, 100), (800, 50), (570, 100)]
    assert returning_tokens(found[1], found[2]) == 640 and returning_tokens(found[2], found[3]) == 384


def test_texts_that_prompts_begin_with_are_no_conversation():
    calls = tuple(Call(950, 100, segments=(("manual", 900),)) for _ in range(3))
    assert compacted(RULE, 7, calls)[0] == calls


def test_the_call_that_waits_for_two_waits_for_them_before_its_summary():
    own = conversation(400, 700, 920)
    beside = conversation(300, key="sub-agent")
    graph = ((), (0,), (0,), (1, 2))
    calls, found = compacted(RULE, 7, (own[0], own[1], beside[0], own[2]), graph)
    assert tokens(calls) == [(400, 100), (700, 100), (300, 100), (800, 50), (570, 100)]
    assert found == ((), (0,), (0,), (1, 2), (3,))


def sessions(limit):
    """Two hundred sessions of an agent that compacts at `limit` with a summary of 500 tokens: its calls."""
    spread = {"median": 300, "sigma": 1.0, "max": 2000}
    shape = AgentSession(
        turns_per_session={"median": 3, "max": 3}, steps_per_turn={"median": 6, "sigma": 0.5, "min": 1, "max": 20},
        first_input_tokens=3000, turn_input_tokens=spread, step_input_tokens=spread, output_tokens=spread,
        max_context_tokens=limit, summary_tokens=0 if limit is None else 500,
    )  # fmt: skip
    drawn = shape.draw(np.random.default_rng(1), np.random.default_rng(2), None, 200)
    return list(shape.calls(drawn, 0))


def test_a_log_compacted_later_asks_for_what_the_agent_would_have_asked_for():
    """The same sessions, drawn with a limit on their contexts, and recorded without one and then compacted."""
    rule = Compaction(at_tokens=9000, summary_tokens=500)
    n_summaries = 0
    for number, (wanted, recorded) in enumerate(zip(sessions(9000), sessions(None), strict=True)):
        found, _ = compacted(rule, number, recorded)
        summaries = [
            i for i, (a, b) in enumerate(zip(found, found[1:], strict=False)) if b.input_tokens < a.input_tokens
        ]
        n_summaries += len(summaries)
        kept = [call for i, call in enumerate(found) if i not in summaries]
        assert tokens(kept) == tokens(wanted)
        assert all(found[i].output_tokens == 500 for i in summaries)
    assert n_summaries > 20


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    path = tmp_path_factory.mktemp("log") / "sessions.csv"
    rows = [(300.0 * s + 60 * k, 1000 * (k + 1), 200, f"s{s}") for s in range(20) for k in range(4)]
    lines = "".join(f"{a},{i},{o},{s}\n" for a, i, o, s in rows)
    path.write_text("arrived_s,input_tokens,output_tokens,session_id\n" + lines)
    return str(path)


def tasks_of(replay):
    workload = Workload(replay)
    return list(chain.from_iterable(workload.task_blocks(Streams(1), workload.default_horizon_s, api=True)))


def test_a_replay_compacts_and_says_so(log):
    rule = {"at_tokens": 3500, "summary_tokens": 300}
    plain, never, early = (
        tasks_of(Replay(path=log, **more)) for more in ({}, {"compaction": {"at_tokens": 10_000}}, {"compaction": rule})
    )
    assert never == plain
    assert tokens(early[0].calls) == [(1000, 200), (2000, 200), (3000, 200), (3200, 300), (2100, 200)]
    quantiles = [call.api_quantiles for call in early[0].calls]
    assert quantiles[:3] == [call.api_quantiles for call in plain[0].calls[:3]] and quantiles[3] == quantiles[4]
    (receipt,) = Workload(Replay(path=log, compaction=rule)).receipts
    assert "compaction.at_tokens = 3,500" in receipt.played[0]


def test_what_cannot_be_compacted_is_refused_in_one_line(tmp_path):
    (tmp_path / "flat.csv").write_text("arrived_s,input_tokens,output_tokens\n0,100,10\n1,100,10\n")
    with pytest.raises(TraceError, match="arrivals.compaction.at_tokens = 5000 needs sessions"):
        tasks_of(Replay(path=str(tmp_path / "flat.csv"), compaction={"at_tokens": 5000}))
    with pytest.raises(ConfigError, match="must be > summary_tokens"):
        parse_config(Compaction, {"at_tokens": 100, "summary_tokens": 100})


def test_the_saturated_rate_is_measured_anew_for_other_contexts(log):
    mixes = [
        Workload(Replay(path=log, **more)).mix_description()
        for more in ({}, {"compaction": {"at_tokens": 3500}}, {"scale": {"longer_contexts": 2.0}})
    ]
    assert mixes[0] != mixes[1] != mixes[2] != mixes[0]
