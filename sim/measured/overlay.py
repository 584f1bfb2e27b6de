"""A fit as YAML that any scenario can choose: a complete `gpu`, and the `engine` it was measured with."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from sim.hardware.engine import Engine
from sim.hardware.gpu import Gpu
from sim.measured.fit import Fit, Fitted
from sim.measured.other_constants import engine_beside
from sim.schema import Config, ConfigError, parse_config
from sim.study.folder import require_writable, write_text


class Target(NamedTuple):
    """The two files of an overlay. In folders `gpu` and `engine` of one folder, scenarios find them by name."""

    gpu: Path
    engine: Path

    @property
    def usage(self) -> str:
        """How a scenario uses them."""
        if self.gpu.parent.name != "gpu":
            return f"to use it, put {self.gpu.name} in a folder mine/gpu and add: --config-dir mine gpu={self.gpu.stem}"
        folder = self.gpu.parent.parent
        return f"llm-traffic-sim --config-dir {folder} gpu={self.gpu.stem} engine={self.engine.stem}"


def target(out: Path, force: bool) -> Target:
    """Where to write, checked before any work is done. Raises ConfigError if something is there, or nothing can be."""
    if out.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"--out {out}: must end in .yaml")
    found = Target(out, engine_beside(out))
    refuse_to_overwrite(found, force)
    for path in found:
        require_writable(path.parent)
    return found


def refuse_to_overwrite(files: Target, force: bool) -> None:
    """Raise ConfigError if a file exists already, unless `force`."""
    for path in files:
        if path.exists() and not force:
            raise ConfigError(f"--out {path}: exists already; --force replaces it")


def write(files: Target, fit: Fit, sources: Mapping[str, Path], day: str, force: bool = False) -> None:
    """Write both files, each whole or not at all. `sources` are the YAML files they came from, `day` an ISO date."""
    texts = {
        files.gpu: _text(Gpu, fit.server.gpu, sources.get("gpu"), fit, False, day),
        files.engine: _text(Engine, fit.server.engine, sources.get("engine"), fit, True, day),
    }
    refuse_to_overwrite(files, force)
    for path, text in texts.items():
        write_text(path, text)


def _text(cls: type[Config], after: Config, source: Path | None, fit: Fit, of_engine: bool, day: str) -> str:
    fitted = {f.constant.name: f for f in fit.constants if f.constant.of_engine == of_engine}
    comments, values_before = _comments(source), _values(source)
    where = f"{_names([point.file for point in fit.points])}, {len(fit.points)} points, {day}"
    what = f"{fit.server.model.name}, tensor parallel {_sizes(fit)}"
    lines = [f"# {cls.__name__} calibrated to a server that ran {what}. From {where}."]
    for name, value in after.model_dump().items():
        if name in fitted:
            text, comment = f"{fitted[name].after:.4g}", _provenance(fitted[name], where)
        else:
            text = _plain(value)
            comment = comments.get(name) or (f"as in {source.stem}" if source else "as given")
            if of_engine and name in values_before and values_before[name] != value:
                comment = "as the measured server was started"
            if name == "basis" and fitted:
                text, comment = "fitted", f"to {where}"
            if name == "name":
                comment = "the card, as price lists know it"
        lines.append(f"{name}: {text}  # {comment}")
    text = "\n".join(lines) + "\n"
    parse_config(cls, yaml.safe_load(text))  # A file that the simulator could not read is never written.
    return text


def _provenance(fitted: Fitted, where: str) -> str:
    how = "fitted to" if fitted.learned else "hardly determined, so near the default, by"
    return f"{how} {where}; +- {100 * fitted.sigma:.0f} %; was {fitted.before:.4g}"


def _sizes(fit: Fit) -> str:
    default = fit.server.engine.tensor_parallel
    return " and ".join(map(str, sorted({point.tensor_parallel or default for point in fit.points})))


def _names(files: Sequence[str]) -> str:
    names = list(dict.fromkeys(re.sub(r"\s+", " ", Path(file).name) for file in files))
    return ", ".join(names) if len(names) <= 3 else f"{names[0]}, {names[1]} and {len(names) - 2} more files"


def _plain(value: Any) -> str:
    """One value on one line."""
    return yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("\n").removesuffix("\n...")


def _comments(source: Path | None) -> dict[str, str]:
    """The comment on each key's line, where the numbers that stay came from."""
    if source is None or not source.is_file():
        return {}
    found = re.finditer(r"^(\w+):[^#\n]*#\s*(.+?)\s*$", source.read_text(encoding="utf-8"), re.MULTILINE)
    return {match[1]: match[2] for match in found}


def _values(source: Path | None) -> dict[str, Any]:
    return yaml.safe_load(source.read_text(encoding="utf-8")) if source and source.is_file() else {}
