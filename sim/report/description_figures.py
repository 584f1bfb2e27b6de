"""Pictures of a log as SVG text that takes its foreground from the page around it."""

from __future__ import annotations

import io
import re

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from sim.report.description_text import length
from sim.report.figures import PALETTE
from sim.workload.description.calls import Calls
from sim.workload.description.card import Card

_INK = "#010203"  # stands for the page's own foreground, which light and dark pages have differently
_SIZE = (4.7, 2.7)
_CURVE_POINTS = 200
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def pictures(card: Card, calls: Calls) -> dict[str, str]:
    """SVG by caption."""
    found = {"Rate over time": _course(card)}
    if any(measured.index for measured in card.dispersion):
        found["Index of dispersion"] = _dispersion(card)
    found["Input and output tokens"] = _lengths(calls)
    for name, profile in (("day", card.day), ("week", card.week)):
        if profile is not None:
            found[f"Profile of the {name}"] = _profile(profile.hours)
    if card.sessions is not None:
        found["Calls per session"] = _calls_per_session(calls)
    if card.reuse is not None and card.reuse.by_memory:
        found["Prefix reuse by memory"] = _reuse(card)
    return found


def _compact(value: float, _place: object = None) -> str:
    return f"{value:,.4g}" if value < 10_000 else f"{value:,.0f}"


def _axes() -> tuple[Figure, Axes]:
    figure = Figure(figsize=_SIZE, layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.subplots()
    axes.patch.set_alpha(0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)
    return figure, axes


def _svg(figure: Figure, name: str) -> str:
    """The picture as an element to stand in a page: fonts and foreground of the page, no ids that another has."""
    for axes in figure.axes:
        for label in (axes.xaxis.label, axes.yaxis.label):
            label.set_color(_INK)
        axes.tick_params(colors=_INK, which="both", labelsize=9)
        for spine in axes.spines.values():
            spine.set_edgecolor(_INK)
        legend = axes.get_legend()
        for entry in legend.get_texts() if legend is not None else ():
            entry.set_color(_INK)
    file = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        FigureCanvasSVG(figure)
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = file.getvalue()
    text = text[text.index("<svg") :].replace(_INK, "currentColor")
    text = re.sub(r"<style.*?</style>|<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    width, height = (72 * size for size in figure.get_size_inches())
    opening = f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{name}" '
    text = re.sub(r"<svg [^>]*?>", opening + 'xmlns:xlink="http://www.w3.org/1999/xlink">', text, count=1)
    own = re.sub(r"\W+", "_", name)
    text = re.sub(r'\bid="', f'id="{own}_', text)
    text = re.sub(r"url\(#", f"url(#{own}_", text)
    return re.sub(r'xlink:href="#', f'xlink:href="#{own}_', text)


def _course(card: Card) -> str:
    figure, axes = _axes()
    rates = np.array(card.course.requests_per_s)
    unit_s, unit = next(
        (s, n) for s, n in ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s")) if card.span_s >= 3 * s or s == 1
    )
    edges = np.minimum(np.arange(len(rates) + 1) * card.course.step_s, card.span_s) / unit_s
    axes.stairs(rates, edges, fill=True, color=PALETTE[5], alpha=0.35)
    axes.stairs(rates, edges, color=PALETTE[0], linewidth=1.2)
    axes.axhline(card.requests_per_s, color=PALETTE[1], linewidth=1.2, linestyle="--")
    axes.set(xlabel=f"time, {unit}", ylabel=f"requests/s, steps of {length(card.course.step_s)}", ylim=(0, None))
    axes.set_xlim(edges[0], edges[-1])
    return _svg(figure, "Rate over time")


def _dispersion(card: Card) -> str:
    figure, axes = _axes()
    shown = [(card.dispersion, "o-", PALETTE[0], "requests")]
    if card.session_dispersion is not None:
        shown.append((card.session_dispersion, "s--", PALETTE[2], "sessions"))
    for dispersion, marks, colour, label in shown:
        known = [found for found in dispersion if found.index]
        axes.plot([f.window_s for f in known], [f.index or 1.0 for f in known], marks, color=colour, label=label)
    known = [found for found in card.dispersion if found.poisson_low is not None]
    if known:
        low, high = ([getattr(f, name) or 1.0 for f in known] for name in ("poisson_low", "poisson_high"))
        axes.fill_between([f.window_s for f in known], low, high, color=PALETTE[1], alpha=0.3, label="Poisson, 95 %")
    axes.set_xscale("log")
    axes.set_yscale("log")
    scales = [f.window_s for f in known]
    axes.set_xticks(scales, [length(s) for s in scales])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(FuncFormatter(_compact))
    axes.set(xlabel="window", ylabel="variance / mean of counts")
    axes.legend(frameon=False, fontsize=9)
    return _svg(figure, "Index of dispersion")


def _lengths(calls: Calls) -> str:
    figure, axes = _axes()
    shares = (np.arange(_CURVE_POINTS) + 0.5) / _CURVE_POINTS
    for tokens, colour, label in (
        (calls.input_tokens, PALETTE[0], "input"),
        (calls.output_tokens, PALETTE[1], "output"),
    ):
        axes.plot(np.quantile(tokens, shares), 100 * shares, color=colour, label=label)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(_compact))
    axes.minorticks_off()
    axes.set(xlabel="tokens", ylabel="% of calls with at most this many", ylim=(0, 100))
    axes.legend(frameon=False, fontsize=9)
    return _svg(figure, "Input and output tokens")


def _profile(hours: tuple[float | None, ...]) -> str:
    figure, axes = _axes()
    values = np.array([np.nan if value is None else value for value in hours])
    axes.stairs(values, np.arange(len(hours) + 1), fill=True, color=PALETTE[5], alpha=0.35)
    axes.stairs(values, np.arange(len(hours) + 1), color=PALETTE[0], linewidth=1.2)
    axes.axhline(1, color=PALETTE[1], linewidth=1.2, linestyle="--")
    axes.set(ylabel="rate / mean", ylim=(0, None), xlim=(0, len(hours)))
    if len(hours) == 24:
        axes.set(xlabel="hour of the day")
        axes.set_xticks(range(0, 25, 4))
    else:
        axes.set_xticks(range(0, 168, 24), _DAYS)
    return _svg(figure, "Profile of the day" if len(hours) == 24 else "Profile of the week")


def _calls_per_session(calls: Calls) -> str:
    figure, axes = _axes()
    counts = np.sort(calls.calls_per_task)
    places = np.unique(np.linspace(0, len(counts) - 1, _CURVE_POINTS).astype(int))
    axes.step(counts[places], 100 * (1 - places / len(counts)), where="post", color=PALETTE[0])
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(_compact))
    axes.minorticks_off()
    axes.set(xlabel="calls", ylabel="% of sessions with at least this many", ylim=(0, 101))
    return _svg(figure, "Calls per session")


def _reuse(card: Card) -> str:
    figure, axes = _axes()
    assert card.reuse is not None, "drawn only where it is known"
    sizes = [size.memory_tokens for size in card.reuse.by_memory]
    axes.plot(sizes, [100 * size.hit_fraction for size in card.reuse.by_memory], "o-", color=PALETTE[0])
    axes.axhline(100 * card.reuse.hit_fraction, color=PALETTE[1], linewidth=1.2, linestyle="--", label="endless memory")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v / 1e6:,g} M"))
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.minorticks_off()
    axes.set(xlabel="KV memory, tokens", ylabel="% of prompt tokens found", ylim=(0, None))
    axes.legend(frameon=False, fontsize=9)
    return _svg(figure, "Prefix reuse by memory")
