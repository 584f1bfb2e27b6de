"""Predicted beside measured: one row per metric and load, the errors, and the table of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

SHOWN = (
    "ttft_mean_s", "ttft_p90_s", "ttft_p99_s", "itl_mean_s", "tpot_mean_s", "e2e_mean_s", "e2e_p90_s", "e2e_p99_s",
    "output_tok_per_s", "total_tok_per_s", "requests_per_s", "makespan_s",
)  # fmt: skip
_HEADS = {"output_tok_per_s": "out tok/s", "total_tok_per_s": "tok/s", "requests_per_s": "req/s"}


class Prediction(NamedTuple):
    """One metric of one load, in seconds, requests per second or tokens per second.

    `measured` is None where the file has no value.
    """

    experiment: str
    stage: int | str
    metric: str
    predicted: float
    measured: float | None = None
    overloaded: bool = False
    tuned_on: bool = False
    family: str = ""  # runs that are summed up together
    guess: str = ""  # what is played otherwise than usual, because the source does not state it; empty: nothing
    before: float | None = None  # predicted with other constants; None: with no others, or by them not at all

    @property
    def error(self) -> float | None:
        """Relative, signed."""
        return self.predicted / self.measured - 1 if self.measured else None

    @property
    def key(self) -> tuple[str, int | str, str, str]:
        """What a row is of: run, stage, metric, and what is guessed otherwise."""
        return self.experiment, self.stage, self.metric, self.guess

    @property
    def as_before(self) -> Prediction:
        """What the other constants predict, as a row of its own."""
        return self if self.before is None else self._replace(predicted=self.before, before=None)


def mean_absolute_errors(rows: Iterable[Prediction]) -> dict[str, float]:
    """By metric, over stages that were measured and not overloaded (each run's stages taken together do not count)."""
    errors: dict[str, list[float]] = {}
    for row in rows:
        if row.error is not None and not row.overloaded and row.stage != "overall":
            errors.setdefault(row.metric, []).append(abs(row.error))
    return {metric: sum(found) / len(found) for metric, found in errors.items()}


def as_text(rows: list[Prediction], brief: bool = False) -> str:
    """Predicted, measured and error of every stage, unless brief; then the mean absolute errors.

    Where something is guessed, the error under the other guess follows that of its stage, and of its group. Where other
    constants were played before, their errors stand above those of these constants.
    """
    metrics = [m for m in SHOWN if any(row.metric == m and row.measured is not None for row in rows)]
    metrics = metrics or [m for m in SHOWN if any(row.metric == m for row in rows)]
    width = max(34, *(len(_title(row)) + 2 for row in rows), *(len(row.guess) + 7 for row in rows))
    lines = [" " * (width + 10) + "".join(f"{_HEADS.get(m, m.removesuffix('_s')):>11}" for m in metrics)]
    by_stage: dict[tuple[str, str], dict[str, Prediction]] = {}
    for row in rows:
        by_stage.setdefault((_title(row), row.guess), {})[row.metric] = row
    for (title, guess), found in () if brief else by_stage.items():
        cells = [found.get(m) for m in metrics]
        if guess:
            lines.append(f"{f'  if {guess}':<{width}}     error" + "".join(_percent(c and c.error, "+") for c in cells))
            continue
        lines.append(f"{title:<{width}} predicted" + "".join(_number(c and c.predicted) for c in cells))
        if any(c and c.measured is not None for c in cells):
            lines.append(f"{'':<{width}}  measured" + "".join(_number(c and c.measured) for c in cells))
            if any(c and c.before is not None for c in cells):
                errors = [c and c.as_before.error for c in cells]
                lines.append(f"{'error before':>{width + 10}}" + "".join(_percent(error, "+") for error in errors))
            lines.append(f"{'':<{width}}     error" + "".join(_percent(c and c.error, "+") for c in cells))
    lines += _lines_of_means(rows, metrics, width + 10)
    return "\n".join(lines)


def _lines_of_means(rows: list[Prediction], metrics: list[str], width: int) -> Iterator[str]:
    """For each group its mean absolute errors; before that, where other constants were played before, theirs."""
    for words, group in _groups(rows):
        n = len({(row.experiment, row.stage) for row in group if not row.overloaded and row.stage != "overall"})
        parts = [("", group)]
        if any(row.before is not None for row in group):
            parts = [(", before", [row.as_before for row in group]), (", after", group)]
        for when, part in parts:
            if means := mean_absolute_errors(part):
                title = f"mean absolute error, {words} ({n}){when}"
                yield f"{title:<{width}}" + "".join(_percent(means.get(m)) for m in metrics)


def _groups(every_row: list[Prediction]) -> list[tuple[str, list[Prediction]]]:
    """Rows to be summed up together, in words; a guess makes a group of its own."""
    rows = [row for row in every_row if not row.guess]
    other = {guess: [row for row in every_row if row.guess == guess] for row in every_row if (guess := row.guess)}
    return [*_plain_groups(rows), *((f"if {guess}", group) for guess, group in other.items())]


def _plain_groups(rows: list[Prediction]) -> list[tuple[str, list[Prediction]]]:
    families = dict.fromkeys(row.family for row in rows)
    groups = [(family, [r for r in rows if r.family == family]) for family in families] if len(families) > 1 else []
    tuned, held_out = [r for r in rows if r.tuned_on], [r for r in rows if not r.tuned_on]
    if tuned and held_out:
        return [*groups, ("tuned on", tuned), ("not tuned on", held_out), ("all", rows)]
    return [*groups, ("tuned on" if tuned else "not tuned on", rows)]


def _title(row: Prediction) -> str:
    marks = (" (overloaded)" if row.overloaded else "") + (" *" if row.tuned_on else "")
    return f"{row.experiment} {row.stage}".rstrip() + marks


def _number(value: float | None) -> str:
    return f"{'':>11}" if value is None else f"{value:>11.4g}" if value < 1000 else f"{value:>11.0f}"


def _percent(value: float | None, sign: str = "") -> str:
    return f"{'':>11}" if value is None else f"{value:>{sign}11.1%}"
