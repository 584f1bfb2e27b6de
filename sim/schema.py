"""What a configuration can say, and how it says no.

`Config` is the base of everything a config holds; `Choice` is the base of everything a config can *choose*: the YAML
says `kind: bursty` and the subclass whose `kind` is "bursty" is built. No config names code.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Annotated, Any, Union, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError


class SimError(Exception):
    """Base of every error this program raises on purpose: one clear line for the user."""


class ConfigError(SimError):
    """A configuration breaks a law; the message names key, value and law."""


class TraceError(SimError):
    """A request log cannot be read; the message names file, line and column."""


class AuditError(SimError):
    """A finished run breaks a conservation law: a defect of the simulator, never of the input."""


class Config(BaseModel):
    """A typed, frozen piece of configuration: unknown keys, wrong types, NaN and infinity are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Choice(Config):
    """A choice within a config group. Concrete subclasses declare `kind: Literal["name"] = "name"`."""

    kind: str


def kinds_of(base: type[Choice]) -> dict[str, type[Choice]]:
    """Every concrete subclass of `base`, by its kind: those in any module of the package of `base`, and those imported.

    >>> from sim.workload.arrivals.cox import Arrivals
    >>> "bursty" in kinds_of(Arrivals)
    True
    """
    _import_room(base.__module__.rpartition(".")[0])
    return _loaded_kinds(base)


@cache
def _import_room(package: str) -> None:
    """Import every module of a package, so that each kind in it exists. The top of the program is no room."""
    if "." not in package:
        return
    for module in iter_modules(import_module(package).__path__, f"{package}."):
        import_module(module.name)


def _loaded_kinds(base: type[Choice]) -> dict[str, type[Choice]]:
    found: dict[str, type[Choice]] = {}
    for cls in base.__subclasses__():
        literal = get_args(cls.model_fields["kind"].annotation)
        if literal:
            found[literal[0]] = cls
        found |= _loaded_kinds(cls)
    return found


def one_of(base: type[Choice]) -> Any:
    """A field type that accepts any concrete subclass of `base`, told apart by `kind`."""
    classes = tuple(kinds_of(base).values())
    if len(classes) == 1:
        return classes[0]
    return Annotated[Union[classes], Field(discriminator="kind")]  # noqa: UP007


def parse_config(cls: type[Config], raw: Any) -> Any:
    """Validate plain data into `cls`; every violation is listed as `key = value: law`. Raises ConfigError."""
    try:
        return cls.model_validate(raw)
    except ValidationError as error:
        raise ConfigError("\n".join(_violation(raw, e) for e in error.errors())) from None


def _violation(raw: Any, error: Any) -> str:
    path, at = [], raw
    for part in error["loc"]:
        if isinstance(at, dict) and part not in at and at.get("kind") == part:
            continue  # the tag of a chosen kind: not a key the user wrote
        path.append(str(part))
        if isinstance(at, dict):
            at = at.get(part)
        else:
            at = at[part] if isinstance(at, list) and isinstance(part, int) else None
    key = ".".join(path) or "configuration"
    law = error["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if error["type"] == "missing":
        return f"{key}: is required"
    if error["type"] == "extra_forbidden":
        return f"{key} = {_short(error['input'])}: is not a known key"
    if isinstance(error["input"], dict):
        return f"{key}: {law}"
    return f"{key} = {_short(error['input'])}: {law}"


def _short(value: Any) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
