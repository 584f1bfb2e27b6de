"""From words and Python values to one plain configuration, by Hydra, as the command line composes it.

A word is an override in Hydra's grammar: `gpu=l4`, `arrivals.rate_per_s=2`. A Python value becomes the word that means
it; a part that is an object, such as a policy defined in a notebook, is laid over the composed configuration.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString

from sim.composer import Composer
from sim.errors import REFUSABLE, one_line
from sim.schema import Config, ConfigError

_BARE = re.compile(r"[A-Za-z_][\w./-]*")
_PLAIN_KEY = re.compile(r"\+{0,2}[A-Za-z_][\w./]*")  # Hydra's grammar, at half a millisecond, says nothing more of it.
_MEANS_SOMETHING_ELSE = {"null", "true", "false", "nan", "inf", "infinity"}


@dataclass(frozen=True)
class Composition:
    """How a configuration was composed, so that it can be composed again with something changed."""

    words: Mapping[str, str] = field(default_factory=dict)
    """The override of each key, without the sign in front of it; a later one has replaced an earlier one."""
    parts: Mapping[str, Config] = field(default_factory=dict)
    """Objects given in place of configuration, by dotted key."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """The composed configuration as plain data, every interpolation resolved; of a part, its fields."""
    grid: Mapping[str, str] = field(default_factory=dict)
    """What an experiment sweeps by itself: `value,value` in Hydra's grammar for each key."""

    def changed(
        self, overrides: Sequence[str], keys: Mapping[str, Any], composer: Composer | None = None
    ) -> Composition:
        """Compose again with these overrides and keys, which replace earlier ones. Raises ConfigError.

        `composer` spares many changes at once a look at every file of conf/ for each.
        """
        words, parts = self.given(overrides, keys)
        try:
            return _composed(words, parts, composer or Composer())
        except ConfigError:
            raise
        except REFUSABLE as error:
            raise ConfigError(one_line(error).removeprefix("error: ")) from None

    def given(self, overrides: Sequence[str], keys: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, Config]]:
        """The words and parts after such a change, which is not composed. Raises ConfigError."""
        words, parts = dict(self.words), dict(self.parts)
        changes = [(_key_of(word), word) for word in overrides]
        for key, value in keys.items():
            if not isinstance(value, Config):
                word = text_of(key, value)
                changes.append((key.lstrip("+") if _PLAIN_KEY.fullmatch(key) else _key_of(word), word))
        for key, word in changes:
            parts = {name: part for name, part in parts.items() if not _within(name, key)}
            if holder := next((name for name in parts if _within(key, name)), None):
                raise ConfigError(f"{word}: {holder} is an object of class {type(parts[holder]).__name__}; change that")
            words.pop(key, None)
            words[key] = word
        for key, part in keys.items():
            if isinstance(part, Config):
                words = {name: word for name, word in words.items() if not _within(name, key)}
                parts = {name: other for name, other in parts.items() if not _within(name, key)} | {key: part}
        return words, parts


def text_of(key: str, value: Any) -> str:
    """The override that sets a key to a Python value.

    >>> text_of("gpu", "l4"), text_of("arrivals.profile", [1, 0.5]), text_of("slo.name", "two seconds")
    ('gpu=l4', 'arrivals.profile=[1,0.5]', "slo.name='two seconds'")
    """
    return f"{key}={value_text(value)}"


def value_text(value: Any) -> str:
    """A Python value in Hydra's grammar. Raises ConfigError for one that no configuration can hold."""
    if isinstance(value, Config):
        value = value.model_dump(mode="json")
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Path):
        value = str(value)
    if isinstance(value, str):
        is_bare = _BARE.fullmatch(value) and value.lower() not in _MEANS_SOMETHING_ELSE
        return value if is_bare else QuotedString(text=value, quote=Quote.single).with_quotes()
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{value_text(str(key))}:{value_text(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, Sequence):
        return "[" + ",".join(map(value_text, value)) + "]"
    raise ConfigError(f"{value!r}: is of type {type(value).__name__}, which no configuration can hold")


def with_parts(config: Mapping[str, Any], parts: Mapping[str, Config]) -> dict[str, Any]:
    """Plain data with objects at their dotted keys; `config` stays as it is."""
    out = dict(config)
    for key, part in parts.items():
        first, _, rest = key.partition(".")
        out[first] = with_parts(out.get(first) or {}, {rest: part}) if rest else part
    return out


def _composed(words: Mapping[str, str], parts: Mapping[str, Config], composer: Composer) -> Composition:
    overrides = list(words.values())
    config = composer.plain(overrides, {key: part.model_dump(mode="json") for key, part in parts.items()})
    return Composition(words, parts, config, composer.axes(overrides))


def _key_of(word: str) -> str:
    """The key of an override, without its sign. Raises ConfigError for several values: they are a sweep."""
    try:
        (override,) = OverridesParser.create().parse_overrides([word])
    except REFUSABLE as error:
        raise ConfigError(one_line(error).removeprefix("error: ")) from None
    key = override.get_key_element().lstrip("+")
    if override.is_sweep_override():
        raise ConfigError(f"{word}: has several values; for a sweep: sim.sweep(base, {key}=[...])")
    return key


def _within(key: str, holder: str) -> bool:
    return key == holder or key.startswith(f"{holder}.")
