"""A plain CSV of operating points, one per row.

| column | meaning |
|---|---|
| `concurrency` or `rate_per_s` | clients that never pause, or requests per second (Poisson) |
| `input_tokens`, `output_tokens` | of every request |
| `ttft_s` or `ttft_ms` | mean time to first token; may be blank |
| `tpot_s` or `tpot_ms` | mean time per further output token; may be blank |
| `throughput` | output tokens per second; may be blank |
| `requests`, `tensor_parallel` | optional: how many requests were measured; GPUs of the server, if rows differ |

The names of vLLM's results (`max_concurrency`, `request_rate`, `mean_ttft_ms`, `mean_tpot_ms`, `output_throughput`) are
understood too. Further statistics of latencies (`p99_ttft_ms`, `median_tpot_ms`, ...) and the columns `name`, `date`,
`note`, `comment` and `source` change nothing; any other column is refused, because
the points would be played without it.
"""

from __future__ import annotations

import csv
import io
import re

from sim.measured.points import NO_STEADY_STATE, Figures, Point, keeps_up, positive, whole
from sim.measured.readers.reader import Document, Results, ResultsReader
from sim.measured.server_flags import FLAGS
from sim.schema import TraceError

_SAME = {
    "max_concurrency": "concurrency", "request_rate": "rate_per_s", "mean_ttft_ms": "ttft_ms",
    "mean_tpot_ms": "tpot_ms", "output_throughput": "throughput", "output_tokens_per_s": "throughput",
    "input_len": "input_tokens", "output_len": "output_tokens", "tp": "tensor_parallel",
}  # fmt: skip
_COLUMNS = (
    "concurrency", "rate_per_s", "input_tokens", "output_tokens", "ttft_s", "ttft_ms", "tpot_s", "tpot_ms",
    "throughput", "requests", "tensor_parallel",
)  # fmt: skip
# They state neither the server, nor the load, nor a figure that is fitted.
_REMARKS = r"name|date|notes?|comments?|source|(mean|median|std|p\d+)_(ttft|tpot|itl|e2el)_ms"


class PlainCsv(ResultsReader):
    """A table of operating points with one header line."""

    format = "CSV of operating points (concurrency or rate_per_s, input_tokens, output_tokens, ...)"

    def recognises(self, document: Document) -> bool:
        if not isinstance(document.content, str):
            return False
        header = {_SAME.get(name.strip(), name.strip()) for name in document.content.lstrip().split("\n")[0].split(",")}
        has_points = bool(header & {"concurrency", "rate_per_s"}) and {"input_tokens", "output_tokens"} <= header
        return has_points and "engine" not in header

    def read(self, document: Document) -> Results:
        points, notes = _points(document.path, document.content)
        return Results(points, notes)


def _points(path: str, text: str) -> tuple[list[Point], list[str]]:
    """The rows as operating points, and notes on those left out. Raises TraceError naming file, line and column."""
    reader = csv.DictReader(io.StringIO(text), skipinitialspace=True)
    try:
        header = [_SAME.get(name.strip(), name.strip()) for name in reader.fieldnames or []]
        _check_header(path, header)
        reader.fieldnames = header
        found = [_point(path, reader.line_num, row) for row in reader if any((v or "").strip() for v in row.values())]
    except csv.Error as error:
        raise TraceError(f"{path}, line {reader.line_num}: {error}") from None
    drowned = [point for point in found if not _keeps_up(point)]
    return [p for p in found if p not in drowned], [f"{p.source}: {NO_STEADY_STATE}" for p in drowned]


def _keeps_up(point: Point) -> bool:
    """Told by throughput, and only where a row says how many requests were measured: the last answer takes its time."""
    tokens_per_s, n = point.measured.output_tokens_per_s, point.requests
    if not (point.rate_per_s and tokens_per_s and n):
        return True
    decode_s = (point.output_tokens - 1) * (point.measured.tpot_s or 0.0)
    return keeps_up(n, point.rate_per_s, n * point.output_tokens / tokens_per_s, decode_s)


def _check_header(path: str, header: list[str]) -> None:
    found = ", ".join(header)
    for either in (
        ("concurrency", "rate_per_s"), ("input_tokens",), ("output_tokens",),
        ("tpot_s", "tpot_ms", "throughput", "ttft_s", "ttft_ms"),
    ):  # fmt: skip
        if not any(name in header for name in either):
            raise TraceError(f"{path}, line 1, column {' or '.join(map(repr, either))}: is missing; found {found}")
    for name in header:
        if name not in _COLUMNS and not re.fullmatch(_REMARKS, name):
            hint = f"; say it with --{name.replace('_', '-')}" if name in FLAGS else ""
            raise TraceError(f"{path}, line 1, column {name!r}: is not one of {', '.join(_COLUMNS)}{hint}")
    for name in ("ttft", "tpot"):
        if f"{name}_s" in header and f"{name}_ms" in header:
            raise TraceError(f"{path}, line 1: columns {name}_s and {name}_ms: give one of them")
    if len(set(header)) < len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise TraceError(f"{path}, line 1, column {twice!r}: is given twice")


def _point(path: str, line: int, row: dict[str, str | None]) -> Point:
    if None in row:
        raise TraceError(f"{path}, line {line}: has more fields than the header has columns")

    def place(name: str) -> str:
        return f"{path}, line {line}, column {name!r}"

    def optional(name: str) -> float | None:
        text = (row.get(name) or "").strip()
        return positive(text, place(name)) if text else None

    def seconds(name: str) -> float | None:
        thousandths = optional(f"{name}_ms")
        return optional(f"{name}_s") if thousandths is None else thousandths / 1e3

    def count(name: str) -> int | None:
        text = (row.get(name) or "").strip()
        return whole(text, place(name)) if text else None

    clients, rate = count("concurrency"), optional("rate_per_s")
    if (clients is None) == (rate is None):
        raise TraceError(f"{path}, line {line}: give either concurrency or rate_per_s")
    measured = Figures(seconds("ttft"), seconds("tpot"), optional("throughput"))
    if not any(measured):
        raise TraceError(f"{path}, line {line}: gives none of ttft, tpot and throughput")
    input_tokens, output_tokens = (
        positive((row.get(name) or "").strip(), place(name)) for name in ("input_tokens", "output_tokens")
    )
    return Point(
        f"{path}, line {line}", path, input_tokens, output_tokens, measured, clients, rate,
        requests=count("requests"), tensor_parallel=count("tensor_parallel"),
    )  # fmt: skip
