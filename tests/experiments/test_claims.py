"""The table of claims: every row has an article, a command that exists, and a verdict."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CLAIMS = (ROOT / "experiments/claims.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")] for line in CLAIMS.splitlines() if line.startswith("| 00")
]
COMMANDS = sorted(set(re.findall(r"`(python -m [^`]+)`", CLAIMS)))
FIGURE = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?")
VERDICTS = ("**holds", "**only if", "**fails", "**by definition", "**not backed")


def names_something(command: str) -> bool:
    """Whether a command names a test of the file it gives, or an experiment that is there."""
    words = command.split()
    if words[2] == "pytest":
        file, names = ROOT / words[3], words[words.index("-k") + 1 :]
        tests = re.findall(r"^def (test_\w+)", file.read_text(), re.MULTILINE) if file.is_file() else []
        return len(names) == 1 and any(names[0] in test for test in tests)
    if words[2] == "sim":
        return (ROOT / "conf/experiment" / f"{words[3].removeprefix('+experiment=')}.yaml").is_file()
    return (ROOT / f"{words[2].replace('.', '/')}.py").is_file()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_names_a_test_or_an_experiment(command):
    assert names_something(command)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]} {row[1][:40]}")
def test_every_claim_has_an_article_a_command_and_a_verdict(row):
    article, claim, command, verdict = row
    assert article in ("000", "001", "002", "003", "004") and claim
    assert re.fullmatch(r"`python -m [^`]+`", command) or verdict.startswith("**not backed")
    assert verdict.startswith(VERDICTS)


@cache
def functions_of(file: Path) -> dict[str, ast.FunctionDef]:
    return {node.name: node for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)}


def named_by(command: str) -> list[ast.FunctionDef]:
    words = command.strip("`").split()
    return [node for name, node in functions_of(ROOT / words[3]).items() if words[-1] in name]


def figures_of(test: ast.FunctionDef, file: Path) -> set[float]:
    """The numbers that a test, its parameters and the constants that it uses state, and those in the words it expects.

    A verdict may state them as percentages, thousands or billions.
    """
    constants = {
        target.id: node.value
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    names = {node.id for node in ast.walk(test) if isinstance(node, ast.Name)}
    body = [*test.body[1 if ast.get_docstring(test) else 0 :], *test.decorator_list]
    trees = body + [constants[name] for name in names & set(constants)]
    found = [node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    words = [number for value in found if isinstance(value, str) for number in re.findall(FIGURE, value)]
    numbers = {float(value) for value in found if type(value) in (int, float)} | {value_of(word) for word in words}
    return {number * scale for number in numbers for scale in (1, 100, 1000, 1e-9)}


def value_of(figure: str) -> float:
    return float(figure.replace(",", ""))


def half_a_digit(figure: str) -> float:
    """By how much a figure may be off, rounded as it is: 1.5 by 0.05, 1,040 by 5."""
    whole, _, decimals = figure.replace(",", "").partition(".")
    rounded = len(whole) - len(whole.rstrip("0")) if len(whole) > 2 and not decimals else 0
    return 0.51 * 10.0 ** (rounded - len(decimals))


def uses_the_project(test: ast.FunctionDef, file: Path) -> bool:
    """Whether a test calls something of `sim`, by itself or through a function of its file."""
    of_sim = {
        alias.asname or alias.name
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("sim")
        for alias in node.names
    }
    seen, todo = set(), [test]
    while todo:
        node = todo.pop()
        seen.add(node.name)
        names = {n.func.id for n in ast.walk(node) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
        if names & of_sim:
            return True
        todo += [helper for name, helper in functions_of(file).items() if name in names - seen]
    return False


def support(verdict: str, tests: list[ast.FunctionDef], file: Path) -> list[str]:
    """What is lacking in the tests that a row names: the verdict in words, or any of the figures that it states."""
    lacking = []
    ruling = re.match(r"\*\*(by definition|\w+( if)?)", verdict)[1]
    told = " ".join(f"{test.name.replace('_', ' ')} {ast.get_docstring(test) or ''}" for test in tests).lower()
    if ruling not in told:
        lacking.append(f"no test says {ruling!r}")
    stated = re.findall(FIGURE, verdict)
    checked = {figure for test in tests for figure in figures_of(test, file)}
    if stated and not any(abs(value_of(n) - figure) <= half_a_digit(n) for n in stated for figure in checked):
        lacking.append(f"no test has any of the figures {', '.join(stated)}")
    return lacking


TESTED = [row for row in ROWS if row[2].startswith("`python -m pytest")]


@pytest.mark.parametrize("row", TESTED, ids=lambda row: f"{row[0]} {row[1][:40]}")
def test_the_tests_that_a_row_names_support_its_verdict(row):
    _, _, command, verdict = row
    named, file = named_by(command), ROOT / command.split()[3]
    assert support(verdict, named, file) == []
    assert all(uses_the_project(test, file) for test in named)


def test_a_verdict_without_support_is_found(tmp_path):
    file = tmp_path / "test_x.py"
    file.write_text('RATE = 35\ndef test_ten_times_holds():\n    """99 times."""\n    assert RATE * 2.0 == 70\n')
    tests = list(functions_of(file).values())
    assert support("**holds**: 70 times", tests, file) == support("**holds**: 35 times", tests, file) == []
    assert support("**holds**: 99 times", tests, file) == ["no test has any of the figures 99"]
    assert support("**only if** it rains", tests, file) == ["no test says 'only if'"]


def test_arithmetic_that_calls_nothing_of_the_project_is_found(tmp_path):
    file = tmp_path / "test_x.py"
    file.write_text(
        "from sim.units import hours\ndef helper():\n    return hours(1)\n"
        "def test_bare():\n    assert sum([2, 2]) == 4\ndef test_real():\n    assert helper() == 1\n"
    )
    found = functions_of(file)
    assert not uses_the_project(found["test_bare"], file) and uses_the_project(found["test_real"], file)


def test_all_five_articles_are_there():
    assert {row[0] for row in ROWS} == {"000", "001", "002", "003", "004"}


@pytest.mark.parametrize(
    "wrong",
    [
        "python -m pytest tests/theory/test_breakeven.py -k claim_009_that_nobody_made",
        "python -m pytest tests/theory/test_nothing.py -k claim",
        "python -m experiments.nothing.figures",
        "python -m sim +experiment=nothing",
    ],
)
def test_a_command_that_names_nothing_is_found(wrong):
    assert not names_something(wrong)
