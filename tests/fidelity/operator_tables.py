"""`make operator-tables`: derives constants of conf/gpu from measured operator times, and compares or writes the files.

The tables are those of the PyPI package aiconfigurator-core (Apache-2.0; extra `tables`), which is no part of a run.
A constant is H100's, which was fitted to whole servers, times the card's table value over H100's. So what the tables
leave out (element-wise kernels, sampling, the host) and what a kernel in a loop does not show cancels to first order.
Of a fraction that H100 has none of, or of a norm, the table's own value is taken.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from sim.hardware.gpu import Gpu, gpu_named
from sim.hardware.names import conf_entry
from tests.fidelity.operator_fits import GPT_OSS_120B, MINIMAX_M2, NoRows, Tables

PACKAGE = "aiconfigurator-core"
CONF = Path(__file__).parents[2] / "conf" / "gpu"
TOLERANCE = 0.02
"""By how much a constant in a file may differ from the derived one: rounding to two digits, and repeats of a fit."""


class Card(NamedTuple):
    """A file of conf/gpu, its folder in the package, the vLLM versions of its tables, and what is taken from them."""

    file: str
    system: str
    fields: tuple[str, ...]
    version: str = "0.24.0"
    all_reduce_version: str = "0.24.0"


_DENSE = ("gemm_efficiency", "weight_read_efficiency", "overlap_norm", "kv_read_efficiency")
_DENSE += ("prefill_attention_efficiency",)
_FP8_EXPERTS = ("fp8_expert_gemm_fraction", "fp8_expert_read_fraction")
_BLACKWELL = (*_DENSE, "fp8_gemm_efficiency", "layer_overhead_us", "moe_layer_overhead_us", *_FP8_EXPERTS)
_GROUPS = ("all_reduce_bandwidth_fraction", "all_reduce_4_gpus_fraction", "all_reduce_8_gpus_fraction")
_A100 = (*_DENSE, "layer_overhead_us", "all_reduce_latency_us", "all_reduce_bandwidth_fraction")
H100 = Card("h100_sxm", "h100_sxm", _FP8_EXPERTS)
CARDS = (
    Card("a100_80gb_sxm", "a100_sxm", _A100, "0.14.0", "0.14.0"),
    H100,
    Card("h200_sxm", "h200_sxm", ("mxfp4_expert_read_fraction", *_FP8_EXPERTS)),
    Card("l40s", "l40s", (*_DENSE, "fp8_gemm_efficiency", "fp8_kv_read_efficiency", *_GROUPS), "0.24.0", "0.14.0"),
    Card("rtx_pro_6000", "rtx_pro_6000_server", ("overlap_norm", "fp8_kv_read_efficiency", *_GROUPS)),
    Card("b200", "b200_sxm", _BLACKWELL),
    Card("b300", "b300_sxm", _BLACKWELL),
    Card("gb200", "gb200", _BLACKWELL),
    Card("gb300", "gb300", _BLACKWELL),
)
COPIES = {
    "a100_40gb_sxm": ("a100_80gb_sxm", _A100),
    "a100_80gb_pcie": ("a100_80gb_sxm", _A100[:6]),
    "a100_40gb_pcie": ("a100_80gb_sxm", _A100[:6]),
    "a10g": ("a100_80gb_sxm", _A100[1:6]),  # all but gemm_efficiency, which is of published ratios
}
"""Files that take some constants from the file of a relative whose operators were measured."""
_PCIE = ("l40s", "rtx_pro_6000")


class Derived(NamedTuple):
    """A constant as the tables have it: its value, the ratio it was made of, and the fit's median residual."""

    value: float
    words: str
    residual: float | None = None
    is_ratio: bool = False


def folder() -> Path | None:
    """Where the package keeps its tables; None without the package."""
    found = find_spec("aiconfigurator_core")
    places = found.submodule_search_locations if found else None
    return Path(places[0]) / "systems" if places else None


@cache
def _table_values(card: Card, systems: Path) -> dict[str, tuple[float, float | None]]:
    """(value, residual) by quantity, of one card's own tables; what a table lacks is left out."""
    gpu = gpu_named(card.file)
    tables = Tables(systems / "data" / card.system, gpu, card.version, card.all_reduce_version)
    found: dict[str, tuple[float, float | None]] = {}
    dense = tables.gemm("bfloat16")
    read = dense.at_norm_of_h100
    beyond_cache, all_sizes = tables.decode_attention("bfloat16")
    prefill = tables.prefill_attention()
    found["gemm"] = (dense.efficiency, None)
    found["weight_read"], found["norm"] = (read.values[2], read.residual), (dense.norm, dense.at_own_norm.residual)
    found["kv_read"] = (beyond_cache.values[2], beyond_cache.residual)
    found["prefill"] = (prefill.values[1], prefill.residual)
    found["layer_us"] = (4 * dense.launch_us + all_sizes.values[0], all_sizes.residual)
    for gpus in (2, 4, 8) if gpu.link_kind != "nvlink" else (2, 4):
        reduce = tables.all_reduce(gpus)
        found[f"all_reduce_us_{gpus}"] = (reduce.values[0], reduce.residual)
        found[f"link_{gpus}"] = (reduce.values[1], reduce.residual)
    try:
        found["fp8_gemm"] = (tables.gemm("fp8").efficiency, None)
        fp8_kv = tables.decode_attention("fp8")[0]
        found["fp8_kv_read"] = (fp8_kv.values[2], fp8_kv.residual)
        mxfp4, fp8 = tables.experts(GPT_OSS_120B), tables.experts(MINIMAX_M2)
        found["moe_us"], found["mxfp4_read"] = (mxfp4.values[0], mxfp4.residual), (mxfp4.values[2], mxfp4.residual)
        found["fp8_expert"], found["fp8_expert_read"] = (fp8.values[1], fp8.residual), (fp8.values[2], fp8.residual)
    except NoRows:
        pass
    return found


_RATIOS = {
    "gemm_efficiency": "gemm", "weight_read_efficiency": "weight_read", "kv_read_efficiency": "kv_read",
    "prefill_attention_efficiency": "prefill", "layer_overhead_us": "layer_us", "fp8_gemm_efficiency": "fp8_gemm",
    "moe_layer_overhead_us": "moe_us", "all_reduce_latency_us": "all_reduce_us_4",
}  # fmt: skip
_OWN = {"overlap_norm": "norm", "fp8_kv_read_efficiency": "fp8_kv_read"}


def derived(card: Card, systems: Path) -> dict[str, Derived]:
    """The constants that the file of `card` takes from the tables."""
    ours, theirs, fitted = _table_values(card, systems), _table_values(H100, systems), gpu_named("h100_sxm")
    return {field: _derived(field, card, ours, theirs, fitted) for field in card.fields}


def _derived(field: str, card: Card, ours: dict, theirs: dict, fitted: Gpu) -> Derived:
    if field in _OWN:
        value, residual = ours[_OWN[field]]
        return Derived(value, "the table's own value", residual)
    if field == "mxfp4_expert_read_fraction":
        (value, residual), (of_h100, _) = ours["mxfp4_read"], theirs["mxfp4_read"]
        return Derived(value / of_h100, f"{value:.3g} of bandwidth over H100's {of_h100:.3g}", residual)
    if field in _FP8_EXPERTS:
        return _of_experts(field, gpu_named(card.file).expert_gemm_fraction, ours)
    if field == "all_reduce_bandwidth_fraction" and card.file not in _PCIE:
        return _over("link_4", fitted.all_reduce_bandwidth_fraction, ours, theirs)
    if field == "all_reduce_bandwidth_fraction":
        return Derived(ours["link_2"][0], "the table's own value, 2 GPUs", ours["link_2"][1])
    if field in _GROUPS:
        gpus = field.split("_")[2]
        value, residual = ours[f"link_{gpus}"]
        return Derived(value / ours["link_2"][0], f"{value:.3g} of the link over {ours['link_2'][0]:.3g}", residual)
    return _over(_RATIOS[field], getattr(fitted, field), ours, theirs)


def _of_experts(field: str, of_dense: float, ours: dict) -> Derived:
    """No server with fp8 experts was fitted, so these are the card's own experts over its own dense products."""
    if field == "fp8_expert_read_fraction":
        (value, residual), (dense, _) = ours["fp8_expert_read"], ours["weight_read"]
        return Derived(value / dense, f"{value:.3g} of bandwidth over {dense:.3g} of dense weights", residual)
    (value, residual), (dense, _) = ours["fp8_expert"], ours["fp8_gemm"]
    words = f"{value:.3g} of peak over {dense:.3g} of dense products and {of_dense:.3g}"
    return Derived(value / dense / of_dense, words, residual)


def _over(quantity: str, of_h100: float, ours: dict, theirs: dict) -> Derived:
    (value, residual), (there, _) = ours[quantity], theirs[quantity]
    return Derived(of_h100 * value / there, f"{of_h100:.3g} x {value:.3g} / {there:.3g}", residual, is_ratio=True)


def differences(card: Card, systems: Path) -> list[str]:
    """One line for each constant whose value in the file is not the derived one within `TOLERANCE`."""
    gpu = gpu_named(card.file)
    return [
        f"conf/gpu/{card.file}.yaml: {field} is {getattr(gpu, field)}, the tables give {found.value:.3g}"
        for field, found in derived(card, systems).items()
        if abs(getattr(gpu, field) / found.value - 1) > TOLERANCE
    ]


def write(card: Card, systems: Path) -> None:
    """Put the derived constants into the file of `card` and into those of its relatives, with source and version."""
    source = f"{PACKAGE} {version(PACKAGE)}, vLLM {card.version}"
    lines = {}
    for field, found in derived(card, systems).items():
        versions = source if "all_reduce" not in field else source.replace(card.version, card.all_reduce_version)
        of_h100 = "H100's fitted " if found.is_ratio else ""
        lines[field] = f"{field}: {_rounded(found.value)}  # {of_h100}{found.words}: operator tables of {versions}"
    _replace(card.file, lines)
    for copy, (relative, fields) in COPIES.items():
        if relative == card.file:
            borrowed = {f: f"{lines[f].partition('  #')[0]}  # taken from {relative}: the same family" for f in fields}
            _replace(copy, borrowed)


def _replace(file: str, lines: dict[str, str]) -> None:
    """Overwrite the lines of conf/gpu/<file>.yaml that state these fields; a field without a line gets one."""
    path, left = CONF / f"{file}.yaml", dict(lines)
    text = [left.pop(line.partition(":")[0], line) for line in path.read_text(encoding="utf-8").splitlines()]
    path.write_text("\n".join([*text, *left.values()]) + "\n", encoding="utf-8")


def _rounded(value: float) -> str:
    return f"{value:.3g}"


def main() -> int:
    """Print every derived constant beside the file's; exit code 1 if one differs, 2 without the package.

    With `--write`, write them into the files first.
    """
    systems = folder()
    if systems is None:
        print(f"error: {PACKAGE} is not installed: pip install -e .[tables]", file=sys.stderr)
        return 2
    if "--write" in sys.argv[1:]:
        for card in CARDS:
            write(card, systems)
        conf_entry.cache_clear()
    print(f"{PACKAGE} {version(PACKAGE)}; H100: " + _as_words(_table_values(H100, systems)))
    for card in CARDS:
        print(f"\nconf/gpu/{card.file}.yaml (vLLM {card.version}, all-reduce {card.all_reduce_version})")
        for field, found in derived(card, systems).items():
            residual = "" if found.residual is None else f"; median residual {found.residual:.1%}"
            print(
                f"  {field:<32}{getattr(gpu_named(card.file), field):<8.4g}{found.value:<8.3g}{found.words}{residual}"
            )
    found = [line for card in CARDS for line in differences(card, systems)]
    print("\n" + ("\n".join(found) or f"every constant is that of the tables within {TOLERANCE:.0%}"))
    return 1 if found else 0


def _as_words(values: dict[str, tuple[float, float | None]]) -> str:
    return ", ".join(f"{quantity} {value:.3g}" for quantity, (value, _) in values.items())


if __name__ == "__main__":
    sys.exit(main())
