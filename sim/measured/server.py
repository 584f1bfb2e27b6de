"""A measured server: the one description that files, the command line, fits and scenarios share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, cast

from omegaconf import OmegaConf

from sim.hardware.engine import Engine
from sim.hardware.gpu import Gpu
from sim.hardware.model import Model
from sim.measured.constants import CONSTANTS, FIELDS, Constant
from sim.scenarios import Scenario, compose_config, parse
from sim.schema import Config, parse_config

_FREE = 1e12  # times a figure of the data sheet: what is so fast takes no time
_NO_LIMIT = 1_000_000_000


class _Parts(Config):
    engine: Engine  # within its group, so that a message names the full key


@dataclass(frozen=True)
class Server:
    """The server that was measured: card, model, engine with its flags, and how many replicas share the load."""

    gpu: Gpu
    model: Model
    engine: Engine
    n_replicas: int = 1

    def scenario(self, **load: Any) -> Scenario:
        """This server, always on, under a load: `arrivals`, `lengths` and other groups of a scenario as plain data.

        Every request goes to the engine at once, because a measured server has no queue before its own. Raises
        ConfigError.
        """
        raw = _always_on()
        raw |= {"gpu": self.gpu.model_dump(), "model": self.model.model_dump(), "engine": self.engine.model_dump()}
        raw["scaling"]["n_replicas"] = self.n_replicas
        raw["queue"] = {"max_requests_per_replica": _NO_LIMIT}
        raw["prices"]["gpu"]["usd_per_gpu_hour"].setdefault(self.gpu.name, 1.0)  # no bill is read, but one is required
        return parse(raw | load)

    def value(self, constant: Constant) -> float:
        """The present value, moved inside the bounds a fit needs."""
        now = getattr(self.engine if constant.of_engine else self.gpu, constant.name)
        return min(max(now, 1.001 * constant.low), 0.999 * constant.high)

    def with_values(self, values: Mapping[str, float]) -> Server:
        """The same server with other constants."""
        of_engine = {name: value for name, value in values.items() if FIELDS[name].of_engine}
        of_gpu = {name: value for name, value in values.items() if name not in of_engine}
        return replace(self, gpu=self.gpu.model_copy(update=of_gpu), engine=self.engine.model_copy(update=of_engine))

    def on(
        self, tensor_parallel: int | None, attention_ranks: int | None = None, expert_parallel: bool | None = None
    ) -> Server:
        """The same server on another number of GPUs, with other ranks among them and experts; None: unchanged.

        Raises ConfigError for a layout that the engine does not have.
        """
        layout = {
            "tensor_parallel": tensor_parallel,
            "attention_data_parallel": attention_ranks,
            "expert_parallel": expert_parallel,
        }
        other = {name: value for name, value in layout.items() if value not in (None, getattr(self.engine, name))}
        if not other:
            return self
        return replace(self, engine=parse_config(_Parts, {"engine": self.engine.model_dump() | other}).engine)

    def bounds(self) -> tuple[Server, Server]:
        """This card without loss, if it only computed and if it only read memory: no server is faster than either.

        Apart, because a step in which both overlap at best takes as long as the longer of the two.
        """
        gpu = self.gpu
        lossless = {name: 1.0 for name in Gpu.model_fields if name.endswith(("_efficiency", "_fraction"))}
        lossless |= {name: 0.0 for name in Gpu.model_fields if name.endswith("_us")}
        lossless |= {"sampling_bytes_per_logit": 0.0, "elementwise_efficiency": _FREE}  # fused away at best
        lossless |= {"link_gb_per_s": _FREE, "fp4_dense_tflops": gpu.fp4_dense_tflops or gpu.bf16_dense_tflops}
        engine: dict[str, Any] = {name: 1.0 for name in Engine.model_fields if name.endswith("_fraction")}
        engine |= {"step_overhead_us": 0.0, "request_overhead_s": 0.0}
        if draft := self.engine.speculative:
            engine["speculative"] = draft.model_copy(update={"acceptance_rate": 1.0, "draft_cost_fraction": 0.0})
        best = replace(self, gpu=gpu.model_copy(update=lossless), engine=self.engine.model_copy(update=engine))
        return best._faster("_gb_per_s"), best._faster("_tflops")

    def _faster(self, ending: str) -> Server:
        """With some figures of the data sheet beyond all limits."""
        figures = {name: getattr(self.gpu, name) for name in Gpu.model_fields if name.endswith(ending)}
        free = {name: figure and _FREE * figure for name, figure in figures.items()}
        return replace(self, gpu=self.gpu.model_copy(update=free))

    @property
    def constants(self) -> tuple[Constant, ...]:
        """Those that this card, model and engine use."""
        gpu, model, engine = self.gpu, self.model, self.engine
        peak = gpu.peak_flops_per_s(model.mlp_dtype_under(engine.weight_dtype))
        bf16 = peak == gpu.peak_flops_per_s("bf16")
        kv_bf16 = (engine.kv_dtype or model.kv_dtype) == "bf16"
        unused = {"fp8_gemm_efficiency" if bf16 else "gemm_efficiency"}
        unused.add("fp8_kv_read_efficiency" if kv_bf16 else "kv_read_efficiency")
        if not model.experts:
            unused.add("expert_gemm_fraction")
        if engine.tensor_parallel == 1:
            unused |= {"all_reduce_latency_us", "all_reduce_bandwidth_fraction"}
        return tuple(constant for constant in CONSTANTS if constant.name not in unused)


@cache
def _composed() -> Any:
    return compose_config("scaling=always_on", "cold_start=instant", "routing=fleet_only", "api=none")


def _always_on() -> dict[str, Any]:
    return cast(dict[str, Any], OmegaConf.to_container(_composed(), resolve=True))
