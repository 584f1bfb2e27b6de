"""The requests that a measured run sent, as a log that `arrivals=replay` reads."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple


class Sent(NamedTuple):
    """One request of a measured run; `prefix` as in the prefix column of a log."""

    arrived_s: float
    input_tokens: int
    output_tokens: int
    prefix: str = ""


def write_requests(path: Path, requests: Iterable[Sent]) -> None:
    """A log that `arrivals=replay` reads, in order of time."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(Sent._fields)
        writer.writerows(requests)
