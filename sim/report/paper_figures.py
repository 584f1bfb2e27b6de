"""The charts of cost articles, for numbers of one's own: cost against utilization, break-even, and cost per task."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from sim.ledger.breakeven import usd_per_mtok
from sim.ledger.on_paper import EASY_BELOW, SHARES, Paper, Realized, Zone, points, task_costs
from sim.report.figures import DPI, PALETTE, PLAIN_TEXT

_MOST_LINES = 6


@rc_context(PLAIN_TEXT)
def draw(paper: Paper, model: str, regime: str, path: Path, realized: Sequence[Realized] = ()) -> Path:
    """Three panels, written to `path` (PNG or SVG). Returns the path."""
    figure = Figure(figsize=(15, 5.2), layout="constrained")
    FigureCanvasAgg(figure)
    left, middle, right = figure.subplots(1, 3)
    _cost_against_share(left, paper, model, regime, realized)
    _breakeven(middle, paper, realized)
    _cost_per_task(right, paper, model, regime)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DPI)
    return path


def _cost_against_share(axes: Axes, paper: Paper, simulated: str, regime: str, realized: Sequence[Realized]) -> None:
    shown = {name: m for name, m in paper.models.items() if regime in m.regimes}
    crossing = {point.model: point.breakeven for point in points(paper) if point.regime == regime}
    cheaper = [name for name in shown if crossing[name].needed <= paper.token_fraction_of_peak]
    axes.set_title(
        f"{regime}: at {paper.token_fraction_of_peak:.0%} of peak self-hosting is cheaper for "
        f"{', '.join(cheaper) if cheaper else 'no model'}", fontsize=10, wrap=True,
    )  # fmt: skip
    low = min([SHARES[0], *(fleet.token_fraction_of_peak for fleet in realized)])
    shares = np.linspace(max(low * 0.8, 0.02) if realized else low, SHARES[-1], 100)
    right = 100 * (shares[-1] + 0.35 * (shares[-1] - shares[0]))
    colours = dict(zip(paper.models, PALETTE, strict=False))
    for name in [simulated, *(name for name in shown if name != simulated)][: _MOST_LINES // 2]:
        colour, model = colours.get(name, "#666666"), shown[name]
        speed, api = model.regimes[regime].tokens_per_s, _api(paper, name, regime)
        cost = [usd_per_mtok(model.usd_per_hour, speed, float(share), paper.times_gpu) for share in shares]
        axes.plot(100 * shares, cost, color=colour)
        dearer = sum(other.usd_per_hour / other.regimes[regime].tokens_per_s > model.usd_per_hour / speed
                     for other in shown.values())  # fmt: skip
        axes.annotate(
            f" {name}", (100 * shares[-1], cost[-1]), color=colour, va="top" if dearer else "bottom", fontsize=8
        )
        axes.axhline(api, color=colour, linestyle="--", linewidth=1)
        axes.annotate(f"API {name} ", (right, api), color=colour, ha="right", va="bottom", fontsize=8)
        for fleet in realized if name == simulated else ():
            share = fleet.token_fraction_of_peak
            y = usd_per_mtok(model.usd_per_hour, speed, share, paper.times_gpu)
            axes.plot(100 * share, y, "o", markerfacecolor=colour if fleet.meets_slo else "white", color=colour)
            axes.annotate(f" {fleet.name}", (100 * share, y), ha="left", va="bottom", fontsize=8, color=colour)
    axes.axvline(100 * paper.token_fraction_of_peak, color="#999999", linewidth=1)
    axes.set_xlim(100 * shares[0], right)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda usd, _: f"{usd:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("token_fraction_of_peak, % (grey: assumed; points: simulated, filled within the SLO)", fontsize=8)
    axes.set_ylabel("USD per million tokens, input and output together")


def _api(paper: Paper, model: str, regime: str) -> float:
    return next(p.api_usd_per_mtok for p in points(paper) if (p.model, p.regime) == (model, regime))


def _breakeven(axes: Axes, paper: Paper, realized: Sequence[Realized]) -> None:
    found = points(paper)
    wins = sum(point.zone is Zone.EASY for point in found)
    never = sum(point.zone is Zone.NEVER for point in found)
    axes.set_title(f"Of {len(found)} pairs self-hosting wins {wins} easily and {never} never", fontsize=10)
    needed = [min(100 * point.breakeven.needed, 200.0) for point in found]
    right = max(110.0, 1.15 * max(needed))
    for low, high, colour in ((0, 70, "#009E73"), (70, 100, "#E69F00"), (100, right, "#D55E00")):
        axes.axvspan(low, high, color=colour, alpha=0.13, linewidth=0)
    colours = dict(zip(paper.models, PALETTE, strict=False))
    for row, (point, share) in enumerate(zip(found, needed, strict=True)):
        axes.plot(share, row, "o", color=colours.get(point.model, "#666666"))
        axes.annotate(
            f"{point.breakeven.needed:.0%}", (share, row), xytext=(6, -3), textcoords="offset points", fontsize=8
        )
    for fleet in realized:
        axes.axvline(100 * fleet.token_fraction_of_peak, color="#333333", linestyle=":", linewidth=1)
    axes.set_yticks(range(len(found)), [f"{p.model}, {p.regime}" for p in found], fontsize=8)
    axes.set_xlim(0, right)
    axes.set_ylim(-0.7, len(found) - 0.3)
    axes.set_xlabel(
        f"break-even token_fraction_of_peak, % (green below {100 * EASY_BELOW:.0f}, red above 100)", fontsize=8
    )


def _cost_per_task(axes: Axes, paper: Paper, model: str, regime: str) -> None:
    costs = task_costs(paper, model, regime)
    calls = range(1, len(costs.own) + 1)
    lines = [("API", costs.api_uncached), ("own GPUs, reuse", costs.own)]
    if not np.allclose(costs.api_cached, costs.api_uncached):
        lines.insert(1, ("API, cached reads", costs.api_cached))
    for (name, usd), colour in zip(lines, PALETTE, strict=False):
        axes.plot(calls, usd, color=colour)
        axes.annotate(f" {name}", (calls[-1], usd[-1]), color=colour, va="center", fontsize=8)
    crossings = ((costs.crossover_uncached, "API"), (costs.crossover_cached, "cached reads"))
    for k, _ in crossings:
        if k is not None and k <= len(costs.own):
            axes.plot(k, costs.own[k - 1], "o", color="#333333")
            axes.annotate(f"k = {k}", (k, costs.own[k - 1]), xytext=(4, -12), textcoords="offset points", fontsize=8)
    said = " and ".join(f"{'never' if k is None else f'from k = {k}'} against {name}" for k, name in crossings)
    axes.set_title(f"{model}: own GPUs are cheaper {said}", fontsize=10, wrap=True)
    axes.set_xlim(1, len(costs.own) * 1.5)
    axes.set_xlabel("model calls of a task, k")
    axes.set_ylabel("USD per task")
