"""What a reader took for what: printed before anything is fitted or played."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sim.measured.points import Point


@dataclass
class Receipt:
    """One file as one format was read from it: how many points, of which server and loads, and what was left.

    `left_out` counts points by reason; `unused` are stated keys that could change a figure and that nothing plays.
    """

    path: str
    format: str
    points: list[Point] = field(default_factory=list)
    n_runs: int = 0
    models: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    unused: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        parts = [f"{self.path}: read as {self.format}", *self._counts(), *self._server(), *self._loads()]
        if self.left_out:
            reasons = ", ".join(f"{n} {why.removeprefix('left out, ')}" for why, n in self.left_out.items())
            parts.append(f"left out: {self.left_out.total()} ({reasons})")
        if self.unused:
            parts.append(f"stated but not used: {', '.join(f'{key} {value}' for key, value in self.unused.items())}")
        return "; ".join(parts)

    def _counts(self) -> Iterable[str]:
        if self.points or not self.n_runs:
            yield f"{len(self.points)} point{'s' * (len(self.points) != 1)}"
        if self.n_runs:
            yield f"{self.n_runs} run{'s' * (self.n_runs != 1)}"

    def _server(self) -> Iterable[str]:
        facts = [point.facts for point in self.points]
        yield from _stated("model", [*self.models, *(f.model for f in facts)])
        yield from _stated("card", [f.gpu for f in facts])
        yield from _stated("engine", [f.engine for f in facts])
        yield from _stated("tensor parallel", [point.tensor_parallel for point in self.points])
        yield from _stated("replicas", [f.replicas for f in facts if f.replicas != 1])
        yield from _stated("attention ranks", [f.attention_data_parallel for f in facts])
        yield from _stated("whole experts", ["yes" for f in facts if f.expert_parallel])
        yield from _stated("flags", [", ".join(f"{k} {v}" for k, v in f.flags.items()) or None for f in facts])
        yield from _stated("weights", [f.dtype for f in facts])
        yield from _stated("KV cache", [f.kv_dtype for f in facts])

    def _loads(self) -> Iterable[str]:
        if not self.points:
            return
        clients = [point.concurrency for point in self.points if point.concurrency]
        rates = [point.rate_per_s for point in self.points if point.rate_per_s]
        if clients:
            yield f"{_span(clients)} client{'s' * (max(clients) != 1)}"
        if rates:
            yield f"{_span(rates)} requests/s"
        inputs, outputs = ([getattr(p, name) for p in self.points] for name in ("input_tokens", "output_tokens"))
        yield f"{_span(inputs)} -> {_span(outputs)} tokens"


def _stated(name: str, values: Sequence[Any]) -> Iterable[str]:
    known = list(dict.fromkeys(str(value) for value in values if value is not None))
    if known:
        yield f"{name} {', '.join(known)}"


def _span(values: Sequence[float]) -> str:
    low, high = f"{min(values):.4g}", f"{max(values):.4g}"
    return low if low == high else f"{low} to {high}"
