"""The results of a scenario, for Python: one replication with its tables, or all of them with intervals."""

from __future__ import annotations

import difflib
import html
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from sim.columns import Columns
from sim.ledger.usage import Usage
from sim.moment_zero import MomentZero
from sim.printable import printable
from sim.records import Facts
from sim.report.estimators import CONFIDENCE, Interval
from sim.report.pooling import CI_SUFFIX, estimate
from sim.scenarios import Scenario
from sim.schema import ConfigError
from sim.simulation import Run
from sim.study.folder import REQUESTS, SPANS
from sim.study.hindsight import Hindsight
from sim.study.saved import readable
from sim.study.setting import Setting, setting_lines

if TYPE_CHECKING:
    from sim.workload.logs.receipt import Receipt

HEADLINES = (
    "meets_slo", "slo_attainment_fraction", "ttft_p50_s", "ttft_p99_s", "e2e_p99_s", "usd_total", "usd_per_mtok_total",
    "usd_per_month", "gpu_hours_paid", "busy_fraction_of_paid", "token_fraction_of_peak", "api_request_fraction",
)  # fmt: skip
"""The figures that a notebook shows of a result; `Result.table` has all of them."""


@dataclass(frozen=True, eq=False, repr=False)
class PlayedRun:
    """One replication of a scenario: every request, every stretch of a replica's life, the bill and the summary.

    >>> import sim
    >>> run = sim.simulate(sim.scenario("lengths=fixed", horizon_s=60, **{"arrivals.rate_per_s": 0.5}))
    >>> (run.requests["finished_s"] > run.requests["arrived_s"]).all(), set(run.spans["replica_id"])
    (np.True_, {0})
    """

    run: Run
    usage: Usage
    bill: pd.DataFrame
    """One row per item paid for: see bill.csv."""
    summary: dict[str, Any]
    """The figures of summary.json, of this replication."""
    hindsight: Hindsight | None = None
    """The least that the GPUs could have cost, and the regret; None where no bound is known."""

    @property
    def scenario(self) -> Scenario:
        """The scenario that was played."""
        return self.run.scenario

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the results should know."""
        return self.run.notes

    @property
    def requests(self) -> pd.DataFrame:
        """One row per request: the columns of requests.parquet."""
        return requests_table(self.run.facts)

    @property
    def spans(self) -> pd.DataFrame:
        """One row per stretch of a replica's life: the columns of spans.parquet."""
        return spans_table(self.run.facts)

    def __repr__(self) -> str:
        return f"<PlayedRun of {self.scenario.name}, replication {self.run.replication}: {_headlines(self.summary)}>"

    def _repr_html_(self) -> str:
        return _as_html(repr(self), headline_table(self.summary), self.notes)


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """The results of a scenario: one summary over its replications, and the numbers of each replication.

    >>> import sim
    >>> base = sim.scenario("lengths=fixed", horizon_s=60, **{"arrivals.rate_per_s": 0.5})
    >>> result = sim.replicate(base, replications=2)
    >>> len(result.replications), bool(result.table.loc["usd_total", "mean"] == result["usd_total"].mean)
    (2, True)
    """

    summary: dict[str, Any]
    """Every figure: over the replications, and as `<figure>_ci95` the half-width of its 95 % interval."""
    per_replication: list[dict[str, Any]]
    usages: list[Usage]
    bills: list[pd.DataFrame]
    runs: list[Run]  # empty unless replicate(..., keep_runs=True)
    notes: tuple[str, ...]  # what a reader of the results should know
    name: str = "scenario"
    receipts: tuple[Receipt, ...] = ()  # of the request logs that the traffic came from
    confidence: float = CONFIDENCE
    """The nominal confidence of the intervals, so that they cover 95 %: above 0.95 after replications="auto"."""
    folder: Path | None = field(default=None)
    """The folder that the result was read from; None if it was played in this process."""
    model_error: dict[str, Any] | None = None
    """How far the figures of measured servers have been from simulated ones on the nearest card, model and engine, as
    summary.json has it: mean absolute relative errors `throughput`, `ttft` and `itl`, `gpu`, `basis` (what the card's
    constants rest on) and `measured_on`. No number of replications makes it smaller. None without a fleet."""
    hardware: tuple[str, ...] = ()
    """`model_error` in words, a line each."""
    setting: Setting = field(default_factory=dict)
    """What it rests on in short words: `model`, `cards`, `SLO`, price lists, `window` and `seed`."""

    @property
    def moment_zero(self) -> MomentZero:
        """The date, time and zone of second 0."""
        return self.usages[0].moment_zero

    def __getitem__(self, metric: str) -> Interval:
        """A figure with its interval over replications, however few. Raises KeyError, with the nearest name."""
        if metric not in self.summary:
            near = difflib.get_close_matches(metric, self.summary, n=1)
            raise KeyError(f"{metric}: is not a figure of the summary" + (f"; did you mean {near[0]}?" if near else ""))
        if isinstance(self.summary[metric], (str, bool)) or metric not in self.per_replication[0]:
            raise KeyError(f"{metric}: is not a figure of a replication, and has no interval; see Result.summary")
        if (
            self.summary[metric] == math.inf
        ):  # The replications of a loaded result come from JSON, which has no infinity.
            return Interval(math.inf, replications=len(self.per_replication))
        return estimate(metric, self.per_replication, self.confidence)

    @property
    def table(self) -> pd.DataFrame:
        """One row per figure: `mean` and `half_width` of its 95 % interval (NaN with one replication)."""
        return figures_table(self.summary)

    @property
    def replications(self) -> pd.DataFrame:
        """One row per replication, one column per figure."""
        return pd.DataFrame(self.per_replication).rename_axis("replication")

    @property
    def bill(self) -> pd.DataFrame:
        """The bills of all replications, with the column `replication` in front."""
        return _stacked(self.bills)

    @property
    def requests(self) -> pd.DataFrame:
        """Every request of every replication. Raises ConfigError unless they were kept (`keep_runs=True`)."""
        return self._kept(REQUESTS, requests_table)

    @property
    def spans(self) -> pd.DataFrame:
        """Every stretch of a replica's life. Raises ConfigError unless they were kept (`keep_runs=True`)."""
        return self._kept(SPANS, spans_table)

    def _kept(self, name: str, table_of: Any) -> pd.DataFrame:
        if self.runs:
            return _stacked([table_of(run.facts) for run in self.runs])
        if self.folder is not None and (self.folder / name).is_file():
            return readable("the table", self.folder / name, pd.read_parquet)
        what = name.partition(".")[0]
        raise ConfigError(f"{what}: were not kept; sim.replicate(..., keep_runs=True) or output.{what}=true keeps them")

    def __repr__(self) -> str:
        return (
            f"<Result of {printable(self.name)}, {len(self.per_replication)} replications: {_headlines(self.summary)}>"
        )

    def _repr_html_(self) -> str:
        told = (*setting_lines(self.setting), *self.hardware, *self.notes)
        return _as_html(f"{self.name}, replications: {len(self.per_replication)}", headline_table(self.summary), told)


def requests_table(facts: Facts) -> pd.DataFrame:
    """Every request of a run, with the name of its pool in front where there are several."""
    return pd.DataFrame(_with_pool(facts, facts.requests_in_full))


def request_tables(runs: Sequence[Run]) -> Iterator[pd.DataFrame]:
    """Every request of every run with the number of its replication in front, in tables of bounded length."""
    for number, run in enumerate(runs):
        for block in run.facts.blocks_in_full():
            table = pd.DataFrame(_with_pool(run.facts, block))
            table.insert(0, "replication", number)
            yield table


def spans_table(facts: Facts) -> pd.DataFrame:
    """Every stretch of a replica's life, with the name of its pool in front where there are several."""
    return pd.DataFrame(_with_pool(facts, facts.spans))


def figures_table(summary: dict[str, Any]) -> pd.DataFrame:
    """One row per figure of a summary: `mean` and `half_width`."""
    figures = [key for key in summary if not key.endswith(CI_SUFFIX)]
    half_widths = [summary.get(key + CI_SUFFIX) for key in figures]
    columns = {"mean": [summary[key] for key in figures], "half_width": pd.array(half_widths, dtype="Float64")}
    table = pd.DataFrame(columns, index=pd.Index(figures, name="figure"))
    return table.assign(half_width=table["half_width"].astype(float))


def headline_table(summary: dict[str, Any]) -> pd.DataFrame:
    """The rows of `figures_table` for the HEADLINES."""
    table = figures_table(summary)
    return table.loc[[key for key in HEADLINES if summary.get(key) is not None]]


def _headlines(summary: dict[str, Any]) -> str:
    shown = [key for key in ("slo_attainment_fraction", "ttft_p99_s", "usd_total") if summary.get(key) is not None]
    return ", ".join(f"{key} {_number(summary[key], summary.get(key + CI_SUFFIX))}" for key in shown)


def _number(mean: float, half_width: float | None) -> str:
    return f"{mean:.4g}" if half_width is None or np.isnan(half_width) else f"{mean:.4g} ± {half_width:.2g}"


def _as_html(title: str, table: pd.DataFrame, notes: tuple[str, ...]) -> str:
    items = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
    head = f"<p><b>{html.escape(title)}</b></p>"
    return f"{head}{table.to_html(na_rep='', float_format='{:.4g}'.format)}" + (f"<ul>{items}</ul>" if items else "")


def _stacked(tables: list[pd.DataFrame]) -> pd.DataFrame:
    stacked = pd.concat(tables, keys=range(len(tables)), names=["replication"])
    return stacked.reset_index(level="replication").reset_index(drop=True)


def _with_pool(facts: Facts, columns: Columns) -> dict[str, Any]:
    """The columns with the name of each row's pool in front, where there are several; "" for a row of no pool."""
    pool_index = columns["pool"]
    others = {name: column for name, column in columns.items() if name != "pool"}
    if len(facts.pools) <= 1:
        return others
    names = np.array([*(pool.name for pool in facts.pools), ""])  # The last entry is found at -1, which means no pool.
    return {"pool": names[pool_index], **others}
