"""The service level a scenario promises, and which requests attain it."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from sim.records import Outcome
from sim.schema import Config

ROOM = 1 + 1e-9
"""A request that takes exactly as long as it may is in time, whatever the last bit of a difference of moments."""


class Slo(Config):
    """Limits on a single request and the share of all calls that must stay within them.

    A request attains the SLO if it finished and met every limit that is set; an unfinished one does not attain it, nor
    does a call that was never sent because one before it in its task did not finish. Work that can wait, the tasks of
    priority `deadline_from_priority` or a higher number (less urgent), has a deadline instead of these limits.
    """

    ttft_s: float = Field(gt=0, description="time to first token, queueing and cold start included")
    tpot_s: float | None = Field(None, gt=0, description="time per output token after the first")
    e2e_s: float | None = Field(None, gt=0, description="time from arrival to the last token")
    deadline_from_priority: int | None = Field(None, description="tasks that have a deadline instead; null: none")
    deadline_s: float = Field(86_400, gt=0, description="time from arrival to the last token, for work that can wait")
    attainment_fraction: float = Field(0.99, gt=0, le=1, description="share of all calls that must attain it")

    def attained(self, requests: dict[str, np.ndarray]) -> np.ndarray:
        """Which requests attain the SLO, bool[n]; `requests` holds the columns of sim.records.REQUEST_COLUMNS."""
        ok = requests["outcome"] == Outcome.FINISHED
        ok &= requests["first_token_s"] - requests["arrived_s"] <= self.ttft_s * ROOM
        if self.tpot_s is not None:
            streamed_s = requests["finished_s"] - requests["first_token_s"]
            ok &= streamed_s <= self.tpot_s * ROOM * np.maximum(requests["output_tokens"] - 1, 0)
        if self.e2e_s is not None:
            ok &= requests["finished_s"] - requests["arrived_s"] <= self.e2e_s * ROOM
        if self.deadline_from_priority is not None:
            in_time = requests["finished_s"] - requests["arrived_s"] <= self.deadline_s * ROOM
            in_time &= requests["outcome"] == Outcome.FINISHED
            ok = np.where(requests["priority"] >= self.deadline_from_priority, in_time, ok)
        return ok
