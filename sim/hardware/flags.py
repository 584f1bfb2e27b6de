"""EngineFlags: what a serving engine is told on its command line, for one replica."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from sim.hardware.model import Dtype, Model, Sampler
from sim.hardware.speculation import Speculation
from sim.schema import Config


class EngineFlags(Config):
    """A serving engine and its flags, for one replica. Names are those of vLLM."""

    max_num_seqs: int = Field(256, gt=0, description="cap on running sequences")
    max_num_batched_tokens: int = Field(2048, gt=0, description="token budget of one step")
    tensor_parallel: int = Field(1, gt=0, description="GPUs of one replica")
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1, description="share of device memory the engine may take")
    activation_reserve_gb: float = Field(1.25, ge=0, description="per GPU: activations, graphs, context")
    block_tokens: int = Field(16, gt=0, description="tokens of one KV block")
    kv_cache_blocks: int | None = Field(None, gt=0, description="as the engine's own log says; None: from memory")
    prefix_caching: bool = True
    weight_dtype: Dtype | None = Field(None, description="quantise the linear layers; None: as published")
    kv_dtype: Dtype | None = Field(None, description="KV cache type; None: as published")
    step_overhead_us: float = Field(270.0, ge=0, description="host work per step that the GPU waits for")
    gemm_fraction: float = Field(1.0, gt=0, le=1, description="of the GPU's GEMM and prefill attention efficiency")
    kv_read_fraction: float = Field(1.0, gt=0, le=1, description="of the GPU's KV read efficiency")
    sampler: Sampler = Field(
        "random",
        description="how tokens are picked: sorting for top_p reads the logits often; not the model's default_sampler, "
        "since clients usually set their own",
    )
    async_scheduling: bool = Field(True, description="a step's batch is fixed one step ahead")
    scheduling_policy: Literal["fcfs", "priority"] = Field("fcfs", description="order of the queue and of preemption")
    capacity_policy: Literal["max_utilization", "guaranteed_no_evict"] = Field(
        "max_utilization",
        description="who has room: a prompt that fits now, perhaps to be preempted; or one whose whole output will fit",
    )
    chunked_prefill: bool = Field(
        True, description="long prompts in several steps; if not, input + output must be <= max_num_batched_tokens"
    )
    max_model_len: int | None = Field(
        None, gt=0, description="input + output of a request, longer ones are refused; None: the model's context"
    )
    max_queue: int | None = Field(
        None, ge=0, description="requests a replica takes beyond max_num_seqs, the rest are refused; None: any number"
    )
    request_overhead_s: float = Field(0.0, ge=0, description="HTTP and tokenising, once per request")
    speculative: Speculation | None = Field(None, description="None: every step yields one token of a sequence")

    @property
    def tokens_per_decode(self) -> int:
        """Tokens that a step computes of every decoding sequence: its next, and those drafted."""
        return 1 if self.speculative is None else self.speculative.draft_tokens + 1

    @model_validator(mode="after")
    def _budget_holds_a_decode_of_all(self) -> EngineFlags:
        each = self.tokens_per_decode
        if self.max_num_batched_tokens < self.max_num_seqs * each:
            raise ValueError(
                f"max_num_batched_tokens = {self.max_num_batched_tokens} must be >= max_num_seqs = {self.max_num_seqs}"
                f"{f' x {each} tokens' if each > 1 else ''}: every running sequence needs its part of a step's budget"
            )
        return self

    @model_validator(mode="after")
    def _reserving_is_first_come_first_served(self) -> EngineFlags:
        if self.capacity_policy == "guaranteed_no_evict" and self.scheduling_policy != "fcfs":
            raise ValueError(
                f"capacity_policy = guaranteed_no_evict: needs scheduling_policy = fcfs, not {self.scheduling_policy}"
            )
        return self


def max_context_tokens(model: Model, engine: EngineFlags) -> int:
    """Input and output that one request may have; longer ones are refused."""
    return min(model.max_context_tokens, engine.max_model_len or model.max_context_tokens)
