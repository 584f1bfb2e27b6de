"""The winner of a decision, played once more with every request kept: an ordinary run, beside decision.json."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sim.study.folder import digest, is_finished
from sim.study.job import parsed, write_finished
from sim.study.replicate import replicate
from sim.study.saved import read_row

FOLDER = "winner"


def play_winner(config: Mapping[str, Any], folder: Path) -> None:
    """Play the first replication of a scenario into `folder`/winner, unless it is there. Raises SimError."""
    output = {**config["output"], "requests": True, "spans": True, "figures": False}
    asked = {**config, "replications": 1, "output": output}
    where = folder / FOLDER
    name, row = digest(asked), read_row(where)
    if row is not None and row.digest == name and is_finished(where):
        return
    scenario = parsed(asked)
    write_finished(where, name, asked, scenario, replicate(scenario, 1, keep_runs=True), alone=False)
