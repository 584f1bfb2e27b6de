"""What a policy may see of a run: live, read-only views. A policy reads them and decides; it changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sim.work import Request, Segment


class ReplicaView(Protocol):
    """One replica that accepts requests."""

    @property
    def replica_id(self) -> int:
        """Number of the replica in the run; lower is older."""

    @property
    def n_waiting(self) -> int:
        """Requests handed to the replica that it has not begun."""

    @property
    def n_running(self) -> int:
        """Sequences in its batch."""

    @property
    def n_outstanding(self) -> int:
        """Waiting and running requests."""

    @property
    def oldest_wait_s(self) -> float:
        """How long the first of its waiting requests has been in the system; 0 without one."""

    @property
    def prefill_tokens_ahead(self) -> int:
        """Prompt tokens that a new prompt waits for: those of accepted requests that are not computed or cached yet."""

    def prefill_s(self, tokens: int) -> float:
        """Seconds to compute `tokens` prompt tokens once the step under way has ended, beside the sequences it runs."""

    @property
    def is_blocked(self) -> bool:
        """Whether the first of its waiting requests waits for a slot or for KV memory, not just for the next step."""

    @property
    def kv_used_fraction(self) -> float:
        """Share of KV memory held by running sequences, in [0, 1]."""

    @property
    def kv_filled_fraction(self) -> float:
        """Share of KV memory that is not empty: held by running sequences or kept as prefix cache, in [0, 1]."""

    @property
    def prefix_cache_tokens(self) -> int:
        """Tokens whose KV a new prompt could reuse on this replica now. Not O(1)."""

    def cached_tokens(self, segments: tuple[Segment, ...]) -> int:
        """How many leading tokens of a prompt with these segments its prefix cache holds now."""


class FleetView(Protocol):
    """A fleet of replicas behind one queue."""

    @property
    def now_s(self) -> float:
        """Simulated seconds since the run began."""

    @property
    def n_ready(self) -> int:
        """Replicas that accept requests."""

    @property
    def n_starting(self) -> int:
        """Replicas that were ordered and are not ready yet."""

    @property
    def n_waiting(self) -> int:
        """Requests that have not begun, whether or not a replica has taken them in."""

    @property
    def arrived_requests(self) -> int:
        """Requests that have arrived so far, refused ones included."""

    @property
    def arrived_input_tokens(self) -> int:
        """Prompt tokens that have arrived so far; counted only if the scaler `counts_tokens`."""

    @property
    def finished_requests(self) -> int:
        """Requests that have finished so far; counted only if the scaler `counts_tokens`."""

    @property
    def finished_output_tokens(self) -> int:
        """Output tokens of finished requests, with no look ahead; counted only if the scaler `counts_tokens`."""

    @property
    def n_outstanding(self) -> int:
        """All requests in the fleet: queued, waiting in a replica, or running."""

    @property
    def outstanding_request_seconds(self) -> float:
        """Integral of `n_outstanding` over time so far; its differences are time averages over any window. O(1)."""

    def replica_requests_per_s(self, input_tokens: float, output_tokens: float, itl_s: float) -> float:
        """Requests per second that one replica serves at a mean time between tokens of `itl_s`, if all have these mean
        lengths in tokens (sim/hardware/capacity)."""

    @property
    def n_idle(self) -> int:
        """Ready replicas without any request."""

    @property
    def oldest_wait_s(self) -> float:
        """Seconds that the first request has waited in the queue that a new one would join; 0 if the queue is empty."""

    @property
    def next_ready_s(self) -> float | None:
        """When the next starting replica is expected to be ready; None if none is starting."""

    @property
    def predicted_wait_s(self) -> float:
        """The fleet's own estimate of how long a request sent now would wait before a replica begins it.

        With a replica ready, `oldest_wait_s`: the delay of the request at the head of the line is a good predictor of
        that of a new one (Ibrahim and Whitt, 2009). With none, the expected time until one is ready.
        """

    @property
    def queued_prompt_tokens(self) -> int:
        """Prompt tokens of the requests in the fleet's queue, which no replica has taken in."""

    def placed(self, request: Request) -> ReplicaView | None:
        """The replica that would take in a request sent now; None if it would wait in the fleet's queue."""

    def n_idle_longer_than(self, idle_s: float) -> int:
        """Ready replicas that have had no request for at least `idle_s`."""

    @property
    def replicas(self) -> Sequence[ReplicaView]:
        """The ready replicas."""


class ApiView(Protocol):
    """A pay-per-token provider."""

    @property
    def n_outstanding(self) -> int:
        """Requests it is serving."""

    @property
    def expected_wait_s(self) -> float:
        """How long rate limits would hold back a request sent now."""


class SystemView(Protocol):
    """All that a router sees; None for a fleet or an API that the scenario does not have."""

    now_s: float
    fleet: FleetView | None
    api: ApiView | None


class Server(Protocol):
    """The one seam between the gateway and a fleet or an API: take a request, report its outcome later.

    `submit` returns at once. When the request has its outcome (set on the request with its stamps), the server calls
    the `on_done(request)` it was built with, exactly once.
    """

    def submit(self, request: Request) -> None: ...
