"""The server of benchmark results, as the command line describes it: card, model, engine and flags."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence

from omegaconf import OmegaConf

from sim.hardware.engine import Engine
from sim.hardware.gpu import Gpu
from sim.hardware.model import Model
from sim.hardware.names import model_file, names_fp8
from sim.hydra_door import composed, plain
from sim.measured.points import Point
from sim.measured.server import Server
from sim.measured.server_flags import FLAGS
from sim.schema import Config, ConfigError, parse_config


class _Parts(Config):
    gpu: Gpu  # A field of its own, so that an error names the full key: gpu....
    model: Model
    engine: Engine


def server_described(given: argparse.Namespace, model_ids: Sequence[str]) -> Server:
    """The server that the command line describes. Without --model, its model is the one that the results name.

    A checkpoint whose name contains fp8 has fp8 weights, unless --weight-dtype is given. Raises ConfigError.
    """
    words = [f"gpu={given.gpu}", f"model={_model_name(given, model_ids)}", f"engine={given.engine}"]
    flags = {name: getattr(given, name) for name in FLAGS}
    words += [f"engine.{name}={value}" for name, value in flags.items() if value is not None]
    config = plain(composed(words, given.config_dir))
    raw = {group: config[group] for group in ("gpu", "model", "engine")}
    if given.weight_dtype is None and len({names_fp8(name) for name in model_ids}) > 1:
        raise ConfigError(
            f"the results are of {', '.join(dict.fromkeys(model_ids))}: "
            "fp8 and other weights in one fit; take one, or add --weight-dtype"
        )
    if any(map(names_fp8, model_ids)) and raw["model"].get("weight_dtype", "bf16") == "bf16":
        raw["engine"]["weight_dtype"] = raw["engine"]["weight_dtype"] or "fp8"
    parts = parse_config(_Parts, raw)
    server = Server(parts.gpu, parts.model, parts.engine)
    if server.engine.step_time.kind != "roofline":
        raise ConfigError(f"--engine {given.engine}: its step time does not depend on a GPU: nothing to calibrate")
    return server


def measured_on(server: Server, points: Sequence[Point], notes: Sequence[str]) -> tuple[list[Point], list[str]]:
    """The points that were or may have been measured on this server, and `notes` with how many were not, and why.

    Compared are the card, the model, and the formats of weights and KV cache. A point that states no server is kept.
    """
    differences = [_difference(server, point.server) if point.server else None for point in points]
    kept = [point for point, difference in zip(points, differences, strict=True) if difference is None]
    left_out = Counter((p.file, difference) for p, difference in zip(points, differences, strict=True) if difference)
    return kept, [*notes, *(f"{file}: points left out: {n}, {why}" for (file, why), n in left_out.items())]


def _difference(described: Server, stated: Server) -> str | None:
    pairs = zip(_identity(described).items(), _identity(stated).values(), strict=True)
    return next((f"measured with --{flag} {b}, not {a}" for (flag, a), b in pairs if a != b), None)


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
    raise ConfigError(f"the results are of {', '.join(named)}: say with --model which of conf/model has that shape")
