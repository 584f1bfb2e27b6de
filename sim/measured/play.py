"""Simulates what was measured: a run as a scenario, an operating point by a load generator in front of one replica.

A point is not a scenario: the clients of its closed loop take the lengths in the order of the file, and a scenario's
`lengths` can only be drawn at random.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from itertools import cycle, islice
from typing import NamedTuple

import numpy as np
import simpy

from sim.clock import call_later
from sim.columns import Columns, n_rows, select
from sim.engine.assembly import replica_maker
from sim.event_loop import EventLoop
from sim.hardware.fits import most_request_tokens
from sim.hardware.model import Model
from sim.ledger.audit import audit
from sim.measured.other_constants import AS_LISTED, OtherConstants
from sim.measured.points import Figures, Point
from sim.measured.server import Server
from sim.scenarios import Scenario
from sim.schema import ConfigError
from sim.simulation import simulate
from sim.work import Call, Outcome, Request, Task

_ROUNDS = 10  # requests per client where a file does not say how many it measured
_LEAST = 200  # requests of an open loop where a file does not say how many it measured
MOST_PLAYED = 20_000  # requests of any point: further ones would not change the means
_SEED = 0


class Play(NamedTuple):
    """How runs are played.

    `unknown_model` replaces models that are not in conf/model; `note(line)` is called with each line that a reader of
    the results should know. With `as_sent`, requests of a staged run are sent at the moments of requests/<id>.csv
    beside its file. `constants` replace those of the cards that they name.
    """

    replications: int = 5
    unknown_model: Model | None = None
    note: Callable[[str], None] = lambda line: None
    as_sent: bool = False
    print_commands: bool = False
    constants: OtherConstants = AS_LISTED


def played(scenario: Scenario, replication: int = 0, note: Callable[[str], None] = lambda line: None) -> Columns:
    """The columns of sim.records.REQUEST_COLUMNS of one simulated and audited run, ordered by task and call.

    Calls `note` with a line if requests were too long. Raises ConfigError if all of them were.
    """
    facts = simulate(scenario, replication=replication, measure_peak=False).facts
    audit(facts)
    n, n_refused = n_rows(facts.requests), int((facts.requests["outcome"] == Outcome.REFUSED).sum())
    if n_refused:
        engine = scenario.engine
        cache_tokens = most_request_tokens(scenario.gpu, scenario.model, engine)
        limits = [(scenario.max_context_tokens, "the context"), (cache_tokens, "the KV cache")]
        if not engine.chunked_prefill:
            limits.append((engine.max_num_batched_tokens + 1, "a step, as prompts are not cut"))
        most, why = min(limits)
        line = f"{n_refused} of {n} requests refused: input + output longer than the {most} tokens of {why}"
        if n_refused == n:
            raise ConfigError(line)
        if replication == 0:
            note(line)
    order = np.lexsort((facts.requests["call_index"], facts.requests["task_id"]))
    return select(facts.requests, order)


def play(server: Server, point: Point) -> Figures:
    """The point's figures as the simulator has them, over every request from the first to the last.

    A closed loop starts with all its clients at once and ends when the last request has, as benchmarks do. Raises
    nothing for requests that the server refuses: they have no figures, and all refused gives figures of None.
    """
    return _Benchmark(server, point).run()


class _Benchmark:
    """The load generator: clients or timed arrivals, HTTP and tokenising, then the replica."""

    def __init__(self, server: Server, point: Point):
        engine = server.engine
        self._point = point
        self._ready_s = engine.request_overhead_s
        self._env = env = EventLoop()
        new_replica = replica_maker(env, server.gpu, server.model, engine)
        self._replica = new_replica(prefix_caching=False, on_done=self._done)  # every prompt is unique
        n = point.requests or (_ROUNDS * point.concurrency if point.concurrency else _LEAST)
        self._n = min(max(n, point.concurrency or 1), MOST_PLAYED)
        own = point.lengths or ((max(1, round(point.input_tokens)), max(1, round(point.output_tokens))),)
        self._lengths = islice(cycle(own), self._n)
        self._requests: list[Request] = []
        self._left = self._n
        self._over = env.event()

    def run(self) -> Figures:
        if self._point.concurrency:
            for _ in range(min(self._point.concurrency, self._n)):
                self._send()
        elif self._point.rate_per_s:
            self._env.process(self._arrivals(self._point.rate_per_s))
        self._env.run(until=self._over)
        return self._figures()

    def _arrivals(self, rate_per_s: float) -> Generator[simpy.Event, None, None]:
        gaps = np.ones(self._n)
        if self._point.burstiness is not None:
            shape = self._point.burstiness
            gaps = np.random.default_rng(_SEED).gamma(shape, 1 / shape, self._n)
            gaps *= self._n / gaps.sum()  # Scaled so that the mean rate is exactly the measured one.
        for gap in gaps / rate_per_s:
            yield self._env.timeout(gap)
            self._send()

    def _send(self) -> None:
        lengths = next(self._lengths, None)
        if lengths is None:
            return
        request = Request(Task(len(self._requests), self._env.now, (Call(*lengths),)), 0, self._env.now)
        self._requests.append(request)
        # An event of its own even if the overhead is zero: this method is called by the replica while it still handles
        # the request that has just ended.
        call_later(self._env, self._ready_s, self._replica.submit, request)

    def _done(self, request: Request) -> None:
        self._left -= 1
        if not self._left:
            self._over.succeed()
        elif self._point.concurrency:
            self._send()

    def _figures(self) -> Figures:
        served = [r for r in self._requests if r.outcome is Outcome.FINISHED]
        if not served:
            return Figures(None, None, None)
        stamps_s = np.array([(r.arrived_s, r.first_token_s, r.finished_s) for r in served], dtype=float)
        arrived_s, first_token_s, finished_s = stamps_s.T
        output_tokens = np.array([r.output_tokens for r in served])
        several = output_tokens > 1
        tpots_s = (finished_s - first_token_s)[several] / (output_tokens[several] - 1)
        span_s = float(finished_s.max() - arrived_s.min())
        return Figures(
            float(np.mean(first_token_s - arrived_s)),
            float(np.mean(tpots_s)) if len(tpots_s) else None,
            int(output_tokens.sum()) / span_s,
        )
