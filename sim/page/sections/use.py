"""Three ways to say how well paid GPU time was used, always together."""

from __future__ import annotations

from sim.page.model import Cell, Column, Section, grid
from sim.page.saved.run import SavedRun
from sim.page.sections.cells import percent_cell
from sim.page.svg.bars import Bar, bars
from sim.page.svg.canvas import figure
from sim.report.formatting import percent

_MEANINGS = (
    ("busy_fraction_of_paid", "busy: paid GPU time with a request on it"),
    ("token_fraction_of_peak", "tokens: of those that the paid time would give saturated"),
    ("batch_fill_fraction", "batch: filled while busy"),
)


def use(run: SavedRun) -> Section:
    """The section; empty without a fleet."""
    shares = [(key, label, run.summary.get(key)) for key, label in _MEANINGS]
    known = [(key, label, float(value)) for key, label, value in shares if isinstance(value, int | float)]
    if not known:
        return Section("use", "Three utilizations")
    told = {key: percent(value) for key, _, value in known}
    title = f"Busy {told.get('busy_fraction_of_paid', '–')} % of the paid time" + (
        f", yet {told['token_fraction_of_peak']} % of the tokens it could give"
        if "token_fraction_of_peak" in told
        else ""
    )
    drawn = figure(
        title, "Bars from 0 to 100 %.",
        lambda width: bars(
            width, [Bar(label, 0.0, value, f"{percent(value)} %", "plain") for _, label, value in known], 0.0, 1.0
        ),
        grid(
            "Use of paid GPU time", (Column("figure"), Column("meaning"), Column("share", "%", is_number=True)),
            [(Cell(key), Cell(label.partition(": ")[2]), percent_cell(value)) for key, label, value in known],
        ),
    )  # fmt: skip
    return Section("use", "Three utilizations", figures=(drawn,))
