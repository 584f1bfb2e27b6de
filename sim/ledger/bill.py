"""The bill of one run: a table of lines that add up, and the money figures read off it."""

from __future__ import annotations

import math

import pandas as pd

from sim.ledger.prices import GPU_COLD_START, GPU_IDLE, OVERHEAD, Line, Prices
from sim.ledger.usage import Usage
from sim.schema import AuditError
from sim.units import MONTH_S, MTOK

BILL_COLUMNS = list(Line._fields)


def bill(usage: Usage, prices: Prices, gpu_name: str | None, model_name: str | None) -> pd.DataFrame:
    """The bill of a window: one row per payee and item, columns payee, item, quantity, unit, usd.

    `gpu_name` and `model_name` are keys of the price tables; they are looked up only if there is something to price.
    Raises ConfigError for a missing price and AuditError if the GPU lines do not add up to the paid seconds.
    """
    gpu = prices.gpu.lines(usage, gpu_name)
    api = prices.api.lines(usage, model_name)
    overhead = prices.overhead.lines(usage, math.fsum(line.usd for line in gpu))
    lived = math.fsum(line.quantity for line in gpu[:-1])  # the last one is what rounding adds
    if not math.isclose(lived, usage.gpu_hours_paid if gpu else 0.0, rel_tol=1e-9, abs_tol=1e-9):
        raise AuditError(f"audit: GPU-hours are conserved: {lived} on the bill, {usage.gpu_hours_paid} paid")
    wrong = [line for line in (*gpu, *api, *overhead) if not line.usd >= 0]
    if wrong:
        raise AuditError(f"audit: no line of a bill is negative: {wrong[0]}")
    return pd.DataFrame([*gpu, *api, *overhead], columns=BILL_COLUMNS)


def money(bill_lines: pd.DataFrame, usage: Usage) -> dict[str, float | None]:
    """The money figures of a bill, in USD.

    usd_total = usd_gpu + usd_api + usd_overhead; usd_idle and usd_cold_start are parts of usd_gpu. Unit costs divide
    the whole bill by what arrived in the window and finished: requests, tasks, and the tokens the requests carried
    (`_output`: generated tokens; `_total`: input, cached or not, and output). None where the denominator is 0. A month
    has 730 h.
    """
    item, usd = bill_lines["item"], bill_lines["usd"]

    def of(rows: pd.Series) -> float:
        return math.fsum(usd[rows])

    total = math.fsum(usd)
    return {
        "usd_total": total,
        "usd_gpu": of(item.str.startswith("gpu ")),
        "usd_idle": of(item == GPU_IDLE),
        "usd_cold_start": of(item == GPU_COLD_START),
        "usd_api": of(item.str.startswith("api ")),
        "usd_overhead": of(item.str.startswith(OVERHEAD)),
        "usd_per_mtok_output": _per(total, usage.output_tokens / MTOK),
        "usd_per_mtok_total": _per(total, (usage.input_tokens + usage.output_tokens) / MTOK),
        "usd_per_request": _per(total, usage.requests_finished),
        "usd_per_task": _per(total, usage.tasks_finished),
        "usd_per_month": _per(total, usage.window.length_s / MONTH_S),
    }


def _per(usd: float, quantity: float) -> float | None:
    return usd / quantity if quantity > 0 else None
