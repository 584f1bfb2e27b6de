"""SessionLayout: which calls sessions of turns, steps and sub-agents consist of, and which of them wait for which."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

import numpy as np

from sim.work import Graph


class SessionLayout:
    """The calls of n sessions, before there are tokens.

    A conversation is a session's own or a sub-agent's. Columns are in the order of conversations: the sessions' first,
    then the sub-agents', each with its calls in order. `place` moves a column to the order in which calls are
    numbered: by session, and every sub-agent right behind the step that starts it.

    `turns` int64[n]: turns of each session; `steps` int64[turns]: steps of each turn; `parents` int64[a]: the step that
    starts each sub-agent, ascending, among all steps; `agent_steps` int64[a]: steps of each sub-agent.
    """

    def __init__(self, turns: np.ndarray, steps: np.ndarray, parents: np.ndarray, agent_steps: np.ndarray):
        n_sessions, n_steps, n_agents = len(turns), int(steps.sum()), len(parents)
        self.n_sessions, self.n_steps, self.n_calls = n_sessions, n_steps, n_steps + int(agent_steps.sum())
        self._parents = parents
        turn_begins = np.concatenate(([0], np.cumsum(steps)))
        steps_of_session = np.add.reduceat(steps, np.cumsum(turns) - turns)
        self.lengths = np.concatenate((steps_of_session, agent_steps))
        """int64[conversations]: calls of each."""
        self.begins = np.concatenate(([0], np.cumsum(self.lengths)))
        """int64[conversations + 1]: row of the first call of each."""
        session_of_step = np.repeat(np.arange(n_sessions), steps_of_session)
        owner = np.concatenate((np.arange(n_sessions), session_of_step[parents]))
        self.session = np.repeat(owner, self.lengths)
        """int64[calls]: the session of each call."""
        first_agent = np.searchsorted(owner[n_sessions:], np.arange(n_sessions))
        number = np.arange(n_agents) - first_agent[owner[n_sessions:]] + 1
        self.stream = np.repeat(np.concatenate((np.zeros(n_sessions, np.int64), number)), self.lengths)
        """int64[calls]: 0 for the session's own calls, 1, 2, ... for those of its sub-agents."""
        self.is_first = np.zeros(self.n_calls, bool)
        self.is_first[self.begins[:-1]] = True
        self.begins_turn = self.is_first.copy()
        self.begins_turn[turn_begins[:-1]] = True
        self.ends_turn = np.zeros(self.n_calls, bool)
        self.ends_turn[turn_begins[1:] - 1] = True
        """bool[calls]: the last step of each turn; of a sub-agent none."""
        self.turn = np.zeros(self.n_calls, np.int64)
        turn_in_session = np.arange(len(steps)) - np.repeat(np.cumsum(turns) - turns, turns)
        self.turn[:n_steps] = np.repeat(turn_in_session, steps)
        self.previous = np.arange(self.n_calls) - 1
        """int64[calls]: row of the call that each one goes on from; -1 for the first of a session."""
        self.previous[self.begins[:-1]] = np.concatenate((np.full(n_sessions, -1), parents))
        agent_calls_of_step = np.bincount(parents, agent_steps, minlength=n_steps).astype(np.int64)
        before = np.cumsum(agent_calls_of_step) - agent_calls_of_step
        self.place = np.concatenate(
            (np.arange(n_steps) + before, np.arange(self.n_calls - n_steps) + np.repeat(parents, agent_steps) + 1)
        )

    @cached_property
    def order(self) -> np.ndarray:
        """int64[calls]: rows in the order in which calls are numbered."""
        return np.argsort(self.place)


class Attempts:
    """The calls of a layout in their final order, each as often as it is tried. `n_attempts` int64[calls], by row."""

    def __init__(self, layout: SessionLayout, n_attempts: np.ndarray):
        self._layout = layout
        counts = n_attempts[layout.order]
        self._rows = np.repeat(layout.order, counts)
        self._last = np.empty(layout.n_calls, np.int64)
        self._last[layout.order] = np.cumsum(counts) - 1
        """Place of the last attempt of each row."""
        self.is_last = np.zeros(len(self._rows), bool)
        self.is_last[self._last] = True
        self.is_first = np.concatenate(([True], self.is_last[:-1]))
        per_session = np.bincount(layout.session, n_attempts, minlength=layout.n_sessions).astype(np.int64)
        self.offsets = np.concatenate(([0], np.cumsum(per_session)))

    def spread(self, column: np.ndarray) -> np.ndarray:
        """A column of the layout, in the final order, with a value for each attempt."""
        return column[self._rows]

    def graphs(self) -> list[Graph | None] | None:
        """Of each session: which attempts wait for which; None for a chain, and where all are chains."""
        layout = self._layout
        if layout.n_calls == layout.n_steps:
            return None
        found: list[Graph | None] = [None] * layout.n_sessions
        joined: dict[int, list[int]] = {}
        ends = self._last[layout.begins[layout.n_sessions + 1 :] - 1].tolist()
        for parent, end in zip(layout._parents.tolist(), ends, strict=True):
            joined.setdefault(parent + 1, []).append(end)
        for session in np.unique(layout.session[layout.n_steps :]).tolist():
            low, high = int(self.offsets[session]), int(self.offsets[session + 1])
            waits: list[tuple[int, ...]] = [()]
            for attempt in range(low + 1, high):
                row = int(self._rows[attempt])
                if not self.is_first[attempt]:
                    waits.append((attempt - 1 - low,))
                    continue
                own = int(self._last[layout.previous[row]])
                others = joined.get(row, ()) if row < layout.n_steps else ()
                waits.append((own - low, *(other - low for other in others)))
            found[session] = tuple(waits)
        return found


def contexts(
    layout: SessionLayout,
    first: np.ndarray,
    added: np.ndarray,
    output: np.ndarray,
    reasoning: np.ndarray,
    limit: int | None,
    summary_tokens: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(input tokens of each call; how often its context had been compacted; input tokens of the first call of its turn
    or, if later, of its context), int64[calls] each.

    `first`: first prompt of each conversation, also in `added`, the new input of each call. `output` stays in the
    conversation; `reasoning`, generated beside it, until the next turn begins.
    """
    kept = added + output
    before = np.cumsum(kept) - kept
    reasoned = np.cumsum(reasoning) - reasoning
    since = np.maximum.accumulate(np.where(layout.begins_turn, np.arange(layout.n_calls), 0))
    input_tokens = before - np.repeat(before[layout.begins[:-1]], layout.lengths) + added + reasoned - reasoned[since]
    compacted = np.zeros(layout.n_calls, np.int64)
    anew = layout.begins_turn.copy()
    if limit is not None:
        asked = input_tokens + output + reasoning
        for i in np.flatnonzero(np.maximum.reduceat(asked, layout.begins[:-1]) > limit).tolist():
            rows = slice(int(layout.begins[i]), int(layout.begins[i + 1]))
            fresh = int(first[i]) + summary_tokens
            columns = zip(*(c[rows].tolist() for c in (added, output, reasoning, layout.begins_turn)), strict=True)
            input_tokens[rows], compacted[rows] = _compacted(columns, limit, fresh)
        anew |= np.diff(compacted, prepend=0) > 0
    base = input_tokens[np.maximum.accumulate(np.where(anew, np.arange(layout.n_calls), 0))]
    return input_tokens, compacted, base


def _compacted(
    calls: Iterable[tuple[int, int, int, bool]], limit: int, fresh_tokens: int
) -> tuple[list[int], list[int]]:
    """(input tokens, compactions before) of the calls of one conversation.

    `calls`: new input, output, reasoning, and whether a turn begins with it, of each.
    """
    inputs, compactions, used, reasoned, times = [], [], 0, 0, 0
    for added, output, reasoning, begins_turn in calls:
        used += added
        reasoned = 0 if begins_turn else reasoned
        if used + reasoned + output + reasoning > limit:
            used, reasoned, times = fresh_tokens + added, 0, times + 1
        inputs.append(used + reasoned)
        compactions.append(times)
        used += output
        reasoned += reasoning
    return inputs, compactions
