"""Constants in place of those in conf/gpu and conf/engine: an overlay that `calibrate` wrote, or an older list."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from sim.hardware.engine import Engine
from sim.hardware.gpu import Gpu
from sim.measured.server import Server
from sim.schema import Config, ConfigError, parse_config

_OF_ENGINE = ("step_overhead_us", "gemm_fraction", "kv_read_fraction", "request_overhead_s")
"""What an engine's file says of times. All else in it are flags, which a measured run states for itself."""


class _Parts(Config):
    gpu: Gpu  # A field of its own, so that an error names the full key: gpu....
    engine: Engine = Engine()


@dataclass(frozen=True)
class OtherConstants:
    """Cards by their names, and for each the constants of the engine that it was calibrated with.

    A card that is not among them keeps its constants, and so does its engine.
    """

    gpus: Mapping[str, Gpu] = field(default_factory=dict)
    of_engine: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def gpu(self, gpu: Gpu) -> Gpu:
        """The card with its other constants."""
        return self.gpus.get(gpu.name, gpu)

    def engine(self, gpu: Gpu) -> Mapping[str, float]:
        """Fields of the engine on this card."""
        return self.of_engine.get(gpu.name, {})

    def server(self, server: Server) -> Server:
        """The server with its other constants."""
        engine = server.engine.model_copy(update=dict(self.engine(server.gpu)))
        return replace(server, gpu=self.gpu(server.gpu), engine=engine)


AS_LISTED = OtherConstants()
"""No other constants: those of conf."""


def engine_beside(gpu: Path) -> Path:
    """The file of the engine that a card was calibrated with: in folders `gpu` and `engine`, or beside it."""
    if gpu.parent.name == "gpu":
        return gpu.parent.parent / "engine" / gpu.name
    return gpu.with_name(f"{gpu.stem}_engine{gpu.suffix}")


def read_constants(option: str, paths: Iterable[Path]) -> OtherConstants:
    """The constants in YAML files of cards, and of the engines beside them. Raises ConfigError, naming the `option`."""
    gpus: dict[str, Gpu] = {}
    of_engine: dict[str, dict[str, float]] = {}
    for path in paths:
        raw: dict[str, Any] = {"gpu": _yaml(option, path)}
        beside = engine_beside(path)
        if beside.is_file():
            raw["engine"] = _yaml(option, beside)
        try:
            parts = parse_config(_Parts, raw)
        except ConfigError as error:
            raise ConfigError(f"{option} {path}: {'; '.join(str(error).splitlines())}") from None
        name = parts.gpu.name
        if name in gpus:
            raise ConfigError(f"{option} {path}: a second file of the card {name}")
        gpus[name] = parts.gpu
        if "engine" in raw:
            of_engine[name] = {key: getattr(parts.engine, key) for key in _OF_ENGINE}
    return OtherConstants(gpus, of_engine)


def _yaml(option: str, path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{option} {path}: cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{option} {path}: is not YAML: {' '.join(str(error).split())}") from None
