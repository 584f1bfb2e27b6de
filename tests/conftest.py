"""Options of the whole suite."""

from __future__ import annotations

import gc
import os
from pathlib import Path

from tests.contracts import found


def pytest_addoption(parser):
    parser.addoption(
        "--config-dir", action="append", default=[], metavar="DIR",
        help="a folder of config groups of one's own, whose files the contract tests run over, too",
    )  # fmt: skip


def pytest_configure(config):
    os.environ.pop("COLUMNS", None)  # A worker of pytest has that of the terminal, by which tables would be wrapped.
    found.CONFIG_DIRS[1:] = [Path(folder).resolve() for folder in config.getoption("--config-dir")]


def pytest_collection_finish(session):
    """What is there before the first test stays, and need not be searched for garbage again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
