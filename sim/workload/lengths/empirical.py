"""Numbers of tokens drawn from a request log."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from sim.workload.lengths.base import Lengths


class Empirical(Lengths):
    """Rows of a request log (formats: `sim.workload.logs`), drawn with replacement, input and output together."""

    kind: Literal["empirical"] = "empirical"
    path: str = Field(min_length=1)
    format: Literal["auto", "azure", "mooncake", "plain"] = "auto"

    @property
    def log(self):
        """The RequestLog drawn from. Raises TraceError."""
        from sim.workload.logs.request_log import read_log  # here, so that runs without a log need no pandas

        return read_log(self.path, self.format)

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
