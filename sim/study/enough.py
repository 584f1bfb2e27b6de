"""How many replications a scenario gets: a given number, or as many as its study's precision needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from sim.report.attainment import Judgement, judge_at_look, look_sizes
from sim.report.estimators import CONFIDENCE
from sim.report.pooling import Judgements, estimate, judged, over_replications
from sim.report.precision import STOPPING_CONFIDENCE, Shortfall, reason, shortfalls
from sim.scenarios import Scenario
from sim.schema import ConfigError
from sim.settings import AUTO

REQUESTS_OF_A_P99 = 100
Rows = Sequence[Mapping[str, Any]]


class Enough:
    """Decides after how many replications to look at the results, and at each look whether to play more."""

    def __init__(self, scenario: Scenario, replications: int | str | None = None):
        """`replications` overrules the scenario's. Raises ConfigError for fewer than one."""
        wanted = scenario.replications if replications is None else replications
        if wanted != AUTO and int(wanted) < 1:
            raise ConfigError(f"replications = {wanted}: must be >= 1, or {AUTO}")
        self._is_auto = wanted == AUTO
        self._precision = {key: value for key, value in scenario.study.precision.items() if value is not None}
        self._target = scenario.slo.attainment_fraction
        self._sizes = look_sizes(scenario.study.max_replications) if wanted == AUTO else [int(wanted)]
        self._judgements: Judgements | None = None
        self._why: list[str] = []

    @property
    def confidence(self) -> float:
        """The nominal confidence at which the 95 % intervals of the summary are computed."""
        return confidence_of(AUTO if self._is_auto else self._sizes[0])

    def sizes(self, rows: Rows) -> Iterator[int]:
        """Yields how many replications to have played by the next look, until `rows` suffice. The caller adds the
        summaries of new replications to `rows` between two yields."""
        before: list[Shortfall] = []
        for size in self._sizes:
            yield size
            if not self._is_auto:
                return
            intervals = {key: estimate(key, rows, STOPPING_CONFIDENCE) for key in self._precision}
            self._judgements = judged(rows, self._target, partial(judge_at_look, sizes=self._sizes))
            short = shortfalls(intervals, self._precision, _least_decided(self._judgements))
            if not short or size == self._sizes[-1]:
                self._why = [reason(size, before, short, intervals)]
                return
            before = short

    def reasons(self) -> list[str]:
        """Why no more replications were added, one line; empty for a given number, or before the last look."""
        return self._why

    def row(self, rows: Rows) -> dict[str, Any]:
        """The summary over the replications. If their number was found by looking, intervals and judgement allow for
        the looks."""
        return over_replications(rows, self._target, self._judgements, self.confidence)


def _least_decided(judgements: Judgements) -> Judgement:
    """The judgement to wait for: of the applications as far from decided as all are together, the one farthest from its
    target, which more replications decide soonest; that of all where no application has an SLO of its own."""
    whole = judgements[""]
    own = [judgement for prefix, judgement in judgements.items() if prefix and judgement.verdict is whole.verdict]
    return max(own, key=lambda judgement: abs((judgement.attainment.mean or 0.0) - judgement.target), default=whole)


def confidence_of(replications: int | str) -> float:
    """The nominal confidence for 95 % intervals, given the setting of `replications` (see STOPPING_CONFIDENCE)."""
    return STOPPING_CONFIDENCE if replications == AUTO else CONFIDENCE


def few_requests(rows: Rows) -> Iterator[str]:
    """A note if a p99 rests on fewer than REQUESTS_OF_A_P99 requests: then it is hardly more than their maximum."""
    fewest = min((row["requests"] for row in rows), default=0)
    if 0 < fewest < REQUESTS_OF_A_P99:
        of = "a replication" if len(rows) > 1 else "this run"
        yield f"a p99 of {of} rests on {fewest} requests: of fewer than {REQUESTS_OF_A_P99} it is their maximum"
