"""The lab: plays scenarios for a search, in several processes, and keeps every replication on disk as it is done."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sim.composition import Composition
from sim.ledger.audit import audit
from sim.ledger.bill import bill, money
from sim.ledger.usage import Usage, of_window
from sim.report.metrics import summarize
from sim.report.pooling import attained_calls
from sim.scenarios import Scenario
from sim.simulation import simulate
from sim.study.folder import digest, read_json, require_writable, write_json
from sim.study.job import PARENT_PID, end_with_parent, parsed
from sim.study.replicate import priced_names
from sim.study.search.evidence import Candidate, Sample

Words = tuple[str, ...]
_SAY_EVERY_S = 15.0


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
    summary = summarize(facts, usage, figures, scenario.slo)
    (attained,), (calls,) = attained_calls([summary])
    rows = of_window(facts.requests, facts.window)
    requests = {name: column[rows] for name, column in facts.requests.items()}
    return Sample(
        float(figures["usd_per_month"] or 0.0), attained, calls, scenario.slo.factor(requests, calls),
        float(np.nansum(requests["arrived_s"]) + np.nansum(requests["finished_s"])), json.loads(usage.to_json()),
    )  # fmt: skip


class Lab:
    """Plays candidates, each the words that are added to a composition. What is in its folder is not played again.

    `fresh` shifts the seed by one: for replications of which the search knows nothing.
    """

    def __init__(self, base: Composition, folder: Path, n_jobs: int = -1, fresh: bool = False):
        require_writable(folder)
        self.base, self.folder, self.n_jobs = base, folder, n_jobs
        self.seed = int(base.config["seed"]) + (1 if fresh else 0)
        self._configs: dict[Candidate, dict[str, Any]] = {}
        self.n_new = 0
        """Simulations played now, the others were in the folder."""

    def config(self, words: Candidate) -> dict[str, Any]:
        """The composed configuration of a candidate. Raises ConfigError for words that mean nothing together."""
        if words not in self._configs:
            assert isinstance(words, tuple)
            composition = self.base.changed(words, {})
            self._configs[words] = dict(composition.config) | {"replications": 1, "seed": self.seed}
        return self._configs[words]

    def scenario(self, words: Candidate) -> Scenario:
        """The typed scenario of a candidate. Raises ConfigError."""
        return parsed(self.config(words))

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


def _kept(path: Path) -> dict[int, Sample]:
    content = read_json(path)
    samples = content.get("samples") if isinstance(content, dict) else None
    if not isinstance(samples, dict):
        return {}
    return {int(number): Sample(*_with_infinity(values)) for number, values in samples.items()}


def _with_infinity(values: list[Any]) -> list[Any]:
    """JSON has no infinity: a factor that is absent is infinite."""
    usd, attained, calls, factor, fingerprint, usage = values
    return [usd, attained, calls, math.inf if factor is None else factor, fingerprint, usage]


def _keep(path: Path, words: Candidate, seed: int, samples: Mapping[int, Sample]) -> None:
    ordered = {str(number): list(samples[number]) for number in sorted(samples)}
    write_json(path, {"words": words, "seed": seed, "samples": ordered})


class Progress:
    """Says on standard error how far a search is, and about how long it will take, every 15 s."""

    def __init__(self, n_families: int, n_played: Callable[[], int]):
        self._n_families, self._n_played = n_families, n_played
        self._began_s = self._said_s = time.monotonic()

    def family(self, n_done: int, name: str) -> None:
        """Family number `n_done` of the search begins."""
        now_s = time.monotonic()
        if now_s - self._said_s < _SAY_EVERY_S:
            return
        self._said_s = now_s
        elapsed_s = now_s - self._began_s
        left = f"; about {elapsed_s * (self._n_families - n_done) / n_done:.0f} s more" if n_done else ""
        print(f"{n_done} of {self._n_families} families, {self._n_played()} simulations after {elapsed_s:.0f} s{left}: "
              f"{name}", file=sys.stderr, flush=True)  # fmt: skip
