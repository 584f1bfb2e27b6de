"""Taking a request back from a replica before it has begun, and the refusal to do so afterwards."""

from __future__ import annotations

import pytest
import simpy

from sim.engine.replica import Replica
from sim.hardware.step_time.affine import AffineStepTime
from sim.work import Call, Request, Task


def replica_with_two_requests() -> tuple[simpy.Environment, Replica, list[Request]]:
    """One slot and steps of one second, so that the second request waits for the first; half a second has passed."""
    env = simpy.Environment()
    limits = {"kv_blocks": 10, "max_num_seqs": 1, "max_num_batched_tokens": 100, "block_tokens": 4}
    replica = Replica(env, AffineStepTime(base_s=1.0), on_done=lambda _: None, **limits)
    requests = [Request(Task(i, 0.0, (Call(4, 3),)), 0, 0.0) for i in range(2)]
    for request in requests:
        replica.submit(request)
    env.run(until=0.5)
    return env, replica, requests


def test_a_waiting_request_can_be_taken_back():
    env, replica, (first, second) = replica_with_two_requests()
    replica.withdraw(second)
    assert (replica.n_outstanding, replica.n_waiting) == (1, 0)
    env.run()
    assert first.finished_s == 3.0 and second.outcome is None


def test_a_request_that_has_begun_cannot_be_taken_back():
    _, replica, (first, second) = replica_with_two_requests()
    with pytest.raises(ValueError, match="task 0 call 0 does not wait on this replica"):
        replica.withdraw(first)
    replica.withdraw(second)
    with pytest.raises(ValueError, match="task 1 call 0 does not wait on this replica"):
        replica.withdraw(second)
