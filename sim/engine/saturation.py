"""The saturated rate: tokens per second of one replica that always has work, from clients that never pause.

The loop here is apart from the closed loop of the workload (sim.workload.arrivals.closed_loop) for two reasons. It
sends the next request within `on_done`, in the moment at which the replica has a free slot, so that the request joins
the very next step; clients of a workload are reached by a scheduled event, after the next step has begun, and so join
one step later. And the engine knows no workload: it plays whatever tasks it is handed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sim.clock import call_later
from sim.engine.replica import Replica
from sim.event_loop import EventLoop
from sim.work import Outcome, Request, Task

_MEASURED_ROUNDS = 4  # tasks per client that are measured, after one task per client that is not, while the cache fills
_LEAST_MEASURED_TASKS = 64  # tasks that are measured in all, however few clients there are


def most_tokens_per_s(new_replica: Callable[..., Replica], tasks: Iterator[Task], max_num_seqs: int) -> float:
    """The most input and output tokens per second that one replica serves, over numbers of clients; 0 if it refuses
    all.

    `new_replica(env, on_done=...)` makes a replica; `tasks` never end, and each number of clients begins with the first
    of them.

    Numbers of clients are tried from twice `max_num_seqs` downwards by halves, until the rate is at most half of the
    best: with long contexts, fewer clients keep more of their prefixes cached and so may be served faster, perhaps only
    after a few numbers that make no difference.
    """
    n_clients, best_per_s = 2 * max_num_seqs, 0.0
    drawn: list[Task] = []
    while n_clients >= 1:
        rate_per_s = _tokens_per_s(new_replica, _from_the_first(drawn, tasks), n_clients)
        if rate_per_s <= best_per_s / 2:
            break
        best_per_s, n_clients = max(best_per_s, rate_per_s), n_clients // 2
    return best_per_s


def _from_the_first(drawn: list[Task], more: Iterator[Task]) -> Iterator[Task]:
    """The tasks `drawn` so far, then `more`, which are added to them: drawing a task can cost more than playing it."""
    yield from drawn
    for task in more:
        drawn.append(task)
        yield task


def _tokens_per_s(new_replica: Callable[..., Replica], tasks: Iterator[Task], n_clients: int) -> float:
    """Tokens per second of `n_clients` clients, each of which sends its next call the moment its last one has ended."""
    env = EventLoop()
    completed, tokens, since_s = 0, 0, 0.0

    def send(task: Task, call_index: int) -> None:
        replica.submit(Request(task, call_index, env.now))

    def done(request: Request) -> None:
        nonlocal completed, tokens, since_s
        task, next_index = request.task, request.call_index + 1
        if request.outcome is Outcome.FINISHED:
            tokens += request.input_tokens + request.output_tokens
            if next_index < len(task.calls):
                send(task, next_index)
                return
        completed += 1
        if completed == n_clients:
            tokens, since_s = 0, env.now
        if completed == n_clients + measured_tasks:
            stop.succeed()
        elif request.outcome is Outcome.FINISHED:
            send(next(tasks), 0)
        else:
            # `submit` refuses before it returns: to send at once would nest one call in another for every refusal.
            call_later(env, 0.0, send, next(tasks), 0)

    stop, measured_tasks = env.event(), max(_MEASURED_ROUNDS * n_clients, _LEAST_MEASURED_TASKS)
    replica = new_replica(env, on_done=done)
    for _ in range(n_clients):
        send(next(tasks), 0)
    env.run(until=stop)
    return tokens / (env.now - since_s) if env.now > since_s else 0.0
