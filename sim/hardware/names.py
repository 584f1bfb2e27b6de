"""Models and GPUs as measured runs call them, found in conf/."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import yaml

from sim.conf_path import conf_dir
from sim.schema import ConfigError

GPU_ALIASES = {
    "h100": "h100_sxm", "h200": "h200_sxm", "b200_sxm": "b200", "a100": "a100_80gb_sxm", "a100_sxm": "a100_80gb_sxm",
    "a100_80gb": "a100_80gb_sxm", "a100_sxm_80gb": "a100_80gb_sxm", "a100_pcie": "a100_80gb_pcie",
    "a100_pcie_80gb": "a100_80gb_pcie", "a100_40gb": "a100_40gb_sxm", "a100_sxm_40gb": "a100_40gb_sxm",
    "a100_pcie_40gb": "a100_40gb_pcie", "rtx4090": "rtx_4090", "rtxpro6000": "rtx_pro_6000",
}  # fmt: skip
"""Other names of the GPUs in conf/gpu, in lower case, words joined by underscores, without `_GPU_WORDS`."""

_GPU_WORDS = {
    "nvidia", "amd", "geforce", "instinct", "tesla", "tensor", "core", "gpu", "blackwell", "ada", "generation",
    "server", "workstation", "edition", "hbm2", "hbm2e", "hbm3", "hbm3e",
}  # fmt: skip

MODEL_ALIASES = {
    "llama-3-8b": "llama-3.1-8b", "llama-3-70b": "llama-3.1-70b", "llama-3.1-nemotron-70b": "llama-3.1-70b",
    "yi-1.5-34b": "yi-34b", "mistral-nemo-12b": "mistral-nemo", "llama-4-scout": "llama-4-scout-17b-16e",
    "deepseek-r1": "deepseek-v3", "deepseek-r1-zero": "deepseek-v3", "deepseek-v3.1": "deepseek-v3",
    "deepseek-v3.1-terminus": "deepseek-v3", "deepseek-v3.2-exp": "deepseek-v3.2", "glm-4.5": "glm-4.7",
    "glm-4.6": "glm-4.7", "deepseek-r1-distill-llama-8b": "llama-3.1-8b",
    "deepseek-r1-distill-llama-70b": "llama-3.3-70b", "deepseek-r1-distill-qwen-7b": "qwen2.5-7b",
}  # fmt: skip
"""Models of the same shape as one in conf/model: another release changed the weights alone."""

_VARIANT_WORDS = {
    "instruct", "chat", "it", "base", "hf", "meta", "thinking", "coder", "math", "python", "dynamic", "block", "kv",
    "bf16", "fp16", "fp8", "fp4", "nvfp4", "mxfp4", "turbo",
}  # fmt: skip
_VARIANT_FORM = re.compile(r"\d{4}|\d+k|\d{1,2}m")  # a date as in 2507, a context as in 200K
_QWEN3_2507_TOKENS = 262_144  # Hugging Face config.json of Qwen3-*-2507, recalled, not re-fetched


@cache
def conf_entry(group: str, name: str) -> dict[str, Any]:
    """The content of conf/<group>/<name>.yaml. Raises ConfigError, with the names there are, for an unknown one."""
    path = conf_dir() / group / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml")))
        raise ConfigError(f"{group} = {name!r}: is not one of {known}")
    entry: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return entry


def gpu_file(name: str) -> str:
    """The file in conf/gpu that a GPU's name means, as drivers or people write it. Raises ConfigError.

    >>> gpu_file("H100-SXM-80GB"), gpu_file("NVIDIA-A100-SXM4-80GB"), gpu_file("a100_80gb_pcie")
    ('h100_sxm', 'a100_80gb_sxm', 'a100_80gb_pcie')
    """
    known = sorted(path.stem for path in (conf_dir() / "gpu").glob("*.yaml"))
    words = re.sub(r"sxm\d", "sxm", name.lower())
    plain = "_".join(word for word in re.findall(r"[a-z0-9]+", words) if word not in _GPU_WORDS)
    without_size, size_gb = re.sub(r"_\d+gb", "", plain), re.search(r"_(\d+)gb", plain)
    for name_of_card in (plain, without_size):
        found = GPU_ALIASES.get(name_of_card, name_of_card)
        if found in known and (size_gb is None or abs(int(size_gb[1]) / _memory_gb(found) - 1) < 0.1):
            return found
    raise ConfigError(f"gpu = {name!r}: is not known; conf/gpu has {', '.join(known)}")


def model_file(hugging_face_id: str) -> str:
    """The file in conf/model whose shape a Hugging Face id has, whatever its fine-tuning or number format.

    Raises ConfigError with the ids known.

    >>> model_file("meta-llama/Llama-3.1-8B-Instruct"), model_file("CodeLlama-34b-hf"), model_file("qwen2-5-7b")
    ('llama_3_1_8b', 'code_llama_34b', 'qwen2_5_7b')
    """
    by_shape, ids = _models()
    if hugging_face_id in ids.values():
        return next(file for file, known in ids.items() if known == hugging_face_id)
    if hugging_face_id in ids:
        return hugging_face_id
    found = by_shape.get(_shape(hugging_face_id))
    if found is None:
        raise ConfigError(
            f"model = {hugging_face_id!r}: is not known; conf/model has {', '.join(sorted(ids.values()))}"
        )
    return found


def names_context(hugging_face_id: str) -> int | None:
    """Tokens of context that an id says its checkpoint was stretched to; None: it says nothing.

    >>> names_context("01-ai/Yi-34B-200K"), names_context("Qwen/Qwen3-235B-A22B-Thinking-2507")
    (204800, 262144)
    """
    words = hugging_face_id.lower().split("-")
    sized = [word for word in words if re.fullmatch(r"\d+k|\d{1,2}m", word)]
    sizes = [int(word[:-1]) * (1024 if word[-1] == "k" else 1024**2) for word in sized]
    if "2507" in words:
        sizes.append(_QWEN3_2507_TOKENS)
    return max(sizes, default=None)


def names_fp8(hugging_face_id: str) -> bool:
    """Whether the id is that of a checkpoint in fp8."""
    return "fp8" in re.split(r"[-_/]", hugging_face_id.lower())


@cache
def _memory_gb(gpu: str) -> float:
    card = yaml.safe_load((conf_dir() / "gpu" / f"{gpu}.yaml").read_text(encoding="utf-8"))
    return float(card["memory_gb"])


@cache
def _models() -> tuple[dict[str, str], dict[str, str]]:
    ids = {}
    for path in sorted((conf_dir() / "model").glob("*.yaml")):
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
        if "hugging_face_id" in raw:  # hugging_face.yaml stands for any model
            ids[path.stem] = raw["hugging_face_id"]
    by_shape = {_shape(name): file for file, known in ids.items() for name in (file, known)}
    return by_shape | {_shape(alias): by_shape[_shape(known)] for alias, known in MODEL_ALIASES.items()}, ids


def _shape(hugging_face_id: str) -> str:
    """Words that tell shapes apart; "." and "-" between digits are alike, and so are "llama-2" and "llama2"."""
    name = re.sub(r"[^a-z0-9]+", "-", hugging_face_id.lower().rpartition("/")[2])
    words = re.sub(r"-v0-\d(?=-|$)", "", name).split("-")
    kept = "-".join(word for word in words if word not in _VARIANT_WORDS and not _VARIANT_FORM.fullmatch(word))
    return re.sub(r"(?<=[a-z])-(?=\d)", "", kept)
