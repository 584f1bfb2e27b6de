"""A scenario of a sweep in one file: its row, which holds what would be in files beside it.

A disk holds files in whole blocks: ten thousand scenarios of six small files take 400 MB, in one file each 160 MB.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sim.report.by_application import CI_SUFFIX, TARGET_OF
from sim.study.folder import REPLICATIONS, ROW, read_json

WITHIN = "within"
"""The key of a row under which the content of files is, by their names: what JSON and YAML hold as it is, but for the
replications (see `as_rows`), of the summary what is not in the row, and CSV as text."""
_JUDGED = ("meets_slo", "slo_judgement", "slo_target_fraction", "slo_attainment_fraction_low",
           "slo_attainment_fraction_high")  # fmt: skip

Figures = Mapping[str, Any]


def content_within(folder: Path, name: str) -> Any:
    """What a row holds in place of the file of this name; None if it holds nothing of it, or cannot be read."""
    row = read_json(folder / ROW)
    if not isinstance(row, dict) or not isinstance(row.get(WITHIN), dict):
        return None
    content = row[WITHIN].get(name)
    if name == REPLICATIONS and isinstance(content, dict) and isinstance(row.get("summary"), dict):
        return from_rows(content, row["summary"])
    return content


def packed(row: Mapping[str, Any], files: Mapping[str, Any]) -> dict[str, Any]:
    """A row with the contents of files within, and without half-widths that are unknown."""
    summary = row["summary"]
    within = {**files, REPLICATIONS: as_rows(files[REPLICATIONS], summary)}
    return {**row, "summary": without_half_widths(summary), WITHIN: within}


def without_half_widths(summary: Figures) -> dict[str, Any]:
    """A summary without the half-widths that are None, which `with_half_widths` adds again.

    >>> without_half_widths({"replications": 1, "requests": 36.0, "requests_ci95": None})
    {'replications': 1, 'requests': 36.0}
    """
    return {key: value for key, value in summary.items() if value is not None or not key.endswith(CI_SUFFIX)}


def with_half_widths(summary: Figures) -> dict[str, Any]:
    """A summary with a half-width of None behind each figure that may have one and has none.

    >>> with_half_widths({"replications": 1, "requests": 36.0})
    {'replications': 1, 'requests': 36.0, 'requests_ci95': None}
    """
    found: dict[str, Any] = {}
    for key, value in summary.items():
        found[key] = value
        if _is_estimated(key) and key + CI_SUFFIX not in summary:
            found[key + CI_SUFFIX] = None
    return found


def as_rows(each: Sequence[Figures], summary: Figures) -> dict[str, Any] | list[Figures]:
    """The figures of each replication as lists of values in the order of `summary`, or as they are where they differ.

    >>> as_rows([{"requests": 36, "meets_slo": True}], {"replications": 1, "requests": 36.0, "meets_slo": True})
    {'rows': [[36, True]]}
    """
    keys = _keys(summary)
    if any(list(figures) != keys for figures in each):
        return list(each)
    return {"rows": [list(figures.values()) for figures in each]}


def from_rows(content: Mapping[str, Any], summary: Figures) -> list[dict[str, Any]] | None:
    """What `as_rows` was made of; None for what it did not make."""
    keys, rows = _keys(summary), content.get("rows")
    if not isinstance(rows, list) or not all(isinstance(row, list) and len(row) == len(keys) for row in rows):
        return None
    return [dict(zip(keys, row, strict=True)) for row in rows]


def _keys(summary: Figures) -> list[str]:
    """The keys of a summary that each replication has, too."""
    return [key for key in summary if _is_estimated(key) or key.endswith("meets_slo") or TARGET_OF.fullmatch(key)]


def _is_estimated(key: str) -> bool:
    return not (key == "replications" or key.endswith((CI_SUFFIX, *_JUDGED)) or TARGET_OF.fullmatch(key))
