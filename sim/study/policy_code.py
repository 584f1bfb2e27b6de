"""Which code, beside the program's own, a scenario's numbers depend on: classes of plug-ins, notebooks and scripts.

The folder of a scenario is named after its configuration and the program. The class of a user's own policy is neither,
so its code is described here, as exactly as Python allows, and becomes a part of the name.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

from sim.schema import Config

_OURS = ("sim", "builtins", "pydantic", "abc", "typing")
_PROGRAM = Path(__file__).resolve().parents[1]
_PLAIN = (int, float, complex, str, bytes, bool, type(None))


class Undescribable(Exception):
    """The code of a class depends on an object that cannot be described, so a change of it would go unnoticed."""


def code_of(scenario: Config) -> dict[str, str]:
    """Full name and digest of every class in a scenario that is not of this program.

    Raises Undescribable if a class depends on an object that has no description.
    """
    return {f"{cls.__module__}.{cls.__qualname__}": class_digest(cls) for cls in sorted(_foreign(scenario), key=repr)}


def class_digest(cls: type) -> str:
    """A digest of the methods of a class, its foreign bases, and whatever constants and functions these refer to."""
    description = hashlib.sha256()
    for base in cls.__mro__:
        if not _is_ours(base):
            for line in _described_class(base, seen=set()):
                description.update(line.encode())
    return description.hexdigest()[:16]


def _of_module(value: Any, packages: tuple[str, ...]) -> bool:
    return value.__module__.partition(".")[0] in packages


def _is_ours(cls: type) -> bool:
    return _of_module(cls, _OURS)


def _foreign(value: Any) -> set[type]:
    found: set[type] = set()
    if isinstance(value, Config):
        if not _is_ours(type(value)):
            found.add(type(value))
        for name in type(value).model_fields:
            found |= _foreign(getattr(value, name))
    elif isinstance(value, Mapping):
        found = found.union(*map(_foreign, value.values()))
    elif isinstance(value, list | tuple):
        found = found.union(*map(_foreign, value))
    return found


def _described_class(cls: type, seen: set[int]) -> Iterator[str]:
    yield f"class {cls.__qualname__}"
    if cls.__module__ != "__main__":
        yield _own_source(cls)  # the whole file: helpers and constants of the class are mostly there, too
    for name, member in sorted(vars(cls).items()):
        for function in _functions_of(member):
            if not _of_module(function, _OURS):  # pydantic gives every class methods of its own
                yield name
                yield from _described(function, seen)


def _functions_of(member: Any) -> Iterator[Callable[..., Any]]:
    if isinstance(member, FunctionType):
        yield member
    elif isinstance(member, staticmethod | classmethod):
        yield from _functions_of(member.__func__)
    elif isinstance(member, property):
        yield from (function for function in (member.fget, member.fset, member.fdel) if function is not None)


def _described(value: Any, seen: set[int]) -> Iterator[str]:
    """Lines that differ if what `value` computes differs. Raises Undescribable."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, _PLAIN):
        yield repr(value)
    elif isinstance(value, tuple | list | set | frozenset):
        for inner in sorted(value, key=repr) if isinstance(value, set | frozenset) else value:
            yield from _described(inner, seen)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield repr(key)
            yield from _described(inner, seen)
    elif isinstance(value, type) and value.__module__ == "__main__":
        yield from _described_class(value, seen)
    elif isinstance(value, ModuleType | BuiltinFunctionType | type) or _is_imported(value):
        yield getattr(value, "__qualname__", getattr(value, "__name__", ""))
        yield _own_source(value)
    elif isinstance(value, FunctionType):
        yield from _described_code(value.__code__)
        yield from _described((value.__defaults__, value.__kwdefaults__), seen)
        for name in _names_in(value.__code__):
            if name in value.__globals__:
                yield name
                yield from _described(value.__globals__[name], seen)
        for cell in value.__closure__ or ():
            yield from _described(cell.cell_contents, seen)
    else:
        raise Undescribable(f"an object of class {type(value).__name__}")


def _is_imported(value: Any) -> bool:
    """Whether a function is of a module rather than of the notebook or script itself."""
    return isinstance(value, FunctionType) and value.__module__ != "__main__" and not value.__closure__


def _own_source(value: Any) -> str:
    """The text of the user's own file that defines a module, class or function; "" for what is installed."""
    file = getattr(inspect.getmodule(value), "__file__", None)
    if file is None or any(Path(file).is_relative_to(folder) for folder in (_PROGRAM, sys.prefix, sys.base_prefix)):
        return ""
    return Path(file).read_text(encoding="utf-8", errors="replace")


def _described_code(code: CodeType) -> Iterator[str]:
    yield code.co_code.hex()
    yield repr(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _described_code(constant)
        else:
            yield repr(sorted(constant, key=repr) if isinstance(constant, frozenset) else constant)


def _names_in(code: CodeType) -> set[str]:
    inner = (constant for constant in code.co_consts if isinstance(constant, CodeType))
    return set(code.co_names).union(*map(_names_in, inner))
