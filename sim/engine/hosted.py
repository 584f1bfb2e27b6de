"""A replica whose host takes time: tokenizers in front of its engine."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapreplace
from typing import Any

from sim.clock import call_later
from sim.engine.leftovers import Leftover
from sim.engine.replica import Replica
from sim.engine.sequence import Sequence
from sim.hardware.host import HostTime
from sim.hardware.step_time.protocol import StepTime
from sim.work import Request


class HostedReplica(Replica):
    """A replica that tokenizes prompts before its engine has them.

    A prompt is done by the tokenizer that is free first, one after the other; the engine learns of the request then,
    and refuses it then if it must. A worker does not notice that a client has gone away. Requests on the host count as
    outstanding, and the replica is busy with them; what policies see as waiting are those in the engine, as the metrics
    of engines have it.
    """

    def __init__(
        self,
        env: Any,
        step_time: StepTime,
        *,
        host: HostTime,
        on_done: Callable[[Request], None],
        on_busy: Callable[[], None] = lambda: None,
        on_idle: Callable[[], None] = lambda: None,
        **options: Any,
    ):
        super().__init__(
            env, step_time, on_done=on_done, on_busy=self._engine_busy, on_idle=self._engine_idle, **options
        )
        self._clock = env
        self._tell_done, self._tell_busy, self._tell_idle = on_done, on_busy, on_idle
        self._token_s = host.prompt_token_s
        self._free_s = [0.0] * host.tokenizer_workers  # a heap: when each worker has done what it was given
        self._tokenizing: dict[Request, None] = {}
        self._is_busy, self._engine_is_idle = False, True

    def submit(self, request: Request) -> None:
        """Tokenize the prompt of a request, then queue it; see `Replica.submit`."""
        request.pool, request.replica_id = self.pool, self.replica_id
        self.n_outstanding += 1
        self._tokenizing[request] = None
        if not self._is_busy:
            self._is_busy = True
            self._tell_busy()
        now = self._clock.now
        end_s = max(now, self._free_s[0]) + self._token_s * request.input_tokens
        heapreplace(self._free_s, end_s)
        call_later(self._clock, end_s - now, self._enter, request)

    def _enter(self, request: Request) -> None:
        if request not in self._tokenizing:
            return  # Its client went away, or the replica was lost.
        del self._tokenizing[request]
        self.n_outstanding -= 1
        super().submit(request)
        self._rest()

    def _engine_busy(self) -> None:
        self._engine_is_idle = False

    def _engine_idle(self) -> None:
        self._engine_is_idle = True
        self._rest()

    def _rest(self) -> None:
        """Report that the replica is idle, if neither its engine nor its host has a request."""
        if self._is_busy and self._engine_is_idle and not self._tokenizing:
            self._is_busy = False
            self._tell_idle()

    def withdraw(self, request: Request) -> None:
        """See `Replica.withdraw`."""
        if request not in self._tokenizing:
            super().withdraw(request)
            return
        del self._tokenizing[request]
        self.n_outstanding -= 1
        self._rest()

    def abort(self, request: Request) -> None:
        """See `Replica.abort`. A request that is being tokenized was begun by a replica that is lost."""
        if request not in self._tokenizing:
            super().abort(request)
            return
        losses = request.losses
        del self._tokenizing[request]
        self.n_outstanding -= 1
        request.abort(0 if losses is None else losses.generated_tokens, self._clock.now)
        self._tell_done(request)
        self._rest()

    def stop(self) -> list[Leftover]:
        """See `Replica.stop`."""
        now, left = self._clock.now, super().stop()
        for request in self._tokenizing:
            sequence = Sequence(request)
            if request.losses is not None:
                sequence.take_up(request.losses)
            lost_s = now if sequence.preempted_s is None else sequence.preempted_s
            left.append(
                Leftover(request, sequence.generated_before, sequence.lost_tokens, lost_s, sequence.last_token_s)
            )
        self._tokenizing.clear()
        return left

    def unfinished(self) -> list[Request]:
        """See `Replica.unfinished`."""
        return [*super().unfinished(), *self._tokenizing]
