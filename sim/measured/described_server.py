"""The server of benchmark results, as the command line describes it: card, model, engine and flags."""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from omegaconf import OmegaConf

from sim.composer import composed
from sim.hardware.engine import Engine
from sim.hardware.gpu import Gpu, gpu_named
from sim.hardware.model import Model, model_named
from sim.hardware.names import gpu_file, model_file, names_fp8
from sim.hydra_door import plain
from sim.measured.number_formats import checkpoint, kv_format
from sim.measured.points import Point, ServerFacts
from sim.measured.server import Server
from sim.measured.server_flags import FLAGS
from sim.measured.stated import ServerStated, is_sglang
from sim.measured.stated_server import SGLANG
from sim.schema import Config, ConfigError, parse_config

_KEYS = {"block_size": "block_tokens", "schedule_policy": "prefill_first.schedule_policy"}
"""Options of an engine that result files state by another name."""


class _Parts(Config):
    gpu: Gpu  # A field of its own, so that an error names the full key: gpu....
    model: Model
    engine: Engine


def server_described(given: argparse.Namespace, model_ids: Sequence[str], facts: Sequence[ServerFacts] = ()) -> Server:
    """The server that the command line describes. Without --model, its model is the one that the results name.

    A checkpoint whose name contains fp8 has fp8 weights, unless --weight-dtype is given. Number formats that the
    command line leaves open are those that the results state (`facts`), if they state only one. Raises ConfigError.
    """
    if given.model and given.model_config:
        raise ConfigError(f"--model {given.model}: give either it or --model-config")
    model = [] if given.model_config else [f"model={_model_name(given, model_ids)}"]
    engine = engine_named(given, facts)
    words = [f"gpu={given.gpu}", f"engine={engine}", *model]
    flags = _stated_flags(facts) if engine == SGLANG else {}
    flags |= {name: value for name in FLAGS if (value := getattr(given, name)) is not None}
    words += [f"engine.{name}={value}" for name, value in flags.items()]
    config = plain(composed(words, given.config_dir))
    raw = {group: config[group] for group in ("gpu", "model", "engine")}
    if given.model_config:
        raw["model"] = {"config_path": str(given.model_config)}
    if given.weight_dtype is None and len({names_fp8(name) for name in model_ids}) > 1:
        raise ConfigError(
            f"the results are of {', '.join(dict.fromkeys(model_ids))}: "
            "fp8 and other weights in one fit; take one, or add --weight-dtype"
        )
    if any(map(names_fp8, model_ids)) and raw["model"].get("weight_dtype", "bf16") == "bf16":
        raw["engine"]["weight_dtype"] = raw["engine"]["weight_dtype"] or "fp8"
    parts = parse_config(_Parts, raw)
    server = _in_stated_formats(Server(parts.gpu, parts.model, parts.engine), given, facts)
    if server.engine.step_time.kind != "roofline":
        raise ConfigError(f"--engine {engine}: its step time does not depend on a GPU: nothing to calibrate")
    return server


def engine_named(given: argparse.Namespace, facts: Sequence[ServerFacts]) -> str:
    """--engine; without it SGLang where all the results say so, else vLLM."""
    if given.engine:
        return given.engine
    return SGLANG if facts and all(is_sglang(each.engine) for each in facts) else "vllm"


def _stated_flags(facts: Sequence[ServerFacts]) -> dict[str, Any]:
    """SGLang's options that all of the results state alike, by the keys of an engine."""
    stated = facts[0].flags if len({tuple(sorted(each.flags.items())) for each in facts}) == 1 else {}
    found = {_KEYS.get(name, name): value for name, value in stated.items()}
    if "gpu_memory_utilization" in found:  # --mem-fraction-static, of weights and KV memory alone
        found["activation_reserve_gb"] = 0
    return found


def _in_stated_formats(server: Server, given: argparse.Namespace, facts: Sequence[ServerFacts]) -> Server:
    """With the formats of weights and KV cache that all of the results state alike and the command line does not."""
    update = {}
    for flag, stated in (("weight_dtype", "dtype"), ("kv_dtype", "kv_dtype")):
        values = {getattr(each, stated) for each in facts} - {None}
        if len(values) == 1 and getattr(given, flag) is None:
            update[flag] = _formats(server, facts[0]._replace(**{stated: values.pop()}))[flag]
    known = {flag: value for flag, value in update.items() if value is not None}
    return replace(server, engine=server.engine.model_copy(update=known)) if known else server


def _formats(server: Server, facts: ServerFacts) -> dict[str, str | None]:
    """The engine's flags for the formats that a result file states. Raises ConfigError for formats not known."""
    name = facts.model or server.model.hugging_face_id
    run = ServerStated(model=name, gpu=server.gpu.name, dtype=facts.dtype, kv_dtype=facts.kv_dtype)
    return {"weight_dtype": checkpoint(run, server.model)[1], "kv_dtype": kv_format(run)}


def measured_on(server: Server, points: Sequence[Point], notes: Sequence[str]) -> tuple[list[Point], list[str]]:
    """The points that were or may have been measured on this server, and `notes` with how many were not, and why.

    Compared are the card, the model, and the formats of weights and KV cache, as far as a file states them. A point
    that states none of them is kept.
    """
    models = {point.facts.model for point in points}
    differences = [
        _difference(server, point.server) if point.server else _contradiction(server, point.facts, len(models) > 1)
        for point in points
    ]
    kept = [point for point, difference in zip(points, differences, strict=True) if difference is None]
    left_out = Counter((p.file, difference) for p, difference in zip(points, differences, strict=True) if difference)
    return kept, [*notes, *(f"{file}: points left out: {n}, {why}" for (file, why), n in left_out.items())]


def _difference(described: Server, stated: Server) -> str | None:
    pairs = zip(_identity(described).items(), _identity(stated).values(), strict=True)
    return next((f"measured with --{flag} {b}, not {a}" for (flag, a), b in pairs if a != b), None)


def _contradiction(described: Server, facts: ServerFacts, several_models: bool) -> str | None:
    """What a result file states that the described server is not; None if nothing.

    A name of a model is compared only among `several_models`: one model alone may go under any name.
    """
    name = None if facts.gpu is None else card_called(facts.gpu)
    if name is not None and name != described.gpu.name:
        return f"measured with --gpu {name}, not {described.gpu.name}"
    if several_models and facts.model is not None:
        model = _model_called(facts.model)
        if model != described.model.name:
            return f"measured with --model {model}, not {described.model.name}"
    if facts.dtype is None and facts.kv_dtype is None:
        return None
    try:
        formats = _formats(described, facts)
    except ConfigError as error:
        return str(error)
    engine = described.engine
    stated = replace(described, engine=engine.model_copy(update={k: formats[k] or getattr(engine, k) for k in formats}))
    return _difference(described, stated)


def card_called(stated: str) -> str:
    """The card that a result file names, as conf/gpu calls it; the file's own word where conf/gpu has none such.

    Clusters put words of their own behind the name of the card ("h200-nv"), which are dropped one by one.
    """
    words = re.split(r"[-_ ]", stated)
    for n in range(len(words), 0, -1):
        try:
            return gpu_named(gpu_file("-".join(words[:n]))).name
        except ConfigError:
            continue
    return stated


def _model_called(name: str) -> str:
    try:
        return model_named(model_file(name)).name
    except ConfigError:
        return name


def _identity(server: Server) -> dict[str, str]:
    """The properties in which a point must agree with the server of a fit, by the flag that sets each."""
    model, engine = server.model, server.engine
    return {
        "gpu": server.gpu.name,
        "model": model.name,
        "weight-dtype": model.mlp_dtype_under(engine.weight_dtype),
        "kv-dtype": engine.kv_dtype or model.kv_dtype,
    }


def _model_name(given: argparse.Namespace, model_ids: Sequence[str]) -> str:
    """The name of a file of conf/model, or of the user's own folder: --model, or that of the model in the results."""
    if given.model:
        return given.model
    named = list(dict.fromkeys(model_ids))
    if not named:
        raise ConfigError("the results do not say which model was served: say with --model which of conf/model it is")
    own = (given.config_dir / "model").glob("*.yaml") if given.config_dir else ()
    of_own = {str(OmegaConf.select(OmegaConf.load(path), "hugging_face_id")).lower(): path.stem for path in own}
    try:
        found = {of_own.get(name.lower()) or model_file(name) for name in named}
    except ConfigError:
        found = set()
    if len(found) == 1:
        return found.pop()
    raise ConfigError(
        f"the results are of {', '.join(named)}: say with --model which of conf/model has that shape, "
        "or with --model-config where its config.json is"
    )
