"""Logs in which calls name what they wait for: sub-agents are played at once, and joined."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sim.ledger.audit import audit
from sim.scenarios import compose_config, parse
from sim.schema import TraceError
from sim.simulation import simulate
from sim.workload.logs.request_log import read_log


def row(name, session, inputs, outputs, blocks, **more):
    return {"request_id": name, "session_id": session, "input_length": inputs, "output_length": outputs,
            "hash_ids": blocks, **more}  # fmt: skip


ROWS = [
    row("a", "main", 600, 40, [1, 2], timestamp=0),
    row("b", "left", 300, 200, [9], wait_for=["a"]),
    row("c", "right", 300, 20, [8], wait_for=["a"]),
    row("d", "main", 1100, 30, [1, 2, 3], wait_for=["b", "c", "a"], delay=500, tool_wait_ms=1500),
    row("e", "other", 200, 9, [7], timestamp=4000),
]


def played(tmp_path, rows=ROWS):
    path = tmp_path / "agents.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ("arrivals=replay", f"arrivals.path={path}", "scaling=always_on", "cold_start=instant", "lengths=fixed")
    scenario = parse(compose_config(*words))
    return scenario, simulate(scenario, measure_peak=False).facts


def by_call(facts, name):
    requests = facts.requests
    keys = zip(requests["task_id"].tolist(), requests["call_index"].tolist(), strict=True)
    return dict(zip(keys, requests[name].tolist(), strict=True))


def test_sub_agents_of_a_log_are_served_at_once_and_joined(tmp_path):
    scenario, facts = played(tmp_path)
    audit(facts)
    arrived, finished, before = (by_call(facts, name) for name in ("arrived_s", "finished_s", "previous_call"))
    assert len(arrived) == 5 and facts.tasks_started == 2
    assert arrived[0, 1] == arrived[0, 2] == finished[0, 0], "both sub-agents begin when their parent has ended"
    slowest = max(finished[0, 1], finished[0, 2])
    assert slowest == finished[0, 1] and np.isclose(arrived[0, 3], slowest + 2.0), "delay and tool time after the join"
    assert before[0, 3] == 0, "it goes on from its own conversation, not from what it joins"
    assert by_call(facts, "cached_input_tokens")[0, 3] >= 512
    assert any("wait_for" in line for line in scenario.workload.receipts[0].assumed)


def test_what_is_named_and_not_there_is_said(tmp_path):
    rows = [ROWS[0], ROWS[1] | {"wait_for": ["a", "zz"]}]
    scenario, facts = played(tmp_path, rows)
    assert len(facts.requests["task_id"]) == 2
    assert any("1 calls that are not in the log" in note for note in scenario.workload.notes)


def test_a_call_without_a_stamp_and_without_what_it_waits_for_is_refused(tmp_path):
    with pytest.raises(TraceError, match="line 2, column 'timestamp': is empty, and no call that this one waits for"):
        played(tmp_path, [ROWS[0], ROWS[1] | {"wait_for": ["zz"]}])


def test_without_blocks_each_conversation_is_one_of_its_own(tmp_path):
    rows = [{key: value for key, value in row.items() if key != "hash_ids"} for row in ROWS]
    _, facts = played(tmp_path, rows)
    returning = by_call(facts, "returning_tokens")
    assert returning[0, 1] == 0 or returning[0, 2] == 0, "at most one goes on from the parent's context"
    assert returning[0, 3] == 639 or returning[0, 1] == 0


@pytest.mark.parametrize("empty", [{"session_id": ""}, {"wait_for": []}])
def test_a_column_that_is_empty_throughout_makes_no_sessions(tmp_path, empty):
    """Else calls without anything in common would be a task each, and the receipt would tell of their prompts."""
    rows = [row(name, "", 300, 20, [block], timestamp=1000 * block) for block, name in enumerate("abc")]
    rows = [{key: value for key, value in each.items() if key != "session_id"} | empty for each in rows]
    path = tmp_path / "apart.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    log = read_log(str(path))
    assert log.task_ids is None and log.wait_s is None and log.receipt.assumed == ()


def test_a_recorded_run_tells_which_prompts_begin_anew_and_what_else_was_in_the_cache(tmp_path):
    """The third call found nothing of the second. Without the columns on prefixes the receipt says what is assumed."""
    heads = "task_id,call_index,calls_in_task,arrived_s,finished_s,input_tokens,output_tokens,returning_tokens"
    rows = ["0,0,3,0,5,100,10,0", "0,1,3,9,12,300,10,109", "0,2,3,20,21,400,10,0"]
    path = tmp_path / "requests.csv"
    path.write_text("\n".join([heads, *rows]) + "\n")
    log = read_log(str(path))
    assert log.begins_anew.tolist() == [True, False, True] and log.kept is None
    assert log.receipt.assumed == ("a prompt goes on from the one before wherever it can hold that and its answer",)
    heads += ",shared_prefix_tokens,prefix_tokens,answer_is_repeated"
    path.write_text("\n".join([heads, *(line + f",16,16,{i % 2}" for i, line in enumerate(rows))]) + "\n")
    log = read_log(str(path))
    assert log.kept.returning.tolist() == [0, 109, 0] and log.kept.repeated.tolist() == [0, 1, 0]
    assert log.receipt.assumed == ()
