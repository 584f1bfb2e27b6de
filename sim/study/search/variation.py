"""A candidate in another world: keys of its composed configuration set to other values, and nothing else changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any, NamedTuple

from sim.study.search.evidence import Candidate

Changes = tuple[tuple[str, Any], ...]
"""(dotted key, value) pairs."""


class Varied(NamedTuple):
    """A candidate with changed keys. Two with the same changes meet the same traffic (common random numbers)."""

    candidate: Candidate
    changes: Changes


def varied(candidate: Candidate, changes: Iterable[tuple[str, Any]]) -> Candidate:
    """The candidate with these changes after those it has; itself without any."""
    found = tuple(changes)
    if isinstance(candidate, Varied):
        return varied(candidate.candidate, (*candidate.changes, *found))
    return Varied(candidate, found) if found else candidate


def changed(config: Mapping[str, Any], changes: Changes) -> dict[str, Any]:
    """A copy of a configuration with the keys set; tables on the way that are null become tables."""
    out = deepcopy(dict(config))
    for key, value in changes:
        *path, last = key.split(".")
        tree = out
        for name in path:
            if not isinstance(tree.get(name), dict):
                tree[name] = {}
            tree = tree[name]
        tree[last] = value
    return out


def value_at(config: Mapping[str, Any], key: str) -> Any:
    """The value at a dotted key; None where there is none."""
    tree: Any = config
    for name in key.split("."):
        tree = tree.get(name) if isinstance(tree, Mapping) else None
    return tree
