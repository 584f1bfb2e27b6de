"""A finished run or scenario of a sweep: its configuration, figures and bill, and, where they were kept, its tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sim.moment_zero import MomentZero
from sim.records import Window
from sim.report.by_application import attained_by_application
from sim.report.slo import Slo
from sim.schema import ConfigError, parse_config
from sim.study.folder import BILL, REQUESTS, SPANS
from sim.study.results import read_usages
from sim.study.saved import read_beside, read_bill, read_config, read_figures, read_row, readable
from sim.units import MONTH_S

Columns = dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class SavedRun:
    """What a folder of a run holds. Tables are those of its first replication."""

    folder: Path
    config: Mapping[str, Any]
    summary: Mapping[str, Any]
    model_error: Mapping[str, Any]
    has_dates: bool
    digest: str
    """Hash of the configuration, the program and the files that it read; "" where the folder does not say."""

    @property
    def name(self) -> str:
        return str(self.config.get("name") or self.folder.name)

    @property
    def month_per_window(self) -> float:
        """A month of 730 h over the window: what a cost of the window is multiplied by."""
        return MONTH_S / float(self.summary["window_s"])

    @property
    def window(self) -> Window:
        start_s = float(self.config.get("warmup_s") or 0.0)
        return Window(start_s, start_s + float(self.summary["window_s"]))

    @cached_property
    def slo(self) -> Slo:
        return parse_config(Slo, self.config.get("slo"))

    def attained(self, requests: Columns) -> np.ndarray:
        """bool[n]: which of these rows of `requests` attain the SLO, or that of their application."""
        own = slos_of_applications(self.config).values()
        return attained_by_application(requests, self.slo, {i: parse_config(Slo, slo) for i, slo in enumerate(own)})

    @cached_property
    def usd_by_item(self) -> dict[str, float]:
        """The bill: US dollars of the window by item, over replications, in the order of the bill."""
        table = read_bill(self.folder)
        if not {"item", "usd"} <= set(table):
            raise ConfigError(f"{self.folder / BILL}: has no columns item and usd")
        # A replication without a request on the API has no line in a bill of the API alone.
        n = max(int(self.summary.get("replications") or 1), 1)
        sums = table.groupby("item", sort=False)["usd"].sum() / n
        return {str(item): float(usd) for item, usd in sums.items()}

    @cached_property
    def requests(self) -> Columns | None:
        """Every request, by column; None if they were not kept."""
        return self._table(REQUESTS)

    @cached_property
    def spans(self) -> Columns | None:
        """Every stretch of a replica's life, by column; None if they were not kept."""
        return self._table(SPANS)

    @cached_property
    def moment_zero(self) -> MomentZero:
        """The date of second 0."""
        return read_usages(self.folder)[2][0].moment_zero

    def _table(self, name: str) -> Columns | None:
        path = self.folder / name
        if not path.exists():
            return None
        table = readable("the table", path, pd.read_parquet)
        if "replication" in table:
            table = table[table["replication"] == 0]
        return {str(key): table[key].to_numpy() for key in table}


def slos_of_applications(config: Mapping[str, Any]) -> dict[str, Any]:
    """The SLO of each application of a configuration, in their order; that of all where one has none of its own."""
    applications = config.get("applications")
    if not isinstance(applications, Mapping):
        return {}
    return {
        str(name): of.get("slo") or config.get("slo") for name, of in applications.items() if isinstance(of, Mapping)
    }


def read_run(folder: Path) -> SavedRun:
    """Raises ConfigError if the folder holds no finished run."""
    config, summary = read_config(folder), read_figures(folder)
    if config is None or summary is None or not isinstance(summary.get("window_s"), int | float):
        raise ConfigError(f"{folder}: is not the folder of a finished run or sweep")
    beside, row = read_beside(folder), read_row(folder)
    error = beside.get("model_error")
    return SavedRun(
        folder, config, summary, error if isinstance(error, dict) else {}, isinstance(beside.get("moment_zero"), str),
        "" if row is None else row.digest,
    )  # fmt: skip
