"""Closed forms of the cost of a task of k model calls, through an API or on own GPUs, with or without caching."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from sim.units import MTOK


class AgentTask(NamedTuple):
    """A task whose prompt grows: call i (from 1) has `first_input_tokens + growth_tokens * (i - 1)` input tokens.

    `repeated_fraction` is the part of a prompt that was sent before, for readings A and B of `Reuse`, which assume a
    fraction instead of following the prefix.
    """

    first_input_tokens: float = 7300
    growth_tokens: float = 231
    output_tokens: float = 299
    repeated_fraction: float = 0.9

    def input_tokens(self, calls: int) -> float:
        """Input tokens of all calls together."""
        return calls * self.first_input_tokens + self.growth_tokens * calls * (calls - 1) / 2

    def all_output_tokens(self, calls: int) -> float:
        """Output tokens of all calls together."""
        return calls * self.output_tokens


class Reuse(Enum):
    """Which input tokens are not computed again. Articles that say "90 % repeated" may mean any of A, B and C."""

    NONE = "every call is computed in full"
    EVERY_CALL = "reading A: the repeated fraction of every call, the first one included"
    AFTER_FIRST = "reading B: the first call in full, then the repeated fraction of each"
    EXACT_PREFIX = "reading C: the first call in full, then all but what is new"


def reused_tokens(task: AgentTask, calls: int, reuse: Reuse) -> float:
    """Input tokens of a task of `calls` calls that a prompt cache holds."""
    total = task.input_tokens(calls)
    if reuse is Reuse.NONE or not calls:
        return 0.0
    if reuse is Reuse.EVERY_CALL:
        return task.repeated_fraction * total
    later = total - task.first_input_tokens
    if reuse is Reuse.AFTER_FIRST:
        return task.repeated_fraction * later
    return later - task.growth_tokens * (calls - 1)


def api_task_usd(
    task: AgentTask,
    calls: int,
    usd_per_mtok_input: float,
    usd_per_mtok_output: float,
    usd_per_mtok_cached_input: float | None = None,
    reuse: Reuse = Reuse.NONE,
) -> float:
    """USD of a task through an API. Without `usd_per_mtok_cached_input`, cached input costs as much as other input."""
    cached = reused_tokens(task, calls, reuse)
    cached_rate = usd_per_mtok_input if usd_per_mtok_cached_input is None else usd_per_mtok_cached_input
    uncached_usd = (task.input_tokens(calls) - cached) * usd_per_mtok_input
    return (uncached_usd + cached * cached_rate + task.all_output_tokens(calls) * usd_per_mtok_output) / MTOK


def self_hosted_task_usd(task: AgentTask, calls: int, usd_per_mtok_total: float, reuse: Reuse) -> float:
    """USD of a task on GPUs, at `usd_per_mtok_total` for each million tokens computed, input and output alike.

    Reused tokens cost nothing here, which is a simplification: their KV still takes memory, and every decode step reads
    it.
    """
    computed = task.input_tokens(calls) - reused_tokens(task, calls, reuse) + task.all_output_tokens(calls)
    return computed * usd_per_mtok_total / MTOK


def crossover_calls(
    self_usd: Callable[[int], float], api_usd: Callable[[int], float], most_calls: int = 1000
) -> int | None:
    """The smallest number of calls from which on, up to `most_calls`, self-hosting is cheaper. None if there is none.

    `self_usd` and `api_usd` give the USD of a task by its number of calls.

    >>> crossover_calls(lambda k: 5 + k, lambda k: 2 * k)
    6
    """
    crossover = None
    for calls in range(most_calls, 0, -1):
        if self_usd(calls) >= api_usd(calls):
            break
        crossover = calls
    return crossover
