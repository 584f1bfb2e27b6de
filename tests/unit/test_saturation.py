"""The saturated rate is the most over numbers of clients, played with a server whose rates are known by hand."""

from __future__ import annotations

import itertools

import pytest

from sim.clock import call_later
from sim.engine.saturation import most_tokens_per_s
from sim.work import Call, Outcome, Task

ONE_CALL = (Call(90, 10),)


class Server:
    """Serves all its clients in steps of one second, at `tokens_per_s[clients]` where the number is known.

    A call of 100 tokens then takes 100 * clients / rate seconds. Without rates every call is refused.
    """

    def __init__(self, env, on_done, tokens_per_s, n_clients, tried):
        self.env, self.on_done, self.tokens_per_s, self.n_clients = env, on_done, tokens_per_s, n_clients
        tried.append(n_clients)

    def submit(self, request):
        if not self.tokens_per_s:
            request.outcome = Outcome.REFUSED
            self.on_done(request)
            return
        call_later(self.env, 100 * self.n_clients / self.tokens_per_s[self.n_clients], self._done, request)

    def _done(self, request):
        request.outcome = Outcome.FINISHED
        self.on_done(request)


def saturated(tokens_per_s, most_clients, calls=ONE_CALL):
    """(the most tokens per second, the numbers of clients that were tried)."""
    tried = []
    halves = itertools.accumulate(itertools.repeat(2), lambda n, _: n // 2, initial=most_clients)
    rate = most_tokens_per_s(
        lambda env, on_done: Server(env, on_done, tokens_per_s, next(halves), tried),
        (Task(number, 0.0, calls) for number in itertools.count()),
        most_clients // 2,
    )
    return rate, tried


def test_fewer_clients_may_be_served_faster_and_the_most_counts():
    rate, tried = saturated({16: 1000.0, 8: 1000.0, 4: 1600.0, 2: 900.0, 1: 500.0}, 16)
    assert rate == pytest.approx(1600.0)
    assert tried == [16, 8, 4, 2, 1]


def test_at_half_of_the_best_the_end_is_reached_for_each_number_costs_a_simulation():
    rate, tried = saturated({8: 1000.0, 4: 450.0, 2: 9000.0}, 8)
    assert rate == pytest.approx(1000.0) and tried == [8, 4]
    assert saturated({8: 1000.0, 4: 550.0, 2: 400.0, 1: 9000.0}, 8)[1] == [8, 4, 2]


def test_calls_of_a_task_follow_each_other_and_all_their_tokens_count():
    rate, _ = saturated({4: 800.0, 2: 100.0}, 4, calls=(Call(60, 40), Call(150, 50), Call(20, 80)))
    assert rate == pytest.approx(800.0 * 4 / 3), "400 tokens in the time of three calls of 100"


def test_a_replica_that_refuses_all_serves_nothing():
    assert saturated({}, 8) == (0.0, [8])


def test_each_number_of_clients_is_served_the_same_tasks_which_are_drawn_once():
    served, drawn = [], []

    class Noting(Server):
        def submit(self, request):
            served[-1].append(request.task.task_id)
            super().submit(request)

    def replica(env, on_done):
        served.append([])
        return Noting(env, on_done, {4: 800.0, 2: 700.0, 1: 600.0}, 4 >> len(served) - 1, [])

    tasks = (Task(number, 0.0, ONE_CALL) for number in itertools.count() if not drawn.append(number))
    most_tokens_per_s(replica, tasks, 2)
    assert [len(ids) > 64 for ids in served] == [True, True, True]
    assert all(sorted(ids) == list(range(len(ids))) for ids in served) and len(drawn) == max(map(len, served))
