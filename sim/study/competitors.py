"""Which scenarios of a sweep compete with each other, and what each is called among them.

Scenarios compete if they have the same traffic, lengths, tasks, model and SLO over the same time: the same question.
The question is read off the resolved config of each scenario, since any key may change it (an experiment brings its
own traffic); the varied keys only give names to the questions and the competitors.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from sim.study.folder import files_hash, files_named_in
from sim.study.saved import read_config, read_row

GROUP, LABEL = "group", "label"
"""Columns added for printing: which scenarios compete with each other, and what each is called among them."""

QUESTION = ("arrivals", "lengths", "tasks", "applications", "model", "slo", "seed", "horizon_s", "warmup_s", "drain_s")
"""Config groups and keys that state the work and its SLO; all others state what serves it, and make competitors."""

GIVEN = "given_"
"""Prefix of a column for a given key whose own name is that of a figure."""

_LACKS_ALL = "–"
"""The name of a scenario that lacks every key that others are told apart by."""

_EXACT = 2**53
"""Whole numbers below are floats without loss."""

Questions = list[str | None]
"""The question of every row of a table, as `question` gives it; None if it is unknown."""


def labelled(table: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Adds `group` and `label`: scenarios of one question are one group, and all other varied keys make their labels.

    Scenarios of different questions are never compared: a fleet is not cheaper because it served less traffic, or a
    smaller model. A scenario without a config, such as a failed one, is grouped by the keys that it was given.
    """
    given = list(table.columns[: table.columns.get_loc("status")])
    varied = [key for key in given if table[key].nunique(dropna=False) > 1]
    questions = [question(folder / name) for name in table["folder"]]
    contested = {key for key in varied if _varies_within(table[key], questions)}
    asked = [key for key in varied if _names_a_question(key) and key not in contested]
    for key in sorted(set(varied) - set(asked), key=lambda key: (key in contested, varied.index(key))):
        if _n_distinguished(table, [*asked, key], questions) > _n_distinguished(table, asked, questions):
            asked.append(key)
    rest = [key for key in varied if key not in asked or key in contested] or [key for key in given if key == "fleet"]
    out = table.copy()
    out[GROUP] = _unmistakable(_names(table, asked, questions) or [folder.name] * len(table), questions)
    out[LABEL] = _names(table, rest, [None] * len(table)) or ["this one"] * len(table)
    return out


def question(folder: Path) -> str | None:
    """The question of a scenario in a folder, as `question_of` its resolved config; None if that cannot be read."""
    row = read_row(folder)
    if row is not None and row.question is not None:
        return row.question
    resolved = read_config(folder)
    return None if resolved is None else question_of(resolved)


def slo_ttft_s(folder: Path) -> float | None:
    """The limit on the time to first token of a scenario in a folder, in s; None without one."""
    row = read_row(folder)
    if row is not None and row.question is not None:
        return row.slo_ttft_s
    slo = (read_config(folder) or {}).get("slo")
    return slo.get("ttft_s") if isinstance(slo, dict) else None


def question_of(config: Mapping[str, Any]) -> str:
    """Twelve hex digits that are the same for configurations with the same values of the QUESTION keys, and the same
    content of the files that these name: a log that has grown is another question."""
    asked = {key: _canonical(config.get(key)) for key in QUESTION}
    if names := sorted(files_named_in(asked)):
        asked["files"] = {name: files_hash(name) for name in names}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:12]


def _canonical(value: Any) -> Any:
    """The same form for equal values: 1 and 1.0 are the same question."""
    if isinstance(value, dict):
        return {str(key): _canonical(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_canonical(inner) for inner in value]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < _EXACT:
        return float(value)
    return value if value is None or isinstance(value, bool | float | str) else str(value)


def _varies_within(values: pd.Series, questions: Questions) -> bool:
    """Whether scenarios of one question have different values of a key."""
    return any(len(own) > 1 for own in _values_of(values, questions).values())


def _values_of(values: pd.Series, questions: Questions) -> dict[str, dict[str, None]]:
    """The values of a key that occur in each question, in their order."""
    found: dict[str, dict[str, None]] = {}
    for value, asked in zip(values, questions, strict=True):
        if asked is not None:
            found.setdefault(asked, {})[_text(value)] = None
    return found


def _names_a_question(key: str) -> bool:
    return re.split(r"[./@]", key.removeprefix(GIVEN), maxsplit=1)[0] in QUESTION


def _n_distinguished(table: pd.DataFrame, keys: list[str], questions: Questions) -> int:
    """How many different names these keys give to the questions."""
    names = _names(table, keys, questions) or [""] * len(table)
    return len({name for name, asked in zip(names, questions, strict=True) if asked is not None})


def _names(table: pd.DataFrame, keys: list[str], questions: Questions) -> list[str]:
    """The values of these keys in one text per row: all that occur in its question, or its own if that is unknown."""
    texts_by_key = [_texts(table[key], key, questions) for key in keys]
    return [", ".join(filter(None, parts)) or _LACKS_ALL for parts in zip(*texts_by_key, strict=True)]


def _texts(values: pd.Series, key: str, questions: Questions) -> list[str]:
    """One text per row for one key: all its values in the row's question, joined by |, or the row's own value."""
    together = {asked: "|".join(own) for asked, own in _values_of(values, questions).items()}
    texts = [_text(value) if asked is None else together[asked] for value, asked in zip(values, questions, strict=True)]
    prefix = "" if key in ("arrivals", "fleet") else f"{key.removeprefix(GIVEN)}="
    return [prefix + text if text else "" for text in texts]


def _text(value: Any) -> str:
    """A given value as it was most likely written: 10 rather than 10.0; "" where a scenario lacks the key."""
    if pd.isna(value):
        return ""
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value)


def _unmistakable(names: list[str], questions: Questions) -> list[str]:
    """The names with a number added where one name stands for two questions: keys may differ in a file unnoticed."""
    seen: dict[str, list[str]] = {}
    for name, asked in zip(names, questions, strict=True):
        if asked is not None and asked not in seen.setdefault(name, []):
            seen[name].append(asked)
    return [
        f"{name} ({seen[name].index(asked) + 1})" if asked is not None and len(seen[name]) > 1 else name
        for name, asked in zip(names, questions, strict=True)
    ]
