"""Number formats as measured runs state them: by `dtype`, by `kv_dtype` and in the name of the checkpoint."""

from __future__ import annotations

import re

from sim.hardware.model import Model
from sim.hardware.names import names_fp8
from sim.measured.stated import ServerStated
from sim.schema import ConfigError

_FORMATS = {
    r"(torch\.)?(bfloat16|bf16|float16|fp16|half|float32|fp32|float|auto)": "bf16",  # float32 is served in 16 bits
    r"(torch\.)?(fp8|float8)([_-].*)?": "fp8",
    "mxfp4": "mxfp4",
    "nvfp4": "nvfp4",
    "fp4": "fp4",
}
_NAMED = {"fp8": "fp8", "fp4": "fp4", "nvfp4": "nvfp4", "mxfp4": "mxfp4", "bf16": "bf16", "fp16": "bf16"}


def checkpoint(run: ServerStated, model: Model) -> tuple[Model, str | None]:
    """The model as the run's checkpoint stores it, and what its linear layers are quantised to (None: to nothing else).

    A `dtype` of 16 bits says nothing of the weights: it is that of the activations. A file in conf/model whose own id
    names a format is of a quantised copy; other checkpoints of that shape are the original, in 16 bits. Raises
    ConfigError for formats the engine does not know.
    """
    stated, named = _format("dtype", run.dtype), _named(run.model)
    quantised = next((f for f in (stated, named) if f not in (None, "bf16")), None)
    published = model.expert_dtype or model.weight_dtype
    if quantised == published or (quantised == "fp4" and published in ("mxfp4", "nvfp4")):
        return model, None
    if quantised:
        return model, _whole_name(quantised)
    is_own = run.model.lower() in (model.hugging_face_id.lower(), model.name)
    if named == "bf16" or (names_fp8(model.hugging_face_id) and not is_own):
        return model.model_copy(update={"weight_dtype": "bf16", "expert_dtype": None}), None
    return model, None


def kv_format(run: ServerStated) -> str | None:
    """What the KV cache is quantised to; None: as published. Raises ConfigError."""
    stated = _format("kv_dtype", run.kv_dtype)
    return None if stated is None or stated == "bf16" else _whole_name(stated)


def _whole_name(stated: str) -> str:
    return "nvfp4" if stated == "fp4" else stated


def _format(key: str, stated: str | None) -> str | None:
    if stated is None:
        return None
    for pattern, known in _FORMATS.items():
        if re.fullmatch(pattern, stated.strip().lower()):
            return known
    raise ConfigError(f"{key} = {stated!r}: is not one of bf16, fp16, float32, auto, fp8, mxfp4, nvfp4")


def _named(hugging_face_id: str) -> str | None:
    words = re.split(r"[^a-z0-9]+", hugging_face_id.lower())
    return next((_NAMED[word] for word in words if word in _NAMED), None)
