"""ServeGen's client files: for every client rates and burstiness over time, and distributions of lengths."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sim.schema import TraceError
from sim.workload.logs.files import digest_of, files_of

_TRACE = re.compile(r"chunk-(\w+)-trace\.csv")
_PAIR = re.compile(r"([\d.]+)\s*:\s*([\d.eE+-]+)")
_MOST_TOKENS = 2**31
_MOST_PER_S = 1e5
_COLUMNS = ["start_s", "rate_per_s", "cv", "family", "shape", "scale"]


@dataclass(frozen=True, eq=False)
class Distribution:
    """Numbers of tokens with their probabilities."""

    tokens: np.ndarray  # int64[k], >= 1
    reached: np.ndarray  # float64[k], cumulative, the last is 1

    def draw(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """int64[n]."""
        return self.tokens[np.searchsorted(self.reached, rng.random(n), side="right")]

    @property
    def mean(self) -> float:
        """Mean number of tokens."""
        return float(self.tokens @ np.diff(self.reached, prepend=0.0))


@dataclass(frozen=True, eq=False)
class ClientRecord:
    """One client: w windows of equal length from second 0, and p periods with distributions of lengths."""

    name: str
    rate_per_s: np.ndarray  # float64[w]
    cv: np.ndarray  # float64[w]
    is_weibull: np.ndarray  # bool[w]; gamma otherwise
    period_starts_s: np.ndarray  # float64[p]
    inputs: tuple[Distribution, ...]
    outputs: tuple[Distribution, ...]


@dataclass(frozen=True, eq=False)
class ClientRecords:
    """The clients of a folder."""

    path: str
    sha256: str
    window_s: float
    clients: tuple[ClientRecord, ...]


def read_clients(path: str) -> ClientRecords:
    """Read every client of a folder, once per content. Raises TraceError naming file and line."""
    folder = Path(path)
    found = sorted(file for file in folder.glob("chunk-*-trace.csv") if _TRACE.fullmatch(file.name))
    if not found:
        raise TraceError(f"{path}: has no client files, chunk-NAME-trace.csv with chunk-NAME-dataset.json beside it")
    stats = tuple(
        (str(file), (stat := file.stat()).st_mtime_ns, stat.st_size) for file in sorted(folder.glob("chunk-*"))
    )
    return _read(path, stats)


@lru_cache(maxsize=4)
def _read(path: str, stats: tuple) -> ClientRecords:
    names = sorted((_TRACE.fullmatch(Path(file).name) for file, *_ in stats), key=lambda found: found is None)
    clients, window_s = [], None
    for name in sorted((found[1] for found in names if found), key=lambda name: (len(name), name)):
        trace = Path(path) / f"chunk-{name}-trace.csv"
        rates, own_s = _windows(trace)
        if window_s is not None and own_s != window_s:
            raise TraceError(f"{trace}: has windows of {own_s:g} s, unlike those of {window_s:g} s before")
        window_s = own_s
        starts_s, inputs, outputs = _lengths(trace.with_name(f"chunk-{name}-dataset.json"))
        clients.append(
            ClientRecord(
                name, rates["rate_per_s"].to_numpy(float), rates["cv"].to_numpy(float),
                (rates["family"] == "Weibull").to_numpy(bool), starts_s, inputs, outputs,
            )
        )  # fmt: skip
    assert window_s is not None, "there is a client"
    return ClientRecords(path, digest_of(files_of(f"{path}/chunk-*"), path), window_s, tuple(clients))


def _windows(file: Path) -> tuple[pd.DataFrame, float]:
    try:
        rows = pd.read_csv(file, header=None, names=_COLUMNS, keep_default_na=False)
        for column in ("start_s", "rate_per_s", "cv"):
            rows[column] = pd.to_numeric(rows[column])
    except OSError as error:
        raise TraceError(f"{file}: cannot be read: {error.strerror}") from None
    except (ValueError, pd.errors.ParserError) as error:
        raise TraceError(f"{file}: must have rows of {', '.join(_COLUMNS)}: {error}") from None
    steps = np.diff(rows["start_s"])
    if len(rows) < 2 or rows["start_s"][0] != 0 or (steps <= 0).any() or np.ptp(steps) > 1e-6 * steps[0]:
        raise TraceError(f"{file}: must have windows of equal length, from second 0 on")
    bad = ~(np.isfinite(rows["rate_per_s"]) & (rows["rate_per_s"] >= 0) & np.isfinite(rows["cv"]) & (rows["cv"] >= 0))
    bad |= rows["rate_per_s"] > _MOST_PER_S
    bad |= ~rows["family"].isin(["Gamma", "Weibull", ""])
    if bad.any():
        line = int(bad.to_numpy().argmax())
        raise TraceError(
            f"{file}, line {line + 1}: needs a rate from 0 to {_MOST_PER_S:g}, a cv >= 0, and Gamma, Weibull or nothing"
        )
    return rows, float(steps[0])


def _lengths(file: Path) -> tuple[np.ndarray, tuple[Distribution, ...], tuple[Distribution, ...]]:
    """Starts of periods, and the distributions of input and output in each; an empty one is that of the period before
    (at the beginning, of the first that is not)."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        periods = sorted(((float(start), fields) for start, fields in content.items()), key=lambda pair: pair[0])
        columns = [
            [_distribution(str(fields[key])) for _, fields in periods] for key in ("input_tokens", "output_tokens")
        ]
    except FileNotFoundError:
        raise TraceError(f"{file}: is missing beside {file.name.replace('dataset.json', 'trace.csv')}") from None
    except OSError as error:
        raise TraceError(f"{file}: cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise TraceError(f"{file}: must map seconds to input_tokens and output_tokens: {error!r}") from None
    if not all(any(column) for column in columns):
        raise TraceError(f"{file}: has no distribution of lengths")
    return np.array([start for start, _ in periods]), *(tuple(_filled(column)) for column in columns)  # type: ignore[return-value]


def _distribution(text: str) -> Distribution | None:
    pairs = [(round(float(tokens)), float(share)) for tokens, share in _PAIR.findall(text)]
    pairs = [(tokens, share) for tokens, share in pairs if 0 < share < 1e9 and 1 <= tokens <= _MOST_TOKENS]
    if not pairs:
        return None
    tokens, shares = zip(*sorted(pairs), strict=True)
    reached = np.cumsum(shares) / sum(shares)
    reached[-1] = 1.0
    return Distribution(np.array(tokens, np.int64), reached)


def _filled(found: list[Distribution | None]) -> list[Distribution]:
    latest = next(each for each in found if each is not None)
    filled = []
    for each in found:
        latest = each or latest
        filled.append(latest)
    return filled


@dataclass(frozen=True)
class ClientReceipt:
    """What client files were taken for, and which part of them is played."""

    path: str
    clients: dict[str, dict[str, float]]
    window_s: float
    span_s: float
    requests_per_s: float
    requests: float

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return dict(self.__dict__)

    def lines(self) -> list[str]:
        """A few lines for a terminal."""
        shown = [
            f"  client {name}: {of['requests_per_s']:.4g} requests/s, active {of['active_fraction']:.3g} of the time, "
            f"cv {of['cv']:.3g}, {of['input_tokens']:.4g} -> {of['output_tokens']:.4g} tokens"
            for name, of in list(self.clients.items())[:8]
        ]
        return [
            f"clients: {self.path}: {len(self.clients)} of ServeGen's kind, in windows of {self.window_s:g} s; "
            "requests are drawn, none is one that was made",
            f"  {self.span_s:g} s, {self.requests_per_s:.4g} requests/s, {self.requests:,.0f} requests",
            *shown,
            *(["  ..."] if len(self.clients) > 8 else []),
            "  played: in each window as many requests as its rate says, with gaps of its family and cv (shape and "
            "scale are not used); input and output are drawn independently; reason_ratio is not used",
        ]
