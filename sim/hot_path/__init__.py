"""The hot path, compiled: what every simulated event passes through, as C extensions made by mypyc.

The Python files are the program. Compiling them changes how fast they run and not what they compute: `python -m
sim compile` makes extensions of exactly these sources, and as soon as one of them is edited they are no longer used.
Set the environment variable SIM_INTERPRETED to do without them, in a debugger for instance.

A module is compiled if it has a line that begins with `# Compiled: ` (see `sim.hot_path.sources`). The schedulers,
`Replica` and `Recorder` can be derived from anywhere: `mypyc_attr(allow_interpreted_subclasses=True)` costs nothing
that can be measured. What compiling takes away: other classes of these modules cannot be derived from, their instances
cannot be copied or pickled, and a whole number is an `int`, not one of numpy's.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.abc import MetaPathFinder
from importlib.machinery import ExtensionFileLoader, ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

PACKAGE = Path(__file__).resolve().parent.parent
CACHE = PACKAGE / "__pycache__"
MANIFEST = "sources.json"
"""In a folder of extensions: the digest of every source that they are made of, by its path within the package."""

_PYTHON, _SUFFIX = sysconfig.get_config_vars("SOABI", "EXT_SUFFIX")
PREFIX = f"hot_path-{_PYTHON}-"
"""How the folders of extensions for this Python begin."""

_WHAT_TO_DO = "set SIM_INTERPRETED=1 in the environment before `import sim`: the same numbers, about half as fast"


def digest_of(source: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    return hashlib.sha256(source.read_bytes()).hexdigest()


def extensions_of_these_sources() -> Path | None:
    """The folder of the extensions that were made, by this Python, of exactly the present sources; None without one."""
    for folder in CACHE.glob(f"{PREFIX}*"):
        with suppress(OSError, ValueError):  # no manifest, or a source is gone: not of these sources
            sources = json.loads((folder / MANIFEST).read_text())
            if all(digest_of(PACKAGE / source) == digest for source, digest in sources.items()):
                return folder
    return None


class _Loader(ExtensionFileLoader):
    """Loads an extension, and lets those of its classes that cannot be derived from say so when a class tries."""

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        for value in vars(module).values():
            if isinstance(value, type) and value.__module__ == module.__name__ and not _can_be_derived_from(value):
                value.__init_subclass__ = classmethod(_refuse)  # type: ignore[assignment]


def _can_be_derived_from(cls: Any) -> bool:
    """Whether interpreted classes can be derived from a class of an extension; mypyc says so only when one is made."""
    if "__mypyc_attrs__" not in vars(cls):
        return True  # an ordinary class, as named tuples and enumerations are
    try:
        cls.__new__(type(cls.__name__, (cls,), {}))
    except TypeError as error:
        return "interpreted classes" not in str(error)
    return True


def _refuse(cls: type) -> None:
    """Raise TypeError unless `cls` is compiled, too."""
    if not isinstance(getattr(sys.modules.get(cls.__module__), "__loader__", None), _Loader):
        compiled = next(base for base in cls.__mro__[1:] if "__mypyc_attrs__" in vars(base))
        raise TypeError(
            f"class {cls.__qualname__} cannot be derived from {compiled.__module__}.{compiled.__qualname__}, which is "
            f"compiled: {_WHAT_TO_DO}"
        )


class _Extensions(MetaPathFinder):
    """Finds the extensions in a folder before the import system finds the Python files."""

    def __init__(self, folder: Path):
        self._files = {
            ".".join(path.relative_to(folder).parts).removesuffix(_SUFFIX): path for path in folder.rglob(f"*{_SUFFIX}")
        }

    def find_spec(self, name: str, path=None, target=None) -> ModuleSpec | None:
        file = self._files.get(name)
        return spec_from_file_location(name, file, loader=_Loader(name, str(file))) if file else None


def use_extensions() -> None:
    """Import the hot path compiled from now on, where that has been done."""
    if not os.environ.get("SIM_INTERPRETED") and (folder := extensions_of_these_sources()):
        sys.meta_path.insert(0, _Extensions(folder))


def is_compiled() -> bool:
    """Whether this process runs the hot path compiled."""
    return any(isinstance(finder, _Extensions) for finder in sys.meta_path)


@contextmanager
def numbers_explained() -> Iterator[None]:
    """Say in one sentence what to do where compiled code is handed a number of numpy's in place of Python's own."""
    try:
        yield
    except TypeError as error:
        found = re.fullmatch(r"(int|float|bool) object expected; got (numpy\.\w+)", str(error))
        if not found:
            raise
        raise TypeError(
            f"the compiled simulator takes {found[1]}, not {found[2]}: write {found[1]}(...) around the number "
            "(array.tolist() around many)"
        ) from error
