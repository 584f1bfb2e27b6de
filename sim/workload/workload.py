"""Workload: the stream of tasks that arrivals, lengths and tasks make, drawn from random streams of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import chain, islice, repeat
from typing import TYPE_CHECKING, Any

import numpy as np

from sim.moment_zero import MomentZero
from sim.randomness import Streams
from sim.schema import ConfigError
from sim.work import Call, Task, TaskProfile
from sim.workload.arrivals.base import Arrivals, Kind, Source
from sim.workload.arrivals.rates import Rates
from sim.workload.arrivals.replay import Arrived, Replay
from sim.workload.lengths.base import Lengths
from sim.workload.lengths.empirical import Empirical
from sim.workload.logs.compacted import compacted_tasks
from sim.workload.logs.recorded_calls import (
    applications_of,
    calls_per_task,
    graphs_of,
    priorities_of,
    recorded_calls,
)
from sim.workload.tasks.base import LARGEST_BLOCK, Drawn, Tasks, build_calls, expected_calls

if TYPE_CHECKING:
    from sim.workload.logs.request_log import RequestLog

_FIRST_BLOCK, _LARGEST_BLOCK = 64, LARGEST_BLOCK
_TASKS_AT_ONCE = 256  # few enough that the tasks made are still in the processor's cache when they arrive


class Workload:
    """What arrives. But for its moment, the k-th task is the same whatever the arrivals are and whatever serves it.

    Random streams: `arrivals` for the moments, `lengths` and `tasks` for the tasks, `api_quantiles` for their latency
    at an API. When arrivals is a replay with `lengths_from: log`, tasks come from the log, and `lengths` and `tasks`
    are not used (and may be None). Arrivals by recorded rates bring lengths of their own likewise, whose spread
    may be that of `lengths`. Raises ConfigError if one of them is needed and missing.
    """

    def __init__(self, arrivals: Source, lengths: Lengths | None = None, tasks: Tasks | None = None):
        self.arrivals = arrivals
        self.lengths = lengths
        self.tasks = tasks
        if isinstance(arrivals, Rates) and arrivals.needs_lengths and lengths is None:
            raise ConfigError(f"lengths: is required by arrivals of kind {arrivals.kind!r}")
        if not self.is_recorded and not self.has_rates:
            if tasks is None:
                raise ConfigError("tasks: is required unless arrivals is a replay with lengths_from: log")
            if lengths is None and tasks.uses_lengths:
                raise ConfigError(f"lengths: is required by tasks of kind {tasks.kind!r}")

    @property
    def is_recorded(self) -> bool:
        """Whether the tasks, not only the moments, come from a log."""
        return isinstance(self.arrivals, Replay) and self.arrivals.lengths_from == "log"

    @property
    def has_rates(self) -> bool:
        """Whether the tasks are drawn with the lengths of a record of rates."""
        return isinstance(self.arrivals, Rates) and self.arrivals.lengths_from == "log"

    @property
    def default_horizon_s(self) -> float | None:
        """Seconds that a run without a horizon lasts, e.g. the length of a replayed log; None if undefined."""
        return self.arrivals.default_horizon_s

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that a reader of the results should know about the arrivals, e.g. warnings about their log."""
        return self.arrivals.notes

    def task_blocks(self, streams: Streams, horizon_s: float, api: bool = False) -> Iterator[list[Task]]:
        """All tasks that arrive in [0, horizon_s), in order of time, numbered from 0, in blocks drawn lazily.

        `api`: whether to draw each call's api_quantiles. Memory does not grow with the horizon. Raises ValueError for
        arrivals whose moments depend on the server.
        """
        if self.is_recorded:
            moments_and_calls = self._recorded(streams, horizon_s, api)
        elif self.has_rates:
            self._rates.refuse_endless_work(horizon_s)
            moments_and_calls = self._by_rates(streams, horizon_s, api)
        else:
            if not isinstance(self.arrivals, Arrivals):
                raise ValueError(f"arrivals.kind = {self.arrivals.kind!r}: its tasks have no moments of their own")
            drawn_at = self.arrivals.times(streams.generator("arrivals"), horizon_s)
            moments = _reblocked(drawn_at, self._drawn_tasks.largest_block)
            mix, priorities = self._mix(streams, api), self.priorities(streams)
            moments_and_calls = ((times_s, priorities, *next(mix)) for times_s in moments)
        first_id = 0
        for times_s, priorities, *kinds in moments_and_calls:
            ids = range(first_id, first_id + len(times_s))
            first_id += len(times_s)
            calls, applications, profiles, graphs = kinds
            columns = zip(ids, times_s.tolist(), calls, applications, priorities, profiles, graphs, strict=False)
            tasks = map(tuple.__new__, repeat(Task), columns)
            while part := list(islice(tasks, _TASKS_AT_ONCE)):
                yield part

    @property
    def application_names(self) -> dict[int, str]:
        """Names of the applications, by their numbers in tasks."""
        if self.is_recorded:
            return dict(enumerate(self._replay.log.application_names))
        return dict(enumerate(self._rates.application_names if self.has_rates else self._drawn_tasks.application_names))

    def endless_kinds(self, streams: Streams, api: bool = False) -> Iterator[Kind]:
        """The k-th task without its moment, for k = 0, 1, ... without end: as many as a closed loop may begin."""
        return (kind for block in self._mix(streams, api) for kind in zip(*block, strict=False))

    def priorities(self, streams: Streams) -> Iterator[int]:
        """The priority of the k-th task, for k = 0, 1, ... without end. Recorded tasks have those of their log."""
        shares = self._drawn_tasks.priority_shares
        if not shares:
            return repeat(0)
        rng, levels, weights = streams.generator("priorities"), list(shares), list(shares.values())
        return chain.from_iterable(rng.choice(levels, _LARGEST_BLOCK, p=weights).tolist() for _ in repeat(None))

    def saturating_tasks(self, streams: Streams) -> Iterator[Task]:
        """An endless stream of tasks of the same mix that all arrive at time 0, without waits between their calls."""
        mix = (calls for calls, *_ in self._mix(streams, False, waits=False))
        blocks: Iterator[Iterator[tuple[Call, ...]]] = mix
        if self.is_recorded:
            blocks = self._recorded_again_and_again()
        elif self.has_rates:
            blocks = self._typical_of_rates(streams)
        task_id = 0
        for block in blocks:
            for calls in block:
                yield Task(task_id, 0.0, calls)  # one call after the other, whatever waits for what
                task_id += 1

    def mix_description(self) -> dict[str, Any]:
        """Plain JSON data of everything in the workload that saturated throughput depends on: not rates, not waits.

        A log is named by its SHA-256.
        """
        if self.is_recorded:
            replay = self._replay
            longer = {"more_calls_per_user", "longer_contexts", "longer_answers"}
            return {
                "log": replay.log.sha256, "start_s": replay.start_s, "duration_s": replay.duration_s,
                "scale": replay.scale.model_dump(include=longer), "compaction": replay.compaction.model_dump(),
            }  # fmt: skip
        lengths = self.lengths
        if self.has_rates:
            found = {
                "rates": self._rates.log.sha256,
                "arrivals": self.arrivals.model_dump(mode="json", exclude={"path"}),
            }
            return found | ({} if lengths is None else {"lengths": lengths.model_dump(mode="json")})
        tasks = self._drawn_tasks
        found = {"tasks": tasks.model_dump(mode="json", exclude={"wait_s", "priority_shares"})}
        if tasks.uses_lengths and lengths is not None:
            found["lengths"] = lengths.model_dump(mode="json", exclude={"path"})
            if isinstance(lengths, Empirical):
                found["lengths"]["log"] = lengths.log.sha256
        return found

    @property
    def moment_zero(self) -> MomentZero | None:
        """Second 0 of a replayed log with dates; None otherwise, and where time is stretched. Raises TraceError."""
        replay = self.arrivals
        if isinstance(replay, Rates):
            return replay.begins
        if not isinstance(replay, Replay) or replay.scale.faster_clock != 1 or replay.log.begins_at is None:
            return None
        return MomentZero(replay.log.begins_at + timedelta(seconds=replay.start_s), replay.log.zone_name)

    def content_hashes(self) -> dict[str, str]:
        """SHA-256 of every external file that the tasks depend on, by its path. Raises TraceError."""
        rates = [self.arrivals.log] if isinstance(self.arrivals, Rates) else []
        return {log.path: log.sha256 for log in [*rates, *self.logs]}

    @property
    def logs(self) -> list[RequestLog]:
        """The request logs that arrivals and lengths come from. Raises TraceError."""
        readers: list[Replay | Empirical] = [self.arrivals] if isinstance(self.arrivals, Replay) else []
        if self.has_rates:
            return [self.lengths.log] if isinstance(self.lengths, Empirical) and self._rates.needs_lengths else []
        if not self.is_recorded and self._drawn_tasks.uses_lengths and isinstance(self.lengths, Empirical):
            readers.append(self.lengths)
        return [reader.log for reader in readers]

    @property
    def receipts(self) -> tuple[Any, ...]:
        """What was understood of each log, and what is played in its place where it is scaled. Raises TraceError."""
        found: list[Any] = [log.receipt for log in self.logs if log.receipt is not None]
        if isinstance(self.arrivals, Rates):
            found.insert(0, self.arrivals.log.receipt)
        if found and isinstance(self.arrivals, Replay):
            found[0] = replace(found[0], played=self.arrivals.receipt_lines)
        return tuple(found)

    @property
    def _replay(self) -> Replay:
        """The arrivals of recorded tasks."""
        assert isinstance(self.arrivals, Replay)
        return self.arrivals

    @property
    def _rates(self) -> Rates:
        """The arrivals of tasks by recorded rates."""
        assert isinstance(self.arrivals, Rates)
        return self.arrivals

    @property
    def _drawn_tasks(self) -> Tasks:
        """The shape of tasks that are not recorded."""
        assert self.tasks is not None  # refused in `__init__` otherwise
        return self.tasks

    def _mix(self, streams: Streams, api: bool, waits: bool = True) -> Iterator[tuple]:
        """Endless blocks of columns: calls, applications, profiles and graphs of tasks.

        Block sizes are fixed, so that the k-th task depends on k and the seed alone.
        """
        tasks, rng, lengths_rng = self._drawn_tasks, streams.generator("tasks"), streams.generator("lengths")
        quantiles_rng = streams.generator("api_quantiles") if api else None
        lengths = self.lengths
        if waits:
            tasks, lengths = tasks.in_order(), None if lengths is None else lengths.in_order()
        first_id = 0
        for size in _block_sizes(tasks.largest_block):
            drawn = tasks.draw(rng, lengths_rng, lengths, size)
            if not waits:
                drawn = drawn._replace(wait_s=None)
            quantiles = None if quantiles_rng is None else _quantiles(quantiles_rng, len(drawn.input_tokens))
            applications = repeat(0) if drawn.application is None else drawn.application.tolist()
            yield tasks.calls(drawn, first_id, quantiles), applications, tasks.profiles(drawn), tasks.graphs(drawn)
            first_id += size

    def _recorded(self, streams: Streams, horizon_s: float, api: bool) -> Iterator[tuple]:
        """Blocks of columns of the tasks of a log: moments, priorities, calls, applications, profiles and graphs."""
        excerpt, compaction, first_id = self._replay.excerpt, self._replay.compaction, 0
        graphs = graphs_of(excerpt) if excerpt.log.awaited is not None else None
        n_calls = calls_per_task(excerpt)
        counts, times = np.unique(n_calls, return_counts=True)
        expected = expected_calls(counts, times / times.sum())
        profiles = [TaskProfile(name, expected) for name in excerpt.log.application_names or ("",)]
        quantiles_rng = streams.generator("api_quantiles") if api else None
        for block in self._replay.arrived(streams.generator("arrivals"), horizon_s):
            n_drawn = int(n_calls[block.tasks].sum())
            quantiles = None if quantiles_rng is None else _quantiles(quantiles_rng, n_drawn)
            calls: Iterable = recorded_calls(excerpt, block, first_id, quantiles)
            of_block: Iterable = repeat(None) if graphs is None else map(graphs.__getitem__, block.tasks.tolist())
            if compaction.at_tokens is not None:
                calls, of_block = compacted_tasks(compaction, first_id, calls, of_block)
            numbers = applications_of(excerpt, block)
            applications = repeat(0) if numbers is None else numbers.tolist()
            of_tasks = repeat(profiles[0]) if numbers is None else map(profiles.__getitem__, applications)
            yield (
                block.times_s,
                priorities_of(excerpt, block),
                calls,
                applications,
                of_tasks,
                of_block,
            )
            first_id += len(block.tasks)

    def _by_rates(self, streams: Streams, horizon_s: float, api: bool) -> Iterator[tuple]:
        """Blocks of columns of tasks of one call each, with the lengths of what they come from."""
        rates, rng, profile = self._rates, streams.generator("lengths"), TaskProfile(expected_calls=(1.0,))
        named = [TaskProfile(name, (1.0,)) for name in rates.application_names]
        quantiles_rng = streams.generator("api_quantiles") if api else None
        for block in rates.marked(streams.generator("arrivals"), horizon_s):
            n = len(block.marks)
            quantiles = None if quantiles_rng is None else _quantiles(quantiles_rng, n)
            drawn = Drawn(np.arange(n + 1), *rates.tokens(rng, block.marks, self.lengths), None, None)
            applications = rates.applications(block.marks).tolist()
            profiles = map(named.__getitem__, applications) if named else repeat(profile)
            yield (
                block.times_s,
                repeat(0),
                build_calls(drawn, repeat(()), repeat(False), quantiles),
                applications,
                profiles,
                repeat(None),
            )

    def _typical_of_rates(self, streams: Streams) -> Iterator[Iterator[tuple[Call, ...]]]:
        rates, rng, lengths_rng = self._rates, streams.generator("tasks"), streams.generator("lengths")
        for n in _block_sizes(_LARGEST_BLOCK):
            tokens = rates.tokens(lengths_rng, rates.typical_marks(rng, n), self.lengths)
            yield build_calls(Drawn(np.arange(n + 1), *tokens, None, None), repeat(()), repeat(False), None)

    def _recorded_again_and_again(self) -> Iterator[Iterator[tuple[Call, ...]]]:
        """Endless blocks of the calls of the log's tasks; each repetition of the log shares no prefix with another."""
        excerpt, compaction, first_id, copy = self._replay.excerpt, self._replay.compaction, 0, 0
        n = len(excerpt.arrived_s)
        while True:
            for begin in range(0, n, _LARGEST_BLOCK):
                tasks = np.arange(begin, min(begin + _LARGEST_BLOCK, n))
                block = Arrived(np.zeros(len(tasks)), tasks, np.full(len(tasks), copy))
                calls = recorded_calls(excerpt, block, first_id, waits=False)
                if compaction.at_tokens is not None:
                    calls = iter(compacted_tasks(compaction, first_id, calls, repeat(None))[0])
                yield calls
                first_id += len(tasks)
            copy += 1


def _block_sizes(largest: int) -> Iterator[int]:
    """Sizes of blocks of tasks: small at first, so that a short run draws little."""
    size = _FIRST_BLOCK
    while True:
        yield size
        size = min(2 * size, largest)


def _reblocked(blocks: Iterator[np.ndarray], largest: int) -> Iterator[np.ndarray]:
    """The same moments, in blocks of `_block_sizes` (the last may be shorter)."""
    sizes = _block_sizes(largest)
    size, held, n_held = next(sizes), [], 0
    for block in blocks:
        held.append(block)
        n_held += len(block)
        if n_held < size:
            continue
        moments = np.concatenate(held)
        while len(moments) >= size:
            yield moments[:size]
            moments, size = moments[size:], next(sizes)
        held, n_held = [moments], len(moments)
    moments = np.concatenate(held) if held else np.empty(0)
    if len(moments):
        yield moments


def _quantiles(rng: np.random.Generator, n: int) -> Iterator[tuple[float, float]]:
    """n pairs, each number uniform in (0, 1)."""
    pairs = np.maximum(rng.random((n, 2)), 2.0**-54)
    return zip(pairs[:, 0].tolist(), pairs[:, 1].tolist(), strict=True)
