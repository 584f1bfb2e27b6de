"""A gate for continuous integration: is a scenario within its budget and its SLO, by a test that says the same again.

Both judgements are sequential tests (`judge_budget_at_look`, `judge_at_look`) that err one time in 400 at most to
either side. A scenario that is neither within 1 % of its budget nor within 0.2 points of its SLO is therefore judged
wrongly at most one time in 200, and two checks with other seeds disagree less than one time in 100. With the seed of
the scenario, the same file and program give the same verdict every time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from sim._version import __version__
from sim.composition import Composition, text_of
from sim.report.attainment import Judgement, Verdict, judge_at_look, look_sizes
from sim.report.budget import SURE, BudgetJudgement, judge_budget, judge_budget_at_look
from sim.report.estimators import Interval, Sureness, mean, paired_difference
from sim.report.formatting import half_width, percent, usd
from sim.scenarios import Scenario
from sim.schema import ConfigError
from sim.study.folder import ROW, write_text
from sim.study.hardware_error import hardware_error
from sim.study.job import PARENT_PID, parsed
from sim.study.saved import read_config, read_mapping
from sim.study.search.evidence import Sample, judgement_of, judgements_by_application, same_run
from sim.study.search.lab import play_one
from sim.study.setting import setting_lines, setting_of

XML, MARKDOWN = "check.xml", "check.md"
MOST = 100
"""Replications at most, unless told otherwise."""
_TRIED_FIRST = 2
_WHOLE = ("gpu", "model", "prices", "slo")
"""Groups that a whole configuration spells out, and words only name."""


@dataclass(frozen=True)
class Check:
    """What a check found. As text: what the command line prints."""

    name: str
    scenario: Scenario
    cost: BudgetJudgement
    slo: Judgement
    n: int
    before: str | None
    before_cost: Interval | None
    change: Interval | None
    """Now less before, in US dollars a month, paired by replication."""
    unresolved_passes: bool = False
    by_application: Mapping[str, Judgement] = field(default_factory=dict)
    """Of applications with SLOs of their own: the SLO is met where each of them meets its own."""

    @property
    def passed(self) -> bool:
        return self._passes(self.cost.verdict) and self._passes(self.slo.verdict)

    def _passes(self, verdict: Verdict) -> bool:
        if verdict is Verdict.NOT_TESTED:  # Every replication is the same run, so that one settles it.
            return bool(self.slo.reached)
        return verdict is Verdict.MEETS or verdict is Verdict.NOT_RESOLVED and self.unresolved_passes

    @property
    def cases(self) -> list[tuple[str, bool, str, str]]:
        """(name, whether it passes, verdict, sentence) of the two judgements."""
        cost, slo = self.cost, self.slo
        cases = [
            (f"cost at most {usd(cost.budget_usd)} a month", cost.verdict, f"{usd_interval(cost.usd)} a month"),
            (f"SLO attained by {self._targets} of calls", slo.verdict, self._shares),
        ]
        return [
            (name, self._passes(verdict), str(verdict), f"{found}, {self._by(verdict)}")
            for name, verdict, found in cases
        ]

    @property
    def _targets(self) -> str:
        own = [f"{percent(judgement.target)} % ({name})" for name, judgement in self.by_application.items()]
        return " and ".join(own) or f"{percent(self.slo.target)} %"

    @property
    def _shares(self) -> str:
        own = [f"{name} {_share(judgement.attainment)}" for name, judgement in self.by_application.items()]
        return "; ".join(own) or _share(self.slo.attainment)

    def _by(self, verdict: Verdict) -> str:
        if self.n == 1:
            return "the same in every replication"
        more = ", the most allowed; more by --most, or a longer horizon_s" if verdict is Verdict.NOT_RESOLVED else ""
        return f"by {self.n} replications{more}"

    def __str__(self) -> str:
        return "\n".join(_lines(self))

    def xml(self) -> str:
        """JUnit XML: one test suite with a case for the cost and one for the SLO."""
        failures = sum(not ok for _, ok, _, _ in self.cases)
        suite = ElementTree.Element(
            "testsuite", name="llm-traffic-sim check", tests="2", failures=str(failures), errors="0", skipped="0"
        )
        properties = ElementTree.SubElement(suite, "properties")
        for line in rests_on(self.scenario):
            key, _, value = line.partition(": ")
            ElementTree.SubElement(properties, "property", name=key, value=value)
        for name, ok, verdict, sentence in self.cases:
            case = ElementTree.SubElement(suite, "testcase", classname=self.name, name=name)
            if not ok:
                ElementTree.SubElement(case, "failure", type=verdict, message=sentence)
            ElementTree.SubElement(case, "system-out").text = sentence
        ElementTree.indent(suite)
        return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(suite, encoding="unicode") + "\n"

    def markdown(self) -> str:
        """A comment for a change of code: the verdict, cost now and before, and what it rests on."""
        head = f"### {'✅ within' if self.passed else '❌ not within'} budget and SLO: `{self.name}`"
        rows = ["| | now | before | change |", "| --- | ---: | ---: | ---: |"]
        before, change = (
            ("–", "–") if self.change is None else (usd_interval(self.before_cost), usd_interval(self.change))
        )
        rows.append(f"| a month of 730 h | {usd_interval(self.cost.usd)} | {before} | {change} |")
        rows.append(f"| budget | {usd(self.cost.budget_usd)} | | |")
        rows.append(f"| calls within the SLO | {self._shares} | | |")
        found = [f"- {name}: **{'yes' if ok else verdict}**, {said}" for name, ok, verdict, said in self.cases]
        basis = [
            "<details><summary>What this rests on</summary>",
            "",
            *(f"- {line}" for line in rests_on(self.scenario)),
        ]
        return "\n".join([head, "", *rows, "", *found, "", *basis, "", "</details>", ""])


def read_scenario(path: Path, words: Sequence[str] = ()) -> dict[str, Any]:
    """The whole configuration that a YAML file describes, as plain data, with `words` changed. Raises ConfigError.

    The file holds what the command line would say, `gpu: l4` or `slo.ttft_s: 1` or `slo: {ttft_s: 1}`, or is the
    config.yaml of a finished run, or the row.json that holds it.
    """
    content = read_mapping(path, "a scenario")
    if path.name == ROW:
        content = read_config(path.parent) or {}
    if all(isinstance(content.get(key), dict) for key in _WHOLE):
        if words:
            raise ConfigError(f"{words[0]}: {path} is a whole configuration; change it there")
        return content
    given = [text_of(key, value) for key, value in _flat(content)]
    composition = Composition().changed([*given, *words], {})
    if composition.grid:
        raise ConfigError(f"{path}: is a sweep; a check is of one scenario")
    return dict(composition.config)


def _flat(content: dict[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def check(
    name: str, config: dict[str, Any], budget_usd: float, *, before: tuple[str, dict[str, Any]] | None = None,
    most: int = MOST, zone: float, n_jobs: int = -1, unresolved_passes: bool = False,
) -> Check:  # fmt: skip
    """Play replications until the cost and the SLO are judged, or the most are played. Raises ConfigError.

    `before`: the name and configuration of what there was, played with the same seeds. `zone`: share of the budget
    within which a cost is as good as the budget.
    """
    for key, value, law in (("--budget", budget_usd, "> 0"), ("--most", most, ">= 10"), ("--zone", zone, "> 0")):
        if not value >= {"> 0": 1e-9, ">= 10": 10}[law]:
            raise ConfigError(f"{key} = {value:g}: must be {law}")
    scenario, configs = parsed(config), [config, *([before[1]] if before else [])]
    if before:
        parsed(before[1])
    samples: list[list[Sample]] = [[] for _ in configs]
    target, sizes = scenario.slo.attainment_fraction, look_sizes(most)
    _play(configs, samples, _TRIED_FIRST, n_jobs)
    now, cost, slo = samples[0], None, None
    by_application: dict[str, Judgement] = {}
    if same_run(*now[:2]):
        now[1:] = []
        cost, slo = judge_budget([now[0].usd], budget_usd), judgement_of(now, target)
        by_application = judgements_by_application(now)
    for size in sizes if len(now) > 1 else ():
        _play(configs[:1], samples, size, n_jobs)
        at_look = partial(judge_at_look, sizes=sizes, confidence=SURE)
        if cost is None or cost.verdict is Verdict.NOT_RESOLVED:
            cost = judge_budget_at_look([s.usd for s in now], budget_usd, sizes, zone)
        if slo is None or slo.verdict is Verdict.NOT_RESOLVED:
            slo, by_application = judgement_of(now, target, at_look), judgements_by_application(now, at_look)
        if Verdict.NOT_RESOLVED not in (cost.verdict, slo.verdict):
            break
    assert cost is not None and slo is not None
    earlier, change = _compared(configs, samples, n_jobs) if before else (None, None)
    return Check(
        name, scenario, cost, slo, len(now), before[0] if before else None, earlier, change, unresolved_passes,
        by_application,
    )  # fmt: skip


def _compared(configs: list[dict[str, Any]], samples: list[list[Sample]], n_jobs: int) -> tuple[Interval, Interval]:
    """The cost before, and now less before, over as many replications as were played now."""
    n = max(len(samples[0]), 1)
    _play(configs, samples, n, n_jobs)
    now, before = ([sample.usd for sample in side[:n]] for side in samples)
    if n == 1:
        return Interval(before[0], replications=1), Interval(now[0] - before[0], replications=1)
    return mean(before), paired_difference(now, before).difference


def _play(configs: list[dict[str, Any]], samples: list[list[Sample]], n: int, n_jobs: int) -> None:
    """Add replications of each configuration up to `n`."""
    tasks = [
        (config, number, row) for config, row in zip(configs, samples, strict=False) for number in range(len(row), n)
    ]
    if n_jobs == 1 or len(tasks) < 2:
        played = [play_one(config, number) for config, number, _ in tasks]
    else:
        from joblib import Parallel, delayed

        os.environ[PARENT_PID] = str(os.getpid())
        played = Parallel(n_jobs=n_jobs, backend="loky")(delayed(play_one)(c, number) for c, number, _ in tasks)
    for (_, _, row), sample in zip(tasks, played, strict=True):
        row.append(sample)


def write(found: Check, xml: Path, markdown: Path) -> None:
    """Write JUnit XML and the Markdown comment, each whole or not at all."""
    write_text(xml, found.xml())
    write_text(markdown, found.markdown())


def usd_interval(interval: Interval | None) -> str:
    """Dollars with their half-width; with their bounds where the half-width is no less than the dollars."""
    if interval is None:
        return "–"
    if interval.sureness is Sureness.UNKNOWN and interval.low is not None:
        return f"{usd(interval.mean)} ({usd(interval.low)} to {usd(interval.high)})"
    return f"{usd(interval.mean)}{half_width(interval.half_width)}"


def _share(interval: Interval) -> str:
    bounds = f" ({percent(interval.low)} to {percent(interval.high)})" if interval.low is not None else ""
    return f"{percent(interval.mean)} %{bounds}"


def _lines(found: Check) -> Iterator[str]:
    yield f"{found.name}: {'passes' if found.passed else 'FAILS'}"
    for name, ok, verdict, sentence in found.cases:
        yield f"  {'yes' if ok else 'NO'}: {name}: {sentence}" + ("" if ok else f" ({verdict})")
    if found.change is not None:
        more = usd_interval(found.change)
        yield f"  before ({found.before}): {usd_interval(found.before_cost)} a month; now less before: {more}, paired"
    yield "it rests on:"
    yield from (f"  {line}" for line in rests_on(found.scenario))


def rests_on(scenario: Scenario) -> Iterator[str]:
    """Model, cards, SLO, price lists, window, seed and version, one line each."""
    error = hardware_error(scenario)
    yield from setting_lines(setting_of(scenario))
    yield f"program: llm-traffic-sim {__version__}"
    if error is not None:
        yield from (line if ": " in line else f"hardware: {line}" for line in error.lines())
