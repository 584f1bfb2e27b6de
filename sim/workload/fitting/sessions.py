"""Sessions as agent loops: numbers, waits and tokens, each by the quantiles of the log."""

from __future__ import annotations

import numpy as np

from sim.workload.description.calls import Calls
from sim.workload.description.sessions import added_tokens, gaps_of
from sim.workload.spread import Spread
from sim.workload.tasks.agent_loop import MOST_CALLS, AgentLoop

_MOST_STEPS = 100


def fitted_sessions(calls: Calls) -> AgentLoop:
    """The agent loop with the log's calls per session, first prompts, new input, answers and gaps."""
    log, rows = calls.log, calls.task_rows
    inputs, outputs = log.input_tokens[rows], log.output_tokens[rows]
    added, anew = added_tokens(calls)
    later = np.ones(len(rows), bool)
    later[calls.offsets[:-1]] = False
    growing = added[later & ~anew]
    gaps, _ = gaps_of(calls)
    first = spread_of(inputs[calls.offsets[:-1]], 1.0)
    new = spread_of(growing if len(growing) else np.array([1]), 1.0)
    answer = spread_of(outputs, 1.0)
    limit = int((inputs + outputs).max())
    fits = first.highest + new.highest + answer.highest <= limit
    return AgentLoop(
        calls_per_task=spread_of(np.minimum(calls.calls_per_task, MOST_CALLS), 1.0), first_input_tokens=first,
        new_input_tokens=new, output_tokens=answer, max_context_tokens=limit if fits else None,
        wait_s=spread_of(gaps, 0.0) if len(gaps) else Spread(median=0.0),
    )  # fmt: skip


def spread_of(values: np.ndarray, least: float) -> Spread:
    """The spread by up to 101 quantiles of the values, all of them raised to at least `least`."""
    steps = min(len(values), _MOST_STEPS)
    found = np.quantile(np.maximum(values, least), np.linspace(0, 1, steps + 1), method="inverted_cdf")
    if found[0] == found[-1]:
        return Spread(median=float(found[0]))
    return Spread.model_validate({"quantiles": [float(f"{value:.6g}") for value in found.tolist()]})
