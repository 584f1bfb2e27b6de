"""EngineFlags: the options of a serving engine for one replica, as a command line gives them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from sim.hardware.host import HostTime
from sim.hardware.model import Dtype, Model, Sampler
from sim.hardware.prefill_first import PrefillFirst
from sim.hardware.speculation import Speculation
from sim.schema import Config


class EngineFlags(Config):
    """The options of a serving engine for one replica. Where vLLM has the option, the name is vLLM's."""

    max_num_seqs: int = Field(256, gt=0, description="cap on running sequences")
    max_num_batched_tokens: int = Field(2048, gt=0, description="token budget of one step")
    tensor_parallel: int = Field(1, gt=0, description="GPUs of one replica")
    attention_data_parallel: int = Field(
        1,
        gt=0,
        description="attention ranks of a replica, which step together: each has an equal share of the GPUs, with "
        "all weights but routed experts, and has max_num_seqs, max_num_batched_tokens and KV memory of its own",
    )
    expert_parallel: bool = Field(
        False,
        description="the GPUs of a replica keep whole routed experts, E / tensor_parallel each, in place of a slice of "
        "every one",
    )
    expert_imbalance: float = Field(
        1.0,
        ge=1,
        description="with expert_parallel, tokens of the fullest GPU over those of even routing: 1 if experts are "
        "equally popular or balanced",
    )
    expert_exchange: Literal["all_gather", "all_to_all"] = Field(
        "all_gather",
        description="how attention ranks bring tokens to experts: all to all GPUs and the sums back (default of vLLM "
        "and SGLang), or each token to its own whole experts and back (DeepEP)",
    )
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1, description="share of device memory the engine may take")
    activation_reserve_gb: float = Field(1.25, ge=0, description="per GPU: activations, graphs, context")
    block_tokens: int = Field(16, gt=0, description="tokens of one KV block")
    kv_cache_blocks: int | None = Field(
        None, gt=0, description="as the engine's own log says; None: computed from memory"
    )
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
        description="what a waiting request needs to be admitted: KV blocks for its prompt, at the risk of preemption; "
        "or KV blocks for its prompt and whole output",
    )
    chunked_prefill: bool = Field(
        True,
        description="a long prompt is prefilled in several steps; if false, input + output of a request must be <= "
        "max_num_batched_tokens",
    )
    scheduler_reserve_full_isl: bool = Field(
        False,
        description="a request is admitted only if its whole prompt has KV blocks now, though it is computed in chunks",
    )
    blank_blocks_first: bool = Field(
        False,
        description="freed KV blocks without content are reused before those that a prompt may find; if false, in the "
        "order in which they were freed",
    )
    max_cudagraph_capture_size: int | None = Field(
        None,
        gt=0,
        description="largest step, in tokens, that runs as a CUDA graph and is padded to the next captured size: "
        "1, 2, 4, multiples of 8 up to 256, multiples of 16 above; None: no padding",
    )
    max_model_len: int | None = Field(
        None,
        gt=0,
        description="most input + output tokens of a request, longer ones are refused; None: the model's context",
    )
    max_queue: int | None = Field(
        None,
        ge=0,
        description="most requests on a replica beyond max_num_seqs, further ones are refused; None: no limit",
    )
    request_overhead_s: float = Field(0.0, ge=0, description="HTTP and tokenising, once per request")
    host: HostTime | None = Field(None, description="None: prompts and answers take no host time by their tokens")
    speculative: Speculation | None = Field(None, description="None: every step yields one token of a sequence")
    prefill_first: PrefillFirst | None = Field(
        None,
        description="SGLang's scheduler: a step computes prompts or decodes, prompts first; None: vLLM's, a step "
        "decodes all, and computes prompts in what is left of its budget",
    )

    @property
    def tokens_per_decode(self) -> int:
        """Tokens that one step computes of every decoding sequence: the next token, and the drafted ones to verify."""
        return 1 if self.speculative is None else self.speculative.draft_tokens + 1

    @property
    def gpus_per_rank(self) -> int:
        """GPUs over which attention, and all weights but those of routed experts, are sliced."""
        return self.tensor_parallel // self.attention_data_parallel

    @property
    def most_running(self) -> int:
        """Cap on the running sequences of a replica: `max_num_seqs` of every rank."""
        return self.max_num_seqs * self.attention_data_parallel

    @model_validator(mode="after")
    def _ranks_are_alike(self) -> EngineFlags:
        if self.tensor_parallel % self.attention_data_parallel:
            raise ValueError(
                f"attention_data_parallel = {self.attention_data_parallel}: must divide the GPUs of a replica, "
                f"tensor_parallel = {self.tensor_parallel}"
            )
        if self.attention_data_parallel > 1 and self.host is not None:
            raise ValueError(f"attention_data_parallel = {self.attention_data_parallel}: needs host = null")
        return self

    @model_validator(mode="after")
    def _budget_holds_a_decode_of_all(self) -> EngineFlags:
        tokens = self.tokens_per_decode
        if self.prefill_first is not None:
            return self  # Decodes and prompts do not share a step.
        if self.max_num_batched_tokens < self.max_num_seqs * tokens:
            raise ValueError(
                f"max_num_batched_tokens = {self.max_num_batched_tokens} must be >= max_num_seqs = {self.max_num_seqs}"
                f"{f' x {tokens} tokens' if tokens > 1 else ''}: every running sequence needs a part of a step's budget"
            )
        return self

    @model_validator(mode="after")
    def _tokens_are_sent_to_whole_experts(self) -> EngineFlags:
        if self.expert_exchange == "all_to_all" and not (self.expert_parallel and self.attention_data_parallel > 1):
            raise ValueError(
                "expert_exchange = all_to_all: needs expert_parallel = true and attention_data_parallel > 1: otherwise "
                "every GPU needs every token"
            )
        return self

    @model_validator(mode="after")
    def _imbalance_is_of_whole_experts(self) -> EngineFlags:
        if self.expert_imbalance > 1 and not self.expert_parallel:
            raise ValueError(
                f"expert_imbalance = {self.expert_imbalance:g}: needs expert_parallel = true: GPUs that have a "
                "slice of every expert each all do the same"
            )
        return self

    @model_validator(mode="after")
    def _reserving_is_first_come_first_served(self) -> EngineFlags:
        if self.capacity_policy == "guaranteed_no_evict" and self.scheduling_policy != "fcfs":
            raise ValueError(
                f"capacity_policy = guaranteed_no_evict: needs scheduling_policy = fcfs, not {self.scheduling_policy}"
            )
        return self

    @model_validator(mode="after")
    def _prefill_first_stands_alone(self) -> EngineFlags:
        if self.prefill_first is None:
            return self
        options = {"scheduling_policy": "fcfs", "capacity_policy": "max_utilization", "chunked_prefill": True}
        for name, value in (options | {"scheduler_reserve_full_isl": False}).items():
            if getattr(self, name) != value:
                raise ValueError(
                    f"prefill_first: needs {name} = {str(value).lower()}, not {str(getattr(self, name)).lower()}"
                )
        if self.max_num_batched_tokens < self.block_tokens:
            raise ValueError(
                f"max_num_batched_tokens = {self.max_num_batched_tokens}: must be >= block_tokens = "
                f"{self.block_tokens} with prefill_first, which cuts prompts at whole blocks"
            )
        return self


def max_context_tokens(model: Model, engine: EngineFlags) -> int:
    """Most input + output tokens of one request: the model's context, or `engine.max_model_len` where that is less.

    A replica refuses a longer request.
    """
    return min(model.max_context_tokens, engine.max_model_len or model.max_context_tokens)
