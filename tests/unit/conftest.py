"""Command lines played inside the test process: fast, and exit code and both streams are there to look at."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import sim.__main__
import sim.study.collect
import sim.study.reprice
from tests.unit.cli import Said


@pytest.fixture
def play(tmp_path, monkeypatch, capsys):
    """`play("arrivals=bursty")` runs `python -m sim arrivals=bursty` in an empty folder."""
    return _player(sim.__main__.main, tmp_path, monkeypatch, capsys)


@pytest.fixture
def reprice(tmp_path, monkeypatch, capsys):
    """`reprice("outputs/x", "prices=aws_2026_03")` runs `python -m sim.study.reprice ...` in the same folder."""
    return _player(sim.study.reprice.main, tmp_path, monkeypatch, capsys)


@pytest.fixture
def collect(tmp_path, monkeypatch, capsys):
    """`collect("outputs/x")` runs `python -m sim.study.collect outputs/x` in the same folder."""
    return _player(sim.study.collect.main, tmp_path, monkeypatch, capsys)


def _player(main, folder: Path, monkeypatch, capsys):
    monkeypatch.chdir(folder)

    def play(*words: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["sim", *words])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return play
