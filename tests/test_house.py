"""The house keeps its shape: floors, small rooms, sources beside numbers, no code in a config."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import warnings
from functools import cache
from pathlib import Path

import pytest
import yaml

import sim
from sim.schema import Choice, kinds_of

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted(ROOT.glob("sim/**/*.py"))
YAMLS = sorted(ROOT.glob("conf/**/*.yaml"))

NOUNS = {
    "schema", "units", "randomness", "work", "views", "records", "recorder", "conf_path", "clock", "policy",
    "hot_path", "_version", "errors", "moment_zero", "printable", "gap_histogram", "distributions",
}  # fmt: skip
FLOORS = (
    NOUNS,
    {"workload", "routing", "scaling", "api", "ledger", "hardware"},  # none knows another
    {"engine"},
    {"fleet"},
    {"report"},
    {"applications", "settings", "scenarios", "assembly", "simulation", "hydra_door", "composition", "effort", "notes"},
    {"measured", "study", "page"},
    {"cli", "__main__", "", "calibrate", "compile", "fidelity", "reprice"},  # the last four: names of version 0.1
)
FLOOR = {name: floor for floor, names in enumerate(FLOORS) for name in names}
STRANGERS = FLOORS[1]
MAY_USE_PANDAS = (
    "sim/ledger/", "sim/report/", "sim/study/", "sim/cli/", "sim/measured/", "sim/page/", "sim/simulation.py",
    "sim/workload/logs/",
)  # fmt: skip


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def imports_of(path: Path) -> tuple[str, ...]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}: relative import"
            found += [node.module] + [f"{node.module}.{alias.name}" for alias in node.names if node.module == "sim"]
    return tuple(found)


def room(dotted: str) -> str:
    return dotted.split(".")[1] if "." in dotted else ""


def broken_floors(who: str, imported: tuple[str, ...]) -> list[str]:
    """Imports of the module in room `who` that go up, or sideways between rooms that must not know each other."""
    wrong = []
    for other in {room(name) for name in imported if name.startswith("sim.")} - {who}:
        if other not in FLOOR:
            wrong.append(f"{other} has no floor")
        elif FLOOR[other] > FLOOR[who]:
            wrong.append(f"{who} -> {other} goes up")
        elif who in STRANGERS and other in STRANGERS:
            wrong.append(f"{who} -> {other}: these rooms do not know each other")
    return wrong


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_go_down_only(path):
    parts = path.relative_to(ROOT / "sim").with_suffix("").parts
    who = "" if parts == ("__init__",) else parts[0]
    assert who in FLOOR, f"{name_of(path)}: a room without a floor"
    assert not broken_floors(who, imports_of(path))


def test_a_broken_floor_is_seen():
    assert broken_floors("workload", ("sim.report.metrics",)) == ["workload -> report goes up"]
    assert broken_floors("engine", ("sim.fleet.fleet",))
    assert broken_floors("routing", ("sim.scaling.scaler",))
    assert not broken_floors("fleet", ("sim.engine.replica", "sim.units"))


def modules_imported(path: Path) -> set[str]:
    """The modules of `sim` that a module imports, those for types only, too; a package stands for its `__init__`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found & DOTTED.keys()


def dotted(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


DOTTED = {dotted(path): path for path in MODULES}


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The circles that a walk along every import meets."""
    found, done, way = [], set(), []

    def walk(name: str) -> None:
        if name in way:
            found.append([*way[way.index(name) :], name])
        elif name not in done:
            way.append(name)
            for other in sorted(graph.get(name, ())):
                walk(other)
            done.add(way.pop())

    for name in graph:
        walk(name)
    return found


def test_no_imports_in_a_circle():
    graph = {name: modules_imported(path) - {name} for name, path in DOTTED.items()}
    assert not circles(graph)


def test_a_circle_is_seen():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == [["a", "b", "c", "a"]]
    assert not circles({"a": {"b", "c"}, "b": {"c"}})


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_time_and_tables_stay_in_their_rooms(path):
    tops = {name.split(".")[0] for name in imports_of(path)}
    if "simpy" in tops:  # everyone else is handed the world as an argument
        assert FLOOR[room(dotted(path))] > 1 and "simpy.Environment(" in path.read_text(), (
            "it makes no world of its own"
        )
    if "pandas" in tops:
        assert name_of(path).startswith(MAY_USE_PANDAS)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_files_and_functions_stay_small(path):
    text = path.read_text()
    n_lines = len(text.splitlines())
    if n_lines > 300:
        warnings.warn(f"{name_of(path)} has {n_lines} lines: perhaps it is two ideas", stacklevel=1)
    assert n_lines <= 450, "this file is two ideas"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno + 1 <= 60, f"{node.name} is two ideas"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_what_is_public_says_what_it_is(path):
    tree = ast.parse(path.read_text())
    if path.read_text().strip():
        assert ast.get_docstring(tree), "a module without a docstring"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_") and node.name != "main":
            assert ast.get_docstring(node), f"{node.name} has no docstring"


SOURCED = ("gpu", "model", "prices", "overhead")
SHARED_NUMBER = re.compile(r"^\s*(?:- )?[\w.\-\"']+:\s*[-+.\d][\d_.eE+-]*\s*(#.*)?$")


@pytest.mark.parametrize("path", [p for p in YAMLS if p.parent.name in SOURCED], ids=name_of)
def test_every_external_number_names_its_source(path):
    for number, line in enumerate(path.read_text().splitlines(), 1):
        found = SHARED_NUMBER.match(line)
        if found:
            assert found[1] and len(found[1]) > 5, f"line {number} has no source: {line.strip()}"


FORBIDDEN = {
    "a machine path": re.compile(r"(?<![\w.])/(?:root|home|work|tmp|Users)/"),
    "a registry host": re.compile(r"pypi\.org|pythonhosted|https?://[^\s]*simple\b|--index-url\s+\S"),
    "code named in a config": re.compile(r"_target_\s*[:=]"),
}


@pytest.mark.parametrize(
    "path",
    [*MODULES, *YAMLS, *(p for p in (ROOT / "Makefile", ROOT / "pyproject.toml", ROOT / "README.md") if p.exists())],
    ids=name_of,
)
def test_nothing_is_tied_to_one_machine(path):
    for what, pattern in FORBIDDEN.items():
        found = pattern.search(path.read_text())
        assert not found, f"{what}: {found[0]}"


def test_the_lock_names_no_machine():
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock and "--hash=sha256:" in lock


def choosable() -> list[type[Choice]]:
    """Every class a config may choose by its kind."""
    for module in pkgutil.walk_packages(sim.__path__, "sim."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    bases = [base for base in Choice.__subclasses__() if base.__module__.startswith("sim.")]  # not those of tests
    return [cls for base in bases for cls in kinds_of(base).values() if cls.__module__.startswith("sim.")]


def kinds_named(value) -> set[str]:
    if isinstance(value, dict):
        own = {value["kind"]} if isinstance(value.get("kind"), str) else set()
        return own.union(*(kinds_named(v) for v in value.values()))
    if isinstance(value, list):
        return set().union(*(kinds_named(v) for v in value))
    return set()


def test_every_kind_has_an_example_in_conf():
    shown = set().union(*(kinds_named(yaml.safe_load(path.read_text())) for path in YAMLS))
    missing = {cls.__name__ for cls in choosable() if cls.model_fields["kind"].default not in shown}
    assert not missing, f"no YAML in conf/ shows {sorted(missing)}"
