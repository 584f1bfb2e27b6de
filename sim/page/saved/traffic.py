"""The traffic that a scenario played: the card of its requests, if it kept them, or of the log that it replays."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sim.schema import SimError, parse_config
from sim.study.folder import REQUESTS, files_hash
from sim.workload.arrivals.replay import Replay
from sim.workload.description.calls import DescribedLog
from sim.workload.description.card import Card, card_of


def played_traffic(folder: Path, config: Mapping[str, Any]) -> Card | None:
    """The card; None where nothing is left to describe it by. Its prefix reuse, which takes longest, is left out."""
    options = _kept(folder) or _replayed(config)
    if options is None:
        return None
    try:
        return card_of(options.calls(), with_reuse=False)
    except SimError:  # A page shows what there is: a log that was moved or changed since is no error of the results.
        return None


def _kept(folder: Path) -> DescribedLog | None:
    path = folder / REQUESTS
    return DescribedLog(path=str(path), format="requests") if path.is_file() and not path.is_symlink() else None


def _replayed(config: Mapping[str, Any]) -> DescribedLog | None:
    """The log as it was recorded, if that is what was played."""
    arrivals = config.get("arrivals")
    if not isinstance(arrivals, dict) or arrivals.get("kind") != "replay" or not files_hash(str(arrivals.get("path"))):
        return None
    replay = parse_config(Replay, arrivals)
    if replay.lengths_from != "log" or replay.scale.rate_factor != 1:
        return None
    return DescribedLog.model_validate({name: getattr(replay, name) for name in DescribedLog.model_fields})
