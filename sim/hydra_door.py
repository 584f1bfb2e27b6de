"""The one door for Hydra: what it may read while it composes, and what a configuration may say to Hydra itself.

Hydra builds objects that a configuration names (callbacks, log handlers, launchers) before the program sees anything
of it, so every configuration is checked as it is composed: parsed and merged, from whichever file a part of it came.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path, PureWindowsPath
from typing import Any, NoReturn

from hydra import compose, initialize_config_dir
from hydra._internal import hydra as hydra_internals
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from omegaconf.resolvers import oc

from sim.conf_path import conf_dir
from sim.schema import ConfigError

NO_CODE = "names code; a configuration chooses a class by its `kind` and can never name one with `_target_`"

_NO_LOGGING = {"version": 1, "root": None, "disable_existing_loggers": False}
_FIXED: dict[str, Any] = {
    "callbacks": {}, "job_logging": _NO_LOGGING, "hydra_logging": _NO_LOGGING, "env": {}, "job.env_set": {},
    "job.env_copy": [], "job.chdir": None, "run.dir": ".", "sweep.dir": ".", "sweep.subdir": ".",
    "output_subdir": None, "launcher.temp_folder": None,
}  # fmt: skip
"""Keys of Hydra's own node that run code, read the environment or write files, with the only value each may have."""
_SWEEPER = "hydra_plugins.sim_grid_sweeper.GridSweeper"
_LAUNCHERS = ("hydra_plugins.", "hydra._internal.core_plugins.")  # Hydra itself takes installed plugins only


@contextmanager
def hydra_door() -> Iterator[None]:
    """While it is open, whatever Hydra composes in this process is checked."""
    loader = hydra_internals.ConfigLoaderImpl
    hydra_internals.ConfigLoaderImpl = CheckedLoader  # type: ignore[misc]
    try:
        yield
    finally:
        hydra_internals.ConfigLoaderImpl = loader  # type: ignore[misc]


def composed(words: Sequence[str], config_dir: Path | None = None) -> DictConfig:
    """conf/config.yaml with these overrides, Hydra's own node `hydra` among the rest.

    `config_dir` is a folder of further config groups. Raises ConfigError, and what Hydra raises, for words that mean
    nothing, and for a configuration that names code.

    Files are read and merged once for all configurations that choose the same ones: that takes a tenth of a second.
    Single keys are set in a copy of the result, by Hydra as well.
    """
    folders = (conf_dir(), *((config_dir.resolve(),) if config_dir else ()))
    parsed = OverridesParser.create().parse_overrides(list(words))
    keys = [override for override in parsed if _sets_a_key(override, folders)]
    choices = tuple(word for word, override in zip(words, parsed, strict=True) if override not in keys)
    says_something_to_hydra = any(override.is_hydra_override() for override in parsed)  # such as further folders
    chosen = _chosen.__wrapped__ if says_something_to_hydra else _chosen
    config = deepcopy(chosen(choices, folders[1:], _versions(folders)))
    with _no_environment():
        with _composing():
            ConfigLoaderImpl._apply_overrides_to_config(keys, config)
        check_composed(config)
    return config


@contextmanager
def _composing() -> Iterator[None]:
    """Raise ConfigError in place of whatever else Hydra's parsers raise for what they do not expect."""
    try:
        yield
    except (ConfigError, HydraException, OmegaConfBaseException):
        raise
    except Exception as error:
        raise ConfigError(f"the configuration cannot be composed: {error}") from error


def _sets_a_key(override: Override, folders: Sequence[Path]) -> bool:
    """Whether an override sets one key to a value; if not, it may choose files, or means something to Hydra."""
    name = override.key_or_group
    if override.is_sweep_override() or override.package is not None or name.partition(".")[0] == "hydra":
        return False
    return not any((folder / name).is_dir() for folder in folders)


def _versions(folders: Sequence[Path]) -> tuple[tuple[str, int], ...]:
    """Every YAML file of the folders with the time of its last change, in nanoseconds."""
    files = (path for folder in folders for path in sorted(folder.rglob("*.yaml")) if path.is_file())
    return tuple((str(path), path.stat().st_mtime_ns) for path in files)


@lru_cache(maxsize=64)
def _chosen(words: tuple[str, ...], folders: tuple[Path, ...], versions: Any) -> DictConfig:
    """conf/config.yaml with choices of files; `versions` makes the cache forget what was read before a file changed."""
    search = []
    if folders:
        folder = QuotedString(text=f"file://{folders[0]}", quote=Quote.single).with_quotes()
        search.append(f"hydra.searchpath=[{folder}]")
    with hydra_door(), initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose("config", [*search, *words], return_hydra_config=True)


def plain(config: DictConfig) -> dict[str, Any]:
    """A composed configuration as plain data without Hydra's own node, every interpolation resolved.

    Raises ConfigError for one that names code or reads the environment, and what OmegaConf raises for one that lacks
    something.
    """
    task = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    with _no_environment():
        found: dict[str, Any] = OmegaConf.to_container(task, resolve=True, throw_on_missing=True)  # type: ignore[assignment]
    refuse_code(found)
    return found


def refuse_code(config: Any, where: str = "") -> None:
    """Raise ConfigError if a key `_target_` hides anywhere in plain data."""
    for path, key, value in _leaves(config, where):
        if key == "_target_":
            raise ConfigError(f"{path} = {value!r}: {NO_CODE}")


class CheckedLoader(ConfigLoaderImpl):
    """Hydra's loader, which refuses what no configuration of this program may say."""

    def __init__(self, config_search_path: ConfigSearchPath) -> None:
        self.config_search_path = config_search_path
        self.repository = _FoldersOnly(config_search_path)

    def load_configuration(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        """The composed configuration. Raises ConfigError, and HydraException for words that mean nothing."""
        for override in OverridesParser.create().parse_overrides(overrides):
            self._require_name_of_choice(override)
        with _no_environment():
            with _composing():
                config = super().load_configuration(
                    config_name, overrides, run_mode, from_shell, validate_sweep_overrides
                )
            check_composed(config)
        return config

    def _require_name_of_choice(self, override: Override) -> None:
        group = override.key_or_group
        if override.is_delete() or override.is_sweep_override() or not self.repository.group_exists(group):
            return
        if isinstance(override.value(), str) or self.repository.config_exists(group):
            return
        choices = self.repository.get_group_options(group)
        text = override.get_value_element_as_str()
        near = get_close_matches(text, choices, n=1, cutoff=0.5)
        hint = f"; did you mean {group}={near[0]}?" if near else ""
        raise ConfigError(f"{group}={text}: is not one of {', '.join(choices)}{hint}")


class _FoldersOnly(ConfigRepository):
    """Reads YAML files below the folders it was given."""

    def initialize_sources(self, config_search_path: ConfigSearchPath) -> None:
        for entry in config_search_path.get_path():
            path = entry.path or ""
            if (entry.provider or "").startswith("hydra.searchpath") and "://" in path.removeprefix("file://"):
                raise ConfigError(f"hydra.searchpath = {path}: must be a folder; a module would be run")
        super().initialize_sources(config_search_path)

    def load_config(self, config_path: str) -> Any:
        parts = PureWindowsPath(config_path)  # knows / and \
        if ".." in parts.parts or parts.is_absolute():
            raise ConfigError(f"{config_path}: is outside the folders of configurations; --config-dir names another")
        return super().load_config(config_path)


def check_composed(config: DictConfig) -> None:
    """Raise ConfigError for a composed configuration that names code or reads the environment, wherever it does."""
    node: Any = OmegaConf.to_container(config, resolve=False, throw_on_missing=False)
    _check_hydra(node.pop("hydra", None) or {})
    refuse_code(node)
    try:
        task = OmegaConf.masked_copy(config, [str(key) for key in node])
        refuse_code(OmegaConf.to_container(task, resolve=True, throw_on_missing=False))
    except OmegaConfBaseException as error:  # what is missing is told when the configuration is used
        if isinstance(error.__cause__, ConfigError):
            raise error.__cause__ from None


def _check_hydra(node: Mapping[str, Any]) -> None:
    """Hydra's own node, not resolved: it may choose a launcher and its options, and what an experiment sweeps."""
    for key, value in _FIXED.items():
        given: Any = node
        for part in key.split("."):
            given = given.get(part) if isinstance(given, Mapping) else None
        if (given or None) != (value or None):
            raise ConfigError(f"hydra.{key} = {_short(given)}: must be {_short(value)}; a configuration cannot set it")
    for part in ("launcher", "sweeper"):
        own = dict(node.get(part) or {})
        named = str(own.pop("_target_", ""))
        if named and not (named == _SWEEPER if part == "sweeper" else named.startswith(_LAUNCHERS)):
            raise ConfigError(f"hydra.{part} = {named}: {NO_CODE}")
        refuse_code(own, f"hydra.{part}")
        for path, _, value in _leaves(own, f"hydra.{part}"):
            if isinstance(value, str) and "${" in value:
                raise ConfigError(f"{path} = {value!r}: must be a plain value")


def _leaves(value: Any, where: str) -> Iterator[tuple[str, Any, Any]]:
    """(path, key, value) of everything in plain data, mappings and lists too."""
    pairs = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        path = f"{where}.{key}" if where else str(key)
        yield path, key, inner
        yield from _leaves(inner, path)


@contextmanager
def _no_environment() -> Iterator[None]:
    OmegaConf.register_new_resolver("oc.env", _refuse_environment, replace=True)
    try:
        yield
    finally:
        OmegaConf.register_new_resolver("oc.env", oc.env, replace=True)


def _refuse_environment(key: str, *_default: Any) -> NoReturn:
    raise ConfigError(f"${{oc.env:{key}}}: a configuration does not read the environment; write the value")


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
