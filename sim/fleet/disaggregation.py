"""Prefill and decode on different replicas: prompts are computed in one pool, answers are generated in another.

As in DistServe (Zhong et al. 2024) or vLLM's disaggregated prefill: the prefill pool computes a request's first token;
its KV cache is sent over a link; then a replica of the decode pool generates the rest.

Limits: every transfer has the link to itself, starts when the prefill has ended and frees its blocks at once. The whole
prompt is sent, because the decode pool caches no prefixes. Generated tokens are not sent back: the next call of an
agent task computes them again. `engine.max_queue` limits the prefill pool only: a request that has its first token
waits for a place to decode, however long.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import Field

from sim.clock import call_later
from sim.fleet.demand import Demand
from sim.fleet.fleet import Fleet
from sim.fleet.view import View
from sim.hardware.engine import Engine
from sim.hardware.fits import kv_bytes_per_token
from sim.hardware.model import Model
from sim.schema import Config
from sim.units import GB
from sim.work import Outcome, PreviousCall, Refusal, Request, refusal_of


class Disaggregation(Config):
    """The number of replicas that only prefill, and the link from them to the replicas that decode."""

    prefill_replicas: int = Field(ge=1, description="always on, besides those of scaling, which decode")
    link_gb_per_s: float = Field(gt=0, description="from each GPU of one pool to its partner in the other")
    latency_s: float = Field(0.0, ge=0, description="of a transfer, however short")

    def transfer_s(self, model: Model, engine: Engine, prompt_tokens: int) -> float:
        """Seconds to send the KV cache of a prompt: bytes per GPU / link + latency, as all GPUs send at once."""
        window = min(prompt_tokens, model.sliding_window or 0) * model.n_window_layers
        kv_bytes = prompt_tokens * kv_bytes_per_token(model, engine)
        kv_bytes += window * model.kv_bytes_per_token_per_layer(engine.gpus_per_rank, engine.kv_dtype)
        return self.latency_s + kv_bytes / (self.link_gb_per_s * GB)


class DisaggregatedFleet:
    """A prefill fleet followed by a decode fleet; implements `Server`. A router sees the prefill fleet's queue.

    `new_prefill(on_done)` and `new_decode(on_done)` build the fleets. `transfer_s(prompt_tokens)` is in s. A request
    whose input + output - 1 tokens exceed one of the `limits` is refused at once, for that reason.
    """

    def __init__(
        self,
        env: Any,
        *,
        new_prefill: Callable[..., Fleet],
        new_decode: Callable[..., Fleet],
        transfer_s: Callable[[int], float],
        limits: dict[Refusal, int],
        on_done: Callable[[Request], None],
    ):
        self._env = env
        self._transfer_s = transfer_s
        self._limits, self._capacity_tokens = limits, min(limits.values())
        self._on_done = on_done
        self._demand = Demand(env)
        self._originals: dict[Request, Request] = {}  # by their stand-ins in the prefill pool
        self._moving: dict[Request, None] = {}
        self._prefill = new_prefill(on_done=self._prefilled)
        self._decode = new_decode(on_done=self._done)
        self.view = self._prefill.view.with_demand(self._demand)

    def view_for(self, request: Request) -> View:
        """The prefill pool, with the demand on both."""
        return self.view

    def sent_to_api(self, request: Request) -> None:
        """Count a request that went to the API as demand on the prefill pool."""
        self._prefill.sent_to_api(request)

    def back_from_api(self, request: Request) -> None:
        """The API has served a request that `sent_to_api` counted."""
        self._prefill.back_from_api(request)

    def submit(self, request: Request) -> None:
        self._demand.arrive(request)
        if request.input_tokens + request.output_tokens - 1 > self._capacity_tokens:
            request.refuse(refusal_of(request, self._limits), self._env.now)
            self._done(request)
            return
        previous = request.previous
        if previous is not None:
            # Placement in the prefill pool looks for the replica of the call before. That is the one that prefilled it:
            # the replica that decoded it belongs to the other pool.
            replica_id, unsent_tokens = previous.prefill_replica_id, previous.unsent_tokens
            previous = PreviousCall(previous.backend, previous.pool, replica_id, unsent_tokens=unsent_tokens)
        stand_in = Request(request.task, request.call_index, request.arrived_s, previous)
        stand_in.output_tokens = 1
        self._originals[stand_in] = request
        self._prefill.submit(stand_in)

    def unfinished(self) -> list[Request]:
        """Every request that is prefilled, transferred or decoded at the end of the run, or waits for it."""
        prefilling = [self._copy(stand_in) for stand_in in self._prefill.unfinished()]
        prefilled = [*self._moving, *self._decode.unfinished()]
        for request in prefilled:
            if request.decode_admitted_s is None and request.first_token_s is not None:
                request.preempted_s += self._env.now - request.first_token_s  # out of every batch since then
        return [*prefilling, *prefilled]

    def close(self) -> None:
        """The run ends: record the replicas' last spans."""
        self._prefill.close()
        self._decode.close()

    def _copy(self, stand_in: Request) -> Request:
        """Copy the moments and counts of a stand-in to its request, and return the request."""
        request = self._originals[stand_in]
        for name in (
            "admitted_s", "first_token_s", "pool", "replica_id", "cached_input_tokens", "preemptions", "preempted_s",
            "recomputed_tokens", "cold_start_wait_s",
        ):  # fmt: skip
            setattr(request, name, getattr(stand_in, name))
        return request

    def _prefilled(self, stand_in: Request) -> None:
        request = self._copy(stand_in)
        del self._originals[stand_in]
        outcome = stand_in.outcome
        assert outcome is not None
        if outcome is not Outcome.FINISHED or request.output_tokens == 1:
            request.end(outcome, stand_in.finished_s)
            request.refusal = stand_in.refusal
            self._done(request)
            return
        request.prefill_replica_id = stand_in.replica_id
        self._moving[request] = None
        call_later(self._env, self._transfer_s(request.input_tokens), self._hand_over, request)

    def _hand_over(self, request: Request) -> None:
        del self._moving[request]
        self._decode.submit(request)

    def _done(self, request: Request) -> None:
        self._demand.leave(request)
        self._on_done(request)
