"""The traffic of recorded clients, each with rates, burstiness and lengths of its own over time."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from pydantic import Field, field_validator

from sim.schema import ConfigError, TraceError
from sim.workload.arrivals.rates import BLOCK, Marked, Rates
from sim.workload.lengths.base import Lengths

if TYPE_CHECKING:
    from sim.workload.logs.client_files import ClientReceipt, ClientRecord, ClientRecords

_MOST_IN_WINDOW = 5_000_000
_SHAPES = np.geomspace(50.0, 0.05, 600)


class Source(NamedTuple):
    """What was read."""

    path: str
    sha256: str
    receipt: ClientReceipt


class ClientMix(Rates):
    """Clients of a folder of ServeGen's files (Xiang et al., ServeGen, 2025), superposed; each is an application.

    In each window of the record a client sends rate x window requests, rounded up or down at random. Their gaps are
    independent, gamma or Weibull with the window's coefficient of variation, and stretched to fill the window: with
    cv = 1 exactly a Poisson process given its count. The mean rate is that of the record. No index of dispersion is
    stated: within a window it depends on all clients' gaps at once, and has no closed form.
    """

    kind: Literal["client_mix"] = "client_mix"
    clients: list[str] | None = Field(None, min_length=1, description="names of those wanted; null: all")
    start_s: float = Field(0.0, ge=0, description="seconds of the record to skip, in whole windows")
    duration_s: float | None = Field(None, gt=0, description="seconds of it to play, in whole windows; null: all")

    @field_validator("clients", mode="before")
    @classmethod
    def _numbers_are_names(cls, clients: Any) -> Any:
        return [str(name) for name in clients] if isinstance(clients, list | tuple) else clients

    @property
    def record(self) -> ClientRecords:
        """All clients of the folder. Raises TraceError."""
        from sim.workload.logs.client_files import read_clients  # imported on use: runs without it need no pandas

        return read_clients(self.path)

    @property
    def log(self) -> Source:
        record = self.record
        return Source(record.path, record.sha256, self._receipt())

    @property
    def record_s(self) -> float:
        first, last = self._windows
        return (last - first) * self.record.window_s

    @property
    def period_s(self) -> float | None:
        return self.record_s if self.loop else None

    @property
    def mean_rate_per_s(self) -> float:
        first, last = self._windows
        rates = [client.rate_per_s[first:last] for client in self._wanted]
        return self.rate_factor * sum(float(rate.sum()) for rate in rates) / (last - first)

    @property
    def application_names(self) -> tuple[str, ...]:
        return tuple(f"client_{client.name}" for client in self._wanted)

    def applications(self, marks: np.ndarray) -> np.ndarray:
        return marks // self._n_periods

    def marked(self, rng: np.random.Generator, horizon_s: float) -> Iterator[Marked]:
        first, last = self._windows
        window_s, begin_s = self.record.window_s, 0.0
        seeds = [np.random.Generator(np.random.PCG64(seed)) for seed in rng.integers(2**63, size=len(self._wanted))]
        while begin_s < horizon_s:
            for window in range(first, last):
                if begin_s >= horizon_s:
                    break
                yield from self._of_window(seeds, window, begin_s, horizon_s)
                begin_s += window_s
            if not self.loop:
                return

    def typical_marks(self, rng: np.random.Generator, n: int) -> np.ndarray:
        marks, weights = self._weights()
        return rng.choice(marks, n, p=weights / weights.sum())

    def tokens(
        self, rng: np.random.Generator, marks: np.ndarray, lengths: Lengths | None
    ) -> tuple[np.ndarray, np.ndarray]:
        found = np.ones((2, len(marks)), np.int64)
        for mark in np.unique(marks).tolist():
            client, period = divmod(mark, self._n_periods)
            rows = np.flatnonzero(marks == mark)
            for column, of in enumerate((self._wanted[client].inputs, self._wanted[client].outputs)):
                found[column, rows] = of[period].draw(rng, len(rows))
        return found[0], found[1]

    def _of_window(
        self, generators: list[np.random.Generator], window: int, begin_s: float, horizon_s: float
    ) -> Iterator[Marked]:
        """The requests of all clients in one window of the record, played from `begin_s` on."""
        window_s, times, marks = self.record.window_s, [], []
        for number, (client, rng) in enumerate(zip(self._wanted, generators, strict=True)):
            expected = float(client.rate_per_s[window]) * self.rate_factor * window_s
            n = int(expected + rng.random())
            if n > _MOST_IN_WINDOW:
                raise ConfigError(
                    f"arrivals.rate_factor = {self.rate_factor:g}: asks for {n:,} requests of client {client.name} in "
                    f"one window; at most {_MOST_IN_WINDOW:,} are drawn"
                )
            if n:
                gaps = _gaps(rng, n + 1, max(float(client.cv[window]), 0.02), bool(client.is_weibull[window]))
                times.append(begin_s + np.minimum(np.cumsum(gaps)[:-1], np.nextafter(1, 0)) * window_s)
                marks.append(np.full(n, number * self._n_periods + self._period(client, window)))
        if not times:
            return
        order = np.argsort(merged := np.concatenate(times), kind="stable")
        moments, numbers = merged[order], np.concatenate(marks)[order]
        n_before = int(np.searchsorted(moments, horizon_s))
        for i in range(0, n_before, BLOCK):
            part = slice(i, min(i + BLOCK, n_before))
            yield Marked(moments[part], numbers[part])

    @cached_property
    def _wanted(self) -> tuple[ClientRecord, ...]:
        known = {client.name: client for client in self.record.clients}
        missing = [name for name in self.clients or () if name not in known]
        if missing:
            raise TraceError(f"{self.path}: arrivals.clients = {missing[0]}: has only {', '.join(known)}")
        return tuple(known[name] for name in (self.clients or known))

    @cached_property
    def _windows(self) -> tuple[int, int]:
        """The first window that is played, and the one after the last."""
        window_s, n = self.record.window_s, max(len(client.rate_per_s) for client in self._wanted)
        n = min(n, min(len(client.rate_per_s) for client in self._wanted))
        first = round(self.start_s / window_s)
        last = n if self.duration_s is None else min(n, first + max(round(self.duration_s / window_s), 1))
        if not any(client.rate_per_s[first:last].any() for client in self._wanted):
            raise TraceError(f"{self.path}: no client sends from {first * window_s:g} s to {last * window_s:g} s")
        return first, last

    @cached_property
    def _n_periods(self) -> int:
        return max(len(client.period_starts_s) for client in self._wanted)

    def _period(self, client: ClientRecord, window: int) -> int:
        start_s = window * self.record.window_s
        return max(int(np.searchsorted(client.period_starts_s, start_s, side="right")) - 1, 0)

    def _weights(self) -> tuple[np.ndarray, np.ndarray]:
        """Every mark with the requests that it stands for."""
        first, last = self._windows
        weights = np.zeros(len(self._wanted) * self._n_periods)
        for number, client in enumerate(self._wanted):
            for window in range(first, last):
                weights[number * self._n_periods + self._period(client, window)] += client.rate_per_s[window]
        marks = np.flatnonzero(weights)
        return marks, weights[marks]

    def _receipt(self) -> ClientReceipt:
        from sim.workload.logs.client_files import ClientReceipt

        first, last = self._windows
        marks, weights = self._weights()
        clients = {}
        for number, client in enumerate(self._wanted):
            rates = client.rate_per_s[first:last]
            of_client = marks // self._n_periods == number
            shares = weights[of_client] / max(weights[of_client].sum(), 1e-300)
            means = [
                [of[mark % self._n_periods].mean for mark in marks[of_client]] for of in (client.inputs, client.outputs)
            ]
            clients[client.name] = {
                "requests_per_s": float(rates.mean()) * self.rate_factor,
                "active_fraction": float((rates > 0).mean()),
                "cv": float(client.cv[first:last] @ rates / max(rates.sum(), 1e-300)),
                "input_tokens": float(shares @ np.array(means[0])),
                "output_tokens": float(shares @ np.array(means[1])),
            }
        rate = self.mean_rate_per_s
        return ClientReceipt(self.path, clients, self.record.window_s, self.record_s, rate, rate * self.record_s)


def _gaps(rng: np.random.Generator, n: int, cv: float, is_weibull: bool) -> np.ndarray:
    """n gaps of one law as parts of their sum, made as logarithms because a large cv makes most of them tiny."""
    if is_weibull:
        logs = np.log(rng.standard_exponential(n)) / _weibull_shape(cv)
    else:
        shape = 1 / cv**2
        logs = np.log(rng.standard_gamma(shape + 1, n)) - rng.standard_exponential(n) / shape
    gaps = np.exp(logs - logs.max())
    return gaps / gaps.sum()


@lru_cache(maxsize=4096)
def _weibull_shape(cv: float) -> float:
    """The shape of a Weibull law with this coefficient of variation."""
    return float(np.interp(cv, _cvs_of_shapes(), _SHAPES))


@cache
def _cvs_of_shapes() -> np.ndarray:
    """float64[600]: the coefficient of variation of a Weibull law of each of _SHAPES."""
    from scipy.special import gammaln

    return np.sqrt(np.expm1(gammaln(1 + 2 / _SHAPES) - 2 * gammaln(1 + 1 / _SHAPES)))
