"""Table: the results of a sweep, for Python, from the rows in its folder."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from sim.composition import text_of
from sim.printable import printable
from sim.report.pooling import CI_SUFFIX
from sim.report.verdict import verdicts
from sim.study.collect import by_application, labelled, notes, replications, setting, table_of, write_table
from sim.study.competitors import GROUP, LABEL
from sim.study.members import members_of, missing
from sim.study.played import HEADLINES
from sim.study.reprice import reprice_folder


class Verdicts(tuple[str, ...]):
    """One line per question of a sweep: the cheapest fleet that meets the SLO, and whether its lead is resolved."""

    def __str__(self) -> str:
        return printable("\n".join(self))

    __repr__ = __str__


class Table:
    """The scenarios of a sweep: one row each in `frame`, a verdict per question, and their replications and bills.

    >>> import sim
    >>> base = sim.scenario("lengths=fixed", horizon_s=60, **{"arrivals.rate_per_s": 0.5})
    >>> table = sim.sweep(base, gpu=["l4", "l40s"], n_jobs=1)
    >>> len(table), len(table.failed), len(table.verdicts)
    (2, 0, 1)
    >>> cheaper = table.reprice(**{"prices.gpu.usd_per_gpu_hour.l4": 0.1})
    >>> bool(cheaper.frame["usd_total"][0] < table.frame["usd_total"][0])
    True
    """

    def __init__(self, folder: Path, names: Sequence[str] | None = None):
        """Read the scenarios of a study, all or those with these digests. Raises ConfigError if none has a row."""
        self.folder = folder
        members = members_of(folder, names)
        self.frame = table_of(members, folder)
        """One row per scenario: the given keys, `status`, `error`, `folder`, `digest`, every figure of summary.json."""
        self._digests = tuple(self.frame["digest"])
        self._named = labelled(self.frame, folder)
        self.setting = setting(members, folder)
        """What the scenarios rest on: model, cards, SLO, price lists, window and seed; what all share, what differs."""
        self.notes = tuple(notes(members))
        """What a reader of the results should know."""
        self._lacking = missing(folder, self._digests) if names is None else ""

    @property
    def replications(self) -> pd.DataFrame:
        """One row per scenario and replication: `digest`, `group`, `label`, `replication` and its figures."""
        return replications(self._named, self.folder)

    @property
    def applications(self) -> pd.DataFrame:
        """One row per scenario and application that has an SLO of its own, with its figures and its judgement."""
        return by_application(self.frame)

    @property
    def verdicts(self) -> Verdicts:
        """One line per question: the cheapest fleet that meets the SLO, and whether its lead is resolved."""
        return Verdicts(verdicts(self._named, self.replications, GROUP, LABEL, complete=not self._lacking))

    @property
    def failed(self) -> pd.DataFrame:
        """The scenarios that could not be played, with their `error`."""
        return self.frame[self.frame["status"] != "ok"]

    def reprice(self, *words: str, config_dir: str | Path | None = None, **keys: Any) -> Table:
        """The same runs at other prices; nothing is simulated. Raises ConfigError if nothing can be priced so.

        `words` are the name of a price list, or words such as `"prices.gpu.usd_per_gpu_hour.l4=0.44"`; `keys` the same
        by keyword.
        """
        asked = [word if "=" in word else f"prices={word}" for word in words]
        asked += [text_of(key, value) for key, value in keys.items()]
        folder = reprice_folder(self.folder, asked, Path(config_dir) if config_dir else None, names=self._digests)
        repriced = Table(folder)
        write_table(repriced.frame, folder)
        return repriced

    def __len__(self) -> int:
        return len(self.frame)

    def __repr__(self) -> str:
        failures = f", {len(self.failed)} failed" if len(self.failed) else ""
        head = f"<Table of {len(self)} scenarios{failures}, in {self.folder.as_posix()}>"
        lacking = [self._lacking] if self._lacking else []
        return printable("\n".join([head, *self.setting.lines, *self.verdicts, *lacking]))

    def _repr_html_(self) -> str:
        columns = [key for key in HEADLINES if key in self._named and self._named[key].notna().any()]
        shown = self._named[[GROUP, LABEL, *columns]]
        if len(self.failed):
            shown = shown.assign(error=self._named["error"].fillna(""))
        for key in columns:
            if key + CI_SUFFIX in self._named:
                shown = shown.assign(**{key: _with_interval(self._named[key], self._named[key + CI_SUFFIX])})
        items = "".join(f"<li>{html.escape(line)}</li>" for line in (*self.setting.lines, *self.verdicts, *self.notes))
        return f"{shown.to_html(index=False, na_rep='', float_format='{:.4g}'.format)}<ul>{items}</ul>"


def _with_interval(means: pd.Series, half_widths: pd.Series) -> list[str]:
    return [
        "" if pd.isna(mean) else f"{mean:.4g}" if pd.isna(half) else f"{mean:.4g} ± {half:.2g}"
        for mean, half in zip(means, half_widths, strict=True)
    ]
