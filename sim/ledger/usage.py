"""Usage: the sums over a run that a bill needs, paid seconds by hour and state, lives of replicas, tokens by hour."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np

from sim.columns import Columns
from sim.ledger.usage_tables import (
    API_COLUMNS,
    FLEET_COLUMNS,
    GPU_COLUMNS,
    LIFE_COLUMNS,
    api_rows,
    fleet_rows,
    gpu_rows,
    life_rows,
)
from sim.moment_zero import MONDAY, MomentZero
from sim.records import FIRST_POOL, Backend, Facts, Outcome, ReplicaState, Window, is_served
from sim.schema import ConfigError
from sim.units import HOUR_S

VERSION = 6
COLD_START_STATES = tuple(state for state in ReplicaState if state.is_cold_start)
TOTALS = ("requests_finished", "tasks_finished", "input_tokens", "cached_input_tokens", "output_tokens")
_TABLES: dict[str, Mapping[str, type]] = {
    "replicas": LIFE_COLUMNS,
    "gpu": GPU_COLUMNS,
    "api": API_COLUMNS,
    "fleet": FLEET_COLUMNS,
}


class Pool(NamedTuple):
    """A pool of replicas that is paid for. `gpu`: its name in price lists; None in files of versions before 5."""

    name: str
    gpu: str | None
    gpus_per_replica: int


@dataclass(frozen=True, eq=False)
class Usage:
    """The billable seconds and tokens of one run within its window: all that prices are applied to, at any later time.

    Tables are dicts of columns of equal length, float64 for seconds and int64 for all else:

    - `replicas` (LIFE_COLUMNS), one row per replica that was paid for within the window: its whole life
      [`started_s`, `ended_s`] and the cold-start seconds in it, which rounding, minimum charges and commitments need.
    - `gpu` (GPU_COLUMNS), one row per hour, pool and state: replica-seconds within the window (`after_window` 0), and
      those after it in which replicas were neither idle nor asleep (`after_window` 1).
    - `api` (API_COLUMNS), one row per hour of arrival, application, context and service: requests and tokens that the
      API finished of the tasks that began in the window. `input_tokens` include cached tokens and those written to a
      cache. `context_over_tokens` is the largest of CONTEXT_EDGES_TOKENS that the prompts exceed, 0 if none.
      `service` is one of ApiService; copies of requests that lost a hedge are separate rows.
    - `fleet` (FLEET_COLUMNS), one row per pool and application: requests and tokens that the fleet finished of those
      tasks; `resident_s` is the time from admission to the end.

    The column `pool` is an index into `pools`, which is empty without a fleet. Hours are full hours of UTC, whatever
    the window, so that the parts of a cut window add up; second 0 is in hour 0, at `moment_zero`. The totals count the
    tasks that began in the window and finished, wherever and whenever they were served, their requests and the tokens
    of these: the denominators of every unit cost. `is_detailed` is False for files of version 1, which hold neither
    hours of GPU time nor contexts.
    """

    window: Window
    pools: tuple[Pool, ...]
    replicas: dict[str, np.ndarray]
    gpu: dict[str, np.ndarray]
    api: dict[str, np.ndarray]
    fleet: dict[str, np.ndarray]
    requests_finished: int
    tasks_finished: int
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    applications: dict[int, str] = field(default_factory=dict)
    is_detailed: bool = True
    moment_zero: MomentZero = MONDAY

    @classmethod
    def from_facts(cls, facts: Facts) -> Usage:
        """The sums over a run. A task belongs to the window in which its first call arrives, with all its calls."""
        requests, window, past_s = facts.requests, facts.window, facts.moment_zero.past_hour_s
        counted = of_window(requests, window)
        finished = counted & is_served(requests["outcome"])
        billed = finished | counted & (requests["outcome"] == Outcome.ABORTED)
        return cls(
            window=window,
            pools=tuple(Pool(pool.name, pool.gpu, pool.gpus_per_replica) for pool in facts.pools),
            replicas=life_rows(facts),
            gpu=gpu_rows(facts),
            api=api_rows(requests, billed & (requests["backend"] == Backend.API), facts.api_extras, past_s),
            fleet=fleet_rows(requests, finished & (requests["backend"] == Backend.FLEET)),
            requests_finished=int(np.count_nonzero(finished)),
            tasks_finished=len(finished_tasks(requests, window)[0]),
            input_tokens=_total(requests["input_tokens"][finished]),
            cached_input_tokens=_total(requests["cached_input_tokens"][finished]),
            output_tokens=_total(requests["output_tokens"][finished]),
            applications=dict(facts.applications),
            moment_zero=facts.moment_zero,
        )

    @property
    def pool_names(self) -> list[str]:
        """The names of `pools`, in order."""
        return [pool.name for pool in self.pools]

    @property
    def gpus_per_replica(self) -> int:
        """GPUs of one replica; 0 without a fleet. Raises ValueError with several pools: use the parts of `by_pool`."""
        if len(self.pools) > 1:
            raise ValueError("gpus_per_replica: is defined for one pool; use the parts of `by_pool`")
        return self.pools[0].gpus_per_replica if self.pools else 0

    @property
    def by_pool(self) -> tuple[tuple[Pool, Usage], ...]:
        """(pool, its part of the usage) for every pool. Totals and `api` in each part are those of the whole."""
        if len(self.pools) == 1:
            return ((self.pools[0], self),)
        return tuple((pool, self._of_pool(index, pool)) for index, pool in enumerate(self.pools))

    def _of_pool(self, index: int, pool: Pool) -> Usage:
        tables: dict[str, Any] = {}
        for table in ("replicas", "gpu", "fleet"):
            columns = getattr(self, table)
            rows = columns["pool"] == index
            tables[table] = {name: column[rows] for name, column in columns.items()}
            tables[table]["pool"] = np.zeros_like(tables[table]["pool"])
        return replace(self, pools=(pool,), **tables)

    def state_seconds(self, *states: ReplicaState, after_window: bool = False) -> float:
        """Paid replica-seconds in these states, or in every state if none is given; or only those after the window."""
        rows = np.isin(self.gpu["state"], states) if states else np.ones(len(self.gpu["state"]), bool)
        if after_window:
            rows &= self.gpu["after_window"] == 1
        return float(self.gpu["replica_s"][rows].sum())

    @property
    def after_window_s(self) -> float:
        """Replica-seconds paid for after the window's end, to finish the work that arrived in it."""
        return self.state_seconds(after_window=True)

    @property
    def gpu_hours_paid(self) -> float:
        """GPU-hours within the window, and those after it that were not idle, before any rounding by a price list."""
        return sum((part.state_seconds() * pool.gpus_per_replica / HOUR_S for pool, part in self.by_pool), 0.0)

    @property
    def gpu_hours_after_window(self) -> float:
        """The part of `gpu_hours_paid` that lies after the window's end."""
        return sum((part.after_window_s * pool.gpus_per_replica / HOUR_S for pool, part in self.by_pool), 0.0)

    def gpus_over_time(self) -> tuple[np.ndarray, np.ndarray]:
        """(length in seconds float64[n], GPUs int64[n]) of each step of the number of GPUs paid for in the window.

        Raises ValueError with several pools: use the parts of `by_pool`.
        """
        if len(self.pools) > 1:
            raise ValueError("gpus_over_time: is defined for one pool; use the parts of `by_pool`")
        start_s = np.maximum(self.replicas["started_s"], self.window.start_s)
        end_s = np.minimum(self.replicas["ended_s"], self.window.end_s)
        edge_s = np.unique(np.concatenate([start_s, end_s]))
        started = np.searchsorted(np.sort(start_s), edge_s[:-1], side="right")
        ended = np.searchsorted(np.sort(end_s), edge_s[:-1], side="right")
        return np.diff(edge_s), (started - ended) * self.gpus_per_replica

    def by_hour(self) -> Iterator[tuple[int, Usage]]:
        """(hour, the usage in it) for every full hour of UTC; the bills of these add up to that of the whole.

        Second 0 is in hour 0. Work after the window's end is in hours of its own, whose windows have length 0. Totals
        and `fleet` are not recorded by hour: they are 0 and empty. Raises ConfigError if the usage does not know hours.
        """
        self.require_detail("a bill by the hour")
        nothing: dict[str, Any] = dict.fromkeys(TOTALS, 0) | {
            "fleet": {name: column[:0] for name, column in self.fleet.items()}
        }
        (start_s, end_s), past_s = self.window, self.moment_zero.past_hour_s
        last = max(
            int(-(-(end_s + past_s) // HOUR_S)) - 1, *(int(t["hour"].max(initial=0)) for t in (self.gpu, self.api))
        )
        for hour in range(int((start_s + past_s) // HOUR_S), last + 1):
            edges_s = (hour * HOUR_S - past_s, (hour + 1) * HOUR_S - past_s)
            window = Window(*np.clip(edges_s, start_s, end_s).tolist())
            paid = (self.replicas["ended_s"] >= window.start_s) & (self.replicas["started_s"] < window.end_s)
            parts: dict[str, Any] = {
                "replicas": {name: column[paid] for name, column in self.replicas.items()},
                "gpu": {name: column[self.gpu["hour"] == hour] for name, column in self.gpu.items()},
                "api": {name: column[self.api["hour"] == hour] for name, column in self.api.items()},
            }
            yield hour, replace(self, window=window, **parts, **nothing)

    def require_detail(self, what: str) -> None:
        """Raise ConfigError, naming `what` needs them, if this usage does not know hours and contexts."""
        if not self.is_detailed:
            raise ConfigError(
                f"{what}: needs hours and contexts, which this usage.json of version 1 does not hold; run it again"
            )

    def to_json(self) -> str:
        """One line of JSON; `from_json` gives back the same numbers to the last bit."""
        data = {
            "version": VERSION,
            "window": list(self.window),
            "pools": self.pools,
            **{name: getattr(self, name) for name in TOTALS},
            "applications": self.applications,
            "is_detailed": self.is_detailed,
            "moment_zero": [self.moment_zero.moment.isoformat(), self.moment_zero.zone_name],
            **{table: {n: c.tolist() for n, c in getattr(self, table).items()} for table in _TABLES},
        }
        return json.dumps(data)

    @classmethod
    def from_json(cls, text: str) -> Usage:
        """Read a usage.json of any version up to VERSION; raises ConfigError for another version."""
        data = json.loads(text)
        version = data.pop("version", 1)
        if version not in range(1, VERSION + 1):
            raise ConfigError(f"usage.json has version {version}: this program reads 1 to {VERSION}")
        if version == 1:
            data = _from_version_1(data)
        data["gpu"].setdefault("after_window", [0] * len(data["gpu"]["hour"]))
        for table, column in (("gpu", "hour"), ("replicas", "replica_id"), ("fleet", "application")):
            data[table].setdefault("pool", [0] * len(data[table][column]))  # versions 1 to 3 had a single pool
        if version < 5:  # the file held only further pools in a list, and the GPU of the first one elsewhere
            gpus, further = data.pop("gpus_per_replica"), data.pop("further_pools", [])
            data["pools"] = [(FIRST_POOL, None, gpus), *further] if gpus else []
        data["pools"] = tuple(Pool(*pool) for pool in data["pools"])
        data["api"].setdefault("service", [0] * len(data["api"]["hour"]))
        if "moment_zero" in data:  # versions before 6 knew no dates
            moment, zone_name = data["moment_zero"]
            data["moment_zero"] = MomentZero(datetime.fromisoformat(moment), zone_name)
        data["applications"] = {int(i): name for i, name in data["applications"].items()}
        for table, dtypes in _TABLES.items():
            data[table] = {name: np.array(data[table][name], dtype) for name, dtype in dtypes.items()}
            if {column.shape for column in data[table].values()} != {(len(next(iter(data[table].values()))),)}:
                raise ValueError(f"{table}: its columns must be lists of the same length")
        return cls(window=Window(*data.pop("window")), **data)


def _from_version_1(data: dict[str, Any]) -> dict[str, Any]:
    """Version 1 held seconds by replica and state and API tokens by hour: put all of it into hour 0 and context 0."""
    replicas, api = data["replicas"], data["api"]
    states = [state for state in ReplicaState if sum(replicas.get(f"{state.name.lower()}_s", ()))]
    gpu = {
        "hour": [0] * len(states),
        "state": [int(state) for state in states],
        "replica_s": [float(np.sum(replicas[f"{state.name.lower()}_s"])) for state in states],
    }
    zeros = [0] * len(api["hour"])
    written = [i - c for i, c in zip(api["input_tokens"], api["cached_input_tokens"], strict=True)]
    api = {"application": zeros, "context_over_tokens": zeros, "cache_write_tokens": written, **api}
    fleet: dict[str, list[int]] = {name: [] for name in FLEET_COLUMNS}
    return data | {"gpu": gpu, "api": api, "fleet": fleet, "applications": {}, "is_detailed": False}


def _total(tokens: np.ndarray) -> int:
    return int(tokens.sum(dtype=np.int64))


def of_window(requests: Columns, window: Window) -> np.ndarray:
    """bool[n]: the requests whose task began in the half-open window [start_s, end_s). `requests`: n rows of facts."""
    begun_s = requests["task_arrived_s"]
    return (begun_s >= window.start_s) & (begun_s < window.end_s)


def finished_tasks(requests: Columns, window: Window) -> tuple[np.ndarray, np.ndarray]:
    """(row of the first, row of the last call, int[k] each) of each task of the window that finished, ever."""
    finished = is_served(requests["outcome"])
    if (requests["previous_call"] == requests["call_index"] - 1).all():  # in a chain the last call is the last to end
        last = np.flatnonzero(finished & (requests["call_index"] == requests["calls_in_task"] - 1))
    else:
        last = np.flatnonzero(finished)
        task, counts = requests["task_id"], np.bincount(requests["task_id"][last])
        last = last[counts[task[last]] == requests["calls_in_task"][last]]
        last = last[np.argsort(requests["finished_s"][last], kind="stable")]  # the latest of a task comes last
    task = requests["task_id"]
    last_of = _row_by_task(task, last)
    del last
    first_of = _row_by_task(task, np.flatnonzero(of_window(requests, window) & (requests["call_index"] == 0)))
    del task
    tasks = (first_of >= 0) & (last_of >= 0)
    return first_of[tasks], last_of[tasks]


def _row_by_task(task: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """int[largest task id + 1]: the one of `rows` that belongs to each task, -1 if none.

    Task ids count up from 0, so indexing by them is faster than a search.
    """
    found = np.full(int(task.max(initial=-1)) + 1, -1, np.int32 if len(task) < 2**31 else np.int64)
    found[task[rows]] = rows
    return found
