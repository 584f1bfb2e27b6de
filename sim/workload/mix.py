"""Mix: the traffic of several applications, each with arrivals and tasks of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from heapq import merge
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from sim.moment_zero import MomentZero
from sim.randomness import Streams
from sim.schema import ConfigError
from sim.work import Call, Segment, Task, TaskProfile
from sim.workload.arrivals.base import Arrivals
from sim.workload.workload import Workload

if TYPE_CHECKING:
    from sim.workload.logs.receipt import Receipt
    from sim.workload.logs.request_log import RequestLog

_BLOCK = 2048


class Member(NamedTuple):
    """One application's traffic. `priority`: of all its tasks; None: as its workload has them."""

    workload: Workload
    priority: int | None = None


class Mix:
    """What arrives, of several applications, by name. It is used as a `Workload` is.

    Each application has random streams of its own, keyed by its name: its tasks are the same whatever the others do.
    Applications share no prompt text. They are numbered in order.
    """

    arrivals = None

    def __init__(self, members: Mapping[str, Member]):
        self._members = dict(members)

    @property
    def default_horizon_s(self) -> float | None:
        """Seconds until the last application's traffic has ended; None if that of one goes on forever."""
        lengths = [member.workload.default_horizon_s for member in self._members.values()]
        return None if None in lengths else max(length for length in lengths if length is not None)

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that a reader of the results should know, with the name of the application in front."""
        return tuple(f"{name}: {note}" for name, member in self._members.items() for note in member.workload.notes)

    @property
    def application_names(self) -> dict[int, str]:
        """Names of the applications, by their numbers in tasks."""
        return dict(enumerate(self._members))

    def task_blocks(self, streams: Streams, horizon_s: float, api: bool = False) -> Iterator[list[Task]]:
        """All tasks that arrive in [0, horizon_s), in order of time, numbered from 0, in blocks drawn lazily."""
        merged = merge(
            *(
                _named(i, name, member, member.workload.task_blocks(streams.within(name), horizon_s, api))
                for i, (name, member) in enumerate(self._members.items())
            ),
            key=_arrived_s,
        )
        task_id = 0
        while block := [task._replace(task_id=task_id + i) for i, task in enumerate(islice(merged, _BLOCK))]:
            task_id += len(block)
            yield block

    def saturating_tasks(self, streams: Streams) -> Iterator[Task]:
        """An endless stream of tasks at time 0, each of an application with the probability of its share of tasks."""
        shares = self._shares()
        tasks = [member.workload.saturating_tasks(streams.within(name)) for name, member in self._members.items()]
        named = [_named(i, name, Member(self._members[name].workload), ([task] for task in tasks[i]))
                 for i, name in enumerate(self._members)]  # fmt: skip
        rng, task_id = streams.generator("mix"), 0
        while True:
            for i in rng.choice(len(named), _BLOCK, p=shares).tolist():
                yield next(named[i])._replace(task_id=task_id)
                task_id += 1

    def mix_description(self) -> dict[str, Any]:
        """Plain JSON data of everything in the workload that saturated throughput depends on."""
        parts = zip(self._members.items(), self._shares(), strict=True)
        return {name: [share, member.workload.mix_description()] for (name, member), share in parts}

    @property
    def moment_zero(self) -> MomentZero | None:
        """Second 0 of the logs with dates among the applications; None without. Raises ConfigError if they differ."""
        dated = {name: member.workload.moment_zero for name, member in self._members.items()}
        found = {name: moment for name, moment in dated.items() if moment is not None}
        if len(set(found.values())) > 1:
            told = ", ".join(f"{name} {moment.shown}" for name, moment in found.items())
            raise ConfigError(f"applications: their logs begin at different moments: {told}")
        return next(iter(found.values()), None)

    def content_hashes(self) -> dict[str, str]:
        """SHA-256 of every external file that the tasks depend on, by its path. Raises TraceError."""
        return {log.path: log.sha256 for log in self.logs}

    @property
    def logs(self) -> list[RequestLog]:
        """The request logs that arrivals and lengths come from. Raises TraceError."""
        return [log for member in self._members.values() for log in member.workload.logs]

    @property
    def receipts(self) -> tuple[Receipt, ...]:
        """What was understood of each log. Raises TraceError."""
        return tuple(receipt for member in self._members.values() for receipt in member.workload.receipts)

    def _shares(self) -> list[float]:
        """The fraction of the tasks that each application has in the long run."""
        rates = []
        for member in self._members.values():
            assert isinstance(member.workload.arrivals, Arrivals)  # a scenario refuses others
            rates.append(member.workload.arrivals.mean_rate_per_s)
        return [rate / sum(rates) for rate in rates]


AnyWorkload = Workload | Mix


def _arrived_s(task: Task) -> float:
    return task.arrived_s


def _named(number: int, name: str, member: Member, blocks: Iterator[list[Task]]) -> Iterator[Task]:
    """The tasks of one application, with its number, its name in their profiles, and keys that no other one uses."""
    plain = named = TaskProfile()
    for block in blocks:
        for task in block:
            if task.profile is not plain:
                plain, named = task.profile, task.profile._replace(application=name)
            priority = task.priority if member.priority is None else member.priority
            calls = tuple(_with_names(call, name) for call in task.calls)
            yield task._replace(calls=calls, application=number, priority=priority, profile=named)


def _with_names(call: Call, name: str) -> Call:
    if not call.segments:
        return call
    segments: tuple[Segment, ...] = tuple([((name, key), tokens) for key, tokens in call.segments])
    # A Call is a tuple: tuple.__new__ makes it at a third of the cost of call._replace(...).
    return tuple.__new__(Call, (*call[:3], segments, *call[4:]))
