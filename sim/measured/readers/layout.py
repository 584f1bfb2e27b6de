"""How the GPUs of a server share its load, where a result file names the options of its start."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from sim.hardware.model import model_named
from sim.hardware.names import model_file
from sim.measured.points import whole
from sim.measured.stated import FlagsStated, ServerStated
from sim.schema import ConfigError, parse_config

_YES, _NO = ("true", "1", "yes", "on"), ("false", "0", "no", "off")


class LayoutStated(NamedTuple):
    """Replicas that share the load, GPUs of each, and attention ranks among these; None: not stated."""

    replicas: int = 1
    gpus: int | None = None
    attention_ranks: int | None = None


def yes(value: Any) -> bool | None:
    """Whether an option is on; None where that is not stated."""
    text = str(value).lower()
    return True if text in _YES else False if text in _NO else None


def layout_stated(place: str, stated: Mapping[str, Any], model: str | None, engine: str = "vllm") -> LayoutStated:
    """The layout by `ServerStated.layout`, from `tensor_parallel`, `replicas`, `data_parallel`, `enable_dp_attention`.

    A model that conf/model does not know counts as dense. Raises TraceError for what is no whole number.
    """
    numbers = {
        name: whole(stated[name], f"{place}, {name}")
        for name in ("tensor_parallel", "replicas", "data_parallel")
        if stated.get(name) is not None
    }
    inside = bool(yes(stated.get("enable_dp_attention"))) and "data_parallel" in numbers
    gpus = numbers.get("tensor_parallel")
    run = {"model": model or "?", "gpu": "?", "enable_dp_attention": inside, "engine": FlagsStated(name=engine)}
    found = parse_config(ServerStated, run | numbers).layout(_has_experts(model))
    known = gpus is not None or found.attention_ranks > 1
    return LayoutStated(
        found.replicas,
        found.gpus_per_replica if known else None,
        found.attention_ranks if found.attention_ranks > 1 else None,
    )


def _has_experts(model: str | None) -> bool:
    try:
        return bool(model and model_named(model_file(model)).experts)
    except ConfigError:
        return False
