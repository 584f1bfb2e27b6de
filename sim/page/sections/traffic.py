"""Your traffic: its course, profile, dispersion, lengths and sessions, beside the nearest public log."""

from __future__ import annotations

from sim.page.model import Cell, Column, Fact, Figure, Section, grid
from sim.page.sections.archetypes import SCALES_S, Archetype, nearest, of_card
from sim.page.sections.cells import number_cell
from sim.page.svg.canvas import Canvas, figure
from sim.page.svg.plot import Plot
from sim.page.svg.scale import Scale, decades, up_to
from sim.report.description_text import length
from sim.report.formatting import number
from sim.workload.description.card import Card
from sim.workload.description.rates import Profile
from sim.workload.description.reuse import Reuse
from sim.workload.description.token_lengths import Quantity

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_UNITS = ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes"), (1.0, "s"))


def traffic(card: Card, title: str = "Your traffic") -> Section:
    """The section."""
    like, own = nearest(card), of_card(card)
    drawn = [_course(card)]
    if any(found.index for found in card.dispersion):
        drawn.append(_dispersion(card, like))
    drawn.append(_lengths(card))
    drawn += [_profile(name, found) for name, found in (("day", card.day), ("week", card.week)) if found is not None]
    if (calls := _calls(card)) is not None:
        drawn.append(_sessions(calls))
    if card.reuse is not None and card.reuse.by_memory:
        drawn.append(_reuse(card.reuse))
    rows = [
        (Cell(label), number_cell(a), number_cell(b))
        for label, a, b in (
            ("input tokens, median", own.input_p50_tokens, like.input_p50_tokens),
            ("output tokens, median", own.output_p50_tokens, like.output_p50_tokens),
            ("calls per session", own.calls_per_session, like.calls_per_session),
            *((f"dispersion at {length(s)} (Poisson: 1)", a, b)
              for s, a, b in zip(SCALES_S, own.dispersion, like.dispersion, strict=True)),
        )
    ]  # fmt: skip
    beside = grid(
        f"This traffic beside the nearest public log: {like.name}",
        (Column("figure"), Column("this traffic", is_number=True), Column("the other", is_number=True)), rows,
    )  # fmt: skip
    sentence = f"Of the public logs at hand it is most like {like.name}."
    return Section("traffic", title, (sentence,), _facts(card), tuple(drawn), (beside,))


def _calls(card: Card) -> Quantity | None:
    """Calls per session; None where no session makes two."""
    found = card.sessions
    return None if found is None or found.calls_per_session.most <= 1 else found.calls_per_session


def _facts(card: Card) -> tuple[Fact, ...]:
    facts = [
        Fact(f"{card.requests:,}", "requests"), Fact(length(card.span_s), "span"),
        Fact(number(card.requests_per_s), "requests/s"),
        Fact(number(card.lengths.input.percentiles[50.0]), "median input tokens"),
        Fact(number(card.lengths.output.percentiles[50.0]), "median output tokens"),
    ]  # fmt: skip
    if (calls := _calls(card)) is not None:
        facts.append(Fact(number(calls.mean), "calls per session"))
    if card.reuse is not None:
        facts.append(Fact(f"{100 * card.reuse.hit_fraction:.0f} %", "prompt tokens seen before"))
    return tuple(facts)


def _course(card: Card) -> Figure:
    rates = card.course.requests_per_s
    unit_s, unit = next((s, n) for s, n in _UNITS if card.span_s >= 3 * s or s == 1)
    edges = [min(i * card.course.step_s, card.span_s) / unit_s for i in range(len(rates) + 1)]
    times = max(rates) / card.requests_per_s

    def draw(width: int) -> Canvas:
        label = f"requests/s, steps of {length(card.course.step_s)}"
        plot = Plot(width, 190, Scale(0.0, edges[-1]), up_to(max(rates)), f"time, {unit}", label)
        plot.area(edges, [0.0] * len(rates), rates, "area1")
        plot.steps(edges, rates, "line1")
        plot.level(card.requests_per_s, "mean")
        return plot.canvas

    rows = [(number_cell(edge), number_cell(rate)) for edge, rate in zip(edges, rates, strict=False)]
    columns = (Column("from", unit, is_number=True), Column("rate", "requests/s", is_number=True))
    title = f"The busiest {length(card.course.step_s)} bring {number(times)} times the mean rate"
    return figure(title, "Requests per second over the log", draw, grid("Rate over time", columns, rows))


def _dispersion(card: Card, like: Archetype) -> Figure:
    known = [found for found in card.dispersion if found.index and found.poisson_low and found.poisson_high]
    others = [(s, index) for s, index in zip(SCALES_S, like.dispersion, strict=True) if index]
    own = [(found.window_s, found.index or 1.0) for found in known]
    low = min([index for _, index in (*own, *others)] + [found.poisson_low or 1.0 for found in known])
    high = max([index for _, index in (*own, *others)] + [found.poisson_high or 1.0 for found in known])
    scales = tuple((found.window_s, length(found.window_s)) for found in card.dispersion)
    x = Scale(scales[0][0], scales[-1][0], "log", fixed=scales)

    def draw(width: int) -> Canvas:
        legend = [("line1", "this traffic"), ("band", "Poisson, 95 %")] + (
            [("line2", "the public log")] if others else []
        )
        plot = Plot(width, 210, x, decades(low, high), "window", "variance / mean of counts", legend)
        upper = [(found.window_s, found.poisson_high or 1.0) for found in known]
        lower = [(found.window_s, found.poisson_low or 1.0) for found in reversed(known)]
        plot.canvas.path([(plot.x(s), plot.y(v)) for s, v in (*upper, *lower)], "band", is_closed=True)
        plot.curve(others, "line2")
        plot.curve(own, "line1")
        for window_s, index in own:
            plot.canvas.mark(plot.x(window_s), plot.y(index), "circle", "mark meets", number(index))
        return plot.canvas

    last = known[-1] if known else None
    title = (
        "Bursts from seconds to hours"
        if last is None
        else f"In windows of {length(last.window_s)} counts vary {number(last.index)} times as much as Poisson's"
    )
    rows = [
        (Cell(length(d.window_s), d.window_s), number_cell(d.index), number_cell(d.poisson_low),
         number_cell(d.poisson_high))
        for d in card.dispersion
    ]  # fmt: skip
    columns = (Column("window"), Column("index", is_number=True), Column("Poisson from", is_number=True),
               Column("to", is_number=True))  # fmt: skip
    return figure(title, "Index of dispersion by window", draw, grid("Index of dispersion", columns, rows))


def _shares(found: Quantity) -> list[tuple[float, float]]:
    """(value, share of all with at most this)."""
    inner = [(value, percent / 100) for percent, value in sorted(found.percentiles.items())]
    return [(found.least, 0.0), *inner, (found.most, 1.0)]


def _lengths(card: Card) -> Figure:
    both = [(name, look, _shares(q)) for name, look, q in (("input", "line1", card.lengths.input),
                                                          ("output", "line2", card.lengths.output))]  # fmt: skip
    ends = [max(value, 1.0) for _, _, shares in both for value, _ in shares]

    def draw(width: int) -> Canvas:
        legend = [(look, name) for name, look, _ in both]
        plot = Plot(width, 200, decades(min(ends), max(ends)), Scale(0.0, 100.0), "tokens",
                    "% of calls with at most this many", legend)  # fmt: skip
        for _, look, shares in both:
            plot.curve([(max(value, 1.0), 100 * share) for value, share in shares], look)
        return plot.canvas

    medians = [number(q.percentiles[50.0]) for q in (card.lengths.input, card.lengths.output)]
    rows = [(Cell(name), *map(number_cell, (q.mean, *q.percentiles.values(), q.most)))
            for name, q in (("input", card.lengths.input), ("output", card.lengths.output))]  # fmt: skip
    percents = [Column(f"p{p:g}", is_number=True) for p in card.lengths.input.percentiles]
    columns = (Column("tokens"), Column("mean", is_number=True), *percents, Column("max", is_number=True))
    title = f"Half of the calls have at most {medians[0]} tokens in and {medians[1]} out"
    return figure(title, "Shares of calls by tokens", draw, grid("Token lengths", columns, rows))


def _profile(name: str, found: Profile) -> Figure:
    hours = [0.0 if value is None else value for value in found.hours]
    ticks = tuple((float(h), f"{h}:00") for h in range(0, 25, 4)) if name == "day" else tuple(
        (24.0 * day, label) for day, label in enumerate(_DAYS))  # fmt: skip
    peak = max(range(len(hours)), key=lambda hour: hours[hour])
    when = f"{peak % 24}:00" if name == "day" else f"{_DAYS[peak // 24]} {peak % 24}:00"

    def draw(width: int) -> Canvas:
        x = Scale(0.0, float(len(hours)), fixed=ticks)
        zone = found.zone if found.is_local else "counted from the first row"
        plot = Plot(width, 180, x, up_to(max(hours)), f"hour of the {name} ({zone})", "rate / mean")
        edges = [float(hour) for hour in range(len(hours) + 1)]
        plot.area(edges, [0.0] * len(hours), hours, "area1")
        plot.steps(edges, hours, "line1")
        plot.level(1.0, "mean")
        return plot.canvas

    rows = [(number_cell(hour), number_cell(value)) for hour, value in enumerate(found.hours)]
    columns = (Column("hour", is_number=True), Column("rate / mean", is_number=True))
    title = f"The {name} peaks at {when}, at {number(hours[peak])} times the mean"
    return figure(
        title, f"Rate over the mean by hour of the {name}", draw, grid(f"Profile of the {name}", columns, rows)
    )


def _sessions(found: Quantity) -> Figure:
    points = [(max(value, 1.0), 100 * (1 - share)) for value, share in _shares(found)]

    def draw(width: int) -> Canvas:
        plot = Plot(width, 190, decades(1.0, max(found.most, 2.0)), Scale(0.0, 100.0), "calls",
                    "% of sessions with more than this many")  # fmt: skip
        plot.curve(points, "line1")
        return plot.canvas

    rows = [(number_cell(value), number_cell(share)) for value, share in points]
    columns = (Column("calls", is_number=True), Column("sessions with more", "%", is_number=True))
    title = f"A session makes {number(found.mean)} calls on average, at most {number(found.most)}"
    return figure(title, "Shares of sessions by calls", draw, grid("Calls per session", columns, rows))


def _reuse(found: Reuse) -> Figure:
    points = [(float(size.memory_tokens), 100 * size.hit_fraction) for size in found.by_memory]

    def draw(width: int) -> Canvas:
        scale = decades(points[0][0], points[-1][0], lambda tokens: f"{tokens / 1e6:,g} M")
        plot = Plot(width, 200, scale, up_to(100 * found.hit_fraction), "KV memory, tokens", "% of prompt tokens found")
        plot.curve(points, "line1")
        for tokens, share in points:
            plot.canvas.mark(plot.x(tokens), plot.y(share), "circle", "mark meets", number(share))
        plot.level(100 * found.hit_fraction, "endless memory")
        return plot.canvas

    rows = [(Cell(f"{tokens:,.0f}", tokens), number_cell(share)) for tokens, share in points]
    columns = (Column("KV memory", "tokens", is_number=True), Column("found", "%", is_number=True))
    title = f"A prefix cache could supply {number(100 * found.hit_fraction)} % of the prompt tokens"
    return figure(title, "Prefix hits by memory", draw, grid("Prefix reuse by memory", columns, rows))
