"""The hot path, compiled: the modules that every simulated event passes through, as C extensions made by mypyc.

The Python files are the program. Compiling changes how fast they run and not what they compute: `llm-traffic-sim
compile` makes extensions of exactly these sources, and once one of the sources is edited the extensions are not used.
To run without them, in a debugger for instance, set the environment variable SIM_INTERPRETED to any text.

A module is compiled if it has a line that begins with `# Compiled: ` (see `sim.hot_path.sources`). The schedulers,
`Replica` and `Recorder` can be derived from anywhere: `mypyc_attr(allow_interpreted_subclasses=True)` costs nothing
that can be measured. What compiling takes away: no class of yours can be derived from the other classes of these
modules, their instances cannot be copied or pickled, and a whole number must be an `int`, not an integer of numpy.
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
"""The file in a folder of extensions that holds, as JSON, the digest of every source by its path in the package."""

_PYTHON, _SUFFIX = sysconfig.get_config_vars("SOABI", "EXT_SUFFIX")
PREFIX = f"hot_path-{_PYTHON}-"
"""The start of the name of every folder of extensions that this Python can load."""

_REMEDY = "set SIM_INTERPRETED=1 in the environment before `import sim`: the same numbers, two to four times slower"


def digest_of(source: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    return hashlib.sha256(source.read_bytes()).hexdigest()


def extensions_of_these_sources() -> Path | None:
    """The folder of extensions that this Python can load and that are made of exactly the present sources, or None."""
    for folder in CACHE.glob(f"{PREFIX}*"):
        with suppress(OSError, ValueError):  # Without a manifest, or with one that names a lost file, it is skipped.
            sources = json.loads((folder / MANIFEST).read_text())
            if all(digest_of(PACKAGE / source) == digest for source, digest in sources.items()):
                return folder
    return None


class _Loader(ExtensionFileLoader):
    """Loads an extension, and makes its classes that cannot be derived from refuse a derived class with our own error.

    Without it, mypyc refuses only when the first instance of the derived class is made, and says nothing of a remedy.
    """

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        for value in vars(module).values():
            if isinstance(value, type) and value.__module__ == module.__name__ and not _can_be_derived_from(value):
                value.__init_subclass__ = classmethod(_refuse)  # type: ignore[assignment]


def _can_be_derived_from(cls: Any) -> bool:
    """Whether interpreted classes can be derived from a class of an extension.

    mypyc tells only when an instance of a derived class is made, so one is made here.
    """
    if "__mypyc_attrs__" not in vars(cls):
        return True  # The class is an ordinary one, as named tuples and enumerations are.
    try:
        cls.__new__(type(cls.__name__, (cls,), {}))
    except TypeError as error:
        return "interpreted classes" not in str(error)
    return True


def _refuse(cls: type) -> None:
    """Raise TypeError, with words to type, unless the class `cls` is itself part of an extension."""
    # mypyc gives a module that belongs to a group of extensions a loader of its own kind.
    if not isinstance(getattr(sys.modules.get(cls.__module__), "__loader__", None), ExtensionFileLoader):
        compiled = next(base for base in cls.__mro__[1:] if "__mypyc_attrs__" in vars(base))
        raise TypeError(
            f"class {cls.__qualname__} cannot be derived from {compiled.__module__}.{compiled.__qualname__}, which is "
            f"compiled: {_REMEDY}"
        )


class _Extensions(MetaPathFinder):
    """A finder for `sys.meta_path` that imports a module from its extension in `folder`, if there is one.

    It must stand before the standard finders, which would import the Python file.
    """

    def __init__(self, folder: Path):
        self._files = {
            ".".join(path.relative_to(folder).parts).removesuffix(_SUFFIX): path for path in folder.rglob(f"*{_SUFFIX}")
        }

    def find_spec(self, name: str, path=None, target=None) -> ModuleSpec | None:
        file = self._files.get(name)
        return spec_from_file_location(name, file, loader=_Loader(name, str(file))) if file else None


def use_extensions() -> None:
    """Import modules of the hot path as extensions from now on, if there are any of the present sources.

    Call it before any of these modules is imported.
    """
    if not os.environ.get("SIM_INTERPRETED") and (folder := extensions_of_these_sources()):
        sys.meta_path.insert(0, _Extensions(folder))


def is_compiled() -> bool:
    """Whether this process uses the extensions."""
    return any(isinstance(finder, _Extensions) for finder in sys.meta_path)


@contextmanager
def numbers_explained() -> Iterator[None]:
    """Explain, where compiled code is given a number of numpy instead of one of Python, how to convert it.

    Raises TypeError with the explanation in place of mypyc's own TypeError; every other exception passes unchanged.
    """
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
