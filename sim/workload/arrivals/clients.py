"""The traffic of unlike clients, each with arrivals of its own kind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from sim.schema import Config, OneOf
from sim.workload.arrivals.base import Arrivals

_BLOCK = 4096


class Client(Config):
    """Clients of one sort."""

    n: int = Field(1, ge=1, le=1000, description="number of such clients, independent of each other")
    arrivals: OneOf[Arrivals] = Field(description="when one of them sends")


class Clients(Arrivals):
    """The superposition of unlike clients: a few that are always busy, many that come in bursts.

    Rates add up; the index of dispersion is the mean of the clients' own, weighted by their rates, because variances of
    independent streams add up. Where two clients or more have a weekly profile, their rates rise together, and no index
    is stated: give the profile to the sum (`weekly`) instead.
    """

    kind: Literal["clients"] = "clients"
    clients: dict[Annotated[str, Field(pattern="^[a-z][a-z0-9_]*$")], Client] = Field(
        min_length=1,
        description="number and arrivals by name",
        examples=[{"all": {"arrivals": {"kind": "steady", "rate_per_s": 0.5}}}],
    )

    @property
    def mean_rate_per_s(self) -> float:
        return sum(client.n * client.arrivals.mean_rate_per_s for client in self.clients.values())

    @property
    def period_s(self) -> float | None:
        """The longest period of a client."""
        periods = [each.arrivals.period_s for each in self.clients.values() if each.arrivals.period_s is not None]
        return max(periods, default=None)

    @property
    def ends_by_itself(self) -> bool:
        return all(client.arrivals.ends_by_itself for client in self.clients.values())

    @property
    def default_horizon_s(self) -> float | None:
        lengths = [client.arrivals.default_horizon_s for client in self.clients.values()]
        return None if None in lengths else max(length for length in lengths if length is not None)

    @property
    def has_exact_tasks(self) -> bool:
        return any(client.arrivals.has_exact_tasks for client in self.clients.values())

    def work(self, horizon_s: float) -> Iterator[tuple[str, float, float, str]]:
        for name, client in self.clients.items():
            for key, value, n, what in client.arrivals.work(horizon_s):
                yield f"clients.{name}.arrivals.{key}", value, client.n * n, what

    def index_of_dispersion(self, window_s: float) -> float | None:
        if sum(client.n for client in self.clients.values() if client.arrivals.period_s is not None) > 1:
            return None
        total = 0.0
        for client in self.clients.values():
            own = client.arrivals.index_of_dispersion(window_s)
            if own is None:
                return None
            total += client.n * client.arrivals.mean_rate_per_s * own
        return total / self.mean_rate_per_s

    def times(self, rng: np.random.Generator, horizon_s: float) -> Iterator[np.ndarray]:
        streams = []
        for client in self.clients.values():
            for seed in rng.integers(2**63, size=client.n).tolist():
                own = np.random.Generator(np.random.PCG64(seed))
                streams.append(client.arrivals.times(own, horizon_s))
        return _merged(streams)


def _merged(streams: list[Iterator[np.ndarray]]) -> Iterator[np.ndarray]:
    """Sorted streams as one, holding no more than a block or two of each."""
    held = [np.empty(0) for _ in streams]
    latest = np.full(len(streams), -np.inf)  # of what each stream has given; infinite once it has ended
    while (reached := latest.min()) < np.inf or any(len(block) for block in held):
        ripe = [int(np.searchsorted(block, reached, side="right")) for block in held]
        moments = np.sort(np.concatenate([block[:n] for block, n in zip(held, ripe, strict=True)]), kind="stable")
        held = [block[n:] for block, n in zip(held, ripe, strict=True)]
        for i in range(0, len(moments), _BLOCK):
            yield moments[i : i + _BLOCK]
        for place in np.flatnonzero(latest == reached).tolist() if reached < np.inf else ():
            block = next(streams[place], None)
            if block is None:
                latest[place] = np.inf
            elif len(block):
                held[place], latest[place] = np.concatenate((held[place], block)), block[-1]
