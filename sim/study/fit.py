"""`llm-traffic-sim fit LOG`: config groups of a synthetic workload like a log, and how near it comes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from sim.report.description_text import Section, length
from sim.report.formatting import number
from sim.schema import Config, ConfigError
from sim.study.folder import require_writable, write_text
from sim.workload.description.calls import Calls, DescribedLog
from sim.workload.description.card import Card, card_of
from sim.workload.description.dispersion import Dispersion
from sim.workload.description.reuse import reuse_of
from sim.workload.description.token_lengths import Lengths, lengths_of
from sim.workload.fitting.fitted import Fitted, fit
from sim.workload.fitting.imitated import imitated
from sim.workload.fitting.path import LEAST_SILENT, silent_fraction, wait_p95

_LEAST_DRAWS, _MOST_DRAWS, _DRAWN_REQUESTS = 8, 64, 200_000
"""A fit is drawn so often, more often the shorter the log: one draw of bursty traffic says little."""
_MOST_LENGTHS = 4_000_000
"""Of calls in all draws together, whose token lengths are compared."""
_RATE, _DISPERSION, _LENGTHS = 0.02, 0.25, 0.05
_FEW_WINDOWS = 20
_REUSE_DRAWS = 2


class Distance(NamedTuple):
    """One figure of the log and the mean of it over replications of the fit; `target` is the largest relative
    difference that is good enough, None where none was set, and `why` says what to think of a figure."""

    name: str
    log: float
    fit: float
    target: float | None
    why: str = ""

    @property
    def relative(self) -> float:
        """Fit over log, less 1."""
        return self.fit / self.log - 1 if self.log else 0.0 if self.fit == self.log else np.inf

    @property
    def is_met(self) -> bool:
        """Whether it is within the target; true where there is none."""
        return self.target is None or abs(self.relative) <= self.target


@dataclass(frozen=True, eq=False)
class FittedLog:
    """The fit of a log, and its distances from it."""

    options: DescribedLog
    calls: Calls
    fitted: Fitted
    distances: tuple[Distance, ...]
    draws: int

    @property
    def section(self) -> Section:
        """The two cards side by side."""
        rows: list[tuple[str, ...]] = [("", "log", "fit", "apart", "target", "")]
        for d in self.distances:
            target = "" if d.target is None else f"{100 * d.target:.0f} %"
            verdict = "" if d.is_met else "not met" + (f": {d.why}" if d.why else "")
            rows.append((d.name, number(d.log), number(d.fit), f"{100 * d.relative:+.1f} %", target, verdict))
        sentences = (
            f"The fit is the mean of {self.draws} draws as long as the log. Queues: seconds that 95 % wait at most, "
            "where one after the other is served, as long as its tokens say, and 70 % of the time is busy. Silent "
            "time: fraction of the log in silences of over a minute.",
            *map(_sentence, self.fitted.notes),
        )
        return Section("Log and fit", sentences, tuple(rows))

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON data: the config groups, and the distances."""
        groups = {name: group.model_dump(mode="json") for name, group in self.fitted.groups.items()}
        keys = ("starts_at", "horizon_s", "notes")
        distances = [d._asdict() | {"relative": d.relative, "is_met": d.is_met} for d in self.distances]
        return groups | {key: getattr(self.fitted, key) for key in keys} | {"distances": distances}

    def usage(self, folder: Path, name: str) -> str:
        """The words that play the fit."""
        groups = " ".join(f"{group}={name}" for group in self.fitted.groups)
        begins = "" if self.fitted.starts_at is None else f" starts_at='{self.fitted.starts_at}'"
        return f"llm-traffic-sim --config-dir {folder} {groups} horizon_s={self.fitted.horizon_s:.0f}{begins}"

    def write(self, folder: Path, name: str, force: bool = False) -> None:
        """A file of each config group, FOLDER/GROUP/NAME.yaml, each whole or not at all. Raises ConfigError."""
        for group, config in self.fitted.groups.items():
            path = folder / group / f"{name}.yaml"
            refuse_to_overwrite(path, force)
            write_text(path, self._text(group, config))

    def _text(self, group: str, config: Config) -> str:
        source = f"{Path(self.options.path).name}, {len(self.calls):,} requests in {length(self.calls.period_s)}"
        lines = [f"# {group.capitalize()} fitted to {' '.join(source.split())}."]
        if group == "arrivals":
            for d in self.distances:
                lines.append(f"# {d.name}: log {number(d.log)}, fit {number(d.fit)}")
        content = config.model_dump(mode="json")
        return "\n".join([*lines, yaml.dump(content, sort_keys=False, default_flow_style=None, width=110)])


def _sentence(note: str) -> str:
    return f"{note[0].upper()}{note[1:]}."


def refuse_to_overwrite(path: Path, force: bool) -> None:
    """Raise ConfigError if the file exists already, unless `force`, or where it cannot be written."""
    if path.exists() and not force:
        raise ConfigError(f"{path}: exists already; --force replaces it")
    require_writable(path.parent)


def fit_log(options: DescribedLog, draws: int | None = None) -> FittedLog:
    """Fit, draw the fit some times (None: as many as 200 000 requests, 8 to 64) and compare. Raises TraceError."""
    calls = options.calls()
    fitted = fit(calls)
    if draws is None:
        draws = int(np.clip(_DRAWN_REQUESTS // len(calls), _LEAST_DRAWS, _MOST_DRAWS))
    cards, inputs, outputs, waits = [], [], [], []
    every = max(1, draws * len(calls) // _MOST_LENGTHS)
    for seed in range(1, draws + 1):
        drawn = imitated(fitted, seed)
        cards.append(card_of(drawn, with_reuse=False))
        inputs.append(drawn.input_tokens[::every].copy())
        outputs.append(drawn.output_tokens[::every].copy())
        waits.append(_waits(drawn))
    log = card_of(calls, with_reuse=False)
    tokens = lengths_of(np.concatenate(inputs), np.concatenate(outputs))
    distances = (
        *_of_arrivals(log, cards), *_of_waits(_waits(calls), waits), *_of_lengths(log.lengths, tokens),
        *_of_reuse(calls, fitted),
    )  # fmt: skip
    return FittedLog(options, calls, fitted, distances, draws)


def _waits(calls: Calls) -> dict[str, float]:
    """Figures of queues: they have what dispersion does not show, such as long prompts that come together."""
    times_s, period_s = calls.begins_s, calls.tasks_period_s
    found = {"silent time": silent_fraction(times_s, period_s)}
    if calls.has_sessions:
        return found | {"queue of sessions": wait_p95(times_s, np.ones(len(times_s)), period_s)}
    work = {"queue of prompts": calls.input_tokens, "queue of answers": calls.output_tokens}
    return found | {name: wait_p95(times_s, tokens, period_s) for name, tokens in work.items()}


def _of_waits(log: dict[str, float], drawn: Sequence[dict[str, float]]) -> Iterator[Distance]:
    for name, value in log.items():
        if name != "silent time" or value >= LEAST_SILENT:
            yield Distance(name, value, float(np.mean([each[name] for each in drawn])), _DISPERSION)


def _of_arrivals(log: Card, drawn: Sequence[Card]) -> Iterator[Distance]:
    def mean(values: Sequence[float | None]) -> float:
        return float(np.mean([value for value in values if value is not None]))

    has_sessions = log.sessions is not None
    if has_sessions:
        yield Distance("sessions/s", log.sessions_per_s or 0.0, mean([c.sessions_per_s for c in drawn]), _RATE)
        calls = [card.sessions.calls_per_session.mean for card in (log, *drawn) if card.sessions is not None]
        yield Distance("calls per session", calls[0], mean(calls[1:]), _RATE)
    else:
        yield Distance("requests/s", log.requests_per_s, mean([card.requests_per_s for card in drawn]), _RATE)
    cv = log.session_gap_cv if has_sessions else log.gap_cv
    if cv is not None:
        yield Distance("gap cv", cv, mean([c.session_gap_cv if has_sessions else c.gap_cv for c in drawn]), None)
    for i, found in enumerate(_dispersion(log)):
        if found.index is not None:
            fit = mean([_dispersion(card)[i].index for card in drawn])
            why = f"{found.windows} windows only" if found.windows < _FEW_WINDOWS else ""
            yield Distance(f"dispersion at {length(found.window_s)}", found.index, fit, _DISPERSION, why)


def _of_lengths(log: Lengths, drawn: Lengths) -> Iterator[Distance]:
    """Of the calls of all draws together."""
    for name in ("input", "output"):
        of_log, of_fit = getattr(log, name), getattr(drawn, name)
        for percent in (50.0, 90.0, 99.0):
            values = (of_log.percentiles[percent], of_fit.percentiles[percent])
            yield Distance(f"{name} tokens, p{percent:g}", *values, _LENGTHS)
        yield Distance(f"{name} tokens, mean", of_log.mean, of_fit.mean, None)


def _of_reuse(calls: Calls, fitted: Fitted) -> Iterator[Distance]:
    """Fractions of the prompt tokens that are in an earlier prompt, where the fit has any: with endless memory, and in
    a cache that holds about half of that."""
    if not fitted.tasks.shares_prompts:
        return
    log = reuse_of(calls)
    drawn = [reuse_of(imitated(fitted, seed, with_prompts=True)) for seed in range(1, _REUSE_DRAWS + 1)]
    assert log is not None and all(drawn), "the log has blocks, and so has the fit"
    found = [each for each in drawn if each is not None]
    hits = [each.hit_fraction for each in found]
    yield Distance("prompt tokens seen before", log.hit_fraction, float(np.mean(hits)), _DISPERSION)
    sizes = [{at.memory_tokens: at.hit_fraction for at in each.by_memory} for each in (log, *found)]
    common = sorted(set.intersection(*map(set, sizes)), key=lambda size: abs(sizes[0][size] - log.hit_fraction / 2))
    for size in common[:1]:
        of_fit = float(np.mean([each[size] for each in sizes[1:]]))
        yield Distance(f"of which in {size:,} tokens", sizes[0][size], of_fit, _DISPERSION)


def _dispersion(card: Card) -> tuple[Dispersion, ...]:
    return card.dispersion if card.session_dispersion is None else card.session_dispersion
