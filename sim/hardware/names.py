"""Finds the file in conf/gpu or conf/model that a measured run means by the name it gives its GPU or model."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import yaml

from sim.conf_path import conf_dir
from sim.schema import ConfigError

GPU_ALIASES = {
    "h100": "h100_sxm", "h200": "h200_sxm", "b200_sxm": "b200", "b300_sxm": "b300",
    "gb200_nvl72": "gb200", "gb300_nvl72": "gb300", "a100": "a100_80gb_sxm", "a100_sxm": "a100_80gb_sxm",
    "a100_80gb": "a100_80gb_sxm", "a100_sxm_80gb": "a100_80gb_sxm", "a100_pcie": "a100_80gb_pcie",
    "a100_pcie_80gb": "a100_80gb_pcie", "a100_40gb": "a100_40gb_sxm", "a100_sxm_40gb": "a100_40gb_sxm",
    "a100_pcie_40gb": "a100_40gb_pcie", "rtx4090": "rtx_4090", "rtxpro6000": "rtx_pro_6000",
}  # fmt: skip
"""Other names of the GPUs in conf/gpu, in lower case, words joined by underscores, without `_GPU_NOISE_WORDS`."""

_GPU_NOISE_WORDS = {
    "nvidia", "amd", "geforce", "instinct", "tesla", "tensor", "core", "gpu", "blackwell", "ada", "generation",
    "server", "workstation", "edition", "hbm2", "hbm2e", "hbm3", "hbm3e",
}  # fmt: skip
"""Words in the name of a GPU that do not tell it from other GPUs."""

MODEL_ALIASES = {
    "llama-3-8b": "llama-3.1-8b", "llama-3-70b": "llama-3.1-70b", "llama-3.1-nemotron-70b": "llama-3.1-70b",
    "yi-1.5-34b": "yi-34b", "mistral-nemo-12b": "mistral-nemo", "llama-4-scout": "llama-4-scout-17b-16e",
    "deepseek-r1": "deepseek-v3", "deepseek-r1-zero": "deepseek-v3", "deepseek-v3.1": "deepseek-v3",
    "deepseek-v3.1-terminus": "deepseek-v3", "deepseek-v3.2-exp": "deepseek-v3.2", "glm-4.5": "glm-4.7",
    "glm-4.6": "glm-4.7", "deepseek-r1-distill-llama-8b": "llama-3.1-8b",
    "deepseek-r1-distill-llama-70b": "llama-3.3-70b", "deepseek-r1-distill-qwen-7b": "qwen2.5-7b",
}  # fmt: skip
"""Models of the same shape as one in conf/model, whose name is the value: the releases differ in weights alone."""

_VARIANT_WORDS = {
    "instruct", "chat", "it", "base", "hf", "meta", "thinking", "coder", "math", "python", "dynamic", "block", "kv",
    "bf16", "fp16", "fp8", "fp4", "nvfp4", "mxfp4", "turbo",
}  # fmt: skip
"""Words in the id of a model that tell of its training or number format and not of its shape."""

_VARIANT_FORM = re.compile(r"\d{4}|\d+k|\d{1,2}m")
"""Words of the same kind that follow a pattern: a date as in 2507, a context as in 200K."""

_QWEN3_2507_TOKENS = 262_144
"""Context of Qwen3-*-2507, of their Hugging Face config.json; recalled and not fetched again."""


@cache
def conf_entry(group: str, name: str) -> dict[str, Any]:
    """The content of conf/<group>/<name>.yaml. Raises ConfigError, which lists the known names, for an unknown one."""
    path = conf_dir() / group / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml")))
        raise ConfigError(f"{group} = {name!r}: is not one of {known}")
    entry: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return entry


def gpu_file(name: str) -> str:
    """The name, without .yaml, of the file in conf/gpu that a GPU's name means, as a driver or a benchmark writes it.

    A memory size in the name must be that of the file within 10 %. Raises ConfigError, which lists the known names.

    >>> gpu_file("H100-SXM-80GB"), gpu_file("NVIDIA-A100-SXM4-80GB"), gpu_file("a100_80gb_pcie")
    ('h100_sxm', 'a100_80gb_sxm', 'a100_80gb_pcie')
    """
    known = sorted(path.stem for path in (conf_dir() / "gpu").glob("*.yaml"))
    words = re.findall(r"[a-z0-9]+", re.sub(r"sxm\d", "sxm", name.lower()))
    with_size = "_".join(word for word in words if word not in _GPU_NOISE_WORDS)
    without_size, size_gb = re.sub(r"_\d+gb", "", with_size), re.search(r"_(\d+)gb", with_size)
    for candidate in (with_size, without_size):
        file = GPU_ALIASES.get(candidate, candidate)
        if file in known and (size_gb is None or abs(int(size_gb[1]) / _memory_gb(file) - 1) < 0.1):
            return file
    raise ConfigError(f"gpu = {name!r}: is not known; conf/gpu has {', '.join(known)}")


def model_file(hugging_face_id: str) -> str:
    """The name, without .yaml, of the file in conf/model that has the shape of the model of a Hugging Face id.

    Fine-tuning and number format do not matter, nor does the part of the id before the slash. An id that equals a
    file's `hugging_face_id` or name goes to that file. Raises ConfigError, which lists the known ids.

    >>> model_file("meta-llama/Llama-3.1-8B-Instruct"), model_file("CodeLlama-34b-hf"), model_file("qwen2-5-7b")
    ('llama_3_1_8b', 'code_llama_34b', 'qwen2_5_7b')
    """
    file_by_shape, id_by_file = _models()
    if hugging_face_id in id_by_file.values():
        return next(file for file, known in id_by_file.items() if known == hugging_face_id)
    if hugging_face_id in id_by_file:
        return hugging_face_id
    file = file_by_shape.get(_shape_words(hugging_face_id))
    if file is None:
        raise ConfigError(
            f"model = {hugging_face_id!r}: is not known; conf/model has {', '.join(sorted(id_by_file.values()))}"
        )
    return file


def names_context(hugging_face_id: str) -> int | None:
    """Tokens of context that a Hugging Face id states, as 200K does; the most if there are several, None without one.

    >>> names_context("01-ai/Yi-34B-200K"), names_context("Qwen/Qwen3-235B-A22B-Thinking-2507")
    (204800, 262144)
    """
    words = hugging_face_id.lower().split("-")
    sizes = [word for word in words if re.fullmatch(r"\d+k|\d{1,2}m", word)]
    contexts_tokens = [int(size[:-1]) * (1024 if size[-1] == "k" else 1024**2) for size in sizes]
    if "2507" in words:
        contexts_tokens.append(_QWEN3_2507_TOKENS)
    return max(contexts_tokens, default=None)


def names_fp8(hugging_face_id: str) -> bool:
    """Whether a Hugging Face id states that the weights are in fp8."""
    return "fp8" in re.split(r"[-_/]", hugging_face_id.lower())


@cache
def _memory_gb(gpu: str) -> float:
    """Nominal memory of the GPU in conf/gpu/<gpu>.yaml."""
    return float(conf_entry("gpu", gpu)["memory_gb"])


@cache
def _models() -> tuple[dict[str, str], dict[str, str]]:
    """Files of conf/model, without .yaml: (file by the words of its shape, Hugging Face id by file)."""
    id_by_file = {}
    for path in sorted((conf_dir() / "model").glob("*.yaml")):
        entry = conf_entry("model", path.stem)
        if "hugging_face_id" in entry:  # hugging_face.yaml has none, since it takes the shape from a config.json.
            id_by_file[path.stem] = entry["hugging_face_id"]
    file_by_shape = {_shape_words(name): file for file, known in id_by_file.items() for name in (file, known)}
    aliases = {_shape_words(alias): file_by_shape[_shape_words(known)] for alias, known in MODEL_ALIASES.items()}
    return file_by_shape | aliases, id_by_file


def _shape_words(hugging_face_id: str) -> str:
    """The words of an id that tell shapes apart, joined by "-".

    "." and "-" between digits are alike, and so are "llama-2" and "llama2". The part before the slash is left out.
    """
    name = re.sub(r"[^a-z0-9]+", "-", hugging_face_id.lower().rpartition("/")[2])
    words = re.sub(r"-v0-\d(?=-|$)", "", name).split("-")
    kept = "-".join(word for word in words if word not in _VARIANT_WORDS and not _VARIANT_FORM.fullmatch(word))
    return re.sub(r"(?<=[a-z])-(?=\d)", "", kept)
