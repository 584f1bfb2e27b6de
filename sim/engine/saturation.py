"""The yardstick: one replica that is never short of work, in a closed loop of clients that play tasks without pause."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import simpy

from sim.clock import call_later
from sim.engine.replica import Replica
from sim.work import Outcome, Request, Task

_ROUNDS = 4  # tasks played per client, after one round to fill up
_TASKS = 64  # at least


def most_tokens_per_s(
    new_replica: Callable[..., Replica], new_tasks: Callable[[], Iterator[Task]], max_num_seqs: int
) -> float:
    """The most input and output tokens per second that any number of clients gets. `new_replica(env, on_done=...)`.

    Clients from twice the slots of the batch downwards by halves: with long contexts, few clients keep more of them
    cached, and between many and few there may be a plateau. 0 if every request is too large for the KV memory.
    """
    n_clients, best = 2 * max_num_seqs, 0.0
    while n_clients >= 1 and (rate := _tokens_per_s(new_replica, new_tasks(), n_clients)) > best / 2:
        best, n_clients = max(best, rate), n_clients // 2
    return best


def _tokens_per_s(new_replica: Callable[..., Replica], tasks: Iterator[Task], n_clients: int) -> float:
    env = simpy.Environment()
    completed, tokens, since_s = 0, 0, 0.0

    def send(task: Task, call_index: int) -> None:
        replica.submit(Request(task, call_index, env.now))

    def done(request: Request) -> None:
        nonlocal completed, tokens, since_s
        task, following = request.task, request.call_index + 1
        if request.outcome is Outcome.FINISHED:
            tokens += request.input_tokens + request.output_tokens
            if following < len(task.calls):
                send(task, following)
                return
        completed += 1
        if completed == n_clients:
            tokens, since_s = 0, env.now
        if completed == n_clients + measured:
            stop.succeed()
        elif request.outcome is Outcome.FINISHED:
            send(next(tasks), 0)
        else:
            call_later(env, 0.0, send, next(tasks), 0)  # a refusal comes while it is being sent

    stop, measured = env.event(), max(_ROUNDS * n_clients, _TASKS)
    replica = new_replica(env, on_done=done)
    for _ in range(n_clients):
        send(next(tasks), 0)
    env.run(until=stop)
    return tokens / (env.now - since_s) if env.now > since_s else 0.0
