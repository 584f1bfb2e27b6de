"""Single calls whose prompts go on from earlier ones, as those of a log without sessions that shows common text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal, Self

import numpy as np
from numpy.random import Generator
from pydantic import Field, PrivateAttr, model_validator

from sim.schema import Config
from sim.work import SHARED_KEY, Segment
from sim.workload.lengths.base import Lengths
from sim.workload.spread import Spread
from sim.workload.tasks.base import Drawn
from sim.workload.tasks.single_call import OneCall

_NEAR_CALLS, _NEAR_SHARE = 16, 0.25
"""The earlier prompt is sought within this number of calls, or this share of the lag if that is more, of the call
that the lag points to."""


class Continuing(Config):
    """What prompts of some length go on from."""

    from_input_tokens: int = Field(ge=0, description="shortest prompt of this row; the next row's is the upper limit")
    fraction: float = Field(ge=0, le=1, description="of these prompts, those that go on from an earlier one")
    common_fraction: Spread = Field(description="of such a prompt, the part that the earlier one began with")

    @model_validator(mode="after")
    def _is_a_part(self) -> Continuing:
        if self.common_fraction.highest > 1:
            raise ValueError(f"common_fraction: must be <= 1, not up to {self.common_fraction.highest:g}")
        return self


class ContinuedCalls(OneCall):
    """One call per task, of which some begin with the text of an earlier call of any task.

    A continuing prompt goes on from the one that came `lag_calls` earlier, or near that: of those near, from the
    shortest that is long enough and that no other has gone on from; where none is, from any earlier one. It has
    `common_fraction` of its tokens from there, in whole pieces of `piece_tokens`, as far as that prompt is long; they
    follow the `shared_prefix_tokens` that all have. What came before a run is not there to go on from.
    """

    kind: Literal["continued_calls"] = "continued_calls"
    shares_prompts: ClassVar[bool] = True

    piece_tokens: int = Field(512, gt=0, description="common text is a multiple of this number of tokens")
    lag_calls: Spread = Field(description="calls between a prompt and the one that it goes on from", examples=[20])
    continuing: tuple[Continuing, ...] = Field(
        min_length=1,
        description="by length of the prompt",
        examples=[[{"from_input_tokens": 0, "fraction": 0.5, "common_fraction": 0.8}]],
    )

    _earlier: _Earlier | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _rows_ascend(self) -> ContinuedCalls:
        edges = [row.from_input_tokens for row in self.continuing]
        if edges[0] != 0 or any(b <= a for a, b in zip(edges, edges[1:], strict=False)):
            raise ValueError("continuing: from_input_tokens must ascend from 0")
        return self

    def in_order(self) -> Self:
        """A copy whose draws go on from those before; without it, each draw begins with no earlier prompts."""
        copy = self.model_copy()
        copy._earlier = _Earlier(round(self.lag_calls.highest * (1 + _NEAR_SHARE)) + _NEAR_CALLS)
        return copy

    def draw(self, rng: Generator, lengths_rng: Generator, lengths: Lengths | None, n: int) -> Drawn:
        drawn = super().draw(rng, lengths_rng, lengths, n)
        own = np.maximum(drawn.input_tokens - self.shared_prefix_tokens, 0)
        edges = np.array([row.from_input_tokens for row in self.continuing])
        row_of = np.searchsorted(edges, drawn.input_tokens, side="right") - 1
        drawn_at, common = rng.random(n), np.empty(n)
        for number, row in enumerate(self.continuing):
            of_row = row_of == number
            common[of_row] = row.common_fraction.draw(rng, int(of_row.sum()))
        goes_on = drawn_at < np.array([row.fraction for row in self.continuing])[row_of]
        lags = self.lag_calls.draw_whole(rng, n)
        pieces, wanted = own // self.piece_tokens, (common * own).astype(np.int64) // self.piece_tokens
        earlier = self._earlier or _Earlier(n)
        return drawn._replace(streams=earlier.chosen(pieces, np.where(goes_on, wanted, 0), lags))

    def segments(self, drawn: Drawn, first_task_id: int) -> Iterable[tuple[Segment, ...]]:
        assert drawn.streams is not None
        earlier, size, found = self._earlier or _Earlier(len(drawn.input_tokens)), self.piece_tokens, []
        columns = (drawn.input_tokens.tolist(), *drawn.streams.T.tolist())
        for task_id, (tokens, distance, pieces) in enumerate(zip(*columns, strict=True), first_task_id):
            shared = min(tokens, self.shared_prefix_tokens)
            path = earlier.paths[task_id - distance][:pieces] if pieces else ()
            path += tuple(((task_id, i), size) for i in range(len(path), (tokens - shared) // size))
            earlier.keep(task_id, path)
            found.append(((SHARED_KEY, shared), *path) if shared else path)
        return found


class _Earlier:
    """The last prompts that were drawn, at least `reach` of them: their pieces, and who has been gone on from."""

    def __init__(self, reach: int):
        self._reach = max(reach, 1)
        self._pieces, self._is_free = np.empty(0, np.int64), np.empty(0, bool)
        self.paths: dict[int, tuple[Segment, ...]] = {}  # by task id

    def chosen(self, pieces: np.ndarray, wanted: np.ndarray, lags: np.ndarray) -> np.ndarray:
        """int64[n, 2] of the next n prompts: how many calls before is the one that each goes on from, and pieces."""
        before = len(self._pieces)
        every = np.concatenate([self._pieces, pieces])
        is_free = np.concatenate([self._is_free, np.ones(len(pieces), bool)])
        found = np.zeros((len(pieces), 2), np.int64)
        for i in np.flatnonzero(wanted).tolist():
            call, lag = before + i, int(lags[i])
            near = max(_NEAR_CALLS, int(_NEAR_SHARE * lag))
            place = _place(every, is_free, int(wanted[i]), max(0, call - lag - near), min(call, call - lag + near + 1))
            if place is None:  # No call near the lag has as much text: take any call that has, or else the longest.
                place = _place(every, is_free, int(wanted[i]), 0, call)
            if place is None:
                place = int(np.where(is_free[:call], every[:call], 0).argmax()) if call else 0
            if place < call and is_free[place] and every[place]:
                is_free[place] = False
                found[i] = call - place, min(every[place], wanted[i])
        self._pieces, self._is_free = every[-self._reach :], is_free[-self._reach :]
        return found

    def keep(self, task_id: int, path: tuple[Segment, ...]) -> None:
        """Hold the pieces of a prompt until `reach` others have come, and those of its draw."""
        self.paths[task_id] = path
        self.paths.pop(task_id - self._reach - 4096, None)


def _place(pieces: np.ndarray, is_free: np.ndarray, wanted: int, first: int, last: int) -> int | None:
    """Of the free prompts in [first, last) of at least `wanted` pieces, the one with the fewest; None without any."""
    enough = first + np.flatnonzero(is_free[first:last] & (pieces[first:last] >= wanted))
    return int(enough[pieces[enough].argmin()]) if len(enough) else None
