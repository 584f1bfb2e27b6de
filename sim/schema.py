"""What a configuration can say, and how it says no.

`Config` is the base of everything a config holds; `Choice` is the base of everything a config can *choose*: the YAML
says `kind: bursty` and the subclass whose `kind` is "bursty" is built. No config names code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from inspect import get_annotations
from pkgutil import iter_modules
from typing import Annotated, Any, ClassVar, Self, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError, model_validator
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, core_schema

T = TypeVar("T")
ConfigT = TypeVar("ConfigT", bound="Config")
ChoiceT = TypeVar("ChoiceT", bound="Choice")

PLUGINS = "llm_traffic_sim.plugins"
"""Entry-point group of installed packages that add kinds: each entry point names a module to import."""


class SimError(Exception):
    """Base of every error this program raises on purpose: one clear line for the user.

    >>> import sim
    >>> try:
    ...     sim.scenario(gpu="h1000")
    ... except sim.SimError as error:
    ...     print(str(error).partition(":")[0])
    gpu=h1000
    """


class ConfigError(SimError):
    """A configuration breaks a law; the message names key, value and law.

    >>> import sim
    >>> sim.scenario(horizon_s=-5)
    Traceback (most recent call last):
        ...
    sim.schema.ConfigError: horizon_s = -5: should be greater than 0
    """


class LackedKey(ConfigError):
    """A key that nothing which a configuration has chosen has, such as `scaling.n_replicas` where replicas scale."""

    def __init__(self, key: str, message: str):
        super().__init__(message)
        self.key = key


class TraceError(SimError):
    """A request log cannot be read; the message names file, line and column.

    >>> import sim
    >>> from pathlib import Path
    >>> _ = Path("log.csv").write_text("arrived_s,input_tokens,output_tokens\\n0,10,-1\\n")
    >>> try:
    ...     sim.simulate(sim.scenario("arrivals=replay", **{"arrivals.path": "log.csv"}))
    ... except sim.TraceError as error:
    ...     print(str(error).partition(":")[0])
    log.csv, line 2, column 'output_tokens'
    """


class AuditError(SimError):
    """A finished run breaks a conservation law: a defect of the simulator, never of the input.

    >>> import sim
    >>> issubclass(sim.AuditError, sim.SimError) and not issubclass(sim.AuditError, sim.ConfigError)
    True
    """


_ONE_CLOCK = "is said once for the whole scenario, by starts_at: the date, time and zone of second 0; say "
MOVED_KEYS = {
    "start_day": f"{_ONE_CLOCK}starts_at=2024-05-16T00:00 for a Thursday",
    "start_hour": f"{_ONE_CLOCK}starts_at=2024-05-13T12:00 for noon",
    "begins_weekday": f"{_ONE_CLOCK}starts_at=2024-05-16T00:00 for a Thursday",
    "begins_hour_utc": f"{_ONE_CLOCK}starts_at=2024-05-13T12:00 for noon",
    "begins_utc": f"{_ONE_CLOCK}starts_at=2024-05-13T00:00",
    "rate_scale": "is now arrivals.scale; say arrivals.scale.more_users=2 (copies; below 1: fewer tasks) or "
    "arrivals.scale.faster_clock=2 (time runs faster)",
    "rescale": "is now arrivals.scale: superpose and thin are scale.more_users, stretch is scale.faster_clock",
}
"""Keys of earlier versions, wherever they stood, and what is said of one that is used."""

LARGEST_NUMBER, SMALLEST_NUMBER = 1e15, 1e-15
"""No number of a configuration is beyond these but 0: sums, products and random draws of such numbers stay finite."""


class Config(BaseModel):
    """A typed, frozen piece of configuration: unknown keys, wrong types, NaN and infinity are refused.

    So are numbers of more than `LARGEST_NUMBER` and, but for 0, of less than `SMALLEST_NUMBER`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)

    @model_validator(mode="after")
    def _no_extreme_numbers(self) -> Self:
        errors = []
        for path, value in _numbers(((name,), getattr(self, name)) for name in type(self).model_fields):
            if not SMALLEST_NUMBER <= abs(value) <= LARGEST_NUMBER and value != 0:
                law = f"must be 0, or between {SMALLEST_NUMBER:g} and {LARGEST_NUMBER:g} in size"
                errors.append(InitErrorDetails(type=PydanticCustomError("extreme", law), loc=path, input=value))
        if errors:
            raise ValidationError.from_exception_data(type(self).__name__, errors)
        return self


def each_part(value: Any, change: Callable[[Config], Config]) -> Any:
    """A config with `change` applied to it and to all that it holds, from the inside out. What stays is not copied."""
    if isinstance(value, Config):
        parts = {name: getattr(value, name) for name in type(value).model_fields}
        new = {name: each_part(part, change) for name, part in parts.items()}
        changed = {name: part for name, part in new.items() if part is not parts[name]}
        return change(value.model_copy(update=changed) if changed else value)
    if isinstance(value, dict):
        new = {key: each_part(part, change) for key, part in value.items()}
        return new if any(new[key] is not part for key, part in value.items()) else value
    if isinstance(value, tuple | list):
        items = [each_part(part, change) for part in value]
        return type(value)(items) if any(now is not old for now, old in zip(items, value, strict=True)) else value
    return value


def _numbers(pairs: Iterable[tuple[tuple[Any, ...], Any]]) -> Iterator[tuple[tuple[Any, ...], float]]:
    """Every number of plain data with its path; those of nested configs are left out, as they are checked already."""
    for path, value in pairs:
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield path, value
        elif isinstance(value, dict):
            yield from _numbers(((*path, key), inner) for key, inner in value.items())
        elif isinstance(value, list | tuple):
            yield from _numbers(((*path, place), inner) for place, inner in enumerate(value))


class Choice(Config):
    """A choice within a config group. Concrete subclasses declare `kind: Literal["name"] = "name"`."""

    default_kind: ClassVar[str | None] = None
    """The kind of a configuration that names none. None: `kind` is required."""

    kind: str


def kinds_of(base: type[ChoiceT]) -> dict[str, type[ChoiceT]]:
    """The concrete subclasses of `base` by kind: in the package of `base`, in plugins, and defined elsewhere so far.

    A class is concrete if it declares a `kind` itself; one that inherits its kind is a variant for Python code and has
    no name in a configuration. Raises ConfigError if two classes claim one kind, or if a plugin cannot be imported.

    >>> from sim.workload.arrivals.base import Arrivals
    >>> "bursty" in kinds_of(Arrivals)
    True
    """
    _import_room(base.__module__.rpartition(".")[0])
    load_plugins()
    found: dict[str, type[ChoiceT]] = {}
    for cls in _subclasses(base):
        for kind in _declared_kinds(cls):
            other = found.get(kind)
            if other is not None and _full_name(other) != _full_name(cls):
                raise ConfigError(f"kind = {kind!r}: is claimed by both {_full_name(other)} and {_full_name(cls)}")
            found[kind] = cls  # of two classes with one full name, the later one: a notebook cell that was run again
    return found


@cache
def _declared_kinds(cls: type[Choice]) -> tuple[str, ...]:
    """The kinds that a class declares itself; none if it inherits its kind."""
    return get_args(cls.model_fields["kind"].annotation) if "kind" in get_annotations(cls) else ()


@cache
def _import_room(package: str) -> None:
    """Import every module of a package, so that each kind in it exists. The top of the program is no room."""
    if "." not in package:
        return
    for module in iter_modules(import_module(package).__path__, f"{package}."):
        import_module(module.name)


@cache
def load_plugins() -> None:
    """Import the modules that installed packages name under the entry-point group `llm_traffic_sim.plugins`, once.

    Raises ConfigError, naming the package, if one cannot be imported.
    """
    for entry in entry_points(group=PLUGINS):
        try:
            import_module(entry.module)
        except Exception as error:
            package = entry.dist.name if entry.dist is not None else "an installed package"
            raise ConfigError(
                f"plugin {entry.name!r} of {package}: cannot be imported: {type(error).__name__}: {error}"
            ) from error


def _subclasses(base: type[ChoiceT]) -> Iterator[type[ChoiceT]]:
    for cls in base.__subclasses__():
        yield cls
        yield from _subclasses(cls)


def _full_name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


class _ByKind:
    """Validates a field whose type is the base of a choice; see `OneOf`."""

    def __get_pydantic_core_schema__(self, base: type[Choice], handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(lambda value: _choose(base, value), metadata={"base": base})

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        base = schema["metadata"]["base"]  # type: ignore[typeddict-item]
        return {"oneOf": [handler(cls.__pydantic_core_schema__) for cls in kinds_of(base).values()]}


OneOf = Annotated[T, _ByKind()]
"""A field type: `OneOf[Base]` takes an instance of `Base` as it is, and a mapping by its `kind` (see `kinds_of`).

Kinds are looked up when a value is validated, so a class counts that was defined after the config that holds the field.
"""


def _choose(base: type[Choice], value: Any) -> Choice:
    if isinstance(value, base):
        return value
    if not isinstance(value, Mapping):
        names = {"base": base.__name__, "given": type(value).__name__}
        raise PydanticCustomError("choice", "must be a mapping with a kind or a {base}, but is of type {given}", names)
    kinds = kinds_of(base)
    kind = value.get("kind", base.default_kind)
    if isinstance(kind, str) and kind in kinds:
        return kinds[kind].model_validate(value)
    words = {"names": ", ".join(sorted(kinds)), "hint": _did_you_mean(str(kind), kinds)}
    if kind is None:
        error = PydanticCustomError("kind_missing", "is required; one of {names}", words)
    else:
        error = PydanticCustomError("kind_unknown", "is not one of {names}{hint}", words)
    raise ValidationError.from_exception_data(
        base.__name__, [InitErrorDetails(type=error, loc=("kind",), input=value.get("kind", value))]
    )


def _did_you_mean(word: str, known: Iterable[str], prefix: str = "") -> str:
    near = get_close_matches(word, list(known), n=1)
    return f"; did you mean {prefix}{near[0]}?" if near else ""


def parse_config(cls: type[ConfigT], raw: Any) -> ConfigT:
    """Validate plain data into `cls`; every violation is listed as `key = value: law`. Raises ConfigError."""
    try:
        return cls.model_validate(raw)
    except ValidationError as error:
        raise ConfigError("\n".join(_violation(cls, raw, e) for e in error.errors())) from None


def _violation(cls: type[Config], raw: Any, error: Any) -> str:
    path, value = [], raw
    for part in error["loc"]:
        if isinstance(value, dict) and part not in value and value.get("kind") == part:
            continue  # pydantic puts the tag of a discriminated union into the path; it is no key of the user's
        path.append(str(part))
        if isinstance(value, dict):
            value = value.get(part)
        else:
            value = value[part] if isinstance(value, list) and isinstance(part, int) else None
    key = ".".join(path) or "configuration"
    law = error["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if error["type"] == "missing":
        return f"{key}: is required"
    if error["type"] == "extra_forbidden":
        if path[-1] in MOVED_KEYS:
            return f"{key} = {_short(error['input'])}: {MOVED_KEYS[path[-1]]}"
        where = "".join(f"{part}." for part in path[:-1])
        hint = _did_you_mean(path[-1], _known_keys(cls, raw, path[:-1]), where)
        return f"{key} = {_short(error['input'])}: is not a known key{hint}"
    if isinstance(error["input"], dict):
        return f"{key}: {law}"
    return f"{key} = {_short(error['input'])}: {law}"


def _known_keys(cls: type[Config], raw: Any, path: Sequence[str]) -> set[str]:
    """The keys that a configuration of class `cls`, given as plain data `raw`, may have at a path."""
    classes, value = {cls}, raw
    for part in path:
        fields = [c.model_fields[part] for c in classes if part in c.model_fields]
        if fields:  # otherwise the part is the key of a mapping or the place in a list of the same configs
            classes = {found for field in fields for found in _configs_in(field.annotation)}
        value = value.get(part) if isinstance(value, dict) else value[int(part)] if isinstance(value, list) else None
        if isinstance(value, dict):
            classes = {_chosen(c, value) if issubclass(c, Choice) else c for c in classes}
    return {key for c in classes for key in c.model_fields}


def _chosen(base: type[Choice], value: dict[str, Any]) -> type[Choice]:
    return kinds_of(base).get(str(value.get("kind", base.default_kind)), base)


def _configs_in(annotation: Any) -> Iterator[type[Config]]:
    if isinstance(annotation, type) and issubclass(annotation, Config):
        yield annotation
    for part in get_args(annotation):
        yield from _configs_in(part)


def _short(value: Any) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
