"""Who wins in another world: the finalists and their neighbours, played with something changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sim.report.attainment import reaches
from sim.study.search.evidence import Candidate, Sample, World, same_run
from sim.study.search.variation import Changes, varied

Change = Callable[[Mapping[str, Any]], Changes]
"""What is set to other values in the composed configuration of a contender, by that configuration."""


class Standing(NamedTuple):
    """What became of the contenders in one world; those that cannot be the cheapest are not played."""

    samples: Mapping[Candidate, Sequence[Sample]]
    """Of each contender; a single one where every replication is the same run."""
    leader: Candidate | None
    """The cheapest whose attainment, over all replications, reaches the target; None: no contender's does."""
    leaders: tuple[Candidate | None, ...]
    """The same by each single replication."""

    def usd(self, candidate: Candidate) -> float:
        """Mean US dollars a month."""
        found = self.samples[candidate]
        return sum(sample.usd for sample in found) / len(found)


@dataclass(frozen=True)
class Contender:
    """A fleet that may win. `held_usd`: what it costs a month whatever the traffic; None where that depends on it."""

    candidate: Candidate
    config: Mapping[str, Any]
    held_usd: float | None = None
    repeats: bool = False
    """Whether every replication of it is the same run, as long as nothing random is changed."""


class Contest:
    """Contenders; the first is the incumbent, the winner of the world as it is."""

    def __init__(self, world: World, contenders: Sequence[Contender], target: float, replications: int):
        self._world, self.contenders, self._target, self._replications = world, contenders, target, replications
        self.incumbent = contenders[0].candidate
        self._played: set[tuple[Candidate, int]] = set()
        self._known: dict[Any, Standing] = {}

    @property
    def n_played(self) -> int:
        """Simulations so far."""
        return len(self._played)

    def standing(
        self, change: Change, is_random: bool = False, numbers: Sequence[int] | None = None, slack: float = 1.0
    ) -> Standing:
        """Play the contenders under a change. `is_random`: it makes replications differ that otherwise would not.

        `numbers` are the replications to play, by default the first few. What was asked for before is not played again.
        A contender of known cost is left out if that is `slack` times the cheapest that reaches the target, or more.
        """
        numbers = range(self._replications) if numbers is None else numbers
        changes = {one.candidate: change(one.config) for one in self.contenders}
        key = (tuple(changes.values()), tuple(numbers), slack)
        if key not in self._known:
            self._known[key] = self._standing(changes, is_random, numbers, slack)
        return self._known[key]

    def holds(self, change: Change, is_random: bool = False) -> bool:
        """Whether the incumbent wins in the first replication. Where it misses the target, no other is played."""
        changes = {one.candidate: change(one.config) for one in self.contenders}
        if self._leader(self._play(self.contenders[:1], changes, is_random, (0,))) is None:
            return False
        return self.standing(change, is_random, (0,)).leader == self.incumbent

    def _standing(
        self, changes: Mapping[Candidate, Changes], is_random: bool, numbers: Sequence[int], slack: float
    ) -> Standing:
        first, *rest = self.contenders
        open_ended = [first, *(one for one in rest if one.held_usd is None)]
        samples = self._play(open_ended, changes, is_random, numbers)
        for one in sorted((one for one in rest if one.held_usd is not None), key=lambda one: one.held_usd or 0.0):
            best = self._leader(samples)
            if best is not None and slack * _mean_usd(samples[best]) <= (one.held_usd or 0.0):
                break
            samples |= self._play([one], changes, is_random, numbers)
        n = max(map(len, samples.values()))
        singles = [{c: [s[i if len(s) > 1 else 0]] for c, s in samples.items()} for i in range(n)]
        return Standing(samples, self._leader(samples), tuple(map(self._leader, singles)))

    def _play(
        self, contenders: Sequence[Contender], changes: Mapping[Candidate, Changes], is_random: bool,
        numbers: Sequence[int],
    ) -> dict[Candidate, Sequence[Sample]]:  # fmt: skip
        wanted = [
            (one.candidate, number)
            for one in contenders
            for number in (numbers[:1] if one.repeats and not is_random else numbers)
        ]
        asked = [(varied(c, changes[c]), number) for c, number in wanted]
        played = self._world.play(asked)
        self._played.update(asked)
        found: dict[Candidate, list[Sample]] = {}
        for (candidate, _), sample in zip(wanted, played, strict=True):
            found.setdefault(candidate, []).append(sample)
        return {c: s[:1] if all(same_run(s[0], other) for other in s) else s for c, s in found.items()}

    def _leader(self, samples: Mapping[Candidate, Sequence[Sample]]) -> Candidate | None:
        """The incumbent wins a tie."""
        return leader(samples, self._target, lambda sample: sample.attained)


def leader(
    samples: Mapping[Candidate, Sequence[Sample]], target: float, attained: Callable[[Sample], int]
) -> Candidate | None:
    """The cheapest candidate whose attained calls reach the target; of equally cheap ones the first. None: no one's."""
    able = [
        candidate
        for candidate, found in samples.items()
        if (calls := sum(s.calls for s in found)) and reaches(sum(map(attained, found)) / calls, target)
    ]
    return min(able, key=lambda candidate: _mean_usd(samples[candidate]), default=None)


def _mean_usd(samples: Sequence[Sample]) -> float:
    return sum(sample.usd for sample in samples) / len(samples)
