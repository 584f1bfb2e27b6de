"""The CSV of genai-perf and AIPerf: a table of metrics with their statistics, a blank line, a table of totals.

Rows: `Time To First Token (ms)`, `Inter Token Latency (ms)`, `Input Sequence Length`, `Output Sequence Length`,
`Output Token Throughput`, `Request Count`. The file does not say how many clients there were: that is taken from the
folder it lies in, which genai-perf names after its load (`...-concurrency8`, `...-request_rate2.0`).
"""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

from sim.measured.points import Figures, Load, Point, positive, whole
from sim.measured.readers.aiperf import SECONDS
from sim.measured.readers.reader import Document, Results, ResultsReader
from sim.schema import TraceError

_HEAD = re.compile(r"metric,avg,min,max,", re.IGNORECASE)
_UNIT = re.compile(r"^(.*?)\s*\(([^)]*)\)$")
_CLIENTS, _RATE = re.compile(r"concurrency[_-]?(\d+)"), re.compile(r"request_?rate[_-]?(\d+(?:\.\d+)?)")


class GenAiPerfCsv(ResultsReader):
    """One profile in CSV."""

    format = "genai-perf or AIPerf CSV (Metric,avg,min,max,...)"

    def recognises(self, document: Document) -> bool:
        return isinstance(document.content, str) and bool(_HEAD.match(document.content.lstrip()))

    def read(self, document: Document) -> Results:
        results, figures = Results(), _figures(document)
        ttft_s, itl_s = (figures.get(name) for name in ("time to first token", "inter token latency"))
        tokens_per_s, n = (figures.get(name) for name in ("output token throughput", "request count"))
        lengths = [figures.get(f"{side} sequence length") for side in ("input", "output")]
        for side, mean_tokens in zip(("Input", "Output"), lengths, strict=True):
            if mean_tokens is None:
                raise TraceError(f"{document.place}: row '{side} Sequence Length' is missing")
        input_tokens, output_tokens = (mean_tokens or 1.0 for mean_tokens in lengths)
        measured = Figures(ttft_s, itl_s, tokens_per_s)
        requests = None if n is None else whole(n, f"{document.place}, row 'Request Count'")
        load = _load(document.path)
        results.add_point(
            Point(document.place, document.path, input_tokens, output_tokens, measured, *load, requests=requests)
        )
        return results


def _figures(document: Document) -> dict[str, float]:
    """The averages of the first table and the values of the second, in seconds and tokens, by name in lower case."""
    found: dict[str, float] = {}
    for line, row in enumerate(csv.reader(io.StringIO(document.content)), 1):
        if len(row) < 2 or row[0].strip().lower() == "metric" or row[1].strip().lower() in ("", "nan", "n/a"):
            continue
        named = _UNIT.match(row[0].strip())
        name, unit = (named[1], named[2].lower()) if named else (row[0].strip(), "")
        value = positive(row[1].replace(",", "") or 0, f"{document.place}, line {line}, {row[0].strip()!r}")
        found[name.lower()] = value * SECONDS.get(unit, 1.0)
    return found


def _load(path: str) -> Load:
    folder = Path(path).resolve().parent.name
    clients, rate = _CLIENTS.search(folder), _RATE.search(folder)
    if clients:
        return Load(int(clients[1]))
    if rate:
        return Load(rate_per_s=float(rate[1]))
    raise TraceError(
        f"{path}: does not say how many clients there were, and neither does its folder (...-concurrency8); "
        "read the JSON beside it"
    )
