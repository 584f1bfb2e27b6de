"""Operating points: a load, and the latencies and throughput of a server under it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from types import MappingProxyType
from typing import Any, NamedTuple

from sim.measured.server import Server
from sim.schema import TraceError

AT_ONCE = "left out, all requests were sent at once: that is no steady state"
NO_STEADY_STATE = "left out, the server did not keep up with the rate: that is no steady state"
# A run at a rate may last this many times as long as a server that keeps up would need.
_LATE = 1.25


class Figures(NamedTuple):
    """The measured or predicted figures of one operating point; None where one is not stated or has no meaning."""

    ttft_s: float | None  # mean over requests: sent to first token, at the client
    tpot_s: float | None  # mean over requests of (last token - first token) / (output tokens - 1)
    output_tokens_per_s: float | None  # of the whole server


class Load(NamedTuple):
    """The load on a server: clients, or a rate. See Point."""

    concurrency: int | None = None
    rate_per_s: float | None = None
    burstiness: float | None = 1.0


class ServerFacts(NamedTuple):
    """What a result file states of its server, in the words of the file; None where it states nothing."""

    model: str | None = None
    gpu: str | None = None
    engine: str | None = None
    dtype: str | None = None  # of the weights
    kv_dtype: str | None = None
    replicas: int = 1  # each is taken to serve an equal share, and the point is of one of them
    attention_data_parallel: int | None = None  # ranks of a replica, among its GPUs
    expert_parallel: bool | None = None
    flags: Mapping[str, Any] = MappingProxyType({})  # further options of the engine, named as FlagsStated has them


FIGURE_METRICS = ("ttft_mean_s", "tpot_mean_s", "output_tok_per_s")
"""The names of the three Figures among the metrics of a measured run."""


@dataclass(frozen=True)
class Point:
    """One load and the figures measured under it. Exactly one of `concurrency` and `rate_per_s` is given.

    `concurrency` clients send their next request as soon as the one before has ended; or requests arrive at
    `rate_per_s` with gamma gaps of shape `burstiness` (1: Poisson; None: constant gaps).
    """

    source: str  # file and place in it, for messages
    file: str
    input_tokens: float  # mean
    output_tokens: float  # mean
    measured: Figures
    concurrency: int | None = None
    rate_per_s: float | None = None
    burstiness: float | None = 1.0
    requests: int | None = None  # how many were measured; None: many
    lengths: tuple[tuple[int, int], ...] | None = None  # (input, output) of every request; None: all equal
    tensor_parallel: int | None = None  # None: as the command line says
    server: Server | None = None  # the server of the measurement; None: the file does not state it
    facts: ServerFacts = ServerFacts()  # what a file states of its server without describing it wholly

    @property
    def label(self) -> str:
        load = f"{self.concurrency} clients" if self.concurrency else f"{self.rate_per_s:g}/s"
        tensor_parallel = f", TP {self.tensor_parallel}" if self.tensor_parallel else ""
        return f"{load}, {self.input_tokens:.0f} -> {self.output_tokens:.0f}{tensor_parallel}"

    def on(self, server: Server) -> Server:
        """`server` with the GPUs, attention ranks and whole experts that the point states."""
        return server.on(*self.layout)

    @property
    def layout(self) -> tuple[int | None, int | None, bool | None]:
        """GPUs, attention ranks and whole experts of a replica, as `Server.on` takes them."""
        return self.tensor_parallel, self.facts.attention_data_parallel, self.facts.expert_parallel

    @property
    def batch(self) -> float | None:
        """Requests inside the server at once: the clients, or rate x measured time inside (Little's law).

        None at a rate without TPOT.
        """
        if self.rate_per_s is None:
            return self.concurrency
        ttft_s, tpot_s, _ = self.measured
        further = self.output_tokens - 1
        return None if further and tpot_s is None else self.rate_per_s * ((ttft_s or 0.0) + further * (tpot_s or 0.0))

    def informative(self, kind: int) -> float | None:
        """A measured figure (0: TTFT, 1: TPOT, 2: throughput); None where it does not depend on the server's speed.

        Throughput at a given rate does not: every server that keeps up delivers that rate.
        """
        return None if kind == 2 and self.rate_per_s else self.measured[kind]


def of_one_replica(point: Point, replicas: int) -> Point | None:
    """One of `replicas` that shared the load of `point` equally; None if its clients cannot be shared so."""
    clients, tokens_per_s = point.concurrency, point.measured.output_tokens_per_s
    if clients and clients % replicas:
        return None
    return replace(
        point,
        measured=point.measured._replace(output_tokens_per_s=tokens_per_s and tokens_per_s / replicas),
        concurrency=clients and clients // replicas,
        rate_per_s=point.rate_per_s and point.rate_per_s / replicas,
        requests=point.requests and max(1, point.requests // replicas),
        facts=point.facts._replace(replicas=replicas),
    )


def keeps_up(requests: int, rate_per_s: float, span_s: float, decode_s: float) -> bool:
    """Whether a server kept up with `requests` sent at a rate: they took at most _LATE times as long as they must.

    `span_s` is from the first request sent to the last one answered, `decode_s` from a first token to the last one.
    """
    return span_s <= _LATE * (requests / rate_per_s + decode_s)


def usable(place: str, n: int, read: Callable[[int], Any]) -> tuple[list[Any], list[str]]:
    """`read(i)` of each of `n` requests, without those where it raises TraceError, and a note on their number."""
    rows: list[Any] = []
    wrong: list[str] = []
    for i in range(n):
        try:
            rows.append(read(i))
        except TraceError as error:
            wrong.append(str(error))
    return rows, [f"{place}: {len(wrong)} of {n} requests are left out; {wrong[0]}"] if wrong else []


def positive(value: Any, place: str, what: str = "a number > 0") -> float:
    """`value` as a finite number > 0; else TraceError at `place` (file, row, column)."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if isinstance(value, bool) or not isfinite(number) or number <= 0:
        shown = repr(value) if len(repr(value)) <= 60 else repr(value)[:57] + "..."
        raise TraceError(f"{place}: {shown} is not {what}")
    return number


def whole(value: Any, place: str) -> int:
    """`value` as a whole number >= 1; else TraceError at `place`."""
    number = positive(value, place, "a whole number >= 1")
    if number != int(number):
        raise TraceError(f"{place}: {value!r} is not a whole number >= 1")
    return int(number)


def mean(values: Sequence[float]) -> float:
    """Mean of at least one value."""
    return sum(values) / len(values)
