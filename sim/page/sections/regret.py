"""Regret: what the policy paid beyond the cheapest path that an omniscient scaler could have bought."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sim.page.model import Cell, Column, Section, grid
from sim.page.sections.cells import number_cell

TITLE = "Regret"


def regret(found: Any) -> Section:
    """The section; empty where the bound was not computed. Every number of the saved data is shown under its key."""
    if not isinstance(found, Mapping):
        return Section("regret", TITLE)
    rows = [
        (Cell(str(key)), number_cell(value))
        for key, value in found.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    if not rows:
        return Section("regret", TITLE)
    table = grid("Beside the hindsight bound", (Column("figure"), Column("value", is_number=True)), rows)
    return Section("regret", TITLE, grids=(table,))
