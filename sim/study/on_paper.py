"""What `llm-traffic-sim paper` says: costs on paper in words, and beside them what a simulated fleet reaches."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sim.ledger.on_paper import Paper, Realized, points, recipe, task_costs
from sim.report.formatting import number, percent, usd
from sim.scenarios import scenario
from sim.schema import ConfigError, parse_config
from sim.study.replicate import simulate

_MOST_FLEETS = 12


def paper_of(data: dict[str, Any], model: str | None, regime: str | None) -> tuple[Paper, str, str]:
    """The comparison that plain data describes, and the model and regime of its curves. Raises ConfigError."""
    paper = parse_config(Paper, data)
    name = model or next(iter(paper.models))
    if name not in paper.models:
        raise ConfigError(f"--model {name}: must be one of {', '.join(paper.models)}")
    regimes = paper.models[name].regimes
    chosen = regime or next(iter(regimes))
    if chosen not in regimes:
        raise ConfigError(f"--regime {chosen}: must be one of {', '.join(regimes)}")
    return paper, name, chosen


def realized_by(words: Sequence[str], replicas: str) -> list[Realized]:
    """What always-on fleets of these sizes (`1..4`) reach with the traffic of a scenario, each played once.

    Raises ConfigError. A fleet that meets the SLO in its one replication may miss it in another.
    """
    given = re.fullmatch(r"(\d+)\.\.(\d+)", replicas)
    sizes = range(int(given[1]), int(given[2]) + 1) if given else range(0)
    if not 0 < len(sizes) <= _MOST_FLEETS or not sizes[0]:
        raise ConfigError(f"--replicas {replicas}: must be A..B with 1 <= A <= B, at most {_MOST_FLEETS} of them")
    base = scenario(*words)
    if base.scaling.kind != "always_on":
        raise ConfigError(
            f"--realized: scaling.kind = {base.scaling.kind}: must be always_on; --replicas sets its size"
        )
    found = []
    for n in sizes:
        figures = simulate(base.replace(**{"scaling.n_replicas": n})).summary
        found.append(
            Realized(f"{n} replicas" if n > 1 else "1 replica", figures["token_fraction_of_peak"] or 0.0,
                     bool(figures["meets_slo"]), float(figures["usd_per_mtok_total"] or 0.0))
        )  # fmt: skip
    return found


def lines(paper: Paper, model: str, regime: str, realized: Sequence[Realized]) -> Iterator[str]:
    """The text of the command line."""
    yield (
        f"on paper: token_fraction_of_peak assumed {paper.token_fraction_of_peak:.0%}, overhead "
        f"{paper.overhead_fraction:.0%} of rent; USD per million tokens, input and output together"
    )
    yield f"{'model':<18}{'regime':<14}{'own GPUs':>10}{'API':>10}{'break-even':>12}  zone"
    for p in points(paper):
        even = f"{p.breakeven.needed:.0%}" if p.breakeven.needed < 100 else "never"
        yield (
            f"{p.model:<18}{p.regime:<14}{number(p.self_usd_per_mtok):>10}{number(p.api_usd_per_mtok):>10}{even:>12}"
            f"  {p.zone}"
        )
    yield from _task_lines(paper, model, regime)
    yield f"the recipe, {model}, {regime}:"
    for number_of, step in enumerate(recipe(paper, model, regime), 1):
        yield f"  {number_of}. {step.name}: {step.value}"
    if realized:
        yield from _realized_lines(paper, model, regime, realized)


def _task_lines(paper: Paper, model: str, regime: str) -> Iterator[str]:
    costs, k = task_costs(paper, model, regime), paper.calls
    own, plain, cached = costs.own[k - 1], costs.api_uncached[k - 1], costs.api_cached[k - 1]
    yield f"a task of {k} calls, {model}, priced as {regime}; repeated context: {paper.reuse.value}"
    at_api = f"API ${plain:.4f} ({plain / own:.2f} x), with cached reads ${cached:.4f} ({cached / own:.2f} x)"
    yield f"  own GPUs ${own:.4f}; {at_api}"
    for name, crossing in (("the API", costs.crossover_uncached), ("cached reads", costs.crossover_cached)):
        yield f"  cheaper than {name} {'at no k up to 1,000' if crossing is None else f'from k = {crossing} on'}"


def _realized_lines(paper: Paper, model: str, regime: str, realized: Sequence[Realized]) -> Iterator[str]:
    needed = next(p.breakeven.needed for p in points(paper) if (p.model, p.regime) == (model, regime))
    yield "realized in the simulator, each fleet played once:"
    for fleet in realized:
        share = fleet.token_fraction_of_peak
        yield (
            f"  {fleet.name}: token_fraction_of_peak {percent(share)} %, SLO {'met' if fleet.meets_slo else 'missed'}, "
            f"{usd(fleet.usd_per_mtok)} per Mtok by the scenario's own prices"
        )
    within = [fleet for fleet in realized if fleet.meets_slo]
    if not within:
        yield "  no fleet of these sizes meets the SLO: --replicas has more"
        return
    best = max(within, key=lambda fleet: fleet.token_fraction_of_peak)
    share = best.token_fraction_of_peak
    where = "on own GPUs" if share >= needed else "at the API"
    yield (
        f"  within the SLO at most {percent(share)} % of peak ({best.name}), where {paper.token_fraction_of_peak:.0%} "
        f"were assumed and {needed:.0%} break even: {model} is cheaper {where}"
    )


def drawn(paper: Paper, model: str, regime: str, path: Path, realized: Sequence[Realized]) -> Path:
    """Draw the charts. Raises ConfigError for a kind of picture that is not known."""
    if path.suffix not in (".png", ".svg"):
        raise ConfigError(f"--figure {path}: must end in .png or .svg")
    from sim.report.paper_figures import draw  # loads matplotlib

    return draw(paper, model, regime, path, realized)
