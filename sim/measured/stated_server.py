"""The server that a file of measured runs states, with defaults for what it leaves out."""

from __future__ import annotations

from functools import cache
from typing import Any, cast

from omegaconf import OmegaConf

from sim.hardware.engine import Engine
from sim.hardware.gpu import Gpu, gpu_named, is_large_for_vllm
from sim.hardware.model import Model, model_named
from sim.hardware.names import gpu_file, model_file, names_context
from sim.measured.number_formats import checkpoint, kv_format
from sim.measured.play import Play
from sim.measured.server import Server
from sim.measured.stated import FlagsStated, ServerStated
from sim.scenarios import compose_config
from sim.schema import Config, ConfigError, parse_config

_FLAGS = (
    "max_num_seqs", "max_num_batched_tokens", "max_model_len", "gpu_memory_utilization", "kv_cache_blocks",
    "chunked_prefill", "prefix_caching", "async_scheduling", "request_overhead_s", "sampler",
    "expert_parallel", "host",
)  # fmt: skip
SGLANG = "sglang"  # the file in conf/engine, SGLang 0.5.10
_RANKS_SHARE_RATIOS = 0.3  # of schedule conservativeness with DP attention: sglang 0.5.10, srt/server_args.py
_LARGE_CARD, _OTHER_CARD = (8192, 1024), (2048, 256)  # tokens of a step, sequences: as in conf/engine/vllm_0_15.yaml
_BY_CARD = ("vllm", "vllm_0_15", "vllm_0_19", "vllm_0_24")  # files in conf/engine to which these defaults belong


class _Parts(Config):
    engine: Engine  # within its group, so that a message names the full key


def server_stated(run: ServerStated, play: Play, *, engine: str = "vllm", own_sampler: bool = False) -> Server:
    """The server of a run: its model, GPUs, number formats and engine flags.

    Flags that a run does not state are vLLM's own defaults, then those of conf/engine/<engine>.yaml; of a run that says
    SGLang, those of its file. `own_sampler`: clients state no sampling parameters, so the model's generation_config
    decides. Raises ConfigError.
    """
    flags = run.engine
    if engine in ("vllm", SGLANG) and run.is_sglang:
        engine = SGLANG
        play.note(
            f"engine {flags.name!r}: played as SGLang 0.5.10, with vLLM's step times: no constant is SGLang's own"
        )
    elif engine == "vllm" and flags.name and "vllm" not in flags.name.lower():
        play.note(f"engine {flags.name!r} is not known: played as vLLM")
    if flags.schedule_policy and engine != SGLANG:
        raise ConfigError(f"engine.schedule_policy = {flags.schedule_policy}: is an option of SGLang")
    gpu = play.constants.gpu(gpu_named(gpu_file(run.gpu)))
    model, weight_dtype = checkpoint(run, _model(run.model, play.unknown_model))
    context = flags.max_model_len or names_context(run.model) or 0
    model = model.model_copy(update={"max_context_tokens": max(context, model.max_context_tokens)})
    options = _engine_options(engine, gpu)
    options |= _server_defaults(gpu, flags, model.max_context_tokens) if engine in _BY_CARD else {}
    options |= {"sampler": model.default_sampler} if own_sampler else {}
    options |= play.constants.engine(gpu)
    options |= {k: getattr(flags, k) for k in _FLAGS if getattr(flags, k) is not None}
    if run.expert_parallel is not None:
        options["expert_parallel"] = run.expert_parallel
    options["block_tokens"] = flags.block_size or options["block_tokens"]
    layout = run.layout(bool(model.experts))
    options |= {"tensor_parallel": layout.gpus_per_replica, "attention_data_parallel": layout.attention_ranks}
    if layout.attention_ranks > 1:
        options["host"] = None  # Ranks have front ends of their own (vLLM starts an API server for each).
    if engine == SGLANG:
        options |= _as_sglang_has_it(options, flags, layout.attention_ranks)
    options |= {"weight_dtype": weight_dtype, "kv_dtype": kv_format(run)}
    return Server(gpu, model, parse_config(_Parts, {"engine": options}).engine, layout.replicas)


def _as_sglang_has_it(options: dict[str, Any], flags: FlagsStated, ranks: int) -> dict[str, Any]:
    """The options that SGLang's server derives: a share of memory without a reserve, and those of one of its ranks.

    Sources: sglang 0.5.10, srt/server_args.py.
    """
    found: dict[str, Any] = {"async_scheduling": options["async_scheduling"]}
    scheduler = dict(options["prefill_first"])
    if flags.schedule_policy:
        scheduler["schedule_policy"] = flags.schedule_policy
    if flags.gpu_memory_utilization is not None:  # --mem-fraction-static, of weights and KV memory alone
        found["activation_reserve_gb"] = 0.0
    if ranks > 1:
        found |= {name: max(1, options[name] // ranks) for name in ("max_num_batched_tokens", "max_num_seqs")}
        for name in ("new_token_ratio", "least_new_token_ratio"):
            scheduler[name] *= _RANKS_SHARE_RATIOS
    return found | {"prefill_first": scheduler}


@cache
def _composed(engine: str) -> Any:
    return compose_config(f"engine={engine}").engine


def _engine_options(engine: str, gpu: Gpu) -> dict[str, Any]:
    card = {"name": gpu.name, "memory_gb": gpu.memory_gb}  # what an engine's defaults may depend on
    around = OmegaConf.create({"engine": OmegaConf.to_container(_composed(engine)), "gpu": card})
    options = OmegaConf.to_container(around, resolve=True)
    return cast(dict[str, dict[str, Any]], options)["engine"]


def _model(hugging_face_id: str, unknown: Model | None) -> Model:
    try:
        return model_named(model_file(hugging_face_id))
    except ConfigError:
        if unknown is None:
            raise
        return unknown.model_copy(update={"hugging_face_id": hugging_face_id, "config_path": None})


def _server_defaults(gpu: Gpu, flags: FlagsStated, context_tokens: int) -> dict[str, int]:
    """What `vllm serve` takes where it is not told: by the card's memory, A100 apart; each makes room for the other.

    A step has room for the longest prompt where prompts are not cut (recalled, not re-fetched).
    """
    tokens, sequences = _LARGE_CARD if is_large_for_vllm(gpu.name, gpu.memory_gb) else _OTHER_CARD
    if flags.chunked_prefill is False:
        tokens = max(tokens, context_tokens)
    return {
        "max_num_batched_tokens": max(tokens, flags.max_num_seqs or 0),
        "max_num_seqs": min(sequences, flags.max_num_batched_tokens or tokens),
    }
