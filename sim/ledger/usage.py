"""What a bill needs and nothing more: paid seconds by replica and state, API tokens by hour."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np

from sim.ledger.coverage import lives
from sim.records import Backend, Facts, Outcome, ReplicaState, Window
from sim.units import HOUR_S

STATE_COLUMNS = {state: f"{state.name.lower()}_s" for state in ReplicaState}
COLD_START_STATES = tuple(state for state in ReplicaState if state.is_cold_start)
REPLICA_COLUMNS = ("replica_id", "started_s", "ended_s", "cold_start_life_s", *STATE_COLUMNS.values())
API_COLUMNS = ("hour", "requests", "input_tokens", "cached_input_tokens", "output_tokens")
_REPLICA_DTYPE = {"replica_id": np.int64}
TOTALS = ("requests_finished", "tasks_finished", "input_tokens", "cached_input_tokens", "output_tokens")


@dataclass(frozen=True, eq=False)
class Usage:
    """The billable tokens and seconds of one run within its window. Prices apply to this alone, at any later time.

    `replicas`: one row per replica that somebody paid for within the window, columns REPLICA_COLUMNS: its whole life
    [started_s, ended_s] and the cold-start seconds in it (`cold_start_life_s`), which decide rounding and minimum
    charges, then the seconds that fall in the window, by state.
    `api`: one row per hour since the start of the window in which requests arrived that the API finished, columns
    API_COLUMNS; `input_tokens` include the cached ones.
    The totals count the requests (and tasks) that arrive in the window and finish, wherever they were served, and the
    tokens these carried: the denominators of every unit cost.
    """

    window: Window
    gpus_per_replica: int
    replicas: dict[str, np.ndarray]
    api: dict[str, np.ndarray]
    requests_finished: int
    tasks_finished: int
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int

    @classmethod
    def from_facts(cls, facts: Facts) -> Usage:
        """Sum up a run. A task counts where its first call arrives."""
        requests, window = facts.requests, facts.window
        finished = in_window(requests["arrived_s"], window) & (requests["outcome"] == Outcome.FINISHED)
        totals = {name: int(requests[name][finished].sum(dtype=np.int64)) for name in TOTALS[2:]}
        return cls(
            window=window,
            gpus_per_replica=facts.gpus_per_replica,
            replicas=_replica_seconds(facts),
            api=_api_hours(requests, finished & (requests["backend"] == Backend.API), window),
            requests_finished=int(np.count_nonzero(finished)),
            tasks_finished=len(finished_tasks(requests, window)[0]),
            **totals,
        )

    def state_seconds(self, *states: ReplicaState) -> float:
        """Replica-seconds paid in the window in these states; in all of them if none is named."""
        return float(sum(self.replicas[STATE_COLUMNS[state]].sum() for state in states or ReplicaState))

    @property
    def gpu_hours_paid(self) -> float:
        """GPU-hours that fall in the window, before any rounding by the price list."""
        return self.state_seconds() * self.gpus_per_replica / HOUR_S

    def to_json(self) -> str:
        """One line of JSON; `from_json` gives back the same numbers to the last bit."""
        data = {
            "window": list(self.window),
            "gpus_per_replica": self.gpus_per_replica,
            **{name: getattr(self, name) for name in TOTALS},
            "replicas": {name: column.tolist() for name, column in self.replicas.items()},
            "api": {name: column.tolist() for name, column in self.api.items()},
        }
        return json.dumps(data)

    @classmethod
    def from_json(cls, text: str) -> Usage:
        data = json.loads(text)
        replicas = {n: np.array(c, _REPLICA_DTYPE.get(n, np.float64)) for n, c in data.pop("replicas").items()}
        api = {n: np.array(c, np.int64) for n, c in data.pop("api").items()}
        return cls(window=Window(*data.pop("window")), replicas=replicas, api=api, **data)


def in_window(time_s: np.ndarray, window: Window) -> np.ndarray:
    """Which moments fall in the half-open window [start, end)."""
    return (time_s >= window.start_s) & (time_s < window.end_s)


def finished_tasks(requests: dict[str, np.ndarray], window: Window) -> tuple[np.ndarray, np.ndarray]:
    """(rows of the first calls, rows of the last calls) of the tasks that begin in the window and finished, ever."""
    first = np.flatnonzero(in_window(requests["arrived_s"], window) & (requests["call_index"] == 0))
    is_last = requests["call_index"] == requests["calls_in_task"] - 1
    last = np.flatnonzero(is_last & (requests["outcome"] == Outcome.FINISHED))
    task = requests["task_id"]
    _, begun, ended = np.intersect1d(task[first], task[last], assume_unique=True, return_indices=True)
    return first[begun], last[ended]


def _replica_seconds(facts: Facts) -> dict[str, np.ndarray]:
    spans, window = facts.spans, facts.window
    replica, started_s, ended_s = lives(spans)
    n, where = len(replica), np.searchsorted(replica, spans["replica_id"])
    length_s = spans["end_s"] - spans["start_s"]
    cold = np.isin(spans["state"], COLD_START_STATES)
    columns = {
        "replica_id": replica,
        "started_s": started_s,
        "ended_s": ended_s,
        "cold_start_life_s": np.bincount(where[cold], length_s[cold], n).astype(np.float64),
    }
    start_s, end_s = np.maximum(spans["start_s"], window.start_s), np.minimum(spans["end_s"], window.end_s)
    inside_s = np.maximum(end_s - start_s, 0.0)
    for state, name in STATE_COLUMNS.items():
        rows = spans["state"] == state
        columns[name] = np.bincount(where[rows], inside_s[rows], n).astype(np.float64)  # of no rows: integers
    paid = (ended_s >= window.start_s) & (started_s < window.end_s)
    return {name: column[paid] for name, column in columns.items()}


def _api_hours(requests: dict[str, np.ndarray], rows: np.ndarray, window: Window) -> dict[str, np.ndarray]:
    hour = ((requests["arrived_s"][rows] - window.start_s) // HOUR_S).astype(np.int64)
    hours, where, count = np.unique(hour, return_inverse=True, return_counts=True)
    columns = {"hour": hours, "requests": count.astype(np.int64)}
    for name in API_COLUMNS[2:]:
        columns[name] = np.zeros(len(hours), np.int64)
        np.add.at(columns[name], where, requests[name][rows])
    return columns
