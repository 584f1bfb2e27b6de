"""Every kind of task keeps the contract that `Tasks` states: positive tokens, contexts that grow, honest prefixes."""

import pytest

from sim.randomness import Streams
from sim.work import SHARED_KEY, Call, Task, previous_index
from sim.workload.lengths.uniform import Uniform
from sim.workload.tasks.base import Tasks
from tests.agree import assert_agrees, assert_disagrees
from tests.contracts.found import load, names

LENGTHS = Uniform(max_input_tokens=700, max_output_tokens=80, low_fraction=0.5)


@pytest.fixture(params=names("tasks", Tasks))
def tasks(request, tmp_path):
    return load(Tasks, "tasks", request.param, tmp_path)


def draw(tasks, seed, n=150):
    streams = Streams(seed)
    return tasks.draw(streams.generator("tasks"), streams.generator("lengths"), LENGTHS, n)


def calls_of(tasks, seed=1, first_task_id=10, n=150):
    return list(tasks.calls(draw(tasks, seed, n), first_task_id))


def test_every_task_has_calls_with_positive_tokens(tasks):
    found = calls_of(tasks)
    assert len(found) == 150
    for calls in found:
        assert len(calls) >= 1
        assert calls[0].wait_s == 0
        for call in calls:
            assert type(call) is Call
            assert type(call.input_tokens) is int and call.input_tokens >= 1
            assert type(call.output_tokens) is int and call.output_tokens >= 1
            assert call.wait_s >= 0


def test_the_same_stream_gives_the_same_tasks(tasks):
    first = calls_of(tasks, 1)
    assert first == calls_of(tasks, 1)
    if len({tuple(call[:2] for call in calls) for calls in first}) > 1:
        assert first != calls_of(tasks, 2)


def test_contexts_grow_by_the_previous_answer_and_new_input_or_are_compacted(tasks):
    drawn = draw(tasks, 1)
    for calls, graph in zip(tasks.calls(drawn, 10), tasks.graphs(drawn), strict=False):
        task = Task(0, 0.0, calls, graph=graph)
        for i, call in enumerate(calls):
            before = calls[previous_index(task, i)]
            goes_on = call.segments[-1:] and call.segments[-1][0] == before.segments[-1][0]
            if i == 0 or not before.extends_prefix or begins_a_conversation(task, i) and not goes_on:
                continue
            grown = call.input_tokens > before.input_tokens + before.output_tokens
            compacted = call.segments[-1][0] != before.segments[-1][0]
            assert grown != compacted


def begins_a_conversation(task, i):
    """Whether a call is the first of a sub-agent: another call goes on from the one that it waits for."""
    before = previous_index(task, i)
    return any(previous_index(task, j) == before for j in range(len(task.calls)) if j != i)


def test_every_call_waits_for_earlier_ones_and_the_last_one_for_all(tasks):
    for calls, graph in zip(calls_of(tasks), tasks.graphs(draw(tasks, 1)), strict=False):
        if graph is None:
            continue
        assert len(graph) == len(calls) and graph[0] == ()
        awaited = {len(calls) - 1}
        for i in reversed(range(1, len(calls))):
            assert graph[i] and all(0 <= earlier < i for earlier in graph[i])
            assert i in awaited, "the last call waits for it"
            awaited.update(graph[i])


def test_no_call_exceeds_the_context(tasks):
    limit = getattr(tasks, "max_context_tokens", None) or 10**9
    assert all(call.input_tokens + call.output_tokens <= limit for calls in calls_of(tasks) for call in calls)


def test_segments_lie_within_the_prompt_and_only_the_shared_stream_is_shared(tasks):
    owners = {}
    for task_id, calls in enumerate(calls_of(tasks), 10):
        for call in calls:
            assert sum(tokens for _, tokens in call.segments) <= call.input_tokens
            for key, tokens in call.segments:
                assert tokens >= 0
                if tasks.shares_prompts:
                    assert key == SHARED_KEY or key[0] <= task_id, "the text of a task that is yet to come"
                    continue
                if SHARED_KEY not in (key, key[1] if type(key) is tuple else None):  # or of one application of several
                    assert owners.setdefault(key, task_id) == task_id, "two tasks own one stream"
            if call.extends_prefix:
                assert sum(tokens for _, tokens in call.segments) == call.input_tokens


def test_the_mean_number_of_calls_is_as_stated(tasks):
    n = 10_000 if tasks.mean_calls_per_task < 20 else 3_000  # of a mixture, few tasks may make most of the calls
    means = [len(drawn.input_tokens) / n for drawn in (draw(tasks, seed, n) for seed in range(8))]
    assert_agrees(means, tasks.mean_calls_per_task, within=0.1)
    assert_disagrees(means, 1.2 * tasks.mean_calls_per_task, within=0.1)


def test_waits_can_be_left_out(tasks):
    calls = list(tasks.calls(draw(tasks, 1)._replace(wait_s=None), 0))
    assert all(call.wait_s == 0 for task in calls for call in task)
    assert [len(c) for c in calls] == [len(c) for c in calls_of(tasks)]
    assert [c.input_tokens for t in calls for c in t] == [c.input_tokens for t in calls_of(tasks) for c in t]
