"""The lab: plays scenarios for a search, in several processes, and keeps every replication on disk as it is done."""

from __future__ import annotations

import json
import math
import os
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from hydra.core.override_parser.overrides_parser import OverridesParser

from sim.columns import Columns, select
from sim.composition import Composition
from sim.conf_path import conf_dir
from sim.knob import text
from sim.ledger.audit import audit
from sim.ledger.bill import bill, money
from sim.ledger.usage import Usage, of_window
from sim.report.metrics import finite_or_none, summarize
from sim.report.pooling import attained_calls
from sim.scenarios import Scenario
from sim.simulation import simulate
from sim.study.folder import digest, read_json, require_writable, write_json
from sim.study.job import PARENT_PID, end_with_parent, parsed
from sim.study.replicate import priced_names
from sim.study.search.evidence import SLO_FACTORS, Candidate, Sample
from sim.study.search.variation import Changes, Varied, changed

Words = tuple[str, ...]
FIGURES = (
    "window_s", "tasks", "tasks_finished", "requests", "requests_never_sent", "requests_refused",
    "requests_refused_over_context", "requests_refused_over_kv_memory", "input_tokens", "cached_input_tokens",
    "output_tokens", "ttft_p50_s", "ttft_p95_s", "task_mean_s", "task_p95_s", "usd_gpu", "usd_api", "usd_overhead",
)  # fmt: skip
"""Of the summary of a replication, what is kept of it."""
_SAY_EVERY_S = 15.0
_ETA_FROM = 6
"""Families played before the time that is left is estimated: the first few rule out most of the others."""


def play_one(config: Mapping[str, Any], replication: int) -> Sample:
    """One replication of a scenario given as plain data. Raises SimError.

    The throughput of a saturated replica is not measured: no search needs it, and it takes as long as a short run.
    """
    end_with_parent()
    scenario = parsed(dict(config))
    facts = simulate(scenario, replication=replication, measure_peak=False).facts
    audit(facts)
    usage = Usage.from_facts(facts)
    figures = money(bill(usage, scenario.prices, *priced_names(scenario)), usage)
    own = {number: application.slo for number, application in enumerate(scenario.application_list)}
    summary = summarize(facts, usage, figures, scenario.slo, own)
    (attained,), (calls,) = attained_calls([summary])
    by_application = {}
    for application in scenario.application_list:
        (own_attained,), (own_calls,) = attained_calls([summary], f"application_{application.name}_")
        by_application[application.name] = (own_attained, own_calls, application.slo.attainment_fraction)
    rows = of_window(facts.requests, facts.window)
    requests = select(facts.requests, rows)
    return Sample(
        float(figures["usd_per_month"] or 0.0), attained, calls, _slo_factor(scenario, requests, calls, by_application),
        float(np.nansum(requests["arrived_s"]) + np.nansum(requests["finished_s"])), json.loads(usage.to_json()),
        scenario.slo.attained_within(requests, SLO_FACTORS),
        finite_or_none({name: summary[name] for name in FIGURES}), by_application,
    )  # fmt: skip


def _slo_factor(
    scenario: Scenario, requests: Columns, calls: int, by_application: Mapping[str, tuple[int, int, float]]
) -> float:
    """The factor on all time limits at which the SLO, or that of each application, would just be met."""
    if not by_application:
        return scenario.slo.factor(requests, calls)
    return max(
        application.slo.factor(
            select(requests, np.flatnonzero(requests["application"] == number)), by_application[application.name][1]
        )
        for number, application in enumerate(scenario.application_list)
        if by_application[application.name][1]
    )


class Lab:
    """Plays candidates, each the words that are added to a composition. What is in its folder is not played again.

    `fresh` shifts the seed by one: for replications of which the search knows nothing.
    """

    def __init__(self, base: Composition, folder: Path, n_jobs: int = -1, fresh: bool = False):
        require_writable(folder)
        self.base, self.folder, self.n_jobs = base, folder, n_jobs
        self.seed = int(base.config["seed"]) + (1 if fresh else 0)
        self._configs: dict[Candidate, dict[str, Any]] = {}
        self._composed: dict[Words, dict[str, Any]] = {}
        self._scenarios: dict[Candidate, Scenario] = {}
        self.n_new = 0
        """Simulations played now, the others were in the folder."""

    def config(self, words: Candidate) -> dict[str, Any]:
        """The composed configuration of a candidate. Raises ConfigError for words that mean nothing together."""
        if isinstance(words, Varied):
            return changed(self.config(words.candidate), words.changes)
        if words not in self._configs:
            assert isinstance(words, tuple)
            cards, groups, values = _parts(words)
            config = dict(self._of_groups(groups))
            if cards:
                config["gpu"] = self._of_groups(cards)["gpu"]
            self._configs[words] = changed(config, values)
        return self._configs[words]

    def _of_groups(self, words: Words) -> dict[str, Any]:
        if words not in self._composed:
            composition = self.base.changed(words, {})
            self._composed[words] = dict(composition.config) | {"replications": 1, "seed": self.seed}
        return self._composed[words]

    def scenario(self, words: Candidate) -> Scenario:
        """The typed scenario of a candidate. Raises ConfigError."""
        if words not in self._scenarios:
            self._scenarios[words] = parsed(self.config(words))
        return self._scenarios[words]

    def play(self, wanted: Sequence[tuple[Candidate, int]]) -> list[Sample]:
        """The sample of each (candidate, replication): kept, or played now. Ctrl-C keeps what is done."""
        paths = {words: self._path(words) for words, _ in wanted}
        kept = {words: _kept(path) for words, path in paths.items()}
        missing = [(words, number) for words, number in wanted if number not in kept[words]]
        done = 0
        try:
            for (words, number), sample in zip(missing, self._played(missing), strict=True):
                kept[words][number] = sample
                done += 1
        finally:
            self.n_new += done
            for words in dict.fromkeys(words for words, _ in missing[:done]):
                _keep(paths[words], words, self.seed, kept[words])
        return [kept[words][number] for words, number in wanted]

    def _played(self, missing: Sequence[tuple[Candidate, int]]) -> Any:
        tasks = [(self.config(words), number) for words, number in missing]
        if self.n_jobs == 1 or len(tasks) < 2:
            return (play_one(*task) for task in tasks)
        from joblib import Parallel, delayed

        os.environ[PARENT_PID] = str(os.getpid())
        pool = Parallel(n_jobs=self.n_jobs, backend="loky", return_as="generator")
        return pool(delayed(play_one)(*task) for task in tasks)

    def _path(self, words: Candidate) -> Path:
        return self.folder / "played" / f"{digest(self.config(words))}.json"


@cache
def _taken_from() -> frozenset[str]:
    """Keys whose values other keys of the program's configuration take over (`${engine.max_num_seqs}`)."""
    texts = (path.read_text(encoding="utf-8") for path in conf_dir().rglob("*.yaml"))
    return frozenset(name for text in texts for name in re.findall(r"[$:]\{?([a-z_]+(?:\.[a-z_]+)+)\}", text))


@cache
def _parts(words: Words) -> tuple[Words, Words, Changes]:
    """(the choice of a card, other words that Hydra composes, keys that are set to numbers afterwards).

    To put a card's table in its place, or to set a number that no other value is taken from, gives the same
    configuration as to compose it anew, which takes a fifth of a second. A search asks for hundreds.
    """
    cards: list[str] = []
    groups: list[str] = []
    values: list[tuple[str, Any]] = []
    for word, override in zip(words, OverridesParser.create().parse_overrides(list(words)), strict=True):
        key, value = override.get_key_element(), override.value()
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if is_number and "." in key and key[0].isalpha() and key not in _taken_from():
            values.append((key, value))
        else:
            (cards if key == "gpu" else groups).append(word)
    return tuple(cards), tuple(groups), tuple(values)


def with_values(candidate: Candidate, values: Mapping[str, float]) -> Words:
    """The words of a candidate with these in place of others on the same keys."""
    assert isinstance(candidate, tuple)
    kept = [word for word in candidate if word.partition("=")[0] not in values]
    return (*kept, *(f"{key}={text(value)}" for key, value in values.items()))


def _kept(path: Path) -> dict[int, Sample]:
    content = read_json(path)
    samples = content.get("samples") if isinstance(content, dict) else None
    if not isinstance(samples, dict):
        return {}
    return {int(number): _sample(values) for number, values in samples.items()}


def _sample(values: list[Any]) -> Sample:
    """JSON has no infinity: a factor that is absent is infinite."""
    sample = Sample(*values)
    factor = math.inf if sample.slo_factor is None else sample.slo_factor
    return sample._replace(slo_factor=factor, attained_within=tuple(sample.attained_within))


def _keep(path: Path, words: Candidate, seed: int, samples: Mapping[int, Sample]) -> None:
    ordered = {str(number): list(samples[number]) for number in sorted(samples)}
    write_json(path, {"words": words, "seed": seed, "samples": ordered})


class Progress:
    """Says on standard error how far a search is, and about how long it will take, every 15 s."""

    def __init__(self, n_families: int, n_played: Callable[[], int]):
        self._n_families, self._n_played = n_families, n_played
        self._n_opened = 0
        self._began_s = self._said_s = self._trials_began_s = time.monotonic()

    def family(self, n_done: int, name: str, n_open: int) -> None:
        """Family number `n_done` of the search begins; `n_open` may still have to be played."""
        left = ""
        if self._n_opened >= _ETA_FROM:
            seconds = (time.monotonic() - self._began_s) / self._n_opened * n_open
            left = f"; at most about {seconds:.0f} s more to the answer"
        self._n_opened += 1
        done = f"{n_done} of {self._n_families} families, {self._n_played()} simulations"
        self._say(done, f"{name}{left}")

    def trial(self, name: str, n_done: int, n_trials: int) -> None:
        """Say that `n_done` of the `n_trials` trials of a fleet's thresholds and timeouts are done; 0: they begin."""
        now_s = time.monotonic()
        if not n_done:
            self._trials_began_s = now_s
            return
        left_s = (now_s - self._trials_began_s) / n_done * (n_trials - n_done)
        what = f"{n_done} of {n_trials} trials of thresholds and timeouts"
        self._say(what, f"{name}; about {left_s:.0f} s more of them")

    def step(self, name: str) -> None:
        """A step after the search begins."""
        self._say("the answer is found; what would change it", name)

    def _say(self, what: str, name: str) -> None:
        now_s = time.monotonic()
        if now_s - self._said_s < _SAY_EVERY_S:
            return
        self._said_s = now_s
        print(f"{what}, after {now_s - self._began_s:.0f} s: {name}", file=sys.stderr, flush=True)
