"""Sessions as agent loops: numbers, waits and tokens, each by the quantiles of the log."""

from __future__ import annotations

import numpy as np

from sim.workload.description.calls import Calls
from sim.workload.description.sessions import added_tokens, gaps_of
from sim.workload.spread import Spread
from sim.workload.tasks.agent_loop import MOST_CALLS, AgentLoop

_MOST_STEPS, _EARLY_STEPS = 100, 20
_EARLY_CALLS, _LEAST_PROMPTS = 8, 30


def fitted_sessions(calls: Calls) -> AgentLoop:
    """The agent loop with the log's calls per session, prompts, new and rewritten ones, answers and gaps."""
    log, rows = calls.log, calls.task_rows
    inputs, outputs = log.input_tokens[rows], log.output_tokens[rows]
    added, anew = added_tokens(calls)
    later = np.ones(len(rows), bool)
    later[calls.offsets[:-1]] = False
    growing, place = later & ~anew, np.arange(len(rows)) - np.repeat(calls.offsets[:-1], calls.calls_per_task)
    early = _early(added[growing], place[growing])
    gaps, _ = gaps_of(calls)
    first = spread_of(inputs[calls.offsets[:-1]], 1.0)
    late = added[growing & (place > len(early))]
    new = spread_of(late if len(late) else np.array([1]), 1.0)
    answer = spread_of(outputs, 1.0)
    before = np.concatenate(([1], (inputs + outputs)[:-1]))
    limit = int((inputs + outputs).max())
    most = max(spread.highest for spread in (new, *early))
    fits = first.highest + most + answer.highest <= limit
    return AgentLoop(
        calls_per_task=spread_of(np.minimum(calls.calls_per_task, MOST_CALLS), 1.0), first_input_tokens=first,
        new_input_tokens=new, early_input_tokens=early, output_tokens=answer,
        max_context_tokens=limit if fits else None,
        wait_s=spread_of(gaps, 0.0) if len(gaps) else Spread(median=0.0),
        rewritten_fraction=round(float(anew[later].mean()), 4) if later.any() else 0.0,
        rewritten_size=spread_of(np.minimum(inputs / before, 1.0)[anew], 0.0) if anew.any() else Spread(median=1.0),
    )  # fmt: skip


def _early(added: np.ndarray, place: np.ndarray) -> tuple[Spread, ...]:
    """The spreads of what the second call adds, the third, ...: a context grows fastest at its beginning.

    Up to the ninth call, as far as there are thirty prompts of each.
    """
    found: list[Spread] = []
    for call in range(1, _EARLY_CALLS + 1):
        values = added[place == call]
        if len(values) < _LEAST_PROMPTS:
            break
        found.append(spread_of(values, 1.0, _EARLY_STEPS))
    return tuple(found)


def spread_of(values: np.ndarray, least: float, most_steps: int = _MOST_STEPS) -> Spread:
    """The spread by up to `most_steps` + 1 quantiles of the values, all of them raised to at least `least`."""
    steps = min(len(values), most_steps)
    found = np.quantile(np.maximum(values, least), np.linspace(0, 1, steps + 1), method="inverted_cdf")
    if found[0] == found[-1]:
        return Spread(median=float(found[0]))
    return Spread.model_validate({"quantiles": [float(f"{value:.6g}") for value in found.tolist()]})
