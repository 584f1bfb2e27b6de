"""Sessions of an agent: turns of a human, steps of the agent within a turn, and sub-agents beside it."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np
from numpy.random import Generator
from pydantic import Field, model_validator

from sim.schema import Config
from sim.work import SHARED_KEY, Segment, TaskProfile
from sim.workload.lengths.base import Lengths
from sim.workload.spread import Spread
from sim.workload.tasks.base import Drawn, Tasks, expected_calls
from sim.workload.tasks.session_layout import Attempts, SessionLayout, contexts

_LONGEST = 1 << 16
"""Calls of a session that the distribution of calls per session knows of; longer ones count as shorter."""


class SubAgents(Config):
    """Agents that a step starts, and that the next step waits for."""

    step_fraction: float = Field(
        ge=0, le=1, description="of the steps that are not a turn's last, those that start some"
    )
    n: Spread = Field(description="sub-agents of such a step, at work at once")
    steps: Spread = Field(description="steps of a sub-agent")
    first_input_tokens: Spread = Field(description="first prompt of a sub-agent: its context is its own")
    shared_prefix_tokens: int = Field(0, ge=0, description="leading prompt tokens common to all sub-agents")

    @model_validator(mode="after")
    def _bounds(self) -> SubAgents:
        if math.inf in (self.n.highest, self.steps.highest):
            raise ValueError("n and steps need a max")
        if self.shared_prefix_tokens > self.first_input_tokens.lowest:
            shared, lowest = self.shared_prefix_tokens, self.first_input_tokens.lowest
            raise ValueError(f"shared_prefix_tokens = {shared} must be <= the least first_input_tokens = {lowest:g}")
        return self


class AgentSession(Tasks):
    """A session with three clocks. A task is a session: it arrives once; its turns begin when a human comes back, its
    steps when a tool has ended.

    - Session: `turns_per_session`, cut short with probability `abandon_fraction` after each turn that is not the last.
    - Turn: `steps_per_turn` calls, at most `max_steps_per_turn`; a turn begins `human_wait_s` after the one before.
    - Step: `tool_wait_s` after the answer before it. A step is tried again with probability `retry_fraction`,
      `retry_wait_s` after an answer that is thrown away, at most `max_attempts` times in all.
    - Context: each prompt repeats the one before and its answer, and adds `turn_input_tokens` or `step_input_tokens`.
      `reasoning_tokens` are generated beside `output_tokens`; they stay in the context for the rest of the turn, and
      are dropped when the next one begins: what follows the turn's first prompt is then computed anew.
    - Compaction: where a call would exceed `max_context_tokens`, the context starts again as first prompt,
      `summary_tokens` and new input, and shares nothing but the shared prefix with what was before. The work of
      writing the summary is not modelled.
    - `subagents`: a step starts some at once, each with a context of its own; the next step waits for all of them.

    Calls per session = E[turns] E[steps] without retries and sub-agents; with Poisson sessions the index of dispersion
    of calls tends to E[N^2] / E[N].
    """

    kind: Literal["agent_session"] = "agent_session"
    uses_lengths: ClassVar[bool] = False
    extends_prefix: ClassVar[bool] = True
    largest_block: ClassVar[int] = 128  # a session may have hundreds of calls
    turns_per_session: Spread = Field(description="turns of a session", examples=[4])
    steps_per_turn: Spread = Field(description="calls of a turn", examples=[6])
    max_steps_per_turn: int | None = Field(None, ge=1, description="where a longer turn ends; null: no cap")
    abandon_fraction: float = Field(0.0, ge=0, lt=1, description="of the turns after which another one would follow")
    first_input_tokens: Spread = Field(description="input tokens of a session's first call", examples=[5000])
    turn_input_tokens: Spread = Field(description="new input tokens of a later turn's first call", examples=[100])
    step_input_tokens: Spread = Field(description="new input tokens of a turn's further calls", examples=[500])
    output_tokens: Spread = Field(description="output tokens of a call, without reasoning", examples=[200])
    reasoning_tokens: Spread = Field(Spread(median=0.0), description="output tokens that the next turn does not repeat")
    tool_wait_s: Spread = Field(Spread(median=0.0), description="seconds between an answer and the next step")
    human_wait_s: Spread = Field(Spread(median=0.0), description="seconds between the end of a turn and the next")
    retry_fraction: float = Field(0.0, ge=0, lt=1, description="of the answers, those thrown away and asked for again")
    max_attempts: int = Field(3, ge=1, le=100, description="times that a call is made at most; the last answer is kept")
    retry_wait_s: Spread = Field(Spread(median=1.0), description="seconds before another attempt")
    subagents: SubAgents | None = Field(None, description="agents that a step starts; null: none")
    max_context_tokens: int | None = Field(None, ge=1, description="input + output of any call; null = no limit")
    summary_tokens: int = Field(0, ge=0, description="tokens of the summary that replaces a compacted conversation")

    @model_validator(mode="after")
    def _fits(self) -> AgentSession:
        if math.inf in (self.turns_per_session.highest, self.steps_per_turn.highest):
            raise ValueError("turns_per_session and steps_per_turn need a max")
        if self.shared_prefix_tokens >= self.first_input_tokens.lowest:
            shared, lowest = self.shared_prefix_tokens, self.first_input_tokens.lowest
            raise ValueError(f"shared_prefix_tokens = {shared} must be < the least first_input_tokens = {lowest:g}")
        if self.max_context_tokens is not None:
            added = max(self.turn_input_tokens.highest, self.step_input_tokens.highest)
            first = max(part.first_input_tokens.highest for part in (self, self.subagents) if part is not None)
            most = first + added + self.output_tokens.highest + self.reasoning_tokens.highest + self.summary_tokens
            if most > self.max_context_tokens:
                raise ValueError(
                    f"max_context_tokens = {self.max_context_tokens} must hold the largest first prompt + summary + "
                    f"new input + output + reasoning = {most:g} (give them a max)"
                )
        return self

    @property
    def mean_calls_per_task(self) -> float:
        return self.calls_moments[0]

    @cached_property
    def calls_moments(self) -> tuple[float, float]:
        """(mean, second moment) of the calls of a session."""
        values, shares = self._calls_shares
        return float(shares @ values), float(shares @ values**2)

    @cached_property
    def profile(self) -> TaskProfile:
        values, shares = self._calls_shares
        return TaskProfile(expected_calls=expected_calls(values, shares))

    @cached_property
    def _calls_shares(self) -> tuple[np.ndarray, np.ndarray]:
        """(numbers, probabilities) of the calls of a session, from its generating function on the unit circle."""
        z = np.exp(-2j * np.pi * np.arange(_LONGEST // 2 + 1) / _LONGEST)
        p, last = self.retry_fraction, self.max_attempts
        step = sum((p**k * (1 - p) * z ** (k + 1) for k in range(last - 1)), p ** (last - 1) * z**last)
        between = np.ones_like(z)
        if self.subagents is not None:
            one = _generating(*self.subagents.steps.whole_shares, step)
            some = _generating(*self.subagents.n.whole_shares, one)
            between = 1 + self.subagents.step_fraction * (some - 1)
        steps, shares = self._steps_shares
        turn = _generating(steps - 1, shares, step * between) * step
        shares = np.fft.irfft(_generating(*self._turns_shares, turn), _LONGEST)
        shares[0], shares[shares < 1e-12] = 0.0, 0.0
        longest = int(np.flatnonzero(shares)[-1])
        shares = shares[: longest + 1] / shares.sum()
        known = np.flatnonzero(shares)
        return known.astype(float), shares[known]

    @property
    def _steps_shares(self) -> tuple[np.ndarray, np.ndarray]:
        values, shares = self.steps_per_turn.whole_shares
        return (values if self.max_steps_per_turn is None else np.minimum(values, self.max_steps_per_turn)), shares

    @property
    def _turns_shares(self) -> tuple[np.ndarray, np.ndarray]:
        """With abandonment: P(turns >= t) = P(turns wanted >= t) (1 - abandon_fraction)^(t - 1)."""
        values, shares = self.turns_per_session.whole_shares
        turns = np.arange(1, int(values[-1]) + 1)
        wanted = np.bincount(values.astype(int), shares, minlength=len(turns) + 1)[1:]
        stay = (wanted[::-1].cumsum()[::-1]) * (1 - self.abandon_fraction) ** (turns - 1)
        return turns.astype(float), np.clip(stay - np.append(stay[1:], 0.0), 0, None)

    def draw(self, rng: Generator, lengths_rng: Generator, lengths: Lengths | None, n: int) -> Drawn:
        turns = self.turns_per_session.draw_whole(rng, n)
        if self.abandon_fraction:
            turns = np.minimum(turns, rng.geometric(self.abandon_fraction, n))
        steps = self.steps_per_turn.draw_whole(rng, int(turns.sum()))
        if self.max_steps_per_turn is not None:
            steps = np.minimum(steps, self.max_steps_per_turn)
        layout = SessionLayout(turns, steps, *self._agents(rng, steps))
        input_tokens, output_tokens, streams = self._tokens(rng, layout)
        n_attempts = np.ones(layout.n_calls, np.int64)
        if self.retry_fraction:
            n_attempts = np.minimum(rng.geometric(1 - self.retry_fraction, layout.n_calls), self.max_attempts)
        attempts = Attempts(layout, n_attempts)
        wait_s = attempts.spread(self._waits_s(rng, layout))
        again = ~attempts.is_first
        wait_s[again] = self.retry_wait_s.draw(rng, int(again.sum()))
        extended = attempts.is_last
        if self._drops_reasoning:
            extended &= ~attempts.spread(layout.ends_turn)
        return Drawn(
            attempts.offsets, attempts.spread(input_tokens), attempts.spread(output_tokens), wait_s, None,
            graphs=attempts.graphs(), extended=extended, streams=attempts.spread(streams),
        )  # fmt: skip

    @property
    def _drops_reasoning(self) -> bool:
        return self.reasoning_tokens.highest > 0

    def _agents(self, rng: Generator, steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(int64[a], the step that starts each sub-agent, among all steps; int64[a], steps of each sub-agent)."""
        some = self.subagents
        if some is None:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        may = np.ones(int(steps.sum()), bool)
        may[np.cumsum(steps) - 1] = False  # no step would wait for what the last one of a turn starts
        starting = np.flatnonzero(may & (rng.random(len(may)) < some.step_fraction))
        parents = np.repeat(starting, some.n.draw_whole(rng, len(starting)))
        return parents, some.steps.draw_whole(rng, len(parents))

    def _tokens(self, rng: Generator, layout: SessionLayout) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(input tokens, output tokens, int64[calls] each; int64[calls, 4] of what `segments` needs), by row."""
        n_calls, begins, n_sessions = layout.n_calls, layout.begins[:-1], layout.n_sessions
        first = self.first_input_tokens.draw_whole(rng, n_sessions)
        if self.subagents is not None:
            own = self.subagents.first_input_tokens.draw_whole(rng, len(begins) - n_sessions)
            first = np.concatenate((first, own))
        added = self.step_input_tokens.draw_whole(rng, n_calls)
        later = np.flatnonzero(layout.begins_turn & ~layout.is_first)
        added[later] = self.turn_input_tokens.draw_whole(rng, len(later))
        added[begins] = first
        output = self.output_tokens.draw_whole(rng, n_calls)
        reasoning = np.rint(self.reasoning_tokens.draw(rng, n_calls)).astype(np.int64)
        found = contexts(layout, first, added, output, reasoning, self.max_context_tokens, self.summary_tokens)
        input_tokens, compacted, base = found
        return input_tokens, output + reasoning, np.stack((layout.stream, compacted, layout.turn, base), axis=1)

    def _waits_s(self, rng: Generator, layout: SessionLayout) -> np.ndarray:
        """float64[calls], by row."""
        wait_s = self.tool_wait_s.draw(rng, layout.n_calls)
        wait_s[layout.is_first] = 0.0
        later = np.flatnonzero(layout.begins_turn & ~layout.is_first)
        wait_s[later] = self.human_wait_s.draw(rng, len(later))
        return wait_s

    def segments(self, drawn: Drawn, first_task_id: int) -> Iterator[tuple[Segment, ...]]:
        assert drawn.streams is not None  # `draw` always states them
        counts, drops = np.diff(drawn.offsets), self._drops_reasoning
        tasks = np.repeat(np.arange(first_task_id, first_task_id + len(counts)), counts).tolist()
        agents_share = 0 if self.subagents is None else self.subagents.shared_prefix_tokens
        rows = zip(tasks, drawn.input_tokens.tolist(), drawn.streams.tolist(), strict=True)
        for task, tokens, (stream, compacted, turn, base) in rows:
            key: Hashable = (task, stream, compacted) if stream or compacted else task
            shared = agents_share if stream else self.shared_prefix_tokens
            shared_key: Hashable = ("subagents", SHARED_KEY) if stream else SHARED_KEY
            if not drops:
                own: tuple[Segment, ...] = ((key, tokens - shared),)
            else:
                # The last token of the turn's first prompt begins the stream of the turn, which its answers continue.
                own = ((key, base - 1 - shared), ((task, stream, compacted, turn), tokens - base + 1))
            yield ((shared_key, shared), *own) if shared else own


def _generating(values: np.ndarray, shares: np.ndarray, z: np.ndarray) -> np.ndarray:
    """sum(share * z^value), complex128 as `z`, for whole values >= 0 in ascending order."""
    by_value = np.bincount(values.astype(np.int64), shares)
    found = np.zeros_like(z)
    for share in by_value[::-1]:
        found = found * z + share
    return found
