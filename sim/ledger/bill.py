"""The bill of one run, as one table, by hour or by application, and the money figures read off it."""

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
"""Name of a leading column that exists only with several pools; "" on lines that belong to no pool (API, overhead)."""
SHARED = "(shared)"
"""The application of lines that no single application caused: idle, cold starts, commitments, overhead."""


def bill(usage: Usage, prices: Prices, gpu_name: str | None, model_name: str | None) -> pd.DataFrame:
    """The bill of a window: one row per payee and item.

    Columns: `payee`, `item`, `unit` (text), `quantity` (float64, in `unit`), `usd` (float64); with several pools a
    leading column POOL and one row per pool, payee and item. `gpu_name` (the GPU of pools that name none, as in files
    of earlier versions) and `model_name` are keys of the price tables, looked up only if there is use to price. Raises
    ConfigError for a missing price and AuditError if the GPU lines do not add up to the paid seconds.
    """
    return _table(_lines(usage, prices, gpu_name, model_name), usage)


def bill_by_hour(usage: Usage, prices: Prices, gpu_name: str | None, model_name: str | None) -> pd.DataFrame:
    """The bill by full hour of UTC: columns `hour` (int64) and those of `bill`; its rows add up to `bill`.

    Hour 0 is that of second 0. Whatever depends on the whole window (the number of GPUs to commit to, if the price
    list leaves it open) is decided from the whole window first. API tokens are in the hour in which their request
    arrived, rounding in the hour in which the replica ended. An overhead on what is not recorded by hour, such as the
    fleet's requests, is spread evenly over the window. Raises ConfigError where `bill` does, and if the usage does not
    know hours.
    """
    settled = prices.fixed_for(usage)
    rows = [
        (hour, pool, line)
        for hour, part in usage.by_hour()
        for pool, line in _lines(part, settled, gpu_name, model_name)
        if line.quantity or line.usd
    ]
    rows += _overhead_not_by_hour(rows, usage, settled, gpu_name, model_name)
    return _adding_up(_table(rows, usage, "hour"), usage, prices, gpu_name, model_name)


def _overhead_not_by_hour(
    rows: Sequence[tuple[int, str, Line]], usage: Usage, prices: Prices, gpu_name: str | None, model_name: str | None
) -> list[tuple[int, str, Line]]:
    """Rows (hour, "", line) for the overhead of the window that the hours in `rows` lack, evenly over time."""
    found = []
    for line in _parts(usage, prices, gpu_name, model_name)[2]:
        same = [other for _, _, other in rows if (other.payee, other.item) == (line.payee, line.item)]
        usd = line.usd - math.fsum(other.usd for other in same)
        if usd <= 1e-9 * line.usd:
            continue
        quantity = line.quantity - math.fsum(other.quantity for other in same)
        for hour, part in usage.by_hour():
            share = part.window.length_s / usage.window.length_s
            if share:
                found.append((hour, "", line._replace(quantity=quantity * share, usd=usd * share)))
    return found


def bill_by_application(usage: Usage, prices: Prices, gpu_name: str | None, model_name: str | None) -> pd.DataFrame:
    """The bill by application: columns `application` (text) and those of `bill`; its rows add up to `bill`.

    API lines are computed for each application. Busy and draining GPU time of a pool is divided in proportion to the
    resident seconds (admission to end) in that pool of the finished requests of tasks that began in the window. All
    other lines are SHARED. Raises ConfigError where `bill` does, and if the usage does not know applications.
    """
    usage.require_detail("a bill by application")
    rows = []
    for application in sorted({*usage.api["application"].tolist(), *usage.fleet["application"].tolist()}):
        matching = usage.api["application"] == application
        part = replace(usage, api={name: column[matching] for name, column in usage.api.items()})
        rows += [(_application(usage, application), "", line) for line in prices.api.lines(part, model_name)]
    gpu, _, overhead = _parts(usage, prices, gpu_name, model_name)
    for (pool, lines), (_, pool_usage) in zip(gpu, usage.by_pool, strict=True):
        rows += [(name, pool, share) for line in lines for name, share in _divided(line, pool_usage)]
    rows += [(SHARED, "", line) for line in overhead]
    return _adding_up(_table(rows, usage, "application"), usage, prices, gpu_name, model_name)


def _application(usage: Usage, application: int) -> str:
    return usage.applications.get(application, str(application))


def _divided(line: Line, pool: Usage) -> list[tuple[str, Line]]:
    """(application, part of the line) for a GPU line of this pool; (SHARED, line) if no application caused it."""
    resident_s = float(pool.fleet["resident_s"].sum())
    if line.item not in (GPU_BUSY, GPU_DRAINING) or not resident_s:
        return [(SHARED, line)]
    parts = []
    for application, part_s in zip(pool.fleet["application"].tolist(), pool.fleet["resident_s"], strict=True):
        share = float(part_s) / resident_s
        part = line._replace(quantity=line.quantity * share, usd=line.usd * share)
        parts.append((_application(pool, application), part))
    return parts


def _parts(
    usage: Usage, prices: Prices, gpu_name: str | None, model_name: str | None
) -> tuple[list[tuple[str, list[Line]]], list[Line], list[Line]]:
    """([(pool, GPU lines)], API lines, overhead lines)."""
    gpu = prices.gpu_lines(usage, gpu_name)
    api = prices.api.lines(usage, model_name)
    return gpu, api, prices.overhead.lines(usage, math.fsum(line.usd for _, lines in gpu for line in lines))


def _lines(usage: Usage, prices: Prices, gpu_name: str | None, model_name: str | None) -> list[tuple[str, Line]]:
    """Every line of the bill as (pool or "", line)."""
    gpu, api, overhead = _parts(usage, prices, gpu_name, model_name)
    for (name, lines), (_, pool_usage) in zip(gpu, usage.by_pool, strict=True):
        billed = math.fsum(line.quantity for line in lines if line.item in STATES_OF_ITEM)
        paid = pool_usage.gpu_hours_paid
        if not math.isclose(billed, paid if lines else 0.0, rel_tol=1e-9, abs_tol=1e-9):
            where = f" in pool {name}" if len(usage.pools) > 1 else ""
            raise AuditError(f"audit: GPU-hours are conserved: {billed} on the bill, {paid} paid{where}")
    found = [(name, line) for name, lines in gpu for line in lines] + [("", line) for line in (*api, *overhead)]
    wrong = [line for _, line in found if not line.usd >= 0]
    if wrong:
        raise AuditError(f"audit: no line of a bill is negative: {wrong[0]}")
    return found


def _table(rows: Sequence[tuple[Any, ...]], usage: Usage, *keys: str) -> pd.DataFrame:
    """The table of a bill. Each row is (the value of each column of `keys`, pool, line)."""
    table = pd.DataFrame([(*row[:-1], *row[-1]) for row in rows], columns=[*keys, POOL, *BILL_COLUMNS])
    return table if len(usage.pools) > 1 else table.drop(columns=POOL)


def _adding_up(
    table: pd.DataFrame, usage: Usage, prices: Prices, gpu_name: str | None, model_name: str | None
) -> pd.DataFrame:
    """The table as it is. Raises AuditError unless its USD add up to those of the undivided bill."""
    parts = math.fsum(table["usd"])
    whole = math.fsum(line.usd for _, line in _lines(usage, prices, gpu_name, model_name))
    if not math.isclose(parts, whole, rel_tol=1e-9, abs_tol=1e-9):
        raise AuditError(f"audit: a bill by parts adds up: {parts} in parts, {whole} whole")
    return table


def money(bill_lines: pd.DataFrame, usage: Usage) -> dict[str, float | None]:
    """The money figures of a bill, in USD, by name.

    usd_total = usd_gpu + usd_api + usd_overhead. usd_idle (idle and asleep) and usd_cold_start are parts of usd_gpu.
    Unit costs divide the whole bill by the tasks that began in the window and finished, by the requests of these tasks,
    or by their tokens (`_output`: generated tokens; `_total`: input, cached or not, and output); None where the
    denominator is 0. A month has 730 h. With several pools, `pool_<name>_usd_gpu` is a pool's part of usd_gpu.
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


def money_by_application(
    usage: Usage, prices: Prices, gpu_name: str | None, model_name: str | None
) -> dict[str, float | None]:
    """What each application costs, in USD, where there are several: `application_<name>_usd` and `_usd_fraction`.

    The lines that an application caused are its own (see `bill_by_application`: API tokens, and busy and draining GPU
    time by the seconds that its requests were on a replica). Each SHARED line (idle, cold starts, commitments,
    overhead) is divided like the sum of the own ones, so that the parts add up to usd_total; None where no line is any
    application's own. `_usd_fraction`: of usd_total. Raises ConfigError where `bill` does.
    """
    if len(usage.applications) < 2 or not usage.is_detailed:
        return {}
    table = bill_by_application(usage, prices, gpu_name, model_name)
    own = {name: math.fsum(table["usd"][table["application"] == name]) for name in usage.applications.values()}
    caused, total = math.fsum(own.values()), math.fsum(table["usd"])
    found: dict[str, float | None] = {}
    for name, usd in own.items():
        found[f"application_{name}_usd"] = usd / caused * total if caused else None
        found[f"application_{name}_usd_fraction"] = usd / caused if caused else None
    return found


def _per(usd: float, quantity: float) -> float | None:
    return usd / quantity if quantity > 0 else None
