"""Every scenario that a search played, as plain data: what it is called, its command, its cost and its attainment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from sim.composition import Composition
from sim.study.search.evidence import Candidate, Evidence, judgement_of
from sim.study.search.race import Answer
from sim.study.search.wording import interval_data


def scenarios_played(
    base: Composition, answer: Answer, evidence: Evidence, name_of: Callable[[Candidate], str]
) -> list[dict[str, Any]]:
    """One entry per candidate, in the order of the search; each candidate is the words that are added to `base`.

    `kind` is what the candidate's family is called, without its hardware. A candidate whose play was cut short, because
    it was shown to cost too much, is judged by the replications that it has.
    """
    judged = evidence.judged()
    found = []
    for kind, candidates in _by_kind(answer):
        for candidate in (c for c in candidates if c in evidence.samples):
            samples = evidence.samples[candidate][: 1 if evidence.repeats(candidate) else None]
            judgement = judged.get(candidate) or judgement_of(samples, evidence.target)
            cost, share = evidence.cost(candidate), judgement.attainment
            found.append({
                "name": name_of(candidate), "kind": kind,
                "command": _command(base, candidate, len(samples)),
                "usd_per_month": interval_data(cost), "slo_attainment_fraction": interval_data(share),
                "slo_judgement": str(judgement.verdict),
            })  # fmt: skip
    return found


def _by_kind(answer: Answer) -> Iterator[tuple[str, list[Candidate]]]:
    """The sizes of each family, then the trials of its knobs, the best last: a drawing has it on top."""
    for searched in answer.searched:
        kind, ladder = searched.family.name.partition(",")[0], searched.family.ladder
        yield kind, list(ladder)
        for tuning in (tuned.tuning for tuned in answer.tuned if tuned.tuning.before in ladder):
            trials = dict.fromkeys(t.candidate for t in tuning.trials if t.candidate != tuning.before)
            yield kind, sorted(trials, key=lambda candidate: candidate == tuning.after)


def _command(base: Composition, candidate: Candidate, replications: int) -> str:
    """The command line that plays a candidate as the search did; a later word on a key replaces an earlier one."""
    assert isinstance(candidate, tuple)
    words = {word.partition("=")[0].lstrip("+"): word for word in (*base.words.values(), *candidate)}
    words |= {"replications": f"replications={replications}"}
    return " ".join(["llm-traffic-sim run", *words.values()])
