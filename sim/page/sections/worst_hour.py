"""The hour in which the most requests missed the SLO: what arrived, what stood ready, and what the scaler did."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from sim.page.model import Cell, Column, Fact, Grid, Section, grid
from sim.page.saved.run import Columns, SavedRun
from sim.page.sections.cells import number_cell
from sim.page.sections.over_time import curves
from sim.records import Backend, ReplicaState
from sim.report.description_text import length
from sim.report.formatting import number, percent, seconds
from sim.report.over_time import Stretch, waits
from sim.units import HOUR_S

_LENGTHS_S = (3600.0, 1800.0, 600.0, 300.0, 60.0)
"""An hour, or, of a run shorter than two, the longest of these that it holds twice."""
_SHIFTS = 12  # places per hour at which an hour may begin
_BINS = 60
_MOST_DECISIONS = 40


class Worst(NamedTuple):
    """The stretch, its requests (a mask over all), and how many of them missed the SLO."""

    start_s: float
    end_s: float
    within: np.ndarray
    missed: int


def worst_hour(run: SavedRun) -> Section:
    """The section; empty where the requests were not kept, or none arrived."""
    requests = run.requests
    if requests is None or not len(requests["arrived_s"]):
        return Section("worst-hour", "The worst hour")
    worst = _worst(run, requests)
    stretch = Stretch.between(worst.start_s, worst.end_s, _BINS)
    n = int(worst.within.sum())
    what = length(worst.end_s - worst.start_s)
    begins = _moment(run, worst.start_s)
    sentence = (
        f"The {what} from {begins}: {worst.missed:,} of {n:,} requests missed the SLO, more than in any other {what}."
        if worst.missed
        else f"No request missed the SLO; the busiest {what} begins {begins}, with {n:,} requests."
    )
    titles = (f"What arrived in that {what}", "Replicas by state", "Requests that waited for a replica")
    drawn = curves(run, stretch, titles, can_zoom=False)
    decisions = _decisions(run, requests, worst)
    title = f"The worst {'hour' if what == '1 h' else what}"
    return Section(
        "worst-hour", title, (sentence,), _facts(requests, worst), tuple(drawn),
        grids=() if decisions is None else (decisions,), notes=_rule(run.config) if run.spans is not None else (),
    )  # fmt: skip


def _worst(run: SavedRun, requests: Columns) -> Worst:
    window = run.window
    length_s = next((length for length in _LENGTHS_S if 2 * length <= window.length_s), window.length_s)
    begin_s = requests["task_arrived_s"]
    counted = (begin_s >= window.start_s) & (begin_s < window.end_s)
    arrived_s, missed = requests["arrived_s"], ~run.attained(requests) & counted
    starts_s = np.arange(window.start_s, max(window.end_s - length_s, window.start_s) + 1e-6, length_s / _SHIFTS)
    lost, all_s = np.sort(arrived_s[missed]), np.sort(arrived_s[counted])

    def inside(moments_s: np.ndarray) -> np.ndarray:
        return np.searchsorted(moments_s, starts_s + length_s) - np.searchsorted(moments_s, starts_s)

    order = np.lexsort((inside(all_s), inside(lost)))
    start_s = float(starts_s[order[-1]])
    within = counted & (arrived_s >= start_s) & (arrived_s < start_s + length_s)
    return Worst(start_s, start_s + length_s, within, int((missed & within).sum()))


def _moment(run: SavedRun, second: float) -> str:
    if run.has_dates:
        return f"{run.moment_zero.local(second):%a %Y-%m-%d %H:%M}"
    return f"hour {number(second / HOUR_S)} of the run"


def _facts(requests: Columns, worst: Worst) -> tuple[Fact, ...]:
    n = int(worst.within.sum())
    if not n:
        return ()
    ttft_s = (requests["first_token_s"] - requests["arrived_s"])[worst.within]
    ttft_s = np.where(np.isnan(ttft_s), np.inf, ttft_s)
    api = float((requests["backend"][worst.within] == Backend.API).mean())
    high_s = float(np.quantile(ttft_s, 0.95, method="higher"))
    return (
        Fact(number(n / (worst.end_s - worst.start_s)), "requests/s"),
        Fact(f"{percent(worst.missed / n)} %", "missed the SLO"),
        Fact(f"{seconds(high_s)} s" if np.isfinite(high_s) else "never", "time to first token, p95"),
        Fact(f"{percent(api)} %", "sent to the API"),
    )


def _decisions(run: SavedRun, requests: Columns, worst: Worst) -> Grid | None:
    """When replicas were ordered, ready and released in the stretch, and what the fleet was doing then."""
    spans = run.spans
    if spans is None or not len(spans["state"]):
        return None
    events = sorted(_events(spans))
    came_s, left_s = waits(requests, run.window.end_s)
    rows: list[tuple[Cell, ...]] = []
    for moment_s, what in events:
        if worst.start_s <= moment_s < worst.end_s and len(rows) < _MOST_DECISIONS:
            waiting = int(((came_s <= moment_s) & (left_s > moment_s)).sum())
            alive = (spans["start_s"] <= moment_s) & (spans["end_s"] > moment_s)
            at_work = int(np.isin(spans["state"][alive], (ReplicaState.BUSY, ReplicaState.DRAINING)).sum())
            minutes = (moment_s - worst.start_s) / 60
            rows.append((number_cell(minutes), Cell(what), _count(waiting), _count(at_work), _count(int(alive.sum()))))
    if not rows:
        return None
    columns = (
        Column("after", "min", is_number=True), Column("what the scaler did"),
        Column("waiting", "requests", is_number=True), Column("busy", "replicas", is_number=True),
        Column("all", "replicas", is_number=True),
    )  # fmt: skip
    return grid("Decisions of the scaler in that time, and the state that they were made in", columns, rows)


def _events(spans: Columns) -> list[tuple[float, str]]:
    """(moment, what) of each replica's order, first readiness and release."""
    pools = spans.get("pool", np.zeros(len(spans["state"]), int))
    codes = np.unique(pools, return_inverse=True)[1]
    order = np.lexsort((spans["start_s"], spans["replica_id"], codes))
    pool, replica = pools[order], spans["replica_id"][order]
    begins = np.flatnonzero(np.append(True, (codes[order][1:] != codes[order][:-1]) | (replica[1:] != replica[:-1])))
    cold = spans["state"][order] <= ReplicaState.ENGINE_START
    ready_s = np.maximum.reduceat(np.where(cold, spans["end_s"][order], -np.inf), begins)
    released_s = np.maximum.reduceat(spans["end_s"][order], begins)
    found = []
    for row, ready, released in zip(begins.tolist(), ready_s.tolist(), released_s.tolist(), strict=True):
        name = f"replica {replica[row]}" + (f" of {pool[row]}" if isinstance(pool[row], str) else "")
        found.append((float(spans["start_s"][order[row]]), f"ordered {name}"))
        if np.isfinite(ready):
            found.append((ready, f"{name} was ready"))
        found.append((released, f"released {name}"))
    return found


def _rule(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The scaler's rule and its settings: the reason of each decision."""
    scaling = config.get("scaling")
    if not isinstance(scaling, Mapping):
        return ()
    told = ", ".join(f"{key} = {value}" for key, value in scaling.items() if key != "kind" and value is not None)
    return (f"The rule behind the decisions: {scaling.get('kind')}" + (f" ({told})." if told else "."),)


def _count(value: int) -> Cell:
    return Cell(f"{value:,}", float(value))
