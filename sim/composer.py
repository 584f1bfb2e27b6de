"""Composes configurations out of conf/, and keeps what each choice of files came to.

Hydra takes a quarter of a second for such a choice; single keys are then set in a copy.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import re
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, cast

from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.core.utils import setup_globals
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from sim.conf_path import conf_dir
from sim.errors import lacked_key, one_line
from sim.hydra_door import (
    CheckedLoader,
    check_composed,
    composing,
    leaves_of,
    loader,
    no_environment,
    plain,
    without_hydra,
)
from sim.schema import ConfigError, LackedKey

_REFERENCE, _BY_ARGUMENT = re.compile(r"\$\{(\w+(?:\.\w+)*)\}"), re.compile(r"\$\{week_or_log:(\$\{[\w.]+\})\}")
"""`${arrivals.kind}`, and what depends on the value of such a key and nothing else."""
_LEAVES = (str, int, float, bool, type(None))


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
        with no_environment():
            _set_keys(keys, config)
            if keys:  # What files and choices come to is checked as it is composed.
                check_composed(config)
        return config

    def task(self, words: Sequence[str]) -> DictConfig:
        """The same without Hydra's own node, which is most of the work unless a word sets one of its keys."""
        chosen, keys = self._split(words)
        if any(override.key_or_group.startswith("hydra.") for override in keys):
            return without_hydra(self.composed(words))
        config = pickle.loads(chosen.task)
        with no_environment():
            _set_keys(keys, config)
            if keys:  # What files and choices come to is checked as it is composed.
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
        with no_environment():
            _set_keys(keys, config)
        OmegaConf.set_struct(config, False)
        for key, part in (parts or {}).items():
            OmegaConf.update(config, key, part, merge=False, force_add=True)
        return plain(config)

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
        return loader(self._further)

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
        with composing():
            ConfigLoaderImpl._apply_overrides_to_config(keys, config)
    except HydraException as error:
        if key := lacked_key(str(error)):
            raise LackedKey(key, one_line(error).removeprefix("error: ")) from None
        raise


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
    found = []
    for folder in folders:
        names = (
            os.path.join(parent, name)
            for parent, _, files in os.walk(folder)
            for name in files
            if name.endswith(".yaml")
        )
        for name in sorted(names, key=lambda name: name.split(os.sep)):
            with suppress(OSError):  # a link that leads nowhere
                state = os.stat(name)
                if stat.S_ISREG(state.st_mode):
                    found.append((name, state.st_mtime_ns))
    return tuple(found)


@lru_cache(maxsize=256)
def _chosen(words: tuple[str, ...], folders: tuple[Path, ...], versions: Any, mode: RunMode) -> _Chosen:
    """conf/config.yaml with choices of files; `versions` makes the cache forget what was read before a file changed."""
    version.setbase("1.3")  # what `hydra.main(version_base="1.3")` does: no run changes the working directory
    setup_globals()
    whole = loader(folders).load_configuration(
        "config", list(words), mode, validate_sweep_overrides=mode == RunMode.RUN
    )
    task = without_hydra(whole)
    OmegaConf.set_struct(task, True)
    axes = {str(key): str(value) for key, value in (whole.hydra.sweeper.get("params") or {}).items()}
    return _Chosen(pickle.dumps(whole), pickle.dumps(task), *_as_it_stands(task), axes)


def _as_it_stands(task: DictConfig) -> tuple[bytes | None, frozenset[str]]:
    """A configuration as pickled plain data, and the keys that it refers to (see `_Chosen`)."""
    texts = [value for _, _, value in leaves_of(OmegaConf.to_container(task, resolve=False), "") if _means_more(value)]
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
