"""Several kinds of task in one stream of traffic, e.g. chats and coding agents: a mixture of applications."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Annotated, Any, Literal

import numpy as np
from numpy.random import Generator
from pydantic import Field, field_validator, model_validator

from sim.schema import Config, OneOf
from sim.work import Graph, Segment, TaskProfile
from sim.workload.lengths.base import Lengths
from sim.workload.tasks.base import Drawn, Tasks

ApplicationName = Annotated[str, Field(pattern="^[a-z][a-z0-9_]*$")]


class Part(Config):
    """One application of a mixture."""

    share: float = Field(gt=0, le=1, description="fraction of the tasks (not of the calls)")
    tasks: OneOf[Tasks] = Field(description="the tasks of this application")

    @field_validator("tasks")
    @classmethod
    def _is_one_application(cls, tasks: Tasks) -> Tasks:
        if isinstance(tasks, Mixed):
            raise ValueError("is a mixture, too; list its applications here instead")
        return tasks


class Mixed(Tasks):
    """Tasks of several applications, drawn in proportion to their shares. Applications share no prompt text.

    Single calls get their tokens from the lengths group. Applications are numbered in the order of the config; routers
    and bills name them.
    """

    kind: Literal["mixed"] = "mixed"
    applications: dict[ApplicationName, Part] = Field(min_length=1, description="share and tasks by name")

    @field_validator("applications")
    @classmethod
    def _shares_are_a_whole(cls, parts: dict[str, Part]) -> dict[str, Part]:
        if abs(sum(part.share for part in parts.values()) - 1) > 1e-9:
            raise ValueError("the sum of the shares must be 1")
        return parts

    @model_validator(mode="after")
    def _keys_are_on_their_level(self) -> Mixed:
        if self.shared_prefix_tokens or any(part.tasks.priority_shares for part in self.applications.values()):
            raise ValueError("shared_prefix_tokens belong to applications.<name>.tasks, priority_shares to the mixture")
        return self

    @property
    def parts(self) -> tuple[Tasks, ...]:
        """The tasks of each application, by its number."""
        return tuple(part.tasks for part in self.applications.values())

    @property
    def uses_lengths(self) -> bool:
        return any(tasks.uses_lengths for tasks in self.parts)

    @property
    def largest_block(self) -> int:
        return min(tasks.largest_block for tasks in self.parts)

    @property
    def application_names(self) -> tuple[str, ...]:
        return tuple(self.applications)

    @property
    def mean_calls_per_task(self) -> float:
        return sum(part.share * part.tasks.mean_calls_per_task for part in self.applications.values())

    @property
    def profile(self) -> TaskProfile:
        raise NotImplementedError("every task of a mixture has the profile of its application")

    def profiles(self, drawn: Drawn) -> Iterable[TaskProfile]:
        known = [part.tasks.profile._replace(application=name) for name, part in self.applications.items()]
        return map(known.__getitem__, _application_of(drawn).tolist())

    def draw(self, rng: Generator, lengths_rng: Generator, lengths: Lengths | None, n: int) -> Drawn:
        shares = [part.share for part in self.applications.values()]
        application = rng.choice(len(shares), n, p=np.array(shares) / sum(shares))
        counts, columns = np.ones(n, np.int64), []
        for i, tasks in enumerate(self.parts):
            rows = application == i
            drawn = tasks.draw(rng, lengths_rng, lengths, int(rows.sum())) if rows.any() else None
            columns.append(drawn)
            if drawn is not None:
                counts[rows] = np.diff(drawn.offsets)
        owner, total = np.repeat(application, counts), int(counts.sum())
        merged: dict[str, Any] = {name: np.zeros(total, kind) for name, kind in _COLUMNS.items()}
        for i, drawn in enumerate(columns):
            for name in merged if drawn is not None else ():
                if getattr(drawn, name) is not None:
                    merged[name][owner == i] = getattr(drawn, name)
        offsets = np.concatenate(([0], np.cumsum(counts)))
        return Drawn(offsets, **merged, application=application, parts=tuple(columns))

    def segments(self, drawn: Drawn, first_task_id: int) -> Iterator[tuple[Segment, ...]]:
        named = [
            _named(name, part.tasks, found, first_task_id)
            for (name, part), found in zip(self.applications.items(), drawn.parts, strict=True)
        ]
        return (next(named[i]) for i in _owners(drawn))

    def extended(self, drawn: Drawn) -> Iterable[bool]:
        answers = [iter(part.extended(found) if found else ()) for part, found in self._drawn_parts(drawn)]
        return (next(answers[i]) for i in _owners(drawn))

    def graphs(self, drawn: Drawn) -> Iterable[Graph | None]:
        graphs = [iter(part.graphs(found) if found else ()) for part, found in self._drawn_parts(drawn)]
        return (next(graphs[i]) for i in _application_of(drawn).tolist())

    def _drawn_parts(self, drawn: Drawn) -> Iterator[tuple[Tasks, Drawn | None]]:
        return zip(self.parts, drawn.parts, strict=True)


_COLUMNS = {"input_tokens": np.int64, "output_tokens": np.int64, "wait_s": np.float64, "contexts": np.int64}


def _application_of(drawn: Drawn) -> np.ndarray:
    """int64[n]: the application of each task, which `Mixed.draw` always states."""
    assert drawn.application is not None
    return drawn.application


def _owners(drawn: Drawn) -> list[int]:
    """The application of each call."""
    return np.repeat(_application_of(drawn), np.diff(drawn.offsets)).tolist()


def _named(name: str, tasks: Tasks, drawn: Drawn | None, first_task_id: int) -> Iterator[tuple[Segment, ...]]:
    """The segments of one application's prompts, under keys that no other application uses."""
    if drawn is None:
        return iter(())
    segments = islice(tasks.segments(drawn, first_task_id), len(drawn.input_tokens))
    return (tuple(((name, key), tokens) for key, tokens in found) for found in segments)
