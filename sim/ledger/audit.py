"""The conservation laws of a finished run, checked before any of its numbers is printed.

A violation is a defect of the simulator, never of the user's input: AuditError names the law and the numbers.
"""

from __future__ import annotations

import numpy as np

from sim.columns import Columns, blocks, n_rows
from sim.ledger.coverage import Stretches, by_group_and_time, lives, peak_overlap, uncovered, union
from sim.ledger.residences import Residences, residences, residences_of
from sim.records import Backend, Facts, Outcome, Refusal, ReplicaState, is_served, rows_of_previous_calls
from sim.schema import AuditError

TOLERANCE_S = 1e-6
"""Moments closer than this count as equal. A float64 of a week in seconds is exact to 1e-10 s, but a sum of many step
times collects a larger error."""

_OF_ONE_REQUEST = (
    "task_id", "call_index", "outcome", "refusal", "backend", "replica_id", "retries", "arrived_s", "admitted_s",
    "first_token_s", "finished_s", "input_tokens", "cached_input_tokens", "preemptions", "preempted_s",
)  # fmt: skip
"""Columns that the laws of a single request are about."""


def audit(facts: Facts) -> None:
    """Check every conservation law. Raises AuditError at the first that is broken. A few seconds per million requests.

    Requests: one outcome each, stamps in order, calls of a task one after the other, tokens conserved, time inside the
    paid life of their replica. Replicas: spans without gap or overlap, cold start first, batch within `max_num_seqs`,
    busy exactly while a request is present.
    """
    requests, spans = facts.requests, facts.spans
    _every_request_has_one_outcome(facts)
    for _, block in blocks(requests, *_OF_ONE_REQUEST):
        _stamps_are_ordered(block)
        _tokens_are_conserved(block)
        _an_admitted_request_has_its_replica(block)
    _calls_of_a_task_are_causal(requests)
    _spans_tile_each_life(spans)
    _every_replica_has_its_pool(facts)
    _cold_start_comes_first(spans)
    served = residences_of(facts)
    _requests_lie_in_paid_life(facts, served)
    _batch_stays_within_its_cap(facts, served)
    _busy_means_requests_are_present(facts, served)


def _fail(law: str, numbers: str) -> None:
    raise AuditError(f"audit: {law}: {numbers}")


def _row(requests: Columns, i: int, *columns: str) -> str:
    shown = [f"task {requests['task_id'][i]} call {requests['call_index'][i]}"]
    return ", ".join(shown + [f"{name} = {requests[name][i]!s}" for name in columns])


def _every_request_has_one_outcome(facts: Facts) -> None:
    requests = facts.requests
    n, outcome = n_rows(requests), requests["outcome"]
    if n != facts.requests_started:
        _fail("every started request has one outcome", f"{facts.requests_started} started, {n} have an outcome")
    known = np.isin(outcome, [int(o) for o in Outcome])
    if not known.all():
        i = int(np.argmin(known))
        _fail("every outcome is a known one", _row(requests, i, "outcome"))
    order = np.lexsort((requests["call_index"], requests["task_id"]))
    task, call = requests["task_id"][order], requests["call_index"][order]
    twice = np.flatnonzero((task[1:] == task[:-1]) & (call[1:] == call[:-1]))
    if len(twice):
        _fail("no request has two outcomes", f"{_row(requests, order[twice[0]])} appears twice")
    apart = np.flatnonzero((requests["call_index"] == 0) & (requests["task_arrived_s"] != requests["arrived_s"]))
    if len(apart):
        _fail("a task arrives with its first call", _row(requests, apart[0], "task_arrived_s", "arrived_s"))
    first_calls = int(np.count_nonzero(call == 0))
    if first_calls != facts.tasks_started:
        _fail("every started task has one first call", f"{facts.tasks_started} started, {first_calls} first calls")


def _stamps_are_ordered(requests: Columns) -> None:
    outcome = requests["outcome"]
    names = ("arrived_s", "admitted_s", "first_token_s", "finished_s")
    stamps = [requests[name] for name in names]
    served = is_served(outcome)
    begun = served | (outcome == Outcome.ABORTED)
    must = {"admitted_s": begun, "first_token_s": served, "finished_s": outcome != Outcome.UNFINISHED}
    for name, required in {"arrived_s": np.ones(len(outcome), bool), **must}.items():
        lacking = np.flatnonzero(required & ~np.isfinite(requests[name]))
        if len(lacking):
            _fail(f"{name} is stamped when the outcome requires it", _row(requests, lacking[0], "outcome", name))
    never = {Outcome.UNFINISHED: "finished_s", Outcome.ABANDONED: "first_token_s", Outcome.REFUSED: "first_token_s"}
    for kind, name in never.items():
        early = np.flatnonzero((outcome == kind) & np.isfinite(requests[name]))
        if len(early):
            _fail(f"{kind.name.lower()} requests have no {name}", _row(requests, early[0], name))
    unlike = np.flatnonzero((outcome == Outcome.REFUSED) != (requests["refusal"] != Refusal.NONE))
    if len(unlike):
        _fail("a request has a reason of refusal if and only if it was refused",
              _row(requests, unlike[0], "outcome", "refusal"))  # fmt: skip
    for i, before in enumerate(names):
        for j in range(i + 1, len(names)):
            # The stamp of an event that never happened is NaN, and a comparison with NaN is False: it breaks no law.
            wrong = np.flatnonzero(stamps[j] < stamps[i] - TOLERANCE_S)
            if len(wrong):
                _fail(f"{before} <= {names[j]}", _row(requests, wrong[0], before, names[j]))


def _calls_of_a_task_are_causal(requests: Columns) -> None:
    if (requests["calls_in_task"] == 1).all() and not requests["call_index"].any():
        return
    call, previous = requests["call_index"], requests["previous_call"]
    beyond = np.flatnonzero(call >= requests["calls_in_task"])
    if len(beyond):
        _fail("call_index < calls_in_task", _row(requests, beyond[0], "calls_in_task"))
    later = np.flatnonzero(call > 0)
    ahead = later[(previous[later] < 0) | (previous[later] >= call[later])]
    if len(ahead):
        _fail("0 <= previous_call < call_index", _row(requests, ahead[0], "previous_call"))
    before = rows_of_previous_calls(requests)[later]
    orphan = later[before < 0]
    if len(orphan):
        _fail("a call comes after the call before it", f"{_row(requests, orphan[0])} has no predecessor")
    unserved = later[~is_served(requests["outcome"][before])]
    if len(unserved):
        _fail(
            "a call follows a finished or stopped call",
            f"{_row(requests, unserved[0])}: its predecessor did not finish",
        )
    early = np.flatnonzero(requests["arrived_s"][later] < requests["finished_s"][before] - TOLERANCE_S)
    if len(early):
        i = early[0]
        _fail(
            "a call arrives after the one before it finished",
            f"{_row(requests, later[i], 'arrived_s')}, predecessor finished_s = {requests['finished_s'][before[i]]}",
        )


def _tokens_are_conserved(requests: Columns) -> None:
    cached, total = requests["cached_input_tokens"], requests["input_tokens"]
    wrong = np.flatnonzero((cached < 0) | (cached > total))
    if len(wrong):
        _fail(
            "0 <= cached_input_tokens <= input_tokens", _row(requests, wrong[0], "cached_input_tokens", "input_tokens")
        )
    served_s = requests["finished_s"] - requests["admitted_s"]
    lost_s = requests["preempted_s"]
    wrong = np.flatnonzero((lost_s < 0) | (lost_s > served_s + TOLERANCE_S) | (requests["preemptions"] < 0))
    if len(wrong):
        _fail(
            "0 <= preempted_s <= finished_s - admitted_s",
            _row(requests, wrong[0], "preemptions", "preempted_s", "admitted_s", "finished_s"),
        )


def _spans_tile_each_life(spans: Columns) -> None:
    order = by_group_and_time(spans["replica_id"], spans["start_s"])
    replica, start_s, end_s = (spans[name][order] for name in ("replica_id", "start_s", "end_s"))
    wrong = np.flatnonzero(~(end_s > start_s))
    if len(wrong):
        i = wrong[0]
        _fail("a span ends after it starts", f"replica {replica[i]}: [{start_s[i]}, {end_s[i]}]")
    step_s = np.where(replica[1:] == replica[:-1], start_s[1:] - end_s[:-1], 0.0)
    wrong = np.flatnonzero(np.abs(step_s) > TOLERANCE_S)
    if len(wrong):
        i = wrong[0]
        what = "a gap" if step_s[i] > 0 else "an overlap"
        _fail(
            "the spans of a replica tile its life",
            f"replica {replica[i]}: {what} of {abs(step_s[i]):g} s between {end_s[i]} and {start_s[i + 1]}",
        )


def _cold_start_comes_first(spans: Columns) -> None:
    order = by_group_and_time(spans["replica_id"], spans["start_s"])
    replica, state = spans["replica_id"][order], spans["state"][order]
    same = replica[1:] == replica[:-1]
    starts_late = (state[1:] <= ReplicaState.ENGINE_START) & (state[1:] < state[:-1])
    # A sleeping replica passes through the stages of a start again when it wakes.
    wrong = np.flatnonzero(same & starts_late & (state[:-1] != ReplicaState.ASLEEP))
    if len(wrong):
        i = wrong[0]
        _fail(
            "cold-start stages come in order and before service",
            f"replica {replica[i]}: {ReplicaState(state[i]).name} at {spans['start_s'][order[i]]} s is followed by "
            f"{ReplicaState(state[i + 1]).name} at {spans['start_s'][order[i + 1]]} s",
        )


def _require_within(served: Residences, allowed: Stretches, law: str) -> None:
    for part, _ in served():
        outside = uncovered(part, allowed, TOLERANCE_S)
        if len(outside):
            replica_id, start_s, end_s = (column[outside[0]] for column in part)
            _fail(law, f"replica {replica_id}: a request from {start_s} to {end_s} s lies outside")


def _requests_lie_in_paid_life(facts: Facts, served: Residences) -> None:
    _require_within(served, lives(facts.spans), "a replica serves only while it is paid for")


def _an_admitted_request_has_its_replica(requests: Columns) -> None:
    admitted = (requests["backend"] == Backend.FLEET) & np.isfinite(requests["admitted_s"])
    # A request whose replica was lost, and which the next replica turned away, fails on none; its stays name the first.
    turned_away = (requests["outcome"] == Outcome.FAILED) & (requests["retries"] > 0)
    nowhere = np.flatnonzero(admitted & ~turned_away & (requests["replica_id"] < 0))
    if len(nowhere):
        _fail("an admitted fleet request has a replica", _row(requests, nowhere[0], "admitted_s", "replica_id"))


def _batch_stays_within_its_cap(facts: Facts, served: Residences) -> None:
    # Facts do not hold when a preempted sequence was out of the batch. Counting only the sequences that were never
    # preempted gives a lower bound of the batch size, so a violation that is found is a true one.
    stayed = facts.requests["preemptions"] == 0
    replicas, pools = _pool_of_replicas(facts.spans)
    for pool_index, pool in enumerate(facts.pools):
        found: list[Stretches] = []
        for part, rows in served():
            in_pool = pools[np.searchsorted(replicas, part.group)] == pool_index
            part = part.take(stayed[rows] & in_pool)
            found.append(part._replace(group=part.group.astype(np.int32)))
        peak, replica = peak_overlap(Stretches.joined(found), TOLERANCE_S) if found else (0, -1)
        if peak > pool.max_num_seqs:
            _fail(
                "running sequences <= max_num_seqs",
                f"replica {replica}: {peak} at once, max_num_seqs = {pool.max_num_seqs}",
            )


def _every_replica_has_its_pool(facts: Facts) -> None:
    spans, requests = facts.spans, facts.requests
    ids, n_pools = spans["replica_id"], len(facts.pools)
    wrong = np.flatnonzero((ids < 0) | (spans["pool"] < 0) | (spans["pool"] >= n_pools))
    if len(wrong):
        i = wrong[0]
        _fail("every replica belongs to a pool", f"replica {ids[i]} in pool {spans['pool'][i]}, {n_pools} pools")
    replicas, pools = _pool_of_replicas(spans)
    moved = np.flatnonzero(pools[np.searchsorted(replicas, ids)] != spans["pool"])
    if len(moved):
        _fail("a replica stays in its pool", f"replica {ids[moved[0]]} is in pool {spans['pool'][moved[0]]}, too")
    for table in (requests, facts.stays):
        for begin, rows in blocks(table, "replica_id", "pool"):
            served = np.flatnonzero(np.isin(rows["replica_id"], replicas))
            of_replica = pools[np.searchsorted(replicas, rows["replica_id"][served])]
            wrong = served[of_replica != rows["pool"][served]]
            if len(wrong):
                i = wrong[0]
                replica, pool = rows["replica_id"][i], rows["pool"][i]
                _fail("a request is in the pool of its replica", f"row {begin + i}: replica {replica}, pool {pool}")


def _pool_of_replicas(spans: Columns) -> tuple[np.ndarray, np.ndarray]:
    """(replicas in ascending order, the pool of each)."""
    replicas, first = np.unique(spans["replica_id"], return_index=True)
    return replicas, spans["pool"][first]


def _not_cut_short(busy: Stretches, facts: Facts) -> Stretches:
    """The stretches but those that end with the loss of their replica: requests that had not begun on it (on its host,
    or on their way from a KV tier) are on record where they were sent next."""
    if not facts.replicas_lost:
        return busy
    spans = facts.spans
    replicas, where = np.unique(spans["replica_id"], return_inverse=True)
    last_s = np.zeros(len(replicas))
    np.maximum.at(last_s, where, spans["end_s"])
    return busy.take(busy.end_s < last_s[np.searchsorted(replicas, busy.group)])


def _of_known_requests(facts: Facts) -> np.ndarray:
    """bool[n spans]: those in whose pool the facts name every request that a replica was busy with.

    A host tokenizes prompts that its engine then refuses, or that came from a replica that was lost. Facts say where
    these were served, if they were, but not on which hosts they had been.
    """
    requests, spans = facts.requests, facts.spans
    tokenizes = np.array([pool.tokenizes for pool in facts.pools], bool)
    if not tokenizes.any() or not (facts.replicas_lost or (requests["refusal"] > 0).any()
                                   or (requests["backend"] == Backend.API).any()):  # fmt: skip
        return np.ones(len(spans["pool"]), bool)
    return ~tokenizes[spans["pool"]]


def _busy_means_requests_are_present(facts: Facts, served: Residences) -> None:
    spans = facts.spans
    all_spans = Stretches(spans["replica_id"].astype(np.int64), spans["start_s"], spans["end_s"])
    busy = all_spans.take((spans["state"] == ReplicaState.BUSY) & _of_known_requests(facts))
    busy = _not_cut_short(busy, facts)
    serving = all_spans.take((spans["state"] == ReplicaState.BUSY) | (spans["state"] == ReplicaState.DRAINING))
    serving = union(serving, TOLERANCE_S)
    _require_within(served, serving, "a replica with a resident sequence is busy or draining")
    # A request may wait inside its replica before admission. Facts do not hold when it reached the replica, but that
    # was never before its arrival, so the arrival bounds the time in which it can have kept the replica busy.
    present = [union(part, TOLERANCE_S) for part, _ in residences(facts, since="arrived_s")]
    empty = uncovered(
        busy,
        Stretches.joined(present) if present else all_spans.take(np.empty(0, int)),
        TOLERANCE_S,
    )
    if len(empty):
        group, start_s, end_s = (column[empty[0]] for column in busy)
        _fail(
            "a busy replica has a resident sequence",
            f"replica {group}: busy from {start_s} to {end_s} s without a request",
        )
