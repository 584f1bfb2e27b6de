"""The one door for Hydra: what it may read while it composes, and what a configuration may say to Hydra itself.

Hydra builds objects that a configuration names (callbacks, log handlers, launchers) before the program sees anything
of it, so every configuration is checked as it is composed: parsed and merged, from whichever file a part of it came.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import lru_cache
from itertools import takewhile
from pathlib import Path, PureWindowsPath
from typing import Any, ClassVar, NoReturn, cast

import omegaconf.base
from hydra._internal import defaults_list
from hydra._internal import hydra as hydra_internals
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository, IConfigRepository
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.default_element import ResultDefault
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, flag_override, grammar_parser
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
_LAUNCHERS = ("hydra_plugins.", "hydra._internal.core_plugins.")  # Hydra itself takes installed plugins only


@contextmanager
def hydra_door() -> Iterator[None]:
    """While it is open, whatever Hydra composes in this process is checked."""
    unchecked = hydra_internals.ConfigLoaderImpl
    hydra_internals.ConfigLoaderImpl = CheckedLoader  # type: ignore[misc]
    try:
        yield
    finally:
        hydra_internals.ConfigLoaderImpl = unchecked  # type: ignore[misc]


def plain(config: DictConfig) -> dict[str, Any]:
    """A composed configuration as plain data without Hydra's own node, every interpolation resolved.

    Raises ConfigError for one that names code or reads the environment, and what OmegaConf raises for one that lacks
    something.
    """
    with no_environment():
        found: Any = OmegaConf.to_container(without_hydra(config), resolve=True, throw_on_missing=True)
    refuse_code(found)
    return cast(dict[str, Any], found)


def without_hydra(config: DictConfig) -> DictConfig:
    """The configuration itself where Hydra's own node is not in it; else a copy, by pickle as that is faster."""
    if "hydra" not in config:
        return config
    task = cast(DictConfig, pickle.loads(pickle.dumps(config)))
    OmegaConf.set_struct(task, False)
    del task["hydra"]
    return task


def refuse_code(config: Any, where: str = "") -> None:
    """Raise ConfigError if a key `_target_` hides anywhere in plain data."""
    for path, key, value in leaves_of(config, where):
        if key == "_target_":
            raise ConfigError(f"{path} = {value!r}: {NO_CODE}")


def loader(folders: Sequence[Path] = ()) -> CheckedLoader:
    """A loader for conf/ and these folders of further groups."""
    search = create_config_search_path(str(conf_dir()))
    for folder in folders:
        search.prepend(provider="command-line", path=f"file://{folder}", anchor=SearchPathQuery(provider="schema"))
    return CheckedLoader(search)


class CheckedLoader(ConfigLoaderImpl):
    """Hydra's loader, which refuses what no configuration of this program may say.

    It gives what Hydra's gives, in half the time: Hydra's own node, with which every list of defaults begins, is merged
    once for all configurations that choose the same files for it, and files are copied by pickle.
    """

    _merged: ClassVar[dict[tuple[Any, ...], bytes]] = {}  # Hydra's own node by what is merged into it.

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
        with no_environment():
            with composing(), _maps_where_needed():
                config = super().load_configuration(
                    config_name, overrides, run_mode, from_shell, validate_sweep_overrides
                )
            check_composed(config)
        return config

    def _compose_config_from_defaults_list(self, defaults: list[ResultDefault], repo: IConfigRepository) -> DictConfig:
        own = list(takewhile(lambda default: str(default.config_path).startswith("hydra/"), defaults))
        if not own:
            return super()._compose_config_from_defaults_list(defaults, repo)
        loaded = (repo.load_config(str(default.config_path)) for default in own)
        texts = tuple(pickle.dumps(file and (file.header, file.config)) for file in loaded)
        key = (texts, *((default.config_path, default.package, default.primary) for default in own))
        if key not in self._merged:
            self._merged[key] = pickle.dumps(super()._compose_config_from_defaults_list(own, repo))
        begin = _Merged(own[0].config_path, merged=self._merged[key])
        return super()._compose_config_from_defaults_list([begin, *defaults[len(own) :]], repo)

    def _load_single_config(self, default: ResultDefault, repo: IConfigRepository) -> ConfigResult:
        if isinstance(default, _Merged):
            return ConfigResult("", "", pickle.loads(default.merged), {})
        return super()._load_single_config(default, repo)

    @staticmethod
    def _embed_result_config(ret: ConfigResult, package_override: str | None) -> ConfigResult:
        package = ret.header["package"] if package_override is None else package_override
        if not package:
            return ret
        around = OmegaConf.create()
        with flag_override(around, "no_deepcopy_set_nodes", True):
            OmegaConf.update(around, package, pickle.loads(pickle.dumps(ret.config)), merge=False)
        return replace(ret, config=around)

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


@dataclass
class _Merged(ResultDefault):
    """In place of the defaults that were merged already: the pickled DictConfig that they came to."""

    merged: bytes = b""


_map_by_hydra = defaults_list._create_interpolation_map


def _map_where_needed(overrides: Any, defaults: list[Any], self_added: bool) -> DictConfig | None:
    """What `${...}` in a defaults list may refer to: made by Hydra for every list, and here for those that refer."""
    refers = any(default.is_interpolation() for default in defaults)
    return _map_by_hydra(overrides, defaults, self_added) if refers else None


@contextmanager
def _maps_where_needed() -> Iterator[None]:
    """Spare Hydra the maps that no defaults list needs: they take a quarter of the time of composing."""
    defaults_list._create_interpolation_map = _map_where_needed  # type: ignore[assignment]
    try:
        yield
    finally:
        defaults_list._create_interpolation_map = _map_by_hydra


class _FoldersOnly(ConfigRepository):
    """Reads YAML files below the folders it was given, each once while it stays as it is, as that takes long.

    Hydra's own files and classes, and those of installed plugins, stay as they are while a process runs.
    """

    _read: ClassVar[dict[str, tuple[Any, bytes]]] = {}  # What became of each file last, by its name in the folders.

    def __deepcopy__(self, memo: Any) -> _FoldersOnly:
        """Hydra copies a repository because it may give the copy another list of sources, and changes nothing else."""
        return copy(self)

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
        source = self._find_object_source(config_path, ObjectType.CONFIG)
        if source is None:
            return super().load_config(config_path)
        version: tuple[Any, ...] = (source.provider, source.path)
        if source.scheme() == "file":
            state = os.stat(os.path.join(source.path, source._normalize_file_name(config_path)))
            version += (state.st_mtime_ns, state.st_size)
        if self._read.get(config_path, (None,))[0] != version:
            self._read[config_path] = (version, pickle.dumps(super().load_config(config_path)))
        return pickle.loads(self._read[config_path][1])


def check_composed(config: DictConfig) -> None:
    """Raise ConfigError for a composed configuration that names code or reads the environment, wherever it does."""
    node: Any = OmegaConf.to_container(config, resolve=False, throw_on_missing=False)
    if "hydra" in node:
        _check_hydra(node.pop("hydra") or {})
    refuse_code(node)
    try:
        refuse_code(OmegaConf.to_container(without_hydra(config), resolve=True, throw_on_missing=False))
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
        if named and not (part == "launcher" and named.startswith(_LAUNCHERS)):
            raise ConfigError(f"hydra.{part} = {named}: {NO_CODE}")
        refuse_code(own, f"hydra.{part}")
        for path, _, value in leaves_of(own, f"hydra.{part}"):
            if isinstance(value, str) and "${" in value:
                raise ConfigError(f"{path} = {value!r}: must be a plain value")


def leaves_of(value: Any, where: str) -> Iterator[tuple[str, Any, Any]]:
    """(path, key, value) of everything in plain data, mappings and lists too."""
    pairs = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        path = f"{where}.{key}" if where else str(key)
        yield path, key, inner
        yield from leaves_of(inner, path)


@contextmanager
def composing() -> Iterator[None]:
    """Raise ConfigError in place of whatever else Hydra's parsers raise for what they do not expect."""
    try:
        yield
    except (ConfigError, HydraException, OmegaConfBaseException):
        raise
    except Exception as error:
        raise ConfigError(f"the configuration cannot be composed: {error}") from error


@contextmanager
def no_environment() -> Iterator[None]:
    """Raise ConfigError where a configuration that is composed or resolved within reads an environment variable.

    What a text with `${...}` says is parsed once: the same texts are in every configuration, and parsing takes long.
    """
    OmegaConf.register_new_resolver("oc.env", _refuse_environment, replace=True)
    omegaconf.base.parse = _parsed_once
    try:
        yield
    finally:
        omegaconf.base.parse = grammar_parser.parse
        OmegaConf.register_new_resolver("oc.env", oc.env, replace=True)


_parsed_once = lru_cache(maxsize=1024)(grammar_parser.parse)


def _refuse_environment(key: str, *_default: Any) -> NoReturn:
    raise ConfigError(f"${{oc.env:{key}}}: a configuration does not read the environment; write the value")


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
