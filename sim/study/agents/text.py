"""A counterfactual bill in words, within 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from datetime import date

from sim.api.provider import ApiProvider
from sim.ledger.prices import old_lists
from sim.report.attainment import Verdict
from sim.report.estimators import Interval
from sim.report.formatting import number, percent, seconds, usd
from sim.scenarios import Scenario
from sim.study.agents.asked import HOURS_PER_MONTH
from sim.study.agents.found import Found, Line
from sim.study.gate import rests_on as rests_on_scenario
from sim.study.search.wording import WIDTH, wrapped
from sim.units import DAY_S, HOUR_S, MINUTE_S

_WEEK_S = 6 * DAY_S
"""A log of nearly a week has nights and a weekend in it, as a month has."""
_WIDTHS = (8, 9, 20, 7, 6)
_HEADS = (
    ("$ a", "$ a seat", "times the first", "token", "task"),
    ("task", "a month", "", "p95, s", "min"),
)  # fmt: skip


def as_text(found: Found) -> str:
    """The bill as a table, what it says in a sentence, and what it rests on."""
    below = [*as_many_seats(found), *(f"left out: {name}: {reason}" for name, reason in found.left_out)]
    below += ["it rests on:", *(f"  {line}" for line in rests_on(found)), *hints(found)]
    return "\n".join([wrapped([sentence(found)]), "", *_table(found), "", wrapped(below)])


def sentence(found: Found) -> str:
    """What a task costs in the first row, and in the cheapest of the others that serves the same within the SLO."""
    base = found.base
    seat = found.usd_per_seat(base)
    told = "" if seat is None else f", {usd(seat.mean)} a seat and month"
    first = f"{base.name}: {usd(base.usd_per_task.mean)} a task{told}."
    others = [line for line in found.lines[1:] if line.row.what == base.row.what and line.verdict is Verdict.MEETS]
    if not others:
        return f"{first} No other way of serving the sessions as they were recorded is within the SLO."
    best = min(others, key=lambda line: line.usd_per_task.mean or 0.0)
    difference = found.difference(best)
    assert difference is not None, "all but the first have one"
    if not _is_settled(difference):
        return f"{first} Whether {best.name} is cheaper is NOT resolved: {usd(best.usd_per_task.mean)} a task."
    verb = "Cheapest within the SLO" if (difference.mean or 0.0) < 0 else "Nothing within the SLO is cheaper; next"
    return f"{first} {verb}: {best.name}, {usd(best.usd_per_task.mean)} a task, {times(found, best)} times that."


def times(found: Found, line: Line) -> str:
    """A row's cost of a task over that of the first, with its interval: "0.73 (0.69-0.76)"; "" for the first."""
    difference, base = found.difference(line), found.base.usd_per_task.mean
    if difference is None or difference.mean is None or not base:
        return ""
    if line.finished_fraction < found.base.finished_fraction:
        return "other tasks"  # short sessions end where long ones do not: their mean is another one
    ratio = number(1 + difference.mean / base)
    if not _is_settled(difference):
        return f"{ratio} unresolved"
    if difference.low is None or difference.high is None:
        return ratio
    low, high = (number(1 + end / base) for end in (difference.low, difference.high))
    return ratio if low == high else f"{ratio} ({low}-{high})"


def as_many_seats(found: Found) -> Iterator[str]:
    """What dearer fleets of one's own cost, in seats of the first row."""
    seat = found.usd_per_seat(found.base)
    for line in found.lines[1:]:
        if line.n_replicas is None or line.row.what != found.base.row.what or seat is None or not seat.mean:
            continue
        n = (line.usd_per_month.mean or 0.0) / seat.mean
        assert found.seats is not None, "else nothing is known by seat"
        if n > found.seats[0]:
            yield f"{line.name}: costs as much as {n:,.0f} seats in the first row; the log has {found.seats[0]:.4g}."


def _is_settled(difference: Interval) -> bool:
    """Whether the sign is known; without chance in both rows it is."""
    return difference.excludes_zero or difference.replications < 2 or difference.low == difference.high


def _table(found: Found) -> Iterator[str]:
    room = WIDTH - sum(_WIDTHS)
    for head in _HEADS:
        yield (" " * room + "".join(text.rjust(w) for text, w in zip(head, _WIDTHS, strict=True))).rstrip()
    what = ""
    for line in found.lines:
        if line.row.what != what:
            what = line.row.what
            yield what
        seat = found.usd_per_seat(line)
        task_s = line.mean_of("task_mean_s")
        cells = (
            number(line.usd_per_task.mean), number(None if seat is None else seat.mean), times(found, line),
            seconds(line.mean_of("ttft_p95_s")), number(None if task_s is None else task_s / MINUTE_S),
        )  # fmt: skip
        name = f"  {line.name}"
        if len(name) >= room:
            yield name
            name = ""
        yield (name.ljust(room) + "".join(c.rjust(w) for c, w in zip(cells, _WIDTHS, strict=True))).rstrip()
        for doubt in doubts(found, line):
            yield textwrap.fill(doubt, WIDTH, initial_indent="    ", subsequent_indent="    ")


def doubts(found: Found, line: Line) -> Iterator[str]:
    """What a reader must know of a row: that it misses its SLO, does not do all of the work, or does more."""
    if line.verdict is not Verdict.MEETS:
        share = percent(line.judgement.attainment.mean)
        verb = "misses the SLO" if line.verdict is Verdict.MISSES else f"SLO {line.verdict}"
        yield f"{verb}: {share} % of calls are within it"
    if line.finished_fraction < 1:
        over = (line.of_task("requests_refused_over_context") or 0) + (
            line.of_task("requests_refused_over_kv_memory") or 0
        )
        why = "; calls are longer than its context" if over else ""
        yield f"{percent(line.finished_fraction)} % of tasks come to their end{why}; dollars are by these"
    calls, recorded = line.of_task("requests") or 0.0, found.base.of_task("requests") or 0.0
    if line.row.is_compacted and calls > recorded:
        yield f"{number(calls - recorded)} summaries a task"


def rests_on(found: Found) -> Iterator[str]:
    """The assumptions, one line each."""
    asked, card = found.asked, found.asked.question.card
    hours, seats = asked.told.month.hours, found.seats
    scenarios = [found.lab.scenario(line.words) for line in found.lines]
    yield f"models: {', '.join(dict.fromkeys(one.model.name for one in scenarios))}"
    told = dict.fromkeys(line for one in scenarios for line in rests_on_scenario(one))
    yield from (line for line in told if not line.startswith("model: "))
    like = "all 730 h" if hours == HOURS_PER_MONTH else f"{hours:g} of 730 h"
    short = "; fewer: month.hours=N" if card.span_s < _WEEK_S and hours == HOURS_PER_MONTH else ""
    span = number(card.span_s / HOUR_S)
    yield f"a month: {like} are like the log's {span} h{short}; an API is paid by the token, own GPUs for 730 h"
    if seats is not None:
        yield f"seats: {seats[0]:.4g}, {seats[1]}; {number(found.tasks_per_month / seats[0])} tasks a month each"
    yield f"intervals: {_basis(found)}"
    yield from dict.fromkeys(filter(None, map(_cache_of, scenarios)))
    own = [one for one in scenarios if one.has_fleet]
    if own:
        fewest = "the fewest replicas within the SLO" if asked.told.n_replicas is None else "as many replicas as told"
        yield f"own fleets: {fewest}, on all of the log; placement={own[0].placement.kind}"
    if asked.told.other.model:
        yield "another model: the same turns and tokens; how it would tokenize, answer and err is not known"
    rule = asked.told.other.compaction
    if rule.at_tokens is not None:
        yield (
            f"compaction: before a call over {rule.at_tokens:,} tokens, one more call writes a summary of "
            f"{rule.summary_tokens:,} tokens, and the context begins anew as first prompt, summary and what is new; "
            "answers and turns stay as recorded"
        )
    yield from dict.fromkeys(old for one in scenarios for old in old_lists(one.prices, date.today()))


def _cache_of(one: Scenario) -> str:
    """The rules of an API's prompt cache, or what stands behind the KV memory of own cards; "" for neither."""
    if isinstance(one.api, ApiProvider) and one.api.prompt_cache is not None:
        cache = one.api.prompt_cache
        return (
            f"prompt cache of the API: prefixes from {cache.min_tokens:,} tokens on, until {cache.ttl_s:g} s after "
            f"their last {'use' if cache.renewed_by_hits else 'writing'}"
        )
    tiers = [f"{tier.capacity_gb:g} GB of {name} at {tier.gb_per_s:g} GB/s" for name, tier in one.kv_tiers.items()]
    return f"behind the KV memory of a replica, at no price of its own: {', '.join(tiers)}" if tiers else ""


def _basis(found: Found) -> str:
    """Where the intervals of the rows come from."""
    most = max(len(line.samples) for line in found.lines)
    drawn = found.asked.question.base.config["arrivals"]["bootstrap"]
    if drawn != "none":
        return f"95 %, {most} replications, each of which draws the log's {drawn} anew; differences are paired"
    chance = f"{most} replications of the API's latency on" if found.is_random else "none:"
    return (
        f"{chance} the log as it was, which says nothing of other days (arrivals.bootstrap=blocks draws its hours anew)"
    )


def hints(found: Found) -> Iterator[str]:
    """What could be set beside and was not asked for, with the words to type."""
    told = found.asked.told
    if found.seats is None:
        yield "per seat: the log names no users; seats=N or month.sessions_per_seat=N"
    if not told.other.model:
        yield "another model beside: other.model=NAME, or several with commas"
    if told.other.compact_at_tokens is None and found.asked.question.card.sessions is not None:
        yield "another compaction beside: other.compact_at_tokens=32000"
