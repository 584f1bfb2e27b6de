"""The look that figures as PNG, figures as SVG and pages share: colours by name, on light and on dark, and states.

Colours are those of Okabe and Ito (Color universal design, 2008), which readers with colour-blind eyes tell apart, and
lighter ones of the same hues on dark. No colour stands alone: marks differ in shape, lines in dashes, areas in pattern.
"""

from __future__ import annotations

from typing import NamedTuple

from sim.records import ReplicaState

LIGHT = {
    "back": "#ffffff", "ink": "#1b1f24", "soft": "#57606a", "line": "#d6dbe1", "panel": "#f6f8fa", "link": "#0550ae",
    "c1": "#0072B2", "c2": "#D55E00", "c3": "#009E73", "c4": "#CC79A7", "c5": "#E69F00", "c6": "#56B4E9",
    "pale": "#C9CED6", "grey": "#666666",
}  # fmt: skip
DARK = {
    "back": "#11151a", "ink": "#e6e9ed", "soft": "#a3adb8", "line": "#333b45", "panel": "#1a2027", "link": "#79b8ff",
    "c1": "#4aa3df", "c2": "#ff8b3d", "c3": "#2bc196", "c4": "#e39bc4", "c5": "#f2b63c", "c6": "#8fd0f7",
    "pale": "#4a535e", "grey": "#8b949e",
}  # fmt: skip
PAPER = LIGHT | {"ink": "#000000", "soft": "#444444", "line": "#cccccc", "panel": "#ffffff", "link": "#000000"}
PALETTE = (*(LIGHT[f"c{number}"] for number in range(1, 7)), "#7F3C8D", LIGHT["grey"])
"""Colours of things without a colour of their own, in the order in which they are taken."""
LIMIT = "#444444"
"""The colour of limits and notes in a PNG."""
OPEN = "#BBBBBB"
"""The face of a mark whose SLO is not resolved; one that meets it is filled, one that misses it is hollow."""


class State(NamedTuple):
    """What a replica does, as figures tell it apart: `look` is its class in an SVG, `colour` a name of LIGHT."""

    name: str
    states: tuple[ReplicaState, ...]
    look: str
    colour: str


STATES = (
    State("busy", (ReplicaState.BUSY,), "busy", "c1"),
    State("draining", (ReplicaState.DRAINING,), "draining", "c6"),
    State("cold start", tuple(state for state in ReplicaState if state.is_cold_start), "starting", "c5"),
    State("idle", (ReplicaState.IDLE,), "idle", "pale"),
    State("asleep", (ReplicaState.ASLEEP,), "asleep", "grey"),
)
"""In the order in which they are stacked."""
