"""The audit accepts lawful worlds and names the law that a broken one breaks."""

import dataclasses

import numpy as np
import pytest

from sim.ledger.audit import audit
from sim.records import Outcome, Refusal, ReplicaState
from sim.schema import AuditError
from tests.facts_builder import Book, day_of_traffic, quiet_book

NAN = float("nan")
IDLE, BUSY = ReplicaState.IDLE, ReplicaState.BUSY


def broken(facts, table="requests", **cells):
    """The same facts with single cells overwritten: column=(row, value)."""
    columns = {name: column.copy() for name, column in getattr(facts, table).items()}
    for name, (row, value) in cells.items():
        columns[name][row] = value
    return dataclasses.replace(facts, **{table: columns})


def test_lawful_worlds_pass():
    audit(quiet_book().facts())
    audit(Book(gpus_per_replica=0, peak_tokens_per_s=None).facts())  # nothing happened at all
    audit(Book(gpus_per_replica=0).api(3, 4, 5).facts())
    for seed in range(3):
        audit(day_of_traffic(seed=seed, requests_n=3000, overflow_wait_s=20.0))
        audit(day_of_traffic(seed=seed, requests_n=6000, length_s=20_000.0, patience_s=30.0))


def agent_book():
    """A task of three calls with thirty idle seconds between them."""
    book = Book(window=(0, 200)).replica(
        0, ("busy", 0, 10), ("idle", 10, 40), ("busy", 40, 50), ("idle", 50, 80), ("busy", 80, 90)
    )
    for j, at in enumerate((0, 40, 80)):
        book.request(at, at, at + 1, at + 10, task_id=7, call_index=j, calls_in_task=3)
    return book


def test_tasks_of_several_calls_pass():
    audit(agent_book().facts())


def test_preempted_sequences_do_not_count_towards_the_cap():
    """Five sequences in a batch of four are a violation, unless one was out of the batch for a while."""
    book = Book().replica(0, ("busy", 0, 50))
    for _ in range(4):
        book.request(0, 0, 1, 50)
    audit(book.request(10, 10, 11, 40, preemptions=1, preempted_s=20.0).facts())
    with pytest.raises(AuditError, match="running sequences <= max_num_seqs.*5 at once, max_num_seqs = 4"):
        audit(broken(book.facts(), preemptions=(4, 0), preempted_s=(4, 0.0)))


def test_a_slot_may_be_taken_over_at_the_very_instant_it_is_given_up():
    book = Book(max_num_seqs=1).replica(0, ("busy", 0, 30))
    audit(book.request(0, 0, 1, 10).request(0, 10, 11, 20).request(0, 20, 21, 30).facts())


@pytest.mark.parametrize(
    ("law", "table", "cell"),
    [
        ("arrived_s <= admitted_s", "requests", {"admitted_s": (1, 20.999)}),
        ("admitted_s <= first_token_s", "requests", {"first_token_s": (0, 19.999)}),
        ("a replica with a resident sequence is busy", "requests", {"finished_s": (1, 40.001)}),
        ("tile its life: .* a gap of 0.001 s", "spans", {"start_s": (3, 20.001)}),
        ("tile its life: .* an overlap of 0.001 s", "spans", {"end_s": (3, 40.001)}),
    ],
)
def test_a_violation_of_a_millisecond_is_found_and_one_of_rounding_is_not(law, table, cell):
    facts = quiet_book().facts()
    with pytest.raises(AuditError, match=law):
        audit(broken(facts, table, **cell))
    ((column, (row, value)),) = cell.items()
    audit(broken(facts, table, **{column: (row, round(value) + (value - round(value)) * 1e-4)}))


def test_unfinished_requests_hold_their_replica_to_the_end_of_its_life():
    book = Book().replica(0, ("idle", 0, 60), ("busy", 60, 100))
    audit(book.request(60, 60, 62, NAN, outcome=Outcome.UNFINISHED).facts())
    idle_again = Book().replica(0, ("idle", 0, 60), ("busy", 60, 80), ("idle", 80, 100))
    with pytest.raises(AuditError, match="resident sequence is busy"):
        audit(idle_again.request(60, 60, 62, NAN, outcome=Outcome.UNFINISHED).facts())


def survivors_book():
    """Replica 0 is lost at 10 under two requests: one goes on at 20 on replica 1, one fails."""
    book = Book().replica(0, ("busy", 0, 10)).replica(1, ("idle", 0, 20), ("busy", 20, 30), ("idle", 30, 100))
    book.retried(0, 0, 2, 30, (0, 0, 10), (1, 20, 30), preempted_s=10.0)
    return book.request(4, 5, NAN, 10, outcome=Outcome.FAILED)


def test_requests_that_outlive_a_replica_account_for_both():
    facts = survivors_book().facts()
    audit(facts)
    with pytest.raises(AuditError, match="serves only while it is paid for"):
        audit(broken(facts, "stays", end_s=(0, 12.0)))
    with pytest.raises(AuditError, match="busy replica has a resident sequence"):
        audit(broken(facts, "stays", start_s=(1, 25.0)))
    with pytest.raises(AuditError, match="finished_s is stamped"):
        audit(broken(facts, finished_s=(1, NAN)))


REQUEST_VIOLATIONS = {
    "first_token_s is stamped": dict(first_token_s=(0, NAN)),
    "finished_s is stamped": dict(finished_s=(1, NAN)),
    "unfinished requests have no finished_s": dict(outcome=(0, Outcome.UNFINISHED)),
    "abandoned requests have no first_token_s": dict(outcome=(0, Outcome.ABANDONED)),
    "every outcome is a known one": dict(outcome=(0, 9)),
    "arrived_s <= admitted_s": dict(arrived_s=(1, 26.0), task_arrived_s=(1, 26.0)),
    "a task arrives with its first call": dict(task_arrived_s=(1, 20.0)),
    "admitted_s <= first_token_s": dict(admitted_s=(0, 23.0)),
    "first_token_s <= finished_s": dict(finished_s=(0, 21.0)),
    "0 <= cached_input_tokens <= input_tokens": dict(cached_input_tokens=(1, 201)),
    "0 <= preempted_s": dict(preempted_s=(0, 12.5)),
    "appears twice": dict(task_id=(1, 0)),
    "1 first calls": dict(call_index=(1, 1), calls_in_task=(1, 2)),
    "call_index < calls_in_task": dict(call_index=(1, 3), tasks_started=1),
    "serves only while it is paid for": dict(replica_id=(1, 5)),
    "an admitted fleet request has a replica": dict(replica_id=(1, -1)),
    "a replica with a resident sequence is busy": dict(finished_s=(1, 45.0)),
    "a busy replica has a resident sequence": dict(arrived_s=(1, 31.0), admitted_s=(1, 33.0), first_token_s=(1, 34.0)),
}


@pytest.mark.parametrize("law", REQUEST_VIOLATIONS)
def test_broken_requests_are_named(law):
    cells = dict(REQUEST_VIOLATIONS[law])
    facts = dataclasses.replace(quiet_book().facts(), tasks_started=cells.pop("tasks_started", 2))
    if law.startswith("a busy replica"):  # no request from 32, when the first leaves, to 33
        cells["arrived_s"] = cells["task_arrived_s"] = (1, 33.0)
    with pytest.raises(AuditError) as error:
        audit(broken(facts, **cells))
    assert law in str(error.value)


SPAN_VIOLATIONS = {
    "a gap of 1 s between 20.0 and 21.0": dict(start_s=(3, 21.0)),
    "an overlap of 2 s": dict(start_s=(3, 18.0)),
    "a span ends after it starts": dict(end_s=(4, 40.0)),
    "WEIGHTS at 5.0 s is followed by IMAGE": dict(state=(2, ReplicaState.IMAGE)),
    "BUSY at 20.0 s is followed by ENGINE_START": dict(state=(4, ReplicaState.ENGINE_START)),
    "a busy replica has a resident sequence": dict(state=(4, BUSY)),
    "a replica with a resident sequence is busy": dict(state=(3, IDLE)),
}


@pytest.mark.parametrize("law", SPAN_VIOLATIONS)
def test_broken_spans_are_named(law):
    with pytest.raises(AuditError) as error:
        audit(broken(quiet_book().facts(), "spans", **SPAN_VIOLATIONS[law]))
    assert law in str(error.value)


def test_lost_requests_are_counted():
    with pytest.raises(AuditError, match="3 started, 2 have an outcome"):
        audit(quiet_book().facts(requests_started=3))
    with pytest.raises(AuditError, match="4 started, 2 first calls"):
        audit(quiet_book().facts(tasks_started=4))


def test_calls_before_their_time_are_named():
    facts = agent_book().facts()
    with pytest.raises(AuditError, match="arrives after the one before it finished"):
        audit(broken(facts, arrived_s=(1, 9.0)))
    with pytest.raises(AuditError, match="no predecessor"):
        audit(broken(facts, task_id=(2, 8)))
    refused = broken(
        facts,
        outcome=(1, Outcome.REFUSED),
        refusal=(1, Refusal.QUEUE_FULL),
        first_token_s=(1, NAN),
        admitted_s=(1, NAN),
    )
    with pytest.raises(AuditError, match="its predecessor did not finish"):
        audit(refused)


def test_a_refusal_has_its_reason_and_nothing_else_has_one():
    facts = quiet_book().request(50, NAN, NAN, 50, outcome=Outcome.REFUSED, replica_id=-1).facts()
    audit(facts)
    for wrong in (broken(facts, refusal=(2, Refusal.NONE)), broken(facts, refusal=(0, Refusal.QUEUE_FULL))):
        with pytest.raises(AuditError, match="reason of refusal if and only if it was refused"):
            audit(wrong)


def test_one_wrong_row_in_a_day_is_found():
    """A needle in a haystack: any single request moved past its replica's busy time is caught."""
    facts = day_of_traffic(requests_n=4000)
    rng = np.random.default_rng(1)
    for row in rng.integers(0, 4000, 5):
        replica = facts.requests["replica_id"][row]
        life_end_s = facts.spans["end_s"][facts.spans["replica_id"] == replica].max()
        with pytest.raises(AuditError, match="is paid for"):
            audit(broken(facts, finished_s=(row, life_end_s + 1.0)))
