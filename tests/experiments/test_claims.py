"""The table of claims: every row has an article, a command that exists, and a verdict."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CLAIMS = (ROOT / "experiments/claims.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")] for line in CLAIMS.splitlines() if line.startswith("| 00")
]
COMMANDS = sorted(set(re.findall(r"`(python -m [^`]+)`", CLAIMS)))
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
