"""The service level a scenario promises, and which requests attain it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from pydantic import Field

from sim.columns import Columns
from sim.records import is_served
from sim.schema import Config

ROOM = 1 + 1e-9
"""A request that takes exactly as long as it may is in time, whatever the last bit of a difference of moments."""


_HARDLY_A_LIMIT_S = {"ttft_s": 100.0, "tpot_s": 3.0, "itl_max_s": 100.0}


class Slo(Config):
    """Limits on a single request and the share of all calls that must stay within them.

    A request attains the SLO if it finished and met every limit that is set; one that its client stopped, if it met
    them until then. An unfinished one does not attain it, nor does one that its client's timeout aborted, nor a call
    that was never sent because one before it in its task did not finish. Work that can wait, the tasks of priority
    `deadline_from_priority` or a higher number (less urgent), has a deadline instead of these limits.
    """

    ttft_s: float = Field(gt=0, description="time to first token, queueing and cold start included")
    tpot_s: float | None = Field(None, gt=0, description="time per output token after the first")
    itl_max_s: float | None = Field(None, gt=0, description="longest time between two tokens of the answer")
    e2e_s: float | None = Field(None, gt=0, description="time from arrival to the last token")
    deadline_from_priority: int | None = Field(None, description="tasks that have a deadline instead; null: none")
    deadline_s: float = Field(86_400, gt=0, description="time from arrival to the last token, for work that can wait")
    attainment_fraction: float = Field(0.99, gt=0, le=1, description="share of all calls that must attain it")

    def notes(self, key: str = "slo") -> Iterator[str]:
        """Limits that were most likely meant in milliseconds: in seconds they let everything pass.

        `key` is that of these limits.
        """
        for name, most_s in _HARDLY_A_LIMIT_S.items():
            limit_s = getattr(self, name)
            if limit_s is not None and limit_s > most_s:
                yield f"{key}.{name} = {limit_s:g} s limits hardly anything; in ms it is {key}.{name}={limit_s / 1e3:g}"

    def attained(self, requests: Columns) -> np.ndarray:
        """Which requests attain the SLO, bool[n]; `requests` holds the columns of sim.records.REQUEST_COLUMNS."""
        ok = is_served(requests["outcome"])
        ok &= requests["first_token_s"] - requests["arrived_s"] <= self.ttft_s * ROOM
        if self.tpot_s is not None:
            streamed_s = requests["finished_s"] - requests["first_token_s"]
            ok &= streamed_s <= self.tpot_s * ROOM * np.maximum(requests["output_tokens"] - 1, 0)
        if self.itl_max_s is not None:
            ok &= requests["itl_max_s"] <= self.itl_max_s * ROOM
        if self.e2e_s is not None:
            ok &= requests["finished_s"] - requests["arrived_s"] <= self.e2e_s * ROOM
        if self.deadline_from_priority is not None:
            in_time = requests["finished_s"] - requests["arrived_s"] <= self.deadline_s * ROOM
            in_time &= is_served(requests["outcome"])
            ok = np.where(requests["priority"] >= self.deadline_from_priority, in_time, ok)
        return ok

    def factors(self, requests: Columns) -> np.ndarray:
        """The factor on all time limits at which each request would just attain the SLO, float64[n].

        Infinite for a request that did not finish: no limit is long enough for it.
        """
        arrived_s, first_s, finished_s = (requests[key] for key in ("arrived_s", "first_token_s", "finished_s"))
        found = (first_s - arrived_s) / self.ttft_s
        if self.tpot_s is not None:
            n_gaps = requests["output_tokens"] - 1
            found = np.fmax(found, (finished_s - first_s) / (self.tpot_s * np.where(n_gaps > 0, n_gaps, np.inf)))
        if self.itl_max_s is not None:
            found = np.fmax(found, requests["itl_max_s"] / self.itl_max_s)
        if self.e2e_s is not None:
            found = np.fmax(found, (finished_s - arrived_s) / self.e2e_s)
        if self.deadline_from_priority is not None:
            late = (finished_s - arrived_s) / self.deadline_s
            found = np.where(requests["priority"] >= self.deadline_from_priority, late, found)
        return np.where(is_served(requests["outcome"]), found, np.inf)

    def attained_within(self, requests: Columns, factors: Sequence[float]) -> tuple[int, ...]:
        """How many requests attain the SLO with all time limits times each of the `factors`."""
        needed = np.sort(self.factors(requests))
        limits = np.asarray(factors) * ROOM
        return tuple(np.searchsorted(needed, limits, side="right").tolist())

    def factor(self, requests: Columns, calls: int) -> float:
        """The factor on all time limits at which `attainment_fraction` of all `calls` would attain the SLO.

        `calls` counts those that were never sent, too; infinite if too few finished.
        """
        needed = math.ceil(self.attainment_fraction * calls * (1 - 1e-9))
        factors = np.sort(self.factors(requests))
        return float(factors[needed - 1]) if 0 < needed <= len(factors) else math.inf
