"""Fit the constants of a GPU to benchmark results of your own server.

RESULTS are vLLM `bench serve` JSON (better with --save-detailed), GuideLLM JSON, or a CSV with the columns
concurrency or rate_per_s, input_tokens, output_tokens, ttft_s or ttft_ms, tpot_s or tpot_ms, throughput. Measure at
concurrency 1 to 4 and at 64 or more, with a short and a long prompt, without prefix hits.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from sim.conf_path import conf_dir
from sim.hardware.engine import Engine
from sim.hardware.fits import refuse_if_too_big
from sim.hardware.gpu import Gpu
from sim.hardware.model import Model
from sim.hardware.names import model_file, names_fp8
from sim.measured import overlay
from sim.measured.calibration_tables import constants_table, errors_line, points_table, warning
from sim.measured.constants import Server
from sim.measured.fit import Fit, fit
from sim.measured.play import play
from sim.measured.points import Point
from sim.measured.readers.files import read_results
from sim.measured.readers.reader import Results
from sim.schema import Config, ConfigError, parse_config
from sim.study.errors import refuse_code_in_arguments

_FLAGS = {
    "tensor_parallel": int, "max_num_seqs": int, "max_num_batched_tokens": int, "gpu_memory_utilization": float,
    "weight_dtype": str, "kv_dtype": str,
}  # fmt: skip


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="llm-traffic-sim calibrate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", nargs="+", metavar="RESULTS", help="vLLM or GuideLLM JSON, or CSV")
    parser.add_argument("--gpu", default="h100_sxm", help="the card, a file of conf/gpu (default: %(default)s)")
    parser.add_argument("--model", help="a file of conf/model; default: the one the results name")
    parser.add_argument("--engine", default="vllm", help="a file of conf/engine (default: %(default)s)")
    for name, kind in _FLAGS.items():
        parser.add_argument("--" + name.replace("_", "-"), type=kind, help="as the server was started with")
    parser.add_argument("--config-dir", type=Path, help="a folder with your own gpu/, model/ or engine/ YAML files")
    parser.add_argument("--check", action="append", default=[], metavar="RESULTS", help="predict, but do not fit to")
    parser.add_argument("--hold", default="", metavar="A,B", help="constants to leave as they are")
    parser.add_argument("--out", type=Path, help="default: mine/gpu/my_GPU.yaml")
    parser.add_argument("--force", action="store_true", help="replace what is there")
    return parser


class _Parts(Config):
    gpu: Gpu  # so that a violation is told with its full key
    model: Model
    engine: Engine


def _compose(given: argparse.Namespace, model: str, model_ids: Sequence[str]) -> Server:
    """The server that the command line describes; a checkpoint named fp8 is in fp8 unless the command line objects."""
    words = [f"gpu={given.gpu}", f"model={model}", f"engine={given.engine}"]
    flags = {name: getattr(given, name) for name in _FLAGS}
    words += [f"engine.{name}={value}" for name, value in flags.items() if value is not None]
    if given.config_dir:
        words.append(f"hydra.searchpath=[file://{given.config_dir.resolve()}]")
    refuse_code_in_arguments(words, [given.config_dir] if given.config_dir else [])
    with initialize_config_dir(version_base="1.3", config_dir=str(conf_dir())):
        config = compose("config", overrides=words)
        raw = {group: OmegaConf.to_container(config[group], resolve=True) for group in ("gpu", "model", "engine")}
    if given.weight_dtype is None and len({names_fp8(name) for name in model_ids}) > 1:
        raise ConfigError(
            f"the results are of {', '.join(dict.fromkeys(model_ids))}: "
            "fp8 and other weights in one fit; take one, or say --weight-dtype"
        )
    if any(map(names_fp8, model_ids)) and raw["model"].get("weight_dtype", "bf16") == "bf16":
        raw["engine"]["weight_dtype"] = raw["engine"]["weight_dtype"] or "fp8"
    parts = parse_config(_Parts, raw)
    server = Server(parts.gpu, parts.model, parts.engine)
    if server.engine.step_time.kind != "roofline":
        raise ConfigError(f"--engine {given.engine}: its step time has no GPU in it; there is nothing to calibrate")
    return server


def _model_name(given: argparse.Namespace, model_ids: Sequence[str]) -> str:
    """`--model`, or the file of conf/model, or of one's own, of the one model that the results name."""
    if given.model:
        return given.model
    named = list(dict.fromkeys(model_ids))
    if not named:
        raise ConfigError("the results do not say which model was served: say with --model which of conf/model it is")
    own = (given.config_dir / "model").glob("*.yaml") if given.config_dir else ()
    of_own = {str(OmegaConf.load(path).get("hugging_face_id")).lower(): path.stem for path in own}
    try:
        found = {of_own.get(name.lower()) or model_file(name) for name in named}
    except ConfigError:
        found = set()
    if len(found) == 1:
        return found.pop()
    raise ConfigError(f"the results are of {', '.join(named)}: say with --model which of conf/model has that shape")


def _source_of(group: str, name: str, config_dir: Path | None) -> Path:
    own = config_dir / group / f"{name}.yaml" if config_dir else None
    return own if own and own.is_file() else conf_dir() / group / f"{name}.yaml"


def _tell(result: Fit) -> None:
    print(points_table(result.points, result.before, result.after))
    print(errors_line("on the points it was fitted to", result.points, result.before, result.after))
    print(constants_table(result))
    if said := warning(result):
        print(said)


def _tell_check(points: Sequence[Point], before: Server, after: Server) -> None:
    old, new = ([play(server.on(p.tensor_parallel), p) for p in points] for server in (before, after))
    print(points_table(points, old, new))
    print(errors_line("on points it never saw", points, old, new))


def run(words: Sequence[str]) -> Fit:
    """Read, fit, print and write. Raises SimError for anything that is wrong with the input."""
    given = _parser().parse_args(words)
    files = overlay.target(given.out or Path("mine/gpu") / f"my_{given.gpu}.yaml", given.force)
    results = read_results(given.results)
    checks = read_results(given.check) if given.check else Results()
    model_ids = [*results.model_ids, *checks.model_ids]
    server = _compose(given, _model_name(given, model_ids), model_ids)
    for point in (*results.points, *checks.points):
        refuse_if_too_big(server.gpu, server.model, server.on(point.tensor_parallel).engine)
    print(
        f"{len(results.points)} operating points of {server.model.name} on {server.gpu.name}, "
        f"tensor parallel {server.engine.tensor_parallel}, max_num_seqs {server.engine.max_num_seqs}, "
        f"max_num_batched_tokens {server.engine.max_num_batched_tokens}"
        f"{f'; {server.engine.weight_dtype} weights' if server.engine.weight_dtype else ''}"
    )
    for note in (*results.notes, *checks.notes):
        print(f"note: {note}")
    result = fit(server, results.points, [name.strip() for name in given.hold.split(",") if name.strip()])
    _tell(result)
    if checks.points:
        _tell_check(checks.points, server, result.server)
    sources = {"gpu": _source_of("gpu", given.gpu, given.config_dir)}
    sources["engine"] = _source_of("engine", given.engine, given.config_dir)
    overlay.write(files, result, sources, date.today().isoformat(), given.force)
    print(f"-> {files.gpu}\n-> {files.engine}\n{files.usage}")
    return result


def main(argv: Sequence[str]) -> int:
    """Calibrate. Raises SimError for anything that is wrong with the input."""
    run(argv)
    return 0
