"""One line for every refusal, from whichever library the error came."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from yaml import YAMLError

from sim.conf_path import conf_dir
from sim.printable import printable
from sim.schema import MOVED_KEYS, AuditError, SimError

BAD_INPUT, DEFECT, INTERRUPTED = 2, 3, 130
"""Exit codes; 1 is a sweep in which a scenario failed."""

REFUSABLE = (SimError, HydraException, OmegaConfBaseException, YAMLError)
"""What is answered with one line. Anything else is a defect and keeps its traceback."""


def exit_code(error: BaseException) -> int:
    """2 for bad input, 3 for a broken conservation law."""
    return DEFECT if isinstance(error, AuditError) else BAD_INPUT


def one_line(error: BaseException) -> str:
    """The error in one line, Hydra's and OmegaConf's own condensed; the nearest name is offered for a mistyped one.

    Control characters of whatever it quotes are spelled out.
    """
    return printable(_one_line(error))


def _one_line(error: BaseException) -> str:
    if isinstance(error, AuditError):
        return f"error: a defect of the simulator, please report it: a conservation law is broken: {_flat(str(error))}"
    if isinstance(error, SimError):
        return f"error: {'; '.join(line.strip() for line in str(error).splitlines() if line.strip())}"
    return f"error: {_condensed(error)}"


def _condensed(error: BaseException) -> str:
    text = str(error) or str(error.__cause__ or type(error).__name__)
    text = text.removeprefix("ConfigError raised while resolving interpolation: ")
    if isinstance(error, MissingConfigException) or "Could not find '" in text:
        return _missing_option(text)
    if key := lacked_key(text):
        return _unknown(key)
    if found := re.search(r"Ambiguous value for argument '([^']+)'", text):
        return f"{found[1]}: several values need a sweep; add -m"
    if isinstance(error, OverrideParseException):
        return f"{error.override!r}: is not of the form key=value ({_flat(error.message.split('See http')[0])})"
    if isinstance(error, MissingMandatoryValue):
        return f"{error.full_key or text}: is required"
    text = re.sub(r"\n\s*(full_key|object_type|reference_type)[:=] ?[^\n]*", "", text)
    return _flat(text.split("\nSee http")[0].split("\nConfig search path")[0])


def lacked_key(text: str) -> str | None:
    """The key that an error of Hydra with this text says a composed configuration lacks; None if it says no such."""
    found = re.search(r"Could not override '([^']+)'", text)
    return found[1] if found else None


def _missing_option(text: str) -> str:
    found = re.search(r"Could not (?:find|load) '([^']+)'", text)
    if not found:
        return _flat(text.split("\nConfig search path")[0])
    group, _, option = found[1].rpartition("/")
    if "," in option:
        bare = option.replace(" ", "")
        return f"{group}={option}: is one value in quotes; for several, leave the quotes out: -m {group}={bare}"
    choices = re.search(r"Available options in '[^']*':\n((?:\t[^\n]+\n?)+)", text)
    if not choices:
        return f"{group or option}={option}: there is no such group or option"
    return f"{group}={option}: is not one of {', '.join(choices[1].split())}"


def _unknown(key: str) -> str:
    if moved := MOVED_KEYS.get(key.rpartition(".")[2]):
        return f"{key}: {moved}"
    group, _, rest = key.partition(".")
    known = _keys_of_the_program()
    if rest and group in known:
        group, known = f"{group}.", _keys_of_group(group)
    else:
        group, rest = "", key
    if (
        rest in known
    ):  # Another file of the group sets the key; Hydra wants a plus in front of one that is optional here.
        return f"{key}: is not set by the {group.rstrip('.')} that was chosen; if it has such a key, +{key}=... sets it"
    near = difflib.get_close_matches(rest, known, n=1) or difflib.get_close_matches(rest.split(".")[0], known, n=1)
    if near:
        return f"{key}: is not a known key; did you mean {group}{near[0]}?"
    if group:
        return f"{key}: is not a known key; `llm-traffic-sim --cfg job` shows them all"
    return f"{key}: is not a known key; there are {', '.join(known)}"


def _keys_of_the_program() -> list[str]:
    """The config groups and the other keys at the top of a configuration."""
    folder = conf_dir()
    groups = {path.name for path in folder.iterdir() if path.is_dir() and path.name not in ("hydra", "experiment")}
    return sorted(groups | {str(key) for key in OmegaConf.load(folder / "config.yaml")} - {"defaults", "hydra"})


def _keys_of_group(group: str) -> list[str]:
    """Every dotted key that some file of a config group has, or config.yaml below a key of that name."""
    folder = conf_dir()
    found = {key for path in (folder / group).glob("*.yaml") for key in _keys_of_file(path, path.stat().st_mtime_ns)}
    keys = OmegaConf.select(OmegaConf.load(folder / "config.yaml"), group)
    if OmegaConf.is_dict(keys):  # A key with a plain value has none below it.
        found.update(_dotted(OmegaConf.to_container(keys)))
    return sorted(found)


@lru_cache(maxsize=1024)
def _keys_of_file(path: Path, changed_ns: int) -> tuple[str, ...]:
    """Every dotted key of a YAML file, read anew when it has changed: a sweep may refuse one word many times."""
    return tuple(_dotted(OmegaConf.to_container(OmegaConf.load(path))))


def _dotted(tree: Any, prefix: str = "") -> Iterable[str]:
    for key, value in tree.items() if isinstance(tree, dict) else ():
        yield f"{prefix}{key}"
        yield from _dotted(value, f"{prefix}{key}.")


def _flat(text: str) -> str:
    return " ".join(text.split())
