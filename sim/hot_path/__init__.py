"""The hot path, compiled: what every simulated event passes through, as C extensions made by mypyc.

The Python files are the program. Compiling them changes how fast they run and not what they compute: `python -m
sim compile` makes extensions of exactly these sources, and as soon as one of them is edited they are no longer used.
Set the environment variable SIM_INTERPRETED to do without them, in a debugger for instance.
"""

from __future__ import annotations

import hashlib
import os
import sys
import sysconfig
from contextlib import suppress
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent
_PYTHON, _SUFFIX = sysconfig.get_config_vars("SOABI", "EXT_SUFFIX")
HOT_PATH = (
    "clock", "work", "recorder", "workload.traffic", "routing.gateway", "engine.leap", "engine.sequence",
    "engine.kv_memory", "engine.scheduler", "engine.schedulers.priority", "engine.schedulers.reserving",
    "engine.schedulers.decode_only", "hardware.step_time.roofline", "engine.replica",
)  # fmt: skip
"""Modules of `sim` that are compiled, all of them together or none: they know each other's layout.

What compiling takes away: a class derived from one of theirs must be in one of them; their instances cannot be copied
or pickled; and a whole number is an `int`, not one of numpy's.
"""

_TYPES = ("hardware.step_time.protocol", "engine.leftovers", "engine.priority_queue", "records")  # compiled in


def source_of(module: str) -> Path:
    """The Python file of a module of the hot path."""
    return PACKAGE.joinpath(*module.split(".")).with_suffix(".py")


def folder() -> Path:
    """Where the extensions made of exactly the present sources, by this Python, are or would be."""
    digest = hashlib.sha256(Path(__file__).with_name("build.py").read_bytes())
    for module in (*HOT_PATH, *_TYPES):
        digest.update(source_of(module).read_bytes())
    return PACKAGE / "__pycache__" / f"hot_path-{_PYTHON}-{digest.hexdigest()[:16]}"


class _Extensions(MetaPathFinder):
    """Finds the extensions in a folder before the import system finds the Python files."""

    def __init__(self, folder: Path):
        self._files = {
            ".".join(path.relative_to(folder).parts).removesuffix(_SUFFIX): path for path in folder.rglob(f"*{_SUFFIX}")
        }

    def find_spec(self, name: str, path=None, target=None) -> ModuleSpec | None:
        file = self._files.get(name)
        return spec_from_file_location(name, file) if file else None


def use_extensions() -> None:
    """Import the hot path compiled from now on, where that has been done."""
    with suppress(OSError):  # no sources to compare with
        if not os.environ.get("SIM_INTERPRETED") and folder().is_dir():
            sys.meta_path.insert(0, _Extensions(folder()))


def is_compiled() -> bool:
    """Whether this process runs the hot path compiled."""
    return any(isinstance(finder, _Extensions) for finder in sys.meta_path)
