"""The card of a log in words and numbers: sections of rows, for a terminal of 80 columns and for a page."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sim.printable import printable
from sim.report.formatting import number, percent
from sim.workload.description.card import Card
from sim.workload.description.dispersion import Dispersion
from sim.workload.description.rates import Busiest
from sim.workload.description.token_lengths import Quantity

_WIDTH = 80
_SHOWN = (10.0, 50.0, 90.0, 99.0)
Cells = tuple[str, ...]


class Section(NamedTuple):
    """A heading, sentences, and a table whose first row is its header; without rows there is no table."""

    title: str
    sentences: tuple[str, ...]
    rows: tuple[Cells, ...] = ()


def sections(card: Card) -> list[Section]:
    """Everything on a card but its notes."""
    parts = [_rate(card), _burstiness(card), _silences(card), _lengths(card), _together(card)]
    return [*parts, *filter(None, (_sessions(card), _reuse(card)))]


def as_text(card: Card, receipt: Sequence[str] = ()) -> str:
    """All of it in at most 80 columns."""
    lines = [part for line in receipt for part in _wrapped(printable(line))]
    for section in sections(card):
        lines += ["", section_text(section)]
    lines += [part for note in card.notes for part in _wrapped(f"note: {note}")]
    return "\n".join(lines)


def section_text(section: Section) -> str:
    """One section in at most 80 columns."""
    sentences = [part for text in section.sentences for part in _wrapped(f"  {text}")]
    return "\n".join([section.title, *sentences, *(f"  {line}" for line in _table(section.rows))])


def length(seconds: float) -> str:
    """A length of time in its usual unit: 1 s, 10 min, 2.5 h, 14 d."""
    for unit_s, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= (2 if unit == "d" else 1) * unit_s:
            return f"{seconds / unit_s:.3g} {unit}"
    return f"{seconds:.3g} s"


def _wrapped(text: str) -> list[str]:
    indent = " " * (len(text) - len(text.lstrip()))
    return textwrap.wrap(text, _WIDTH, subsequent_indent=indent + "  ", break_on_hyphens=False) or [""]


def _table(rows: Sequence[Cells]) -> Iterator[str]:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)] if rows else []
    for row in rows:
        others = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        yield "  ".join((row[0].ljust(widths[0]), *others)).rstrip()


def _at(second: float, moment: str | None) -> str:
    return moment if moment else f"{length(second)} after the start"


def _rate(card: Card) -> Section:
    begins = f"from {card.begins}, " if card.begins else ""
    sentences = [
        f"{card.requests:,} requests, {begins}in {length(card.span_s)}: {number(card.requests_per_s)} requests/s, "
        f"{number(card.input_tokens_per_s)} tokens/s in, {number(card.output_tokens_per_s)} out."
    ]
    if card.sessions_per_s is not None and card.sessions is not None:
        sentences.append(f"{card.sessions.sessions:,} sessions: {number(card.sessions_per_s)} sessions/s.")
    if (trend := card.trend) is not None:
        sure = "" if trend.low > 0 or trend.high < 0 else ", so it may be none"
        sentences.append(
            f"Trend over {trend.parts} {trend.part}s: {_signed(trend.change_fraction)} of the mean rate from end to "
            f"end (95 % interval {_signed(trend.low)} to {_signed(trend.high)}{sure})."
        )
    for name, profile in (("day", card.day), ("week", card.week)):
        if profile is not None:
            known = [(value, hour) for hour, value in enumerate(profile.hours) if value is not None]
            (high, peak), (low, trough) = max(known), min(known)
            ratio = f", {number(high / low)} times the quietest" if low > 0 else ""
            sentences.append(
                f"Profile of the {name}: busiest {_hour(peak, name)} at {number(high)} times the mean{ratio}, "
                f"{_hour(trough, name)} at {number(low)}{_clock(profile.is_local, profile.zone)}."
            )
    rows: list[Cells] = [("busiest", "begins", "requests", "times mean", "tokens/s in", "out")]
    for label, busiest in (("minute", card.busiest_minute), ("hour", card.busiest_hour)):
        if busiest is not None:
            rows.append((label, *_busiest(busiest)))
    return Section("Rate", tuple(sentences), tuple(rows) if len(rows) > 1 else ())


def _clock(is_local: bool, zone: str) -> str:
    return f" ({zone})" if is_local else " (counted from the first row: the log has no dates)"


def _hour(hour: int, name: str) -> str:
    if name == "day":
        return f"{hour}:00"
    return f"{('Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun')[hour // 24]} {hour % 24}:00"


def _signed(fraction: float) -> str:
    return f"{100 * fraction:+.0f} %"


def _busiest(busiest: Busiest) -> Cells:
    return (
        _at(busiest.begins_s, busiest.begins), f"{busiest.requests:,}", number(busiest.times_mean),
        number(busiest.input_tokens_per_s), number(busiest.output_tokens_per_s),
    )  # fmt: skip


def _burstiness(card: Card) -> Section:
    sentences = [f"Gaps between requests: standard deviation / mean = {number(card.gap_cv)} (Poisson: 1)."]
    if card.session_gap_cv is not None:
        sentences.append(f"Gaps between the beginnings of sessions: {number(card.session_gap_cv)}.")
    sentences.append(
        "Index of dispersion, variance / mean of counts in windows (Poisson: 1, measured within the band):"
    )
    header: Cells = ("window", "windows", "index", "Poisson band")
    both = card.session_dispersion is not None
    rows = [(*header, "sessions") if both else header]
    for i, found in enumerate(card.dispersion):
        row = (length(found.window_s), f"{found.windows:,}", _index(found), band(found))
        rows.append((*row, _index(card.session_dispersion[i])) if card.session_dispersion is not None else row)
    return Section("Burstiness", tuple(sentences), tuple(rows))


def _index(found: Dispersion) -> str:
    return "too few" if found.index is None else number(found.index)


def band(found: Dispersion) -> str:
    """Between what 95 % of Poisson processes would measure."""
    if found.poisson_low is None or found.poisson_high is None:
        return number(None)
    return f"{found.poisson_low:.2f} to {found.poisson_high:.2f}"


def _silences(card: Card) -> Section:
    sentences = []
    if card.longest_silences:
        longest = "; ".join(f"{length(s.length_s)} from {_at(s.begins_s, s.begins)}" for s in card.longest_silences)
        sentences.append(f"Longest without a request: {longest}.")
    if card.empty_hours:
        sentences.append(
            f"{card.empty_hours:,} hours without a request in which at least 30 were to be expected: the record may "
            "have gaps."
        )
    rows: list[Cells] = [("longer than", "number", "Poisson", "% of the time beyond")]
    for found in card.silences:
        expected = number(found.poisson_number) if found.poisson_number >= 0.01 else "0"
        rows.append((length(found.over_s), f"{found.number:,}", expected, percent(found.beyond_fraction)))
    return Section("Silences", tuple(sentences), tuple(rows) if len(rows) > 1 else ())


_HEADER: Cells = ("", "mean", *(f"p{p:g}" for p in _SHOWN), "max")


def _quantity(label: str, found: Quantity) -> Cells:
    values = (*(found.percentiles[p] for p in _SHOWN), found.most)
    return (label, number(found.mean), *(f"{v:,.0f}" if v == int(v) else number(v) for v in values))


def _lengths(card: Card) -> Section:
    found = card.lengths
    sentences = [
        f"{percent(spike.fraction)} % of the {name} are exactly {spike.tokens:,} tokens."
        for name, spikes in (("inputs", found.input_spikes), ("outputs", found.output_spikes))
        for spike in spikes[:1]
    ]
    rows = (_HEADER, _quantity("input tokens", found.input), _quantity("output tokens", found.output))
    return Section("Token lengths", tuple(sentences), rows)


def _together(card: Card) -> Section:
    found = card.lengths
    sentences = (
        f"Rank correlation {number(found.rank_correlation)}. Per cent of the calls, by quarters (6.2 everywhere, if "
        "independent):",
    )
    rows: list[Cells] = [("input \\ output", "shortest", "second", "third", "longest")]
    for name, cells in zip(("shortest", "second", "third", "longest"), found.cells, strict=True):
        rows.append((name, *(f"{100 * cell:.1f}" for cell in cells)))
    return Section("Input and output together", sentences, tuple(rows))


def _sessions(card: Card) -> Section | None:
    found = card.sessions
    if found is None:
        return None
    kind = "from start to start, service included" if found.gaps_hold_service else "from answer to next call"
    sentences = [
        f"{percent(found.single_call_fraction)} % make one call. If sessions were Poisson, the dispersion of calls "
        f"over long windows would be E[N^2]/E[N] = {number(found.calls_dispersion)}.",
        f"{percent(found.begins_anew_fraction)} % of the later prompts begin anew. Gaps are {kind}.",
    ]
    rows = [_HEADER, _quantity("calls per session", found.calls_per_session)]
    if (kinds := found.two_kinds) is not None:
        sentences.append(
            f"Gaps are of two kinds, parted at {length(kinds.parted_at_s)}: tools within a turn, people between."
        )
        rows += [
            _quantity("gap within a turn, s", kinds.within_turn_s),
            _quantity("gap between turns, s", kinds.between_turns_s),
            _quantity("calls per turn", kinds.calls_per_turn),
        ]
    elif found.gap_s is not None:
        rows.append(_quantity("gap, s", found.gap_s))
    rows.append(_quantity("first input tokens", found.first_input_tokens))
    if found.new_input_tokens is not None:
        rows.append(_quantity("new input tokens", found.new_input_tokens))
    grown = ", ".join(f"{number(g.median_input_tokens)} at call {g.call}" for g in found.growth)
    return Section("Sessions", (*sentences, f"Median context: {grown} tokens."), tuple(rows))


def _reuse(card: Card) -> Section | None:
    found = card.reuse
    if found is None:
        return None
    sentences = [
        f"{percent(found.hit_fraction)} % of the prompt tokens were in an earlier prompt, by the log's "
        f"{found.known_by}; {number(found.distinct_tokens)} tokens hold them all."
    ]
    if found.calls < card.requests:
        sentences.append(f"Measured on the first {found.calls:,} requests.")
    rows: list[Cells] = [("KV memory, tokens", "% found")]
    rows += [(f"{size.memory_tokens:,}", percent(size.hit_fraction)) for size in found.by_memory]
    return Section("Prefix reuse", tuple(sentences), tuple(rows) if found.by_memory else ())
