"""Finds the sources that the compiled hot path depends on: the marked modules, and those whose types they import."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

from sim.hot_path import PACKAGE, digest_of

_MARK = re.compile(r"^# Compiled: ", re.MULTILINE)


def compiled_sources() -> list[Path]:
    """Every module of the package with a line that begins with `# Compiled: `, in alphabetical order.

    They are compiled together, because mypyc builds the memory layout of each other's classes into them.
    """
    return [path for path in sorted(PACKAGE.rglob("*.py")) if _MARK.search(path.read_text(encoding="utf-8"))]


def sources_of_types(compiled: list[Path]) -> list[Path]:
    """The other modules that the compiled ones import, directly or through another module, in alphabetical order.

    Their types are compiled in, so an edit of one makes the extensions stale. Imports for the type checker alone count.
    """
    found, to_read = set(compiled), list(compiled)
    while to_read:
        new = _imported(to_read.pop()) - found
        found |= new
        to_read += new
    return sorted(found - set(compiled))


def _imported(source: Path) -> set[Path]:
    """The modules of this package that one module imports. Packages are left out: their `__init__` defines no types."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    inside = [name.split(".")[1:] for name in names if name.startswith(f"{PACKAGE.name}.")]
    files = {PACKAGE.joinpath(*parts).with_suffix(".py") for parts in inside if parts}
    return {file for file in files if file.is_file()}


def manifest() -> str:
    """The digest of every source that the extensions are made of, by its path within the package, as JSON."""
    compiled = compiled_sources()
    sources = [*compiled, *sources_of_types(compiled), Path(__file__), Path(__file__).with_name("build.py")]
    digests = {source.relative_to(PACKAGE).as_posix(): digest_of(source) for source in sources}
    return json.dumps(digests, indent=1)
