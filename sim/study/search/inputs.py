"""What an answer depends on beside prices, and how each of these inputs is changed in what is played."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sim.study.search.variation import Changes, value_at

UP, DOWN = (1.25, 2.0, 4.0), (0.8, 0.5, 0.25)
"""Factors that are looked at, the nearest first; between two of them a flip is bisected."""
_SCALE = "arrivals.scale."
_STAGES = ("allocation_s", "image_s", "engine_start_s", "first_request_s")
_SPEEDS = (
    "bf16_dense_tflops", "fp8_dense_tflops", "fp4_dense_tflops", "memory_bandwidth_gb_per_s", "link_gb_per_s",
)  # fmt: skip
_DELAYS = (
    "layer_overhead_us", "quantized_layer_overhead_us", "moe_layer_overhead_us", "per_sequence_us",
    "all_reduce_latency_us", "all_reduce_hop_us", "all_reduce_two_shot_us",
)  # fmt: skip


@dataclass(frozen=True)
class Input:
    """One input: `changes(factor, config)` are the keys that multiply it. `keeps`: what such a change leaves alone."""

    key: str
    name: str
    value: float
    unit: str
    keeps: str
    changes: Callable[[float, Mapping[str, Any]], Changes]
    is_random: bool = False
    """Whether a changed input makes replications differ that otherwise would not."""
    up: tuple[float, ...] = UP
    down: tuple[float, ...] = DOWN
    why_not: str = ""
    """Why it is not searched; '' if it is."""


def inputs(config: Mapping[str, Any], reuse_fraction: float | None, starts_cold: bool) -> list[Input]:
    """The inputs of a decision from a log, by the configuration that all its fleets share.

    `reuse_fraction` is the part of the log's prompt tokens that an unlimited prefix cache would hold, None where the
    log does not say; `starts_cold`: whether a contender starts replicas while it serves.
    """
    scale = value_at(config, "arrivals.scale")
    found = [
        Input(
            _SCALE + "more_users", "volume", float(scale["more_users"]), "x the users",
            "sessions, lengths; below 1 bursts are weaker", _scaled("more_users"), is_random=True,
        ),
        Input(
            _SCALE + "sharper_bursts", "burstiness", float(scale["sharper_bursts"]), "exponent on a minute's rate",
            "tasks, their order, and the tasks of every hour", _scaled("sharper_bursts"),
        ),
        Input(
            _SCALE + "longer_answers", "output length", float(scale["longer_answers"]), "x the output tokens",
            "moments, calls, prompts", _scaled("longer_answers"),
        ),
        Input(
            _SCALE + "longer_contexts", "prompt length", float(scale["longer_contexts"]), "x the input tokens",
            "moments, calls, answers, the shared part", _scaled("longer_contexts"),
        ),
        Input(
            "cold_start", "cold-start time", 1.0, "x the seconds of every stage", "everything else", slower_starts,
            why_not="" if starts_cold else "no finalist starts replicas while it serves",
        ),
        Input(
            "step_time", "step time of the engine", 1.0, "x the seconds of a step", "everything else", slower_steps,
        ),
        Input(
            "engine.prefix_caching", "context reuse", reuse_fraction or 0.0, "of prompt tokens",
            "everything else; only no reuse at all is looked at, as a recorded prefix cannot be shared by half",
            without_reuse, up=(), down=(0.0,),
            why_not="" if reuse_fraction else "the log shows no prompt that shares text with another",
        ),
    ]  # fmt: skip
    return found


def _scaled(name: str) -> Callable[[float, Mapping[str, Any]], Changes]:
    key = _SCALE + name

    def changes(factor: float, config: Mapping[str, Any]) -> Changes:
        return ((key, float(value_at(config, key)) * factor),)

    return changes


def slower_starts(factor: float, config: Mapping[str, Any]) -> Changes:
    """Every stage of a cold start takes `factor` times as long, reading weights too, in every pool."""
    found: list[tuple[str, Any]] = []
    for prefix in _pools(config):
        cold = value_at(config, f"{prefix}cold_start") or {}
        found += [(f"{prefix}cold_start.{name}", cold[name] * factor) for name in _STAGES if cold.get(name)]
        if cold.get("bandwidth_gb_per_s"):
            found.append((f"{prefix}cold_start.bandwidth_gb_per_s", cold["bandwidth_gb_per_s"] / factor))
    return tuple(found)


def slower_steps(factor: float, config: Mapping[str, Any]) -> Changes:
    """Every part of a step takes `factor` times as long, on every card: arithmetic, memory, links and overheads."""
    found: list[tuple[str, Any]] = []
    for prefix in _pools(config):
        gpu, engine = value_at(config, f"{prefix}gpu") or {}, value_at(config, f"{prefix}engine") or {}
        if value_at(engine, "step_time.kind") not in (None, "roofline"):
            continue
        found += [(f"{prefix}gpu.{name}", gpu[name] / factor) for name in _SPEEDS if gpu.get(name)]
        found += [(f"{prefix}gpu.{name}", gpu[name] * factor) for name in _DELAYS if gpu.get(name)]
        if engine.get("step_overhead_us"):
            found.append((f"{prefix}engine.step_overhead_us", engine["step_overhead_us"] * factor))
    return tuple(found)


def without_reuse(_factor: float, config: Mapping[str, Any]) -> Changes:
    """No prompt token is cached, neither by an engine nor by the API."""
    found: list[tuple[str, Any]] = []
    for prefix in _pools(config):
        if value_at(config, f"{prefix}engine"):
            found.append((f"{prefix}engine.prefix_caching", False))
    if value_at(config, "api.prompt_cache"):
        found.append(("api.prompt_cache", None))
    return tuple(found)


def _pools(config: Mapping[str, Any]) -> list[str]:
    """Where the groups of each pool stand: the first pool's at the top."""
    return ["", *(f"pools.{name}." for name in config.get("pools") or {})]
