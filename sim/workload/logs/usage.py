"""Token counts of rows: whether the input includes cached tokens, and how rows without counts are treated."""

from __future__ import annotations

import numpy as np

from sim.schema import TraceError
from sim.workload.logs.gathering import Rows
from sim.workload.logs.roles import LogOptions


def whole_usage(rows: Rows, options: LogOptions, shown: str) -> str | None:
    """Rewrite `input` and `output` of the rows, in place, as the whole prompt and the whole answer.

    Returns where cached tokens are, relative to the log's input; None if the log has none. Raises TraceError where the
    counts contradict one another. Rows without a count keep -1.
    """
    numbers, preset = rows.numbers, rows.understood.preset
    reasoning = numbers.pop("reasoning", None)
    if reasoning is not None and preset.reasoning == "beside":
        answer = numbers["output"]
        numbers["output"] = np.where(answer >= 0, answer + np.maximum(reasoning, 0), answer)
    cached = [np.maximum(numbers[role], 0) for role in ("cached", "cache_written") if role in numbers]
    total = numbers.pop("total", None)
    if not cached:
        return None
    names_column = bool(options.columns.of("cached"))
    how = options.cached if options.cached != "auto" else "inside" if names_column else preset.cached
    prompt, both = numbers["input"], sum(cached[1:], cached[0])
    beside = _beside(how, both, total, rows, shown)
    numbers["input"] = np.where((prompt >= 0) & beside, prompt + both, prompt)
    if not (beside & (both > 0)).any():
        return "beside the input" if how == "beside" else "inside the input"
    return "beside the input" if (beside | (both == 0)).all() else "inside or beside the input, row by row"


def _beside(how: str, both: np.ndarray, total: np.ndarray | None, rows: Rows, shown: str) -> np.ndarray:
    """bool[n]: the rows whose input does not include the cached tokens, of which they have `both`, int64[n]."""
    prompt, answer = rows.numbers["input"], rows.numbers["output"]
    if how == "beside":
        return np.ones(len(prompt), bool)
    too_many = (prompt >= 0) & (both > prompt)
    if how == "inside":
        if too_many.any():
            i = int(too_many.argmax())
            raise TraceError(
                f"{shown}, {rows.place} {rows.lines[i]}: has {both[i]} cached tokens in an input of {prompt[i]}; "
                "if the input does not count them: arrivals.cached=beside"
            )
        return np.zeros(len(prompt), bool)
    if how == "total" and total is not None:
        return (both > 0) & (total >= prompt + answer + both)
    fits = (prompt >= 0) & (both > 0) & ~too_many
    if too_many.any() and fits.any():
        raise TraceError(
            f"{shown}: {int(too_many.sum())} rows have more cached tokens than input, and {int(fits.sum())} have not: "
            "whether the input counts them is not clear; say arrivals.cached=inside or arrivals.cached=beside"
        )
    return too_many


def settle_missing(rows: Rows, options: LogOptions, shown: str) -> None:
    """Set aside, refuse or impute rows without token counts, in place; rows with 0 tokens are never requests.

    Imputed rows are given the counts of the last row before that has them (or, at the start, of the next).
    """
    prompt, answer = rows.numbers["input"], rows.numbers["output"]
    missing = (prompt < 0) | (answer < 0)
    if missing.any() and options.without_usage == "refuse":
        i = int(missing.argmax())
        raise TraceError(
            f"{shown}, {rows.place} {rows.lines[i]}: has no token counts, like {int(missing.sum())} of {len(rows)} "
            "rows; set them aside with arrivals.without_usage=drop, or fill them in with arrivals.without_usage=impute"
        )
    if missing.any() and options.without_usage == "impute" and not missing.all():
        known = np.flatnonzero(~missing)
        nearest = known[np.maximum(np.searchsorted(known, np.flatnonzero(missing), side="right") - 1, 0)]
        for role in ("input", "output"):
            rows.numbers[role] = rows.numbers[role].copy()
            rows.numbers[role][missing] = rows.numbers[role][nearest]
        rows.notes.append(f"{int(missing.sum())} of {len(rows)} rows had no token counts: those of the row before")
        missing[:] = False
    served = (rows.numbers["input"] > 0) & (rows.numbers["output"] > 0) & ~missing
    if served.all():
        return
    n_without, n_zero = int(missing.sum()), int((~served & ~missing).sum())
    if n_without:
        rows.set_aside["without usage"] += n_without
    if n_zero:
        rows.set_aside["without input or output tokens"] += n_zero
    rows.notes.append(f"{n_without + n_zero} of {len(rows)} rows without input or output tokens were dropped")
    rows.take(np.flatnonzero(served))
