"""The bill of one run: a table of lines that add up, whole, by the hour or by application; the money read off it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from sim.ledger.lines import (
    GPU_ASLEEP,
    GPU_BUSY,
    GPU_COLD_START,
    GPU_DRAINING,
    GPU_IDLE,
    OVERHEAD,
    STATES_OF_ITEM,
    Line,
)
from sim.ledger.prices import Prices
from sim.ledger.usage import Usage
from sim.schema import AuditError
from sim.units import MONTH_S, MTOK

BILL_COLUMNS = list(Line._fields)
POOL = "pool"
"""A column in front of the others, only where there are several pools; "" on lines that belong to none."""
SHARED = "(shared)"
"""Stands for an application on the lines that no application caused alone: idle, cold starts, commitments, overhead."""


def bill(usage: Usage, prices: Prices, gpu_name: str | None, model_name: str | None) -> pd.DataFrame:
    """The bill of a window: one row per payee and item, columns payee, item, quantity, unit, usd.

    With several pools, one per pool, payee and item, and the column POOL in front. `gpu_name` (of pools that do not
    name their own, as in files of earlier versions) and `model_name` are keys of the price tables; they are looked up
    only if there is something to price. Raises ConfigError for a missing price and AuditError if the GPU lines do not
    add up to the paid seconds.
    """
    return _table(_lines(usage, prices, gpu_name, model_name), usage)


def bill_by_hour(usage: Usage, prices: Prices, gpu_name: str | None, model_name: str | None) -> pd.DataFrame:
    """The same bill, hour by hour of simulated time: columns `hour` and those of `bill`; it adds up to the whole.

    What depends on the whole window (how many GPUs to commit to, if the list does not say) is settled by it first. API
    tokens stand in the hour of the request's arrival, rounding in the hour in which a replica ends. Raises ConfigError
    where `bill` does, and if the hours of the run are not known.
    """
    settled = prices.fixed_for(usage)
    rows = [
        (hour, pool, line)
        for hour, part in usage.by_hour()
        for pool, line in _lines(part, settled, gpu_name, model_name)
        if line.quantity or line.usd
    ]
    return _adding_up(_table(rows, usage, "hour"), usage, prices, gpu_name, model_name)


def bill_by_application(usage: Usage, prices: Prices, gpu_name: str | None, model_name: str | None) -> pd.DataFrame:
    """The same bill by application: columns `application` and those of `bill`; it adds up to the whole.

    API lines are each application's own. Busy and draining GPU time of a pool is shared out by resident seconds there
    (admission to end) of the finished requests of the tasks that began in the window. All else is SHARED. Raises
    ConfigError where `bill` does, and if the applications of the run are not known.
    """
    usage.require_detail("a bill by application")
    rows = []
    for application in sorted({*usage.api["application"].tolist(), *usage.fleet["application"].tolist()}):
        mine = usage.api["application"] == application
        own = replace(usage, api={name: column[mine] for name, column in usage.api.items()})
        rows += [(_application(usage, application), "", line) for line in prices.api.lines(own, model_name)]
    gpu, _, overhead = _parts(usage, prices, gpu_name, model_name)
    for (pool, lines), (_, its) in zip(gpu, usage.by_pool, strict=True):
        rows += [(name, pool, part) for line in lines for name, part in _shared_out(line, its)]
    rows += [(SHARED, "", line) for line in overhead]
    return _adding_up(_table(rows, usage, "application"), usage, prices, gpu_name, model_name)


def _application(usage: Usage, application: int) -> str:
    return usage.applications.get(application, str(application))


def _shared_out(line: Line, pool: Usage) -> list[tuple[str, Line]]:
    """(application, its part) of a GPU line of this pool."""
    resident_s = float(pool.fleet["resident_s"].sum())
    if line.item not in (GPU_BUSY, GPU_DRAINING) or not resident_s:
        return [(SHARED, line)]
    parts = []
    for application, its_s in zip(pool.fleet["application"].tolist(), pool.fleet["resident_s"], strict=True):
        share = float(its_s) / resident_s
        part = line._replace(quantity=line.quantity * share, usd=line.usd * share)
        parts.append((_application(pool, application), part))
    return parts


def _parts(
    usage: Usage, prices: Prices, gpu_name: str | None, model_name: str | None
) -> tuple[list[tuple[str, list[Line]]], list[Line], list[Line]]:
    """GPU lines by pool, API lines, overhead lines."""
    gpu = prices.gpu_lines(usage, gpu_name)
    api = prices.api.lines(usage, model_name)
    return gpu, api, prices.overhead.lines(usage, math.fsum(line.usd for _, lines in gpu for line in lines))


def _lines(usage: Usage, prices: Prices, gpu_name: str | None, model_name: str | None) -> list[tuple[str, Line]]:
    """(pool or "", line) of everything."""
    gpu, api, overhead = _parts(usage, prices, gpu_name, model_name)
    for (name, lines), (_, its) in zip(gpu, usage.by_pool, strict=True):
        lived = math.fsum(line.quantity for line in lines if line.item in STATES_OF_ITEM)
        if not math.isclose(lived, its.gpu_hours_paid if lines else 0.0, rel_tol=1e-9, abs_tol=1e-9):
            where = f" in pool {name}" if len(usage.pools) > 1 else ""
            raise AuditError(f"audit: GPU-hours are conserved: {lived} on the bill, {its.gpu_hours_paid} paid{where}")
    found = [(name, line) for name, lines in gpu for line in lines] + [("", line) for line in (*api, *overhead)]
    wrong = [line for _, line in found if not line.usd >= 0]
    if wrong:
        raise AuditError(f"audit: no line of a bill is negative: {wrong[0]}")
    return found


def _table(rows: Sequence[tuple[Any, ...]], usage: Usage, *keys: str) -> pd.DataFrame:
    """Rows of (value of each key, pool, line)."""
    table = pd.DataFrame([(*row[:-1], *row[-1]) for row in rows], columns=[*keys, POOL, *BILL_COLUMNS])
    return table if len(usage.pools) > 1 else table.drop(columns=POOL)


def _adding_up(
    table: pd.DataFrame, usage: Usage, prices: Prices, gpu_name: str | None, model_name: str | None
) -> pd.DataFrame:
    parts = math.fsum(table["usd"])
    whole = math.fsum(line.usd for _, line in _lines(usage, prices, gpu_name, model_name))
    if not math.isclose(parts, whole, rel_tol=1e-9, abs_tol=1e-9):
        raise AuditError(f"audit: a bill by parts adds up: {parts} in parts, {whole} whole")
    return table


def money(bill_lines: pd.DataFrame, usage: Usage) -> dict[str, float | None]:
    """The money figures of a bill, in USD.

    usd_total = usd_gpu + usd_api + usd_overhead; usd_idle (asleep or not) and usd_cold_start are parts of usd_gpu. Unit
    costs divide the whole bill by what began in the window and finished: tasks, their requests, and the tokens these
    carried (`_output`: generated tokens; `_total`: input, cached or not, and output). None where the denominator is 0.
    A month has 730 h. With several pools, `pool_<name>_usd_gpu` is the part of usd_gpu that each one costs.
    """
    item, usd, several = bill_lines["item"], bill_lines["usd"], len(usage.pools) > 1

    def of(rows: pd.Series) -> float:
        return math.fsum(usd[rows])

    total = math.fsum(usd)
    return {
        "usd_total": total,
        "usd_gpu": of(item.str.startswith("gpu ")),
        "usd_idle": of(item.isin((GPU_IDLE, GPU_ASLEEP))),
        "usd_cold_start": of(item == GPU_COLD_START),
        "usd_api": of(item.str.startswith("api ")),
        "usd_overhead": of(item.str.startswith(OVERHEAD)),
        "usd_per_mtok_output": _per(total, usage.output_tokens / MTOK),
        "usd_per_mtok_total": _per(total, (usage.input_tokens + usage.output_tokens) / MTOK),
        "usd_per_request": _per(total, usage.requests_finished),
        "usd_per_task": _per(total, usage.tasks_finished),
        "usd_per_month": _per(total, usage.window.length_s / MONTH_S),
        **{f"pool_{pool.name}_usd_gpu": of(bill_lines[POOL] == pool.name) for pool in usage.pools if several},
    }


def _per(usd: float, quantity: float) -> float | None:
    return usd / quantity if quantity > 0 else None
