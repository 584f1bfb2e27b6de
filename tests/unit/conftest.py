"""Command lines played inside the test process: fast, and exit code and both streams are there to look at."""

from __future__ import annotations

from pathlib import Path

import pytest

from sim.__main__ import main
from tests.unit.cli import Said


@pytest.fixture
def play(tmp_path, monkeypatch, capsys):
    """`play("arrivals=bursty")` runs `llm-traffic-sim arrivals=bursty` in an empty folder."""
    return _player((), tmp_path, monkeypatch, capsys)


@pytest.fixture
def reprice(tmp_path, monkeypatch, capsys):
    """`reprice("outputs/x", "prices=aws_2026_03")` runs `llm-traffic-sim reprice ...` in the same folder."""
    return _player(("reprice",), tmp_path, monkeypatch, capsys)


@pytest.fixture
def collect(tmp_path, monkeypatch, capsys):
    """`collect("outputs/x")` runs `llm-traffic-sim collect outputs/x` in the same folder."""
    return _player(("collect",), tmp_path, monkeypatch, capsys)


@pytest.fixture
def calibrate(tmp_path, monkeypatch, capsys):
    """`calibrate(*MINE)` runs `llm-traffic-sim calibrate my.csv ...` in an empty folder."""
    return _player(("calibrate",), tmp_path, monkeypatch, capsys)


def _player(verb: tuple[str, ...], folder: Path, monkeypatch, capsys):
    monkeypatch.chdir(folder)

    def play(*words: str) -> Said:
        try:
            code = main([*verb, *words])
        except SystemExit as stop:  # argparse: after --help, or for a flag that a verb does not have
            code = int(stop.code or 0)
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return play
