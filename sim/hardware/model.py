"""Model: the shape of a language model, and the parameters, bytes and floating-point operations that follow from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from sim.hardware.hugging_face import read_shape
from sim.hardware.names import conf_entry
from sim.schema import Config, parse_config

Dtype = Literal["bf16", "fp8", "mxfp4", "nvfp4"]
Sampler = Literal["greedy", "random", "top_p"]

BYTES_PER_PARAM: dict[str, float] = {
    "bf16": 2.0,
    "fp8": 1.0,
    "mxfp4": 0.53125,  # 4 bits, and one 8-bit scale for 32 values (OCP microscaling formats)
    "nvfp4": 0.5625,  # 4 bits, and one 8-bit scale for 16 values
}
"""Bytes per weight or KV value, scales included."""

_UNQUANTIZED_BYTES = 2.0
"""Bytes per parameter of embeddings, routers and norms, which stay in 16 bits whatever the weights are."""


class Model(Config):
    """The shape of a transformer: gated feed-forward layers (dense or mixture of experts), and one of three attentions.

    `gqa` keeps `kv_heads` keys and as many values, each of `head_dim` numbers, per token and layer. `mla` keeps one
    latent of `kv_lora_rank + qk_rope_head_dim` numbers per token and layer, which all heads share and which tensor
    parallelism therefore does not divide. `dsa` is `mla` that reads only `sparse_top_k` tokens, picked by an indexer.
    With `sliding_window`, the fraction `sliding_window_fraction` of the layers reads and keeps only the last
    `sliding_window` tokens. `config_path` is the path of a Hugging Face config.json, whose shape is taken; a field
    given beside `config_path` takes precedence over the file.
    """

    config_path: str | None = None
    name: str
    hugging_face_id: str
    attention: Literal["gqa", "mla", "dsa"] = "gqa"
    layers: int = Field(gt=0)
    hidden: int = Field(gt=0)
    heads: int = Field(gt=0)
    kv_heads: int = Field(gt=0)
    head_dim: int = Field(gt=0, description="per head; for mla and dsa the width of a value head")
    ffn: int = Field(0, ge=0, description="width of a dense feed-forward layer; 0 if there is none")
    vocab: int = Field(gt=0)
    tied_embeddings: bool = False
    max_context_tokens: int = Field(gt=0)
    total_params_b: float | None = Field(None, gt=0, description="published, billions; None: counted from the shape")
    weight_dtype: Dtype = Field("bf16", description="linear layers as published; embeddings and LM head stay bf16")
    expert_dtype: Dtype | None = Field(None, description="experts, if they differ from weight_dtype")
    attention_dtype: Dtype | None = Field(None, description="attention projections, if they differ from weight_dtype")
    kv_dtype: Dtype = "bf16"
    default_sampler: Sampler = Field(
        "random", description="how its generation_config.json picks tokens when the client asks for nothing"
    )

    experts: int = Field(0, ge=0)
    experts_per_token: int = Field(0, ge=0)
    expert_ffn: int = Field(0, ge=0)
    shared_expert_ffn: int = Field(0, ge=0)
    dense_mlp_layers: int | None = Field(None, ge=0, description="layers with a dense feed-forward; None: all or none")

    sliding_window: int | None = Field(None, gt=0)
    sliding_window_fraction: float = Field(0.0, ge=0, lt=1, description="share of layers with the window")

    q_lora_rank: int = Field(0, ge=0)
    kv_lora_rank: int = Field(0, ge=0)
    qk_nope_head_dim: int = Field(0, ge=0)
    qk_rope_head_dim: int = Field(0, ge=0)
    sparse_top_k: int = Field(0, ge=0)
    indexer_heads: int = Field(0, ge=0)
    indexer_head_dim: int = Field(0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _read_config_file(cls, raw: Any) -> Any:
        if isinstance(raw, dict) and isinstance(raw.get("config_path"), str):
            return read_shape(raw["config_path"]) | raw
        return raw

    @model_validator(mode="after")
    def _shape_is_consistent(self) -> Model:
        if self.heads % self.kv_heads:
            raise ValueError(f"heads = {self.heads} must be a multiple of kv_heads = {self.kv_heads}")
        if self.experts and not (0 < self.experts_per_token <= self.experts and self.expert_ffn > 0):
            raise ValueError(
                f"experts = {self.experts} needs 0 < experts_per_token = {self.experts_per_token} <= experts "
                f"and expert_ffn = {self.expert_ffn} > 0"
            )
        if self.n_dense_mlp_layers > self.layers:
            raise ValueError(f"dense_mlp_layers = {self.dense_mlp_layers} must be <= layers = {self.layers}")
        if self.n_dense_mlp_layers and not self.ffn:
            raise ValueError(f"ffn must be > 0 with {self.n_dense_mlp_layers} dense feed-forward layers")
        if self.attention != "gqa" and not (self.kv_lora_rank and self.qk_nope_head_dim and self.qk_rope_head_dim):
            raise ValueError(
                f"attention = {self.attention} needs kv_lora_rank, qk_nope_head_dim and qk_rope_head_dim > 0"
            )
        if self.attention == "dsa" and not (self.sparse_top_k and self.indexer_heads and self.indexer_head_dim):
            raise ValueError("attention = dsa needs sparse_top_k, indexer_heads and indexer_head_dim > 0")
        if (self.sliding_window is None) != (self.sliding_window_fraction == 0):
            raise ValueError("sliding_window and sliding_window_fraction must be given together")
        if self.other_params < 0:
            raise ValueError(
                f"total_params_b = {self.total_params_b} is less than the shape's own parameters "
                f"({(self.total_params - self.other_params) / 1e9:.3f} billion)"
            )
        return self

    # --- parameters ----------------------------------------------------------------------------------------------

    @property
    def n_dense_mlp_layers(self) -> int:
        """Layers with a dense feed-forward."""
        if self.dense_mlp_layers is not None:
            return self.dense_mlp_layers
        return 0 if self.experts else self.layers

    @property
    def n_moe_layers(self) -> int:
        """Layers with routed experts."""
        return self.layers - self.n_dense_mlp_layers if self.experts else 0

    @property
    def attention_params_per_layer(self) -> int:
        """Projections of one layer: q, k, v, o; or the low-rank chain of MLA (DeepSeek-V2, arXiv 2405.04434, 2.1)."""
        if self.attention == "gqa":
            return self.hidden * self.head_dim * (2 * self.heads + 2 * self.kv_heads)
        query = self.heads * (self.qk_nope_head_dim + self.qk_rope_head_dim)
        down = self.hidden * (self.kv_lora_rank + self.qk_rope_head_dim)
        up = self.kv_lora_rank * self.heads * (self.qk_nope_head_dim + self.head_dim)
        q = self.q_lora_rank * (self.hidden + query) if self.q_lora_rank else self.hidden * query
        return q + down + up + self.heads * self.head_dim * self.hidden

    @property
    def attention_params(self) -> int:
        """Attention projections of all layers."""
        return self.layers * self.attention_params_per_layer

    @property
    def mlp_params(self) -> int:
        """Parameters of the feed-forward layers that every token passes: dense ones and shared experts."""
        dense = self.n_dense_mlp_layers * 3 * self.hidden * self.ffn
        return dense + self.n_moe_layers * 3 * self.hidden * self.shared_expert_ffn

    @property
    def dense_params(self) -> int:
        """Parameters of the linear layers that every token passes: attention, dense feed-forward, shared experts."""
        return self.attention_params + self.mlp_params

    @property
    def params_per_expert(self) -> int:
        """Gate, up and down projection of one routed expert of one layer."""
        return 3 * self.hidden * self.expert_ffn

    @property
    def expert_params(self) -> int:
        """Routed experts of all layers."""
        return self.n_moe_layers * self.experts * self.params_per_expert

    @property
    def head_params(self) -> int:
        """LM head."""
        return self.hidden * self.vocab

    @property
    def embedding_params(self) -> int:
        """Input embeddings and LM head, once where the two are tied."""
        return self.head_params * (1 if self.tied_embeddings else 2)

    @property
    def counted_params(self) -> int:
        """All parameters that the shape implies: linear layers, embeddings, routers, norms. Biases are left out."""
        routers = self.n_moe_layers * self.hidden * self.experts
        norms = (2 * self.layers + 1) * self.hidden
        return self.dense_params + self.expert_params + self.embedding_params + routers + norms

    @property
    def total_params(self) -> float:
        """All parameters: the published total, or `counted_params` if none is given."""
        return self.counted_params if self.total_params_b is None else self.total_params_b * 1e9

    @classmethod
    def from_hugging_face(cls, path: str | Path, **fields: Any) -> Model:
        """The model of a Hugging Face config.json; `fields` take precedence over the file.

        Raises ConfigError, naming file and key, for a file that is unreadable, unknown or incomplete.
        """
        return parse_config(cls, {"config_path": str(path)} | fields)

    @property
    def other_params(self) -> float:
        """Published total minus all linear layers and embeddings: norms, biases, routers, indexers.

        Negative only if the published total contradicts the shape by more than 0.5 %.
        """
        slack = 0.005 * self.total_params  # Published totals are rounded, so the difference may fall just below 0.
        rest = self.total_params - self.dense_params - self.expert_params - self.embedding_params
        return max(rest, 0.0) if rest > -slack else rest

    def weight_bytes(self, weight_dtype: str | None = None) -> float:
        """Bytes of all weights. `weight_dtype` overrides the published one; experts already narrower keep theirs."""
        attention = self.attention_params * BYTES_PER_PARAM[self.attention_dtype_under(weight_dtype)]
        mlp = self.mlp_params * BYTES_PER_PARAM[self.mlp_dtype_under(weight_dtype)]
        experts = self.expert_weight_bytes(weight_dtype)
        return attention + mlp + experts + (self.embedding_params + self.other_params) * _UNQUANTIZED_BYTES

    def expert_weight_bytes(self, weight_dtype: str | None = None) -> float:
        """Bytes of the routed experts, which are part of `weight_bytes`."""
        return self.expert_params * BYTES_PER_PARAM[self.expert_dtype_under(weight_dtype)]

    def mlp_dtype_under(self, override: str | None) -> str:
        """Number format of dense feed-forward layers and shared experts, if the engine quantises to `override`."""
        return override or self.weight_dtype

    def attention_dtype_under(self, override: str | None) -> str:
        """Number format of the attention projections, if the engine quantises to `override`."""
        return override or self.attention_dtype or self.weight_dtype

    def expert_dtype_under(self, override: str | None) -> str:
        """Number format of routed experts, if the engine quantises to `override`; a narrower published one is kept."""
        published = self.expert_dtype or self.weight_dtype
        if override is None or (self.expert_dtype and BYTES_PER_PARAM[published] < BYTES_PER_PARAM[override]):
            return published
        return override

    # --- KV cache and attention ----------------------------------------------------------------------------------

    @property
    def n_window_layers(self) -> int:
        """Layers with the sliding window."""
        return round(self.layers * self.sliding_window_fraction)

    def kv_bytes_per_token_per_layer(self, tensor_parallel: int, kv_dtype: str | None = None) -> float:
        """KV bytes that one layer keeps of one token, on each GPU of a group of `tensor_parallel` GPUs.

        A KV head is never cut: a group of more GPUs than KV heads replicates heads. Every GPU keeps the whole MLA
        latent.
        """
        value_bytes = BYTES_PER_PARAM[kv_dtype or self.kv_dtype]
        if self.attention == "gqa":
            return 2 * max(1, -(-self.kv_heads // tensor_parallel)) * self.head_dim * value_bytes
        return (self.kv_lora_rank + self.qk_rope_head_dim) * value_bytes

    @property
    def indexer_bytes_per_token_per_layer(self) -> float:
        """Bytes that the DSA indexer keeps per token and layer: an fp8 key, an fp32 scale (DeepSeek-V3.2 report)."""
        return self.indexer_head_dim + 4.0 if self.attention == "dsa" else 0.0

    @property
    def decode_flops_per_pair(self) -> float:
        """FLOP of decode attention per new token, cached token and layer, all heads: scores and weighted sum.

        MLA decodes in the absorbed form, where every head works on the latent itself (DeepSeek-V2, arXiv 2405.04434).
        """
        if self.attention == "gqa":
            return 4.0 * self.heads * self.head_dim
        return 2.0 * self.heads * (2 * self.kv_lora_rank + self.qk_rope_head_dim)

    @property
    def prefill_flops_per_pair(self) -> float:
        """FLOP of prefill attention per new token, cached token and layer, all heads.

        MLA expands the latent into ordinary heads for prefill; DSA keeps the absorbed form of decode.
        """
        if self.attention != "mla":
            return self.decode_flops_per_pair
        return 2.0 * self.heads * (self.qk_nope_head_dim + self.qk_rope_head_dim + self.head_dim)

    @property
    def indexer_flops_per_pair(self) -> float:
        """FLOP of the indexer of DSA per new token, cached token and layer."""
        return 2.0 * self.indexer_heads * self.indexer_head_dim if self.attention == "dsa" else 0.0

    def expected_distinct_experts(self, tokens: int) -> float:
        """Mean number of distinct experts of one layer that n tokens are routed to: E (1 - (1 - k/E)^n).

        E experts, k per token; routing is taken to be even, and independent from token to token.
        """
        if not self.experts:
            return 0.0
        return self.experts * (1.0 - (1.0 - self.experts_per_token / self.experts) ** tokens)


def model_named(model: str | Model) -> Model:
    """The model of conf/model/<name>.yaml; a Model is returned as it is. Raises ConfigError for an unknown name."""
    return model if isinstance(model, Model) else parse_config(Model, conf_entry("model", model))
