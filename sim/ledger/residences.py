"""Where the requests of a run were: the stretches of time that each spent on a replica."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import numpy as np

import sim.columns
from sim.columns import Columns, blocks, n_rows
from sim.ledger.coverage import Stretches, lives
from sim.records import Backend, Facts

_OF_A_STAY = (
    "backend", "replica_id", "retries", "prefill_replica_id", "arrived_s", "admitted_s", "decode_admitted_s",
    "first_token_s", "finished_s",
)  # fmt: skip

Residences = Callable[[], Iterable[tuple[Stretches, np.ndarray]]]


def residences(facts: Facts, since: str = "admitted_s") -> Iterator[tuple[Stretches, np.ndarray]]:
    """Stretches of time in which fleet requests were on a replica, and the row int64[n] of each one's request: those of
    a block of requests at a time, then those of `facts.stays`, if there are any.

    A stretch begins at the stamp `since` ("admitted_s" or "arrived_s") and ends with the request's outcome or the loss
    of its replica. A request that was prefilled on another replica has two: on that one until its first token, then on
    the decoding one from its second admission. An unfinished request stays until its replica's life ends. A request
    without the stamp has no stretch.
    """
    end_of: dict[int, float] | None = None

    def ended(group: np.ndarray, start_s: np.ndarray, end_s: np.ndarray) -> Stretches:
        nonlocal end_of
        unfinished = np.flatnonzero(np.isnan(end_s))
        if len(unfinished):
            if end_of is None:
                life = lives(facts.spans)
                end_of = dict(zip(life.group.tolist(), life.end_s.tolist(), strict=True))
            end_s = end_s.copy()
            end_s[unfinished] = [end_of.get(g, facts.window.end_s) for g in group[unfinished].tolist()]
        return Stretches(group.astype(np.int64), start_s, end_s)

    for begin, requests in blocks(facts.requests, *_OF_A_STAY):
        rows, names = _rows_on_replicas(requests, since)
        columns = (np.concatenate([requests[name[i]][of] for of, name in zip(rows, names, strict=True)])
                   for i in range(3))  # fmt: skip
        yield ended(*columns), begin + np.concatenate(rows)
    stays = facts.stays
    if n_rows(stays):
        yield ended(stays["replica_id"], stays["start_s"], stays["end_s"]), stays["request_row"]


def residences_of(facts: Facts) -> Residences:
    """The residences since admission, as often as they are asked for: kept if they are few, else computed anew."""
    if n_rows(facts.requests) > sim.columns.ROWS_AT_ONCE:
        return partial(residences, facts)
    kept = list(residences(facts))
    return lambda: kept


def _rows_on_replicas(requests: Columns, since: str) -> tuple[list[np.ndarray], list[tuple[str, str, str]]]:
    """Rows of requests, int64[k] each, with the columns that hold replica, start and end of their stretches."""
    resident = (requests["backend"] == Backend.FLEET) & np.isfinite(requests[since]) & (requests["replica_id"] >= 0)
    resident &= requests["retries"] == 0  # `facts.stays` lists every stay of a request that was retried
    split = resident & (requests["prefill_replica_id"] >= 0)
    resumed = "decode_admitted_s" if since == "admitted_s" else "first_token_s"
    second = split & (requests["replica_id"] != requests["prefill_replica_id"]) & np.isfinite(requests[resumed])
    names = [
        ("replica_id", since, "finished_s"),
        ("prefill_replica_id", since, "first_token_s"),
        ("replica_id", resumed, "finished_s"),
    ]
    return [np.flatnonzero(which) for which in (resident & ~split, split, second)], names
