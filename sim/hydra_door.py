"""The one door for Hydra: what it may read while it composes, and what a configuration may say to Hydra itself.

Hydra builds objects that a configuration names (callbacks, log handlers, launchers) before the program sees anything
of it, so every configuration is checked as it is composed: parsed and merged, from whichever file a part of it came.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path, PureWindowsPath
from typing import Any, ClassVar, NamedTuple, NoReturn, cast

from hydra import version
from hydra._internal import hydra as hydra_internals
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.core.utils import setup_globals
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from omegaconf.resolvers import oc

from sim.conf_path import conf_dir
from sim.errors import lacked_key, one_line
from sim.schema import ConfigError, LackedKey

NO_CODE = "names code; a configuration chooses a class by its `kind` and can never name one with `_target_`"

_NO_LOGGING = {"version": 1, "root": None, "disable_existing_loggers": False}
_FIXED: dict[str, Any] = {
    "callbacks": {}, "job_logging": _NO_LOGGING, "hydra_logging": _NO_LOGGING, "env": {}, "job.env_set": {},
    "job.env_copy": [], "job.chdir": None, "run.dir": ".", "sweep.dir": ".", "sweep.subdir": ".",
    "output_subdir": None, "launcher.temp_folder": None,
}  # fmt: skip
"""Keys of Hydra's own node that run code, read the environment or write files, with the only value each may have."""
_REFERENCE, _BY_ARGUMENT = re.compile(r"\$\{(\w+(?:\.\w+)*)\}"), re.compile(r"\$\{week_or_log:(\$\{[\w.]+\})\}")
"""`${arrivals.kind}`, and what depends on the value of such a key and nothing else."""
_LEAVES = (str, int, float, bool, type(None))
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
    """What a new `Composer` composes of these overrides, without Hydra's own node."""
    return Composer(config_dir).task(words)


class Composer:
    """Composes configurations out of conf/, and perhaps a folder of further groups, as their files are at its making.

    Files are read and merged once for all configurations that choose the same ones: that takes a third of a second.
    Single keys are set in a copy of the result, by Hydra as well. Every method raises ConfigError, and what Hydra
    raises, for words that mean nothing, and for a configuration that names code.
    """

    def __init__(self, config_dir: Path | None = None):
        if config_dir is not None and not config_dir.is_dir():
            raise ConfigError(f"{config_dir}: is not a folder of configurations")
        self._further = () if config_dir is None else (config_dir.resolve(),)
        self._folders = (conf_dir(), *self._further)
        self._versions = _versions(self._folders)

    def composed(self, words: Sequence[str]) -> DictConfig:
        """conf/config.yaml with these overrides, Hydra's own node `hydra` among the rest."""
        chosen, keys = self._split(words)
        config = pickle.loads(chosen.whole)
        with _no_environment():
            _set_keys(keys, config)
            check_composed(config)
        return config

    def task(self, words: Sequence[str]) -> DictConfig:
        """The same without Hydra's own node, which is most of the work unless a word sets one of its keys."""
        chosen, keys = self._split(words)
        if any(override.key_or_group.startswith("hydra.") for override in keys):
            return _without_hydra(self.composed(words))
        config = pickle.loads(chosen.task)
        with _no_environment():
            _set_keys(keys, config)
            check_composed(config)
        OmegaConf.set_struct(config, False)
        return cast(DictConfig, config)

    def plain(self, words: Sequence[str], parts: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The same as plain data without Hydra's node, in a fifth of the time; see the function `plain`.

        Where words set numbers and texts of a configuration that refers to nothing, they are set in a copy of the plain
        data, in a fiftieth of the time. `parts` is plain data that stands in place of what is composed, by dotted key.
        """
        chosen, keys = self._split(words)
        if not parts and chosen.plain is not None:
            found: dict[str, Any] = pickle.loads(chosen.plain)
            if all(key.key_or_group not in chosen.referred_to and _set_leaf(key, found) for key in keys):
                return found
        config = pickle.loads(chosen.task)
        with _no_environment():
            _set_keys(keys, config)
        OmegaConf.set_struct(config, False)
        for key, part in (parts or {}).items():
            OmegaConf.update(config, key, part, merge=False, force_add=True)
        return _plain(config)

    def axes(self, words: Sequence[str]) -> dict[str, str]:
        """What an experiment among the words sweeps by itself: `value,value` in Hydra's grammar for each key."""
        return dict(self._split(words)[0].axes)

    def of_sweep(self, words: Sequence[str]) -> DictConfig:
        """The configuration that a sweep starts from: keys with several values are left as they are without them."""
        return cast(DictConfig, pickle.loads(self._read(tuple(words), RunMode.MULTIRUN).whole))

    def digest(self) -> str:
        """A digest of the names and texts of all configuration files."""
        total = hashlib.sha256()
        for name, _ in self._versions:
            with suppress(OSError):  # Hydra refuses what it cannot read, if it needs it.
                total.update(name.encode() + b"\0" + Path(name).read_bytes())
        return total.hexdigest()

    def loader(self) -> CheckedLoader:
        """A loader of Hydra for the same folders."""
        return _loader(self._further)

    def _split(self, words: Sequence[str]) -> tuple[_Chosen, list[Override]]:
        """What the words choose, and the overrides that are to be applied to a copy of it."""
        parsed = [_parsed(word) for word in words]
        keys = [override for override in parsed if _sets_a_key(override, self._folders, self._versions)]
        choices = tuple(word for word, override in zip(words, parsed, strict=True) if override not in keys)
        return self._read(choices, RunMode.RUN), keys

    def _read(self, words: tuple[str, ...], mode: RunMode) -> _Chosen:
        # The files of folders that are named by a word are not among the versions, so nothing of them is kept.
        read = _chosen.__wrapped__ if any("hydra.searchpath" in word for word in words) else _chosen
        return read(words, self._further, self._versions, mode)


class _Chosen(NamedTuple):
    """A composed configuration, and the part of it that is not Hydra's own, each a pickled DictConfig.

    Unpickling takes a seventh of the time of a deep copy. `plain` is the latter as pickled plain data, `referred_to`
    the keys on which other values of it depend; None if these cannot be told, or if a value is missing.
    """

    whole: bytes
    task: bytes
    plain: bytes | None
    referred_to: frozenset[str]
    axes: Mapping[str, str]


@lru_cache(maxsize=1024)
def _parsed(word: str) -> Override:
    """An override in Hydra's grammar; the grammar takes half a millisecond for each, and a sweep repeats most."""
    (override,) = OverridesParser.create().parse_overrides([word])
    return override


def _set_keys(keys: list[Override], config: DictConfig) -> None:
    """Raises LackedKey for a key that `config` lacks, and what Hydra raises for a value that it cannot have."""
    try:
        with _composing():
            ConfigLoaderImpl._apply_overrides_to_config(keys, config)
    except HydraException as error:
        if key := lacked_key(str(error)):
            raise LackedKey(key, one_line(error).removeprefix("error: ")) from None
        raise


@contextmanager
def _composing() -> Iterator[None]:
    """Raise ConfigError in place of whatever else Hydra's parsers raise for what they do not expect."""
    try:
        yield
    except (ConfigError, HydraException, OmegaConfBaseException):
        raise
    except Exception as error:
        raise ConfigError(f"the configuration cannot be composed: {error}") from error


def _sets_a_key(override: Override, folders: Sequence[Path], versions: Any) -> bool:
    """Whether an override sets one key to a value; if not, it may choose files, or means something to Hydra."""
    name = override.key_or_group
    if override.is_sweep_override() or override.package is not None or override.is_hydra_override():
        return False
    return not _is_group(name, tuple(folders), versions)


@lru_cache(maxsize=1024)
def _is_group(name: str, folders: tuple[Path, ...], versions: Any) -> bool:
    """Whether there are files to choose from; `versions` as in `_chosen`."""
    return any((folder / name).is_dir() for folder in folders)


def _versions(folders: Sequence[Path]) -> tuple[tuple[str, int], ...]:
    """Every YAML file of the folders with the time of its last change, in nanoseconds."""
    files = (path for folder in folders for path in sorted(folder.rglob("*.yaml")) if path.is_file())
    return tuple((str(path), path.stat().st_mtime_ns) for path in files)


@lru_cache(maxsize=256)
def _chosen(words: tuple[str, ...], folders: tuple[Path, ...], versions: Any, mode: RunMode) -> _Chosen:
    """conf/config.yaml with choices of files; `versions` makes the cache forget what was read before a file changed."""
    version.setbase("1.3")  # what `hydra.main(version_base="1.3")` does: no run changes the working directory
    setup_globals()
    whole = _loader(folders).load_configuration(
        "config", list(words), mode, validate_sweep_overrides=mode == RunMode.RUN
    )
    task = _without_hydra(whole)
    OmegaConf.set_struct(task, True)
    axes = {str(key): str(value) for key, value in (whole.hydra.sweeper.get("params") or {}).items()}
    return _Chosen(pickle.dumps(whole), pickle.dumps(task), *_as_it_stands(task), axes)


def _as_it_stands(task: DictConfig) -> tuple[bytes | None, frozenset[str]]:
    """A configuration as pickled plain data, and the keys that it refers to (see `_Chosen`)."""
    texts = [value for _, _, value in _leaves(OmegaConf.to_container(task, resolve=False), "") if _means_more(value)]
    names = {name for text in texts for name in _REFERENCE.findall(text)}
    if any(_REFERENCE.sub("", _BY_ARGUMENT.sub(r"\1", text)).count("${") or text == "???" for text in texts):
        return None, frozenset()
    return pickle.dumps(OmegaConf.to_container(task, resolve=True)), frozenset(names)


def _means_more(value: Any) -> bool:
    return isinstance(value, str) and ("${" in value or value == "???")


def _set_leaf(override: Override, config: dict[str, Any]) -> bool:
    """Set a key of plain data as Hydra would. False, with nothing set, where that is more than one value in place of
    another: then Hydra is to do it."""
    value, (*path, last) = override.value(), override.key_or_group.split(".")
    if override.type is not OverrideType.CHANGE or not isinstance(value, _LEAVES) or _means_more(value):
        return False
    node: Any = config
    for name in path:
        node = node.get(name) if isinstance(node, dict) else None
    if not isinstance(node, dict) or last not in node or not isinstance(node[last], _LEAVES):
        return False
    node[last] = value
    return True


def _loader(folders: Sequence[Path]) -> CheckedLoader:
    search = create_config_search_path(str(conf_dir()))
    for folder in folders:
        search.prepend(provider="command-line", path=f"file://{folder}", anchor=SearchPathQuery(provider="schema"))
    return CheckedLoader(search)


def plain(config: DictConfig) -> dict[str, Any]:
    """A composed configuration as plain data without Hydra's own node, every interpolation resolved.

    Raises ConfigError for one that names code or reads the environment, and what OmegaConf raises for one that lacks
    something.
    """
    return _plain(_without_hydra(config))


def _without_hydra(config: DictConfig) -> DictConfig:
    """The configuration itself where Hydra's own node is not in it; else a copy, by pickle as that is faster."""
    if "hydra" not in config:
        return config
    task = cast(DictConfig, pickle.loads(pickle.dumps(config)))
    OmegaConf.set_struct(task, False)
    del task["hydra"]
    return task


def _plain(task: DictConfig) -> dict[str, Any]:
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
    """Reads YAML files below the folders it was given, each once while it stays as it is, as that takes long."""

    _read: ClassVar[dict[str, tuple[Any, bytes]]] = {}  # What became of each file last, by its name in the folders.

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
        if source is None or source.scheme() != "file":
            return super().load_config(config_path)
        state = os.stat(os.path.join(source.path, source._normalize_file_name(config_path)))
        version = (source.provider, source.path, state.st_mtime_ns, state.st_size)
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
        refuse_code(OmegaConf.to_container(_without_hydra(config), resolve=True, throw_on_missing=False))
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
