"""The house keeps its shape: floors, small rooms, sources beside numbers, no code in a config."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import warnings
from functools import cache
from pathlib import Path

import yaml

import sim
from sim.schema import Choice, kinds_of

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted(ROOT.glob("sim/**/*.py"))
YAMLS = sorted(ROOT.glob("conf/**/*.yaml"))

NOUNS = {
    "schema", "units", "randomness", "work", "views", "records", "recorder", "conf_path", "clock", "policy",
    "hot_path", "_version", "errors", "moment_zero", "printable", "event_loop", "gap_histogram", "distributions",
    "columns", "knob", "heap",
}  # fmt: skip
FLOORS = (
    NOUNS,
    {"workload", "routing", "scaling", "api", "ledger", "hardware"},  # none knows another
    {"engine"},
    {"fleet"},
    {"report"},
    {
        "applications",
        "settings",
        "scenarios",
        "assembly",
        "simulation",
        "hydra_door",
        "composer",
        "composition",
        "effort",
        "notes",
    },  # fmt: skip
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
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def imports_of(path: Path) -> tuple[str, ...]:
    found = []
    for node in ast.walk(tree_of(path)):
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


def test_imports_go_down_only():
    wrong = []
    for path in MODULES:
        parts = path.relative_to(ROOT / "sim").with_suffix("").parts
        who = "" if parts == ("__init__",) else parts[0]
        found = broken_floors(who, imports_of(path)) if who in FLOOR else ["a room without a floor"]
        wrong += [f"{name_of(path)}: {what}" for what in found]
    assert not wrong


def test_a_broken_floor_is_seen():
    assert broken_floors("workload", ("sim.report.metrics",)) == ["workload -> report goes up"]
    assert broken_floors("engine", ("sim.fleet.fleet",))
    assert broken_floors("routing", ("sim.scaling.scaler",))
    assert not broken_floors("fleet", ("sim.engine.replica", "sim.units"))


def modules_imported(path: Path) -> set[str]:
    """The modules of `sim` that a module imports, those for types only, too; a package stands for its `__init__`."""
    found = set()
    for node in ast.walk(tree_of(path)):
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


def test_time_and_tables_stay_in_their_rooms():
    wrong = []
    for path in MODULES:
        tops = {name.split(".")[0] for name in imports_of(path)}
        makes_a_world = FLOOR[room(dotted(path))] > 1 and re.search(r"(EventLoop|Environment)\(\)", path.read_text())
        if "simpy" in tops and not makes_a_world and name_of(path) != "sim/event_loop.py":
            wrong.append(f"{name_of(path)} imports simpy and makes no world of its own: it is to be handed one")
        if "pandas" in tops and not name_of(path).startswith(MAY_USE_PANDAS):
            wrong.append(f"{name_of(path)} imports pandas")
    assert not wrong


def test_files_and_functions_stay_small():
    wrong = []
    for path in MODULES:
        n_lines = len(path.read_text().splitlines())
        if n_lines > 300:
            warnings.warn(f"{name_of(path)} has {n_lines} lines: perhaps it is two ideas", stacklevel=1)
        if n_lines > 450:
            wrong.append(f"{name_of(path)} has {n_lines} lines: it is two ideas")
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno - node.lineno + 1 > 60:
                wrong.append(f"{name_of(path)}: {node.name} has over 60 lines: it is two ideas")
    assert not wrong


def test_what_is_public_says_what_it_is():
    wrong = []
    for path in MODULES:
        tree = tree_of(path)
        if tree.body and not ast.get_docstring(tree):
            wrong.append(f"{name_of(path)}: a module without a docstring")
        for node in tree.body:
            public = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
            if public and node.name != "main" and not ast.get_docstring(node):
                wrong.append(f"{name_of(path)}: {node.name} has no docstring")
    assert not wrong


SOURCED = ("gpu", "model", "prices", "overhead")
SHARED_NUMBER = re.compile(r"^\s*(?:- )?[\w.\-\"']+:\s*[-+.\d][\d_.eE+-]*\s*(#.*)?$")


def test_every_external_number_names_its_source():
    unsourced = []
    for path in (path for path in YAMLS if path.parent.name in SOURCED):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            found = SHARED_NUMBER.match(line)
            if found and not (found[1] and len(found[1]) > 5):
                unsourced.append(f"{name_of(path)}, line {number}: {line.strip()}")
    assert not unsourced


FORBIDDEN = {
    "a machine path": re.compile(r"(?<![\w.])/(?:root|home|work|tmp|Users)/"),
    "a registry host": re.compile(r"pypi\.org|pythonhosted|https?://[^\s]*simple\b|--index-url\s+\S"),
    "code named in a config": re.compile(r"_target_\s*[:=]"),
}


def test_nothing_is_tied_to_one_machine():
    others = [path for path in (ROOT / "Makefile", ROOT / "pyproject.toml", ROOT / "README.md") if path.exists()]
    tied = []
    for path in (*MODULES, *YAMLS, *others):
        for what, pattern in FORBIDDEN.items():
            tied += [f"{name_of(path)}: {what}: {found[0]}" for found in pattern.finditer(path.read_text())]
    assert not tied


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
