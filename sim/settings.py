"""Settings of a scenario that belong to no room: how requests wait, where results go, when replications stop."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Annotated

from pydantic import Field, field_validator

from sim.report.glossary import SUMMARY, defined
from sim.report.pooling import CI_SUFFIX
from sim.schema import Config

AUTO = "auto"
"""The number of replications that stands for "as many as the precision needs"."""


class Queue(Config):
    """How requests wait for a replica, and how long their clients do."""

    max_requests_per_replica: int | None = Field(
        None,
        ge=1,
        description="requests in a replica at once, the rest wait in the fleet's queue; null: engine.max_num_seqs "
        "of every attention rank, or any number if the engine refuses some itself (engine.max_queue)",
    )
    max_waiting_requests: int | None = Field(
        None, ge=0, description="requests in the fleet's queue at once, further ones are refused; null: any number"
    )
    patience_s: float | None = Field(
        None, gt=0, description="seconds after which a client gives up if service has not begun; null: never"
    )
    client_timeout_s: float | None = Field(
        None, gt=0, description="seconds after its arrival at which a client hangs up, answered or not; null: never"
    )
    stopped_fraction: float = Field(
        0.0, ge=0, le=1, description="share of calls whose client stops the answer after a uniform share of its tokens"
    )


class Output(Config):
    """The files beside summary.json and config.yaml: with null, a single run writes them all and a sweep none."""

    dir: str = Field("outputs", description="folder of all results")
    study: str | None = Field(None, description="folder of a sweep below dir; null: named after what is varied")
    folder: str | None = Field(None, description="folder of one scenario of a sweep below study; the sweep sets it")
    requests: bool | None = Field(None, description="requests.parquet, one row per request; null: of a single run")
    spans: bool | None = Field(None, description="spans.parquet, one row per stretch of a replica's life, likewise")
    figures: bool | None = Field(None, description="timeline.png, likewise; false: no picture of a sweep either")
    page: bool = Field(True, description="of a sweep: page.html, all of it on one page; a run has one by the verb page")


class Study(Config):
    """The precision at which replications=auto stops."""

    precision: dict[str, Annotated[float, Field(gt=0)] | None] = Field(
        {"usd_total": 0.02, "slo_attainment_fraction": 0.002},
        description="half-width of the 95 % interval that is narrow enough, by metric: absolute for fractions, else "
        "relative to the metric; for slo_attainment_fraction a decided SLO judgement is enough, too; null: not asked "
        "for",
    )
    max_replications: int = Field(100, ge=1, description="most replications, even if the precision is not reached")

    @field_validator("precision")
    @classmethod
    def _metrics_are_known(cls, precision: dict[str, float | None]) -> dict[str, float | None]:
        for metric in precision:
            known = defined(metric, SUMMARY)
            if known is None or known.unit in ("", "yes/no") or metric.endswith(CI_SUFFIX):
                near = get_close_matches(metric, SUMMARY, n=1)
                hint = f"; did you mean {near[0]}?" if near else ""
                raise ValueError(f"{metric}: is not a metric of summary.json{hint}")
        return precision
