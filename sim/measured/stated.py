"""What a file of measured runs may say of a run, its server and its load: typed at the door, units in the names."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import ConfigDict, Field, field_validator, model_validator

from sim.hardware.host import HostTime
from sim.hardware.model import Sampler
from sim.schema import Config

MOST = 10_000_000
"""Requests of a stage, or tokens of one: more is a slip, and would not fit in memory."""

_SHARES = {
    "min": 0.0, "p5": 0.05, "p10": 0.1, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p90": 0.9, "p95": 0.95, "p99": 0.99,
    "max": 1.0,
}  # fmt: skip
_ARRIVALS = {
    "exponential": "poisson", "deterministic": "constant", "uniform": "constant", "even": "constant",
    "batch": "burst", "all_at_once": "burst",
}  # fmt: skip


class Stated(Config):
    """A part of such a file: null or an empty cell means not stated; a key that is not known is refused.

    A key that were ignored would let a run be played without something that it states.
    """

    model_config = ConfigDict(extra="forbid", coerce_numbers_to_str=True)

    not_read: ClassVar[frozenset[str]] = frozenset()
    """Keys that such a part may have and that change nothing: where a figure is from, and how it was got."""

    @model_validator(mode="before")
    @classmethod
    def _null_is_not_stated(cls, raw: Any) -> Any:
        if not isinstance(raw, dict):
            return raw
        return {k: v for k, v in raw.items() if v is not None and v != "" and k not in cls.not_read}


class LengthsStated(Stated):
    """Tokens of a stage's prompts or outputs: one number, or a mean and percentiles."""

    not_read = frozenset({"distribution"})  # percentiles say it more exactly

    mean: float | None = Field(None, gt=0, le=MOST)
    nominal: float | None = Field(None, gt=0, le=MOST)
    min: float | None = Field(None, ge=0, le=MOST)
    p5: float | None = Field(None, ge=0, le=MOST)
    p10: float | None = Field(None, ge=0, le=MOST)
    p25: float | None = Field(None, ge=0, le=MOST)
    p50: float | None = Field(None, ge=0, le=MOST)
    p75: float | None = Field(None, ge=0, le=MOST)
    p90: float | None = Field(None, ge=0, le=MOST)
    p95: float | None = Field(None, ge=0, le=MOST)
    p99: float | None = Field(None, ge=0, le=MOST)
    max: float | None = Field(None, ge=0, le=MOST)

    @model_validator(mode="before")
    @classmethod
    def _one_number_is_the_mean(cls, raw: Any) -> Any:
        return {"mean": raw} if isinstance(raw, int | float | str) else raw

    @model_validator(mode="after")
    def _has_a_mean(self) -> LengthsStated:
        if not (self.mean or self.nominal or self.known):
            raise ValueError("needs a mean")
        return self

    @property
    def known(self) -> list[tuple[float, float]]:
        """(share of the lengths below, length), in order."""
        found = ((share, getattr(self, name)) for name, share in _SHARES.items())
        return [(share, length) for share, length in found if length]

    @property
    def mean_tokens(self) -> float:
        return self.mean or self.nominal or float(np.mean([length for _, length in self.known]))


class StageStated(Stated):
    """One load: how many requests, when, how long, and what they share."""

    not_read = frozenset({
        "n_failed", "output_distribution", "prompt_repeat_basis", "arrival_cv_measured", "start_s",
        "measured_after_first_100", "measured_rel_std_error", "notes",
    })  # fmt: skip

    stage: int | str | None = None
    rate_rps: float | None = Field(None, gt=0)
    duration_s: float | None = Field(None, ge=0)
    n_requests: int | None = Field(None, gt=0, le=MOST)
    arrival: Literal["poisson", "constant", "burst"] = "poisson"
    prompt_tokens: LengthsStated
    output_tokens: LengthsStated
    shared_prefix_tokens: float = Field(0, ge=0)
    n_prefix_groups: int = Field(1, ge=0)
    n_distinct_prompts: int = Field(0, ge=0, le=MOST)
    prompt_repeat_period_requests: int = Field(0, ge=0, le=MOST)
    overloaded: bool = False
    measured: dict[str, Any] = {}

    @field_validator("arrival", mode="before")
    @classmethod
    def _other_words(cls, word: Any) -> Any:
        return _ARRIVALS.get(word.lower(), word.lower()) if isinstance(word, str) else word

    @model_validator(mode="after")
    def _says_how_many(self) -> StageStated:
        if not 1 <= self.n_sent <= MOST:
            raise ValueError(f"needs n_requests, or rate_rps and duration_s that make at least one, at most {MOST}")
        return self

    @property
    def n_sent(self) -> int:
        return self.n_requests or round(min((self.rate_rps or 0.0) * (self.duration_s or 0.0), 2.0 * MOST))

    @property
    def lasts_s(self) -> float:
        """Seconds from the first request to when one after the last would be sent.

        0: all requests are sent at once, because the stage says burst, or gives neither a rate nor a duration.
        """
        if self.arrival == "burst":
            return 0.0
        return self.duration_s or (self.n_sent / self.rate_rps if self.rate_rps else 0.0)


class FlagsStated(Stated):
    """The engine's flags, named as by vLLM, and what its log says."""

    not_read = frozenset({
        "version", "max_num_seqs_scope", "cuda_graphs", "kv_cache_blocks_basis", "cpu_kv_offload", "notes",
    })  # fmt: skip

    name: str | None = None
    max_num_seqs: int | None = Field(None, gt=0, le=100_000)
    max_num_batched_tokens: int | None = Field(None, gt=0)
    max_model_len: int | None = Field(None, gt=0)
    chunked_prefill: bool | None = None
    prefix_caching: bool | None = None
    gpu_memory_utilization: float | None = Field(None, gt=0, le=1)
    block_size: int | None = Field(None, gt=0)
    kv_cache_blocks: int | None = Field(None, gt=0)
    async_scheduling: bool | None = None
    request_overhead_s: float | None = Field(None, ge=0)
    sampler: Sampler | None = None
    expert_parallel: bool | None = None
    schedule_policy: Literal["fcfs", "lpm"] | None = None  # SGLang's
    host: HostTime | None = None


class Layout(NamedTuple):
    """How the GPUs of a measured server divide the load."""

    replicas: int
    gpus_per_replica: int
    attention_ranks: int  # of a replica


def is_sglang(engine: str | None) -> bool:
    """Whether the name of an engine is that of SGLang."""
    return "sglang" in (engine or "").lower()


class ServerStated(Stated):
    """Model, GPUs, number formats and engine of one measured server."""

    not_read = frozenset({"source", "licence", "workload", "measured_how", "notes"})

    model: str
    gpu: str
    n_gpus: int | None = Field(None, gt=0)
    tensor_parallel: int | None = Field(None, gt=0)
    replicas: int | None = Field(None, gt=0, le=10_000)
    data_parallel: int | None = Field(None, gt=0, le=10_000)
    enable_dp_attention: bool = False
    expert_parallel: bool | None = None
    dtype: str | None = None
    kv_dtype: str | None = None
    engine: FlagsStated = FlagsStated()

    @model_validator(mode="after")
    def _ranks_have_a_number(self) -> ServerStated:
        if self.enable_dp_attention and self.data_parallel is None:
            raise ValueError("enable_dp_attention: needs data_parallel, the number of attention ranks")
        return self

    @property
    def is_sglang(self) -> bool:
        return is_sglang(self.engine.name)

    def layout(self, has_experts: bool) -> Layout:
        """Replicas, GPUs of each, and attention ranks among these, of a model with or without experts.

        Data parallelism is of attention, in lockstep, where SGLang is told `enable_dp_attention`, whose ranks share the
        GPUs of `tensor_parallel`; and where any other engine, as vLLM, serves a model with experts, and
        `tensor_parallel` is of one rank. Everywhere else it is of replicas, which know nothing of each other.
        """
        ranks = self.data_parallel or 1
        inside = self.enable_dp_attention
        if not inside and (self.is_sglang or not has_experts):
            replicas = self.replicas or ranks
            return Layout(replicas, self.tensor_parallel or max(1, (self.n_gpus or 1) // replicas), 1)
        replicas = self.replicas or 1
        if self.tensor_parallel:
            return Layout(replicas, self.tensor_parallel * (1 if inside else ranks), ranks)
        return Layout(replicas, max(ranks, (self.n_gpus or 1) // replicas), ranks)


class LoggedRun(ServerStated):
    """One run whose requests are in a CSV beside it."""

    not_read = ServerStated.not_read | {"saturated", "split"}

    id: str
    measured: dict[str, Any] = {}


class TogetherStated(Stated):
    """All stages of a run taken together."""

    not_read = StageStated.not_read

    measured: dict[str, Any] = {}


class StagedRun(ServerStated):
    """One run of load stages."""

    not_read = ServerStated.not_read | {"source_id", "workload_uncertain", "workload_basis", "used_to_fit_peers"}

    id: str
    stages: list[StageStated] = Field(min_length=1)
    overall: TogetherStated = TogetherStated()
    overloaded: bool = False

    @property
    def is_overloaded(self) -> bool:
        return self.overloaded or any(stage.overloaded for stage in self.stages)


def number(measured: dict[str, Any], metric: str) -> float | None:
    """What was measured; None where that is no number."""
    value = measured.get(metric)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
