"""RequestLog: whatever the format, one columnar log of seconds and tokens, with a receipt of what was understood."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from sim.workload.logs.receipt import Receipt


@dataclass(frozen=True, eq=False)
class RequestLog:
    """A log of n requests in order of time. Columns are read-only and have n entries unless said otherwise."""

    path: str
    sha256: str  # of the file, and of how it was read where that was not left to the reader
    arrived_s: np.ndarray  # float64, first is 0 (of a run of this program: when it arrived there)
    input_tokens: np.ndarray  # int64, >= 1
    output_tokens: np.ndarray  # int64, >= 1
    lines: np.ndarray  # where in the file each row stands, from 1
    hash_ids: np.ndarray | None = None  # all rows' blocks, end to end, numbered 0, 1, ... in order of appearance
    hash_offsets: np.ndarray | None = None  # n + 1: row i owns hash_ids[hash_offsets[i]:hash_offsets[i + 1]]
    block_tokens: int | None = None
    task_ids: np.ndarray | None = None  # 0, 1, ... in order of each task's first call
    wait_s: np.ndarray | None = None  # from the end of the task's call before; 0 for its first
    least_gap_s: np.ndarray | None = None  # from the start of the task's call before, at least; 0 for its first
    begins_anew: np.ndarray | None = None  # bool: the prompt holds nothing of the call before, as the log says
    priorities: np.ndarray | None = None  # lower = more urgent
    prefixes: np.ndarray | None = None  # of tuples of Segments: what each prompt begins with
    applications: np.ndarray | None = None  # numbers of application_names
    application_names: tuple[str, ...] = ()
    begins_at: datetime | None = None  # UTC date and time of second 0; None: the log has none
    zone_name: str = "UTC"  # in which the hours and weekdays of the log are told
    tick_s: float | None = None  # grid that the time stamps sit on, if they visibly do
    notes: tuple[str, ...] = field(default=())
    receipt: Receipt | None = None

    def __len__(self) -> int:
        return len(self.arrived_s)

    @property
    def span_s(self) -> float:
        """From the first arrival to the last."""
        return float(self.arrived_s[-1] - self.arrived_s[0])
