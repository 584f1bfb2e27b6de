"""Which scenarios of a sweep compete with each other, and what each is called among them.

Those that were asked the same question compete: the same traffic, lengths, tasks, model and SLO over the same time.
It is read off their resolved configs, since any key may change it (an experiment brings its own traffic); what was
varied only names the questions and the competitors.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from sim.study.folder import CONFIG

GROUP, LABEL = "group", "label"
"""Columns added for printing: which scenarios compete with each other, and what each is called among them."""

QUESTION = ("arrivals", "lengths", "tasks", "model", "slo", "seed", "horizon_s", "warmup_s", "drain_s")
"""Config groups and keys that say what is to be served, and how well; all others say by what, and compete."""

GIVEN = "given_"
"""Stands before a given key that has the name of a figure."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where it was built

Questions = list[str | None]
"""Of every row of a table; None if unknown."""


def labelled(table: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Adds `group` and `label`: scenarios of one question compete, whatever else was varied names the competitors.

    Whoever serves less traffic, or another model, is not cheaper for it. Scenarios that left no config, as failed
    ones, are put where the keys that they were given say.
    """
    given = list(table.columns[: table.columns.get_loc("status")])
    varied = [key for key in given if table[key].nunique(dropna=False) > 1]
    questions = [question(folder / name / CONFIG) for name in table["digest"]]
    contested = {key for key in varied if _varies_within(table[key], questions)}
    asked = [key for key in varied if _names_a_question(key) and key not in contested]
    for key in sorted(set(varied) - set(asked), key=lambda key: (key in contested, varied.index(key))):
        if _told_apart(table, [*asked, key], questions) > _told_apart(table, asked, questions):
            asked.append(key)
    rest = [key for key in varied if key not in asked or key in contested] or [key for key in given if key == "fleet"]
    out = table.copy()
    out[GROUP] = _unmistakable(_names(table, asked, questions) or [folder.name] * len(table), questions)
    out[LABEL] = _names(table, rest, [None] * len(table)) or ["this one"] * len(table)
    return out


def question(config: Path) -> str | None:
    """What a scenario was asked, as one text: the QUESTION of its resolved config; None if there is no config."""
    try:
        resolved = yaml.load(config.read_text(encoding="utf-8"), Loader=_LOADER)
    except (OSError, yaml.YAMLError):
        return None
    return json.dumps({key: _canonical(resolved.get(key)) for key in QUESTION}, sort_keys=True)


def _canonical(value: Any) -> Any:
    """One form of equal values: 1 and 1.0 ask the same."""
    if isinstance(value, dict):
        return {str(key): _canonical(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_canonical(inner) for inner in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


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


def _told_apart(table: pd.DataFrame, keys: list[str], questions: Questions) -> int:
    """How many of the questions have names of their own by these keys."""
    names = _names(table, keys, questions) or [""] * len(table)
    return len({name for name, asked in zip(names, questions, strict=True) if asked is not None})


def _names(table: pd.DataFrame, keys: list[str], questions: Questions) -> list[str]:
    """The values of these keys in one text per row: all that occur in its question, or its own if that is unknown."""
    said = [_said(table[key], key, questions) for key in keys]
    return [", ".join(parts) for parts in zip(*said, strict=True)]


def _said(values: pd.Series, key: str, questions: Questions) -> list[str]:
    together = {asked: "|".join(own) for asked, own in _values_of(values, questions).items()}
    texts = [_text(value) if asked is None else together[asked] for value, asked in zip(values, questions, strict=True)]
    return texts if key in ("arrivals", "fleet") else [f"{key.removeprefix(GIVEN)}={text}" for text in texts]


def _text(value: Any) -> str:
    """A given value as it was most likely written: 10 rather than 10.0."""
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value)


def _unmistakable(names: list[str], questions: Questions) -> list[str]:
    """Names of which none stands for two questions, as it may where keys were not given but changed in a file."""
    seen: dict[str, list[str]] = {}
    for name, asked in zip(names, questions, strict=True):
        if asked is not None and asked not in seen.setdefault(name, []):
            seen[name].append(asked)
    return [
        f"{name} ({seen[name].index(asked) + 1})" if asked is not None and len(seen[name]) > 1 else name
        for name, asked in zip(names, questions, strict=True)
    ]
