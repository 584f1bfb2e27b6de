"""Recorded tasks with contexts that are compacted earlier: the calls of a task in, the calls that it would make out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sim.work import Call, Graph, Segment, returning_tokens
from sim.workload.arrivals.compaction import Compaction

Calls = tuple[Call, ...]


@dataclass(frozen=True)
class _Sent:
    """A call as it is sent, and the conversation that it is in: its first call, and how often it was compacted."""

    call: Call
    first: Call
    conversation: int
    times: int


def compacted_tasks(
    rule: Compaction, first_task_id: int, calls: Iterable[Calls], graphs: Iterable[Graph | None]
) -> tuple[list[Calls], list[Graph | None]]:
    """Calls and graphs of tasks, numbered from `first_task_id`, by this rule of compaction."""
    pairs = zip(calls, graphs, strict=False)
    found = [compacted(rule, number, *pair) for number, pair in enumerate(pairs, first_task_id)]
    return [calls for calls, _ in found], [graph for _, graph in found]


def compacted(rule: Compaction, task_id: int, calls: Calls, graph: Graph | None = None) -> tuple[Calls, Graph | None]:
    """A task's calls with a summary before each one whose context would be over `rule.at_tokens`, and their graph.

    >>> grown = (Call(60, 10, segments=((0, 60),), extends_prefix=True),
    ...          Call(90, 10, segments=((0, 90),), extends_prefix=True))
    >>> [(c.input_tokens, c.output_tokens) for c in compacted(Compaction(at_tokens=95, summary_tokens=5), 0, grown)[0]]
    [(60, 10), (70, 5), (85, 10)]
    """
    sent: list[_Sent] = []
    made: list[Call] = []
    waits: list[tuple[int, ...]] = []
    place: list[int] = []  # of each recorded call among those made
    for index, call in enumerate(calls):
        earlier = () if not index else (index - 1,) if graph is None else graph[index]
        awaited = tuple(place[i] for i in earlier)
        previous = earlier[0] if earlier else -1
        now = _as_it_goes_on(rule, task_id, index, call, calls, sent, previous)
        before = sent[previous] if index else now
        if now.times > before.times and now.conversation == before.conversation:
            made.append(_summary_of(rule, before.call, call))
            waits.append(awaited)
            awaited = (len(made) - 1,)
            now = _Sent(now.call._replace(wait_s=0.0, least_gap_s=0.0), now.first, now.conversation, now.times)
        place.append(len(made))
        made.append(now.call)
        waits.append(awaited)
        sent.append(now)
    return tuple(made), None if graph is None else tuple(waits)


def _as_it_goes_on(
    rule: Compaction, task_id: int, index: int, call: Call, calls: Calls, sent: list[_Sent], previous: int
) -> _Sent:
    """The call in the context as it is by then, which is begun anew where it would be too long."""
    if previous < 0 or not _goes_on(calls[previous], call):
        return _Sent(call, call, index, 0)
    before, recorded = sent[previous], calls[previous]
    first, times = before.first, before.times
    tokens = max(before.call.input_tokens + call.input_tokens - recorded.input_tokens, first.input_tokens)
    added = max(call.input_tokens - recorded.input_tokens - recorded.output_tokens, 0)
    anew = first.input_tokens + rule.summary_tokens + added
    assert rule.at_tokens is not None, "a rule that compacts"
    if tokens + call.output_tokens > rule.at_tokens and anew < tokens:
        tokens, times = anew, times + 1
    if times:
        begun = _shareable(first)
        own: Segment = ((task_id, "compacted", before.conversation, times), tokens - begun)
        segments = (*first.segments, own) if own[1] else first.segments
        call = call._replace(input_tokens=tokens, segments=segments)
    return _Sent(call, first, before.conversation, times)


def _goes_on(before: Call, call: Call) -> bool:
    """Whether a prompt is the one before it, for the most part, and more.

    A text that both begin with, such as a manual, makes no conversation: it does not grow from prompt to prompt.
    """
    grows = before.extends_prefix or _shareable(call) > _shareable(before)
    return grows and 2 * returning_tokens(before, call) >= before.input_tokens


def _shareable(call: Call) -> int:
    return sum(size for _, size in call.segments)


def _summary_of(rule: Compaction, before: Call, following: Call) -> Call:
    """The call that asks for a summary of a call and its answer, when the next one would have been sent."""
    segments = before.segments
    if before.extends_prefix:
        key, size = segments[-1]
        segments = (*segments[:-1], (key, size + before.output_tokens))
    return following._replace(
        input_tokens=before.input_tokens + before.output_tokens, output_tokens=rule.summary_tokens, segments=segments,
        extends_prefix=False,
    )  # fmt: skip
