"""Numbers of tokens drawn from a request log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from sim.workload.lengths.base import Lengths
from sim.workload.logs.roles import LogOptions

if TYPE_CHECKING:
    from sim.workload.logs.request_log import RequestLog


class Empirical(Lengths, LogOptions):
    """Rows of a request log (formats: `sim.workload.logs`), drawn with replacement, input and output together."""

    kind: Literal["empirical"] = "empirical"

    @property
    def log(self) -> RequestLog:
        """The log whose rows are drawn. Raises TraceError."""
        from sim.workload.logs.request_log import read  # imported on use, so that runs without a log need no pandas

        return read(self)

    @property
    def mean_input_tokens(self) -> float:
        return float(self.log.input_tokens.mean())

    @property
    def mean_output_tokens(self) -> float:
        return float(self.log.output_tokens.mean())

    def draw(self, rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        log = self.log
        rows = rng.integers(len(log), size=n)
        return log.input_tokens[rows], log.output_tokens[rows]
