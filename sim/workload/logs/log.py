"""RequestLog: whatever the format, one columnar log of seconds and tokens, with a receipt of how it was read."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import NamedTuple

import numpy as np

from sim.workload.logs.block_runs import BlockRuns, runs_of
from sim.workload.logs.receipt import Receipt


class Kept(NamedTuple):
    """What a run of this program tells of its prompts, int64[n] each."""

    returning: np.ndarray  # leading tokens that the call before has left in KV memory
    shared: np.ndarray  # leading tokens that prompts of other tasks begin with, too
    prefix: np.ndarray  # leading tokens that other prompts may share
    repeated: np.ndarray  # 1 where later prompts go on from the prompt and its answer


@dataclass(frozen=True, eq=False)
class RequestLog:
    """A log of n requests in order of time. Columns are read-only and have n entries unless stated otherwise."""

    path: str
    sha256: str  # of the file, and of the options by which it was read, if any were given
    arrived_s: np.ndarray  # float64, s; the first is 0 (in a log of this program: its moment of arrival in that run)
    input_tokens: np.ndarray  # int64, >= 1
    output_tokens: np.ndarray  # int64, >= 1
    lines: np.ndarray  # int64, line or row of each request in its file, from 1
    hash_ids: np.ndarray | None = None  # int64[m], blocks of all prompts end to end, numbered in order of appearance
    hash_offsets: np.ndarray | None = None  # int64[n + 1], row i owns hash_ids[hash_offsets[i]:hash_offsets[i + 1]]
    block_tokens: int | None = None
    task_ids: np.ndarray | None = None  # int64, 0, 1, ... in order of each task's first call
    wait_s: np.ndarray | None = None  # float64, s from the end of the task's call before; 0 for its first
    least_gap_s: np.ndarray | None = None  # float64, least s from the start of the task's call before; 0 for its first
    awaited: np.ndarray | None = None  # object, a tuple each of rows waited for; None: the call before
    begins_anew: np.ndarray | None = None  # bool, whether the prompt repeats nothing of the call before
    kept: Kept | None = None
    priorities: np.ndarray | None = None  # int64, lower = more urgent
    prefixes: np.ndarray | None = None  # object, a tuple of Segments each: the leading tokens of the prompt
    applications: np.ndarray | None = None  # int64, index into application_names
    application_names: tuple[str, ...] = ()
    begins_at: datetime | None = None  # UTC date and time of second 0; None: the log has none
    zone_name: str = "UTC"  # in which the hours and weekdays of the log are told
    tick_s: float | None = None  # grid that the time stamps sit on, if they visibly do
    notes: tuple[str, ...] = field(default=())
    receipt: Receipt | None = None

    @cached_property
    def block_runs(self) -> BlockRuns | None:
        """The prefix blocks of all prompts, those that always come together as one; None without blocks."""
        if self.hash_ids is None or self.hash_offsets is None:
            return None
        return runs_of(self.hash_ids, self.hash_offsets)

    @cached_property
    def n_blocks(self) -> int:
        """How many prefix blocks differ from each other."""
        return 0 if self.hash_ids is None else int(self.hash_ids.max()) + 1

    def __len__(self) -> int:
        return len(self.arrived_s)

    @property
    def span_s(self) -> float:
        """Seconds from the first arrival to the last."""
        return float(self.arrived_s[-1] - self.arrived_s[0])
