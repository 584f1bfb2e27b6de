"""The whole run over time, to be zoomed."""

from __future__ import annotations

from sim.page.model import Section
from sim.page.saved.run import SavedRun
from sim.page.sections.over_time import curves
from sim.report.over_time import Stretch

_BINS = 480


def timeline(run: SavedRun) -> Section:
    """The section; empty where the requests were not kept."""
    stretch = Stretch.between(run.window.start_s, run.window.end_s, _BINS)
    titles = ("What arrived, over the whole run", "Replicas by state, over the whole run",
              "Waiting requests, over the whole run")  # fmt: skip
    drawn = curves(run, stretch, titles, can_zoom=True)
    return Section("timeline", "Over time", figures=tuple(drawn))
