"""The tables of a Usage: sums over a run's requests and spans, small enough to keep with every run."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

import numpy as np

from sim.columns import Columns, blocks, select
from sim.ledger.coverage import lives
from sim.records import Facts, ReplicaState, Window
from sim.units import HOUR_S

LIFE_COLUMNS = {
    "replica_id": np.int64, "started_s": np.float64, "ended_s": np.float64, "cold_start_life_s": np.float64,
    "pool": np.int64,
}  # fmt: skip
GPU_COLUMNS = {"hour": np.int64, "pool": np.int64, "state": np.int64, "after_window": np.int64, "replica_s": np.float64}
API_TOKENS = ("input_tokens", "cached_input_tokens", "cache_write_tokens", "output_tokens")
API_COLUMNS = dict.fromkeys(
    ("hour", "application", "context_over_tokens", "service", "requests", *API_TOKENS), np.int64
)
FLEET_COLUMNS = {
    "pool": np.int64, "application": np.int64, "requests": np.int64, "input_tokens": np.int64,
    "cached_input_tokens": np.int64, "output_tokens": np.int64, "resident_s": np.float64,
}  # fmt: skip

CONTEXT_EDGES_TOKENS = (
    32_000, 32_768, 64_000, 65_536, 128_000, 131_072, 200_000, 256_000, 262_144, 272_000, 512_000, 524_288, 1_000_000,
)  # fmt: skip
"""Prompt lengths at which providers change their rates (128k, 200k, 272k, ...), and powers of two. A run records its
token sums split at these lengths, so a tariff with a tier at one of them is exact; a tier elsewhere is refused."""

Table = dict[str, np.ndarray]
"""Columns of equal length by name. Times and lengths are float64 seconds; ids, indices, tokens int64."""


class ApiService(IntEnum):
    """What an API was paid for: an answer, an answer within a day, or the copy of a request that lost a hedge."""

    STANDARD = 0
    BATCH = 1
    LOST_HEDGE = 2


def life_rows(facts: Facts) -> Table:
    """One row per replica that was paid for within the window, columns LIFE_COLUMNS."""
    spans, window = facts.spans, facts.window
    replica, started_s, ended_s = lives(spans)
    n, where = len(replica), np.searchsorted(replica, spans["replica_id"])
    cold = spans["state"] <= ReplicaState.ENGINE_START
    cold_s = np.bincount(where[cold], (spans["end_s"] - spans["start_s"])[cold], n).astype(np.float64)
    paid = (ended_s >= window.start_s) & (started_s < window.end_s)
    pool = np.zeros(n, np.int64)
    pool[where] = spans["pool"]
    columns = (replica, started_s, ended_s, cold_s, pool)
    return {name: column[paid] for name, column in zip(LIFE_COLUMNS, columns, strict=True)}


def gpu_rows(facts: Facts) -> Table:
    """Replica-seconds by full hour of UTC, pool and state, columns GPU_COLUMNS; no row without seconds.

    It holds all seconds within the window, and those after it in which a replica is neither idle nor asleep, because
    they serve requests that arrived in the window. A replica ordered after the window counts only if it served.
    """
    spans, window = facts.spans, facts.window
    owed = _works(spans, window)
    working = select(spans, owed)
    n_pools = len(facts.pools)
    past_s = facts.moment_zero.past_hour_s
    parts = [_by_hour(spans, n_pools, *window, past_s), _by_hour(working, n_pools, window.end_s, np.inf, past_s)]
    after = np.repeat((0, 1), [len(part["hour"]) for part in parts])
    return {name: after if name == "after_window" else np.concatenate([p[name] for p in parts]) for name in GPU_COLUMNS}


def _works(spans: Columns, window: Window) -> np.ndarray:
    """bool[n]: the spans, neither idle nor asleep, of replicas that existed within the window or served after it."""
    replica, started_s, _ = lives(spans)
    serves = np.isin(spans["state"], (ReplicaState.BUSY, ReplicaState.DRAINING))
    owed = (started_s < window.end_s) | np.isin(replica, spans["replica_id"][serves])
    at_rest = np.isin(spans["state"], (ReplicaState.IDLE, ReplicaState.ASLEEP))
    return ~at_rest & owed[np.searchsorted(replica, spans["replica_id"])]


def _by_hour(spans: Columns, n_pools: int, from_s: float, to_s: float, past_s: float) -> Table:
    start_s, end_s = np.maximum(spans["start_s"], from_s), np.minimum(spans["end_s"], to_s)
    inside = end_s > start_s
    start_s, end_s = start_s[inside] + past_s, end_s[inside] + past_s
    n_states, kind = len(ReplicaState), spans["pool"][inside].astype(np.int64) * len(ReplicaState)
    kind += spans["state"][inside]
    first, last = (start_s // HOUR_S).astype(np.int64), (end_s // HOUR_S).astype(np.int64)
    pieces = last - first + 1
    span = np.repeat(np.arange(len(first)), pieces)
    hour = first[span] + np.arange(len(span)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    length_s = np.minimum(end_s[span], (hour + 1) * HOUR_S) - np.maximum(start_s[span], hour * HOUR_S)
    keys, where = np.unique(hour * n_pools * n_states + kind[span], return_inverse=True)
    replica_s = np.bincount(where, length_s, len(keys)).astype(np.float64)
    keys, replica_s = keys[replica_s > 0], replica_s[replica_s > 0]
    hour, kind = np.divmod(keys, n_pools * n_states)
    return {"hour": hour, "pool": kind // n_states, "state": kind % n_states, "replica_s": replica_s}


def api_rows(requests: Columns, rows: np.ndarray, extras: Columns, past_s: float = 0.0) -> Table:
    """Tokens of these requests by hour of arrival, application, context and service, columns API_COLUMNS.

    `requests`: n rows of facts; `rows`: bool[n], those to sum; `extras`: columns sim.records.API_EXTRA_COLUMNS;
    `past_s`: seconds from the full hour of UTC to second 0. A copy that lost a hedge is counted as one more request.
    """
    extra_row, found = extras["request_row"], _nothing(API_COLUMNS)
    for begin, block in blocks(requests, "arrived_s", "application", *API_TOKENS):
        n = len(block["arrived_s"])
        first, after = np.searchsorted(extra_row, (begin, begin + n))
        of_block = {name: extras[name][first:after] for name in extras} | {
            "request_row": extra_row[first:after] - begin
        }
        found = _summed(found, _api_table(block, rows[begin : begin + n], of_block, past_s), API_COLUMNS, by=4)
    return found


def _api_table(requests: Columns, rows: np.ndarray, extras: Columns, past_s: float) -> Table:
    """API_COLUMNS of each request, and of each copy that lost a hedge."""
    edges = np.array((0, *CONTEXT_EDGES_TOKENS))
    table = {name: requests[name][rows].astype(np.int64) for name in ("application", *API_TOKENS)}
    table["hour"] = ((requests["arrived_s"][rows] + past_s) // HOUR_S).astype(np.int64)
    table["context_over_tokens"] = edges[np.maximum(np.searchsorted(edges, table["input_tokens"]) - 1, 0)]
    table["requests"] = np.ones(len(table["hour"]), np.int64)
    table["service"] = np.zeros(len(table["hour"]), np.int64)
    if len(extras["request_row"]):
        place = np.cumsum(rows) - 1  # the row in `table` of each request that is in `rows`
        extras = {name: column[rows[extras["request_row"]]] for name, column in extras.items()}
        table["service"][place[extras["request_row"][extras["is_batch"] == 1]]] = ApiService.BATCH
        extras = {name: column[extras["is_hedged"] == 1] for name, column in extras.items()}
        lost = {name: column[place[extras["request_row"]]] for name, column in table.items()}
        lost |= {name: extras[f"lost_{name}"].astype(np.int64) for name in API_TOKENS}
        lost["service"] = np.full(len(lost["hour"]), ApiService.LOST_HEDGE, np.int64)
        table = {name: np.concatenate([column, lost[name]]) for name, column in table.items()}
    return table


def fleet_rows(requests: Columns, rows: np.ndarray) -> Table:
    """Tokens and resident seconds of the requests `rows` (bool[n]) by pool and application, columns FLEET_COLUMNS."""
    found, whole = _nothing(FLEET_COLUMNS), [name for name in FLEET_COLUMNS if name in requests]
    for begin, block in blocks(requests, *whole, "finished_s", "admitted_s"):
        some = rows[begin : begin + len(block["finished_s"])]
        table = {name: block[name][some] for name in whole}
        table["requests"] = np.ones(len(table["application"]), np.int64)
        table["resident_s"] = block["finished_s"][some] - block["admitted_s"][some]
        found = _summed(found, table, FLEET_COLUMNS, by=2)
    return found


def _nothing(dtypes: Mapping[str, type]) -> Table:
    return {name: np.empty(0, dtype) for name, dtype in dtypes.items()}


def _summed(before: Table, columns: Columns, dtypes: Mapping[str, type], by: int) -> Table:
    """Sums of all columns but the first `by`, one row per combination of the first ones, int >= 0.

    `before`: the sums so far. A sum goes on from its value so far, so parts add up to the last bit of the whole.
    """
    names = list(dtypes)
    columns = {name: np.concatenate([before[name], columns[name]]) for name in names}
    sizes = [int(columns[name].max(initial=0)) + 1 for name in names[:by]]
    key = np.ravel_multi_index(
        [columns[name] for name in names[:by]], sizes
    )  # a single key column sorts faster than several
    keys, where = np.unique(key, return_inverse=True)
    whole = zip(names[:by], np.unravel_index(keys, sizes), strict=True)
    found: Table = {name: column.astype(dtypes[name]) for name, column in whole}
    for name in names[by:]:
        found[name] = np.bincount(where, columns[name], len(keys)).astype(dtypes[name])  # sums are exact below 2**53
    return found
