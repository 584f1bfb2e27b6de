"""The rows of a counterfactual bill: which way of serving the sessions each one is, and which are left out, and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sim.api.provider import ApiProvider
from sim.errors import one_line
from sim.scenarios import Scenario
from sim.schema import ConfigError
from sim.study.agents.asked import Asked
from sim.study.search.family import Family
from sim.study.search.lab import Lab, Words
from sim.study.search.paper import OnPaper

_API, _UNCACHED, _OWN, _TIERS = "API, cached input", "API, no prompt cache", "always on", "with host memory"
_RECORDED = "as recorded"


@dataclass(frozen=True)
class Row:
    """A way to serve the sessions, and the sizes that it may have: one, or those of a fleet from the smallest up."""

    name: str
    """Of a fleet without its number of replicas."""
    what: str
    """What is served: the sessions as recorded, with another model, or compacted."""
    ladder: tuple[Words, ...]
    unit: str = ""
    """What a replica is made of; "" without a fleet."""

    @property
    def is_compacted(self) -> bool:
        """Whether contexts are compacted earlier than recorded, which takes calls of its own."""
        return any(word.startswith("arrivals.compaction.") for word in self.ladder[0])

    @property
    def family(self) -> Family:
        """The row as a family to search."""
        return Family(f"{self.what}: {self.name}", self.ladder, cost_rises=bool(self.unit))


class Rows:
    """The rows that can be played, and what was left out, with the reason."""

    def __init__(self, asked: Asked, lab: Lab):
        self._asked, self._lab = asked, lab
        self.left_out: list[tuple[str, str]] = []
        self.rows = list(self._all())

    def _all(self) -> Iterator[Row]:
        other = self._asked.told.other
        yield from self._ways(_RECORDED, (), (_API, _UNCACHED, _OWN, _TIERS))
        for model in other.model:
            yield from self._ways(f"with {model}", (f"model={model}",), (_API, _OWN))
        rule = other.compaction
        if rule.at_tokens is not None:
            words = tuple(f"arrivals.compaction.{key}={value}" for key, value in rule.model_dump().items())
            yield from self._ways(f"compacted at {rule.at_tokens:,} tokens", words, (_API, _OWN))

    def _ways(self, what: str, changes: Words, ways: tuple[str, ...]) -> Iterator[Row]:
        for way in ways:
            try:
                yield self._api(way, what, changes) if way in (_API, _UNCACHED) else self._own(way, what, changes)
            except ConfigError as error:
                self.left_out.append((f"{what}: {way}", one_line(error).removeprefix("error: ")))

    def _api(self, way: str, what: str, changes: Words) -> Row:
        words = (*changes, "fleet=api_only")
        scenario = self._lab.scenario(words)
        provider = scenario.api
        has_cache = isinstance(provider, ApiProvider) and provider.prompt_cache is not None
        if way == _UNCACHED:
            if not has_cache:
                raise ConfigError("this API has no prompt cache (api.prompt_cache=null): the other row says it")
            words = (*words, "api.prompt_cache=null")
        elif has_cache and scenario.prices.api.rates(scenario.model.name).usd_per_mtok_cached_input is None:
            way = "API, cached input has no price"
        return Row(way, what, (words,))

    def _own(self, way: str, what: str, changes: Words) -> Row:
        given = self._asked.question.base.words
        words = (*changes, "fleet=always_on")
        words += () if "placement" in given else ("placement=prefix_aware",)
        tiers = given.get("kv_tiers", "kv_tiers=host_memory")
        if way == _TIERS and tiers == "kv_tiers=none":
            raise ConfigError("kv_tiers=none was told")
        words += (tiers,) if way == _TIERS else ("kv_tiers=none",)
        one = self._lab.scenario(words)
        told = self._asked.told.n_replicas
        paper = OnPaper.of(one, self._asked.question.load, one.prices.gpu)
        sizes = range(1, paper.most_replicas + 1) if told is None else [told]
        ladder = tuple((*words, f"scaling.n_replicas={n}") for n in sizes)
        return Row(way, what, ladder, unit_of(one))


def unit_of(scenario: Scenario) -> str:
    """The hardware of one replica: its card, and how many of it."""
    n = scenario.engine.tensor_parallel
    return scenario.gpu.name if n == 1 else f"{n} {scenario.gpu.name}"
