"""Models and GPUs as measured runs call them, found in conf/."""

from __future__ import annotations

import re
from functools import cache

import yaml

from sim.conf_path import conf_dir
from sim.schema import ConfigError

GPU_ALIASES = {
    "h100": "h100_sxm", "h100_sxm_80gb": "h100_sxm", "h100_80gb": "h100_sxm", "h100_pcie_80gb": "h100_pcie",
    "h100_nvl_94gb": "h100_nvl", "h200": "h200_sxm", "h200_sxm_141gb": "h200_sxm", "h200_141gb": "h200_sxm",
    "b200_sxm": "b200", "b200_sxm_180gb": "b200", "b200_180gb": "b200", "b200_192gb": "b200",
    "a100": "a100_80gb_sxm", "a100_80gb": "a100_80gb_sxm", "a100_sxm": "a100_80gb_sxm",
    "a100_sxm_80gb": "a100_80gb_sxm", "a100_pcie_80gb": "a100_80gb_pcie", "a100_sxm_40gb": "a100_40gb_sxm",
    "a100_pcie_40gb": "a100_40gb_pcie", "a100_40gb": "a100_40gb_sxm", "l40s_48gb": "l40s", "l4_24gb": "l4",
    "a10g_24gb": "a10g", "rtx4090": "rtx_4090", "rtx4090_24gb": "rtx_4090", "rtx_4090_24gb": "rtx_4090",
    "rtxpro6000": "rtx_pro_6000", "rtxpro6000_96gb": "rtx_pro_6000", "rtx_pro_6000_96gb": "rtx_pro_6000",
    "mi300x_192gb": "mi300x",
}  # fmt: skip
"""Other names of the GPUs in conf/gpu, in lower case, words joined by underscores."""

MODEL_ALIASES = {"llama-3-8b": "llama-3.1-8b", "llama-3-70b": "llama-3.1-70b"}
"""Models of the same shape as one in conf/model: the next release changed the weights alone."""

_VARIANT_WORDS = {
    "instruct", "chat", "it", "base", "hf", "meta", "fp8", "dynamic", "kv", "bf16", "fp16", "2407", "2507",
    "v0.1", "v0.2", "v0.3",
}  # fmt: skip


def gpu_file(name: str) -> str:
    """The file in conf/gpu that a GPU's name means. Raises ConfigError with the names known.

    >>> gpu_file("H100-SXM-80GB"), gpu_file("L40S-48GB"), gpu_file("a100_80gb_pcie")
    ('h100_sxm', 'l40s', 'a100_80gb_pcie')
    """
    known = sorted(path.stem for path in (conf_dir() / "gpu").glob("*.yaml"))
    plain = re.sub(r"[^a-z0-9]+", "_", name.lower().removeprefix("nvidia").removeprefix("amd")).strip("_")
    found = plain if plain in known else GPU_ALIASES.get(plain)
    if found not in known:
        raise ConfigError(f"gpu = {name!r}: is not known; conf/gpu has {', '.join(known)}")
    return found


def model_file(hugging_face_id: str) -> str:
    """The file in conf/model whose shape a Hugging Face id has, whatever its fine-tuning or number format.

    Raises ConfigError with the ids known.

    >>> model_file("meta-llama/Llama-3.1-8B-Instruct"), model_file("codellama/CodeLlama-34b-Instruct-hf")
    ('llama_3_1_8b', 'code_llama_34b')
    """
    by_shape, ids = _models()
    if hugging_face_id in ids.values():
        return next(file for file, known in ids.items() if known == hugging_face_id)
    if hugging_face_id in ids:
        return hugging_face_id
    shape = _shape(hugging_face_id)
    found = by_shape.get(MODEL_ALIASES.get(shape, shape))
    if found is None:
        raise ConfigError(
            f"model = {hugging_face_id!r}: is not known; conf/model has {', '.join(sorted(ids.values()))}"
        )
    return found


def names_fp8(hugging_face_id: str) -> bool:
    """Whether the id is that of a checkpoint in fp8."""
    return "fp8" in re.split(r"[-_/]", hugging_face_id.lower())


@cache
def _models() -> tuple[dict[str, str], dict[str, str]]:
    ids = {}
    for path in sorted((conf_dir() / "model").glob("*.yaml")):
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
        if "hugging_face_id" in raw:  # hugging_face.yaml stands for any model
            ids[path.stem] = raw["hugging_face_id"]
    return {_shape(known): file for file, known in ids.items()}, ids


def _shape(hugging_face_id: str) -> str:
    words = hugging_face_id.lower().rpartition("/")[2].replace("_", "-").split("-")
    return "-".join(word for word in words if word not in _VARIANT_WORDS)
