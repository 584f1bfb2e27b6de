"""One scenario from its composed config to its folder: alone with every table, or as one row of a sweep."""

from __future__ import annotations

import math
import os
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from datetime import date
from functools import cache
from multiprocessing import current_process
from pathlib import Path
from typing import Any
from uuid import uuid4

from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from sim.composition import with_parts
from sim.effort import expected_cpu_s
from sim.errors import one_line
from sim.hydra_door import plain, refuse_code
from sim.ledger.prices import old_lists
from sim.printable import printable
from sim.report.description_text import length
from sim.report.screen import print_lines
from sim.report.tables import print_summary
from sim.scenarios import Scenario, parse
from sim.schema import Config, ConfigError, SimError
from sim.study.claims import claim
from sim.study.competitors import question_of
from sim.study.folder import (
    NO_RESULT,
    ROW,
    all_or_nothing,
    digest,
    is_finished,
    program_name,
    require_writable,
    sizes,
    write_json,
    write_text,
)
from sim.study.hardware_error import hardware_error
from sim.study.one_file import packed
from sim.study.played import Result
from sim.study.policy_code import Undescribable, code_of
from sim.study.replicate import replicate
from sim.study.results import contents, wants_tables, write_result
from sim.study.scenario_folders import digest_in
from sim.study.setting import setting_lines
from sim.study.steadiness import clock_line

_LONG_S = 5.0
"""A run that takes longer says so before it begins."""


def run_alone(config: dict[str, Any]) -> Path:
    """Simulate, write everything that was asked for and print the headlines. Returns the folder. Raises SimError."""
    scenario = parsed(config)
    name = digest(config, code_or_unique(scenario))
    folder = Path(config["output"]["dir"]) / "runs" / f"{scenario.name}-{name}"
    require_writable(folder)
    if (cpu_s := expected_cpu_s(scenario) or 0.0) >= _LONG_S:
        print(f"about {length(float(f'{cpu_s:.1g}'))} to play", file=sys.stderr, flush=True)
    result = replicate(scenario, keep_runs=wants_tables(scenario, alone=True), on_progress=_print_progress)
    write_finished(folder, name, config, scenario, result, alone=True)
    error = hardware_error(scenario)
    if error is not None and error.is_borrowed:
        print_lines(error.lines()[:1])
    print_lines([scenario.name, *(f"  {line}" for line in setting_lines(result.setting))])
    for receipt in result.receipts:
        print(printable("\n".join(receipt.lines())))
    if clock := clock_line(scenario, result.moment_zero):
        print(printable(clock))
    print_summary(result.summary)
    if error is not None:
        print_lines(error.lines()[error.is_borrowed :])
    print_lines(f"note: {note}" for note in (*result.notes, *old_lists(scenario.prices, date.today())))
    print(printable(f"-> {folder}"))
    return folder


def write_finished(
    folder: Path, name: str, config: dict[str, Any], scenario: Scenario, result: Result, alone: bool
) -> None:
    """Write a finished scenario that is part of no sweep, and its row: all of it or nothing. Raises ConfigError."""
    with claim(folder), all_or_nothing(folder):
        write_result(folder, config, scenario, result, alone)
        write_json(folder / ROW, _ok_row(name, {}, config, scenario, result, sizes(folder)), indent=None)


def run_in_sweep(
    config: dict[str, Any],
    overrides: dict[str, str],
    parts: Mapping[str, Config] | None = None,
    code: Mapping[str, str] | None = None,
) -> None:
    """Simulate and leave a row, whatever happens: a failed scenario is a row that says so, never an exception.

    A scenario that another process is playing is waited for, and not played again if that finishes it. `parts` are
    objects in place of configuration, by dotted key; `code` is the code of their classes as the sweep found it (see
    `code_or_unique`).
    """
    end_with_parent()
    folder = Path(config["output"]["dir"]) / config["output"]["study"] / config["output"]["folder"]
    with claim(folder):
        if not is_finished(folder):
            _leave_row(folder, config, overrides, parts, code)


def _leave_row(
    folder: Path,
    config: dict[str, Any],
    overrides: dict[str, str],
    parts: Mapping[str, Config] | None,
    code: Mapping[str, str] | None,
) -> None:
    name = digest_in(folder.name)
    try:
        scenario = parsed(config, parts)
        if digest(config, code_or_unique(scenario) if code is None else code) != name:
            raise ConfigError("configuration or program changed while the sweep ran; the same command tries again")
        tables = wants_tables(scenario, alone=False)
        result = replicate(scenario, keep_runs=tables)
        with all_or_nothing(folder):
            if tables:
                write_result(folder, config, scenario, result, alone=False)
                row = _ok_row(name, overrides, config, scenario, result, sizes(folder))
            else:
                row = packed(_ok_row(name, overrides, config, scenario, result, {}), contents(config, scenario, result))
    except SimError as error:
        row = failed_row(name, overrides, one_line(error).removeprefix("error: "))
    except Exception as error:
        row = failed_row(name, overrides, f"{type(error).__name__}: {' '.join(str(error).split())}")
        write_text(folder / "error.txt", traceback.format_exc())
    write_json(folder / ROW, row, indent=None)


@cache
def end_with_parent() -> None:
    """Let a worker process end within a second of the process that started it: after that, nothing reads its rows."""
    parent = int(os.environ.get(PARENT_PID, os.getppid()))  # The variable is right even if the parent has ended by now.
    if current_process().name == "MainProcess":
        return

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def parsed(config: dict[str, Any], parts: Mapping[str, Config] | None = None) -> Scenario:
    """The typed scenario of a composed config, with objects in it at dotted keys. Raises ConfigError."""
    refuse_code(config)
    output = config.get("output")
    if isinstance(output, dict) and output.get("study") is None:  # a sweep is named after what it varies
        config = config | {"output": {k: v for k, v in output.items() if k != "study"}}
    return parse(with_parts(config, parts or {}))


def code_or_unique(scenario: Scenario) -> dict[str, str]:
    """The code that a scenario runs beside the program's own (see `code_of`); a new unique entry if that code cannot be
    described, so that no earlier result is taken for this scenario's."""
    try:
        return code_of(scenario)
    except Undescribable as undescribable:
        return {f"{UNIQUE} {undescribable}": uuid4().hex}


def plain_config(cfg: DictConfig) -> dict[str, Any]:
    """The composed config as plain data, every interpolation resolved. Raises ConfigError."""
    try:
        return plain(cfg)
    except OmegaConfBaseException as error:
        raise ConfigError(one_line(error).removeprefix("error: ")) from None


def failed_row(name: str, overrides: dict[str, str], error: str) -> dict[str, Any]:
    """The row of a scenario that could not be simulated."""
    return {"status": "failed", "digest": name, "overrides": overrides, "error": error}


def _ok_row(
    name: str, overrides: dict[str, str], config: dict[str, Any], scenario: Scenario, result: Result,
    files: Mapping[str, int],
) -> dict[str, Any]:  # fmt: skip
    """The row of a finished scenario; `files` are those beside it that it promises, by size in bytes."""
    kept = {k: "inf" if v == math.inf else v for k, v in result.summary.items()}  # JSON has no infinity
    outcome = {"status": "ok", "digest": name, "overrides": overrides, "error": None}
    lines = {"hardware": list(result.hardware), "notes": list(result.notes)}
    asked = {"question": question_of(config), "slo_ttft_s": scenario.slo.ttft_s, "program": program_name()}
    return outcome | lines | asked | {"setting": result.setting, "files": files, "summary": kept}


PARENT_PID = "LLM_TRAFFIC_SIM_PARENT_PID"
"""Variable that a sweep hands to its workers."""
UNIQUE = "not described:"
"""Begins the one entry of `code_or_unique` for a scenario that is played anew each time."""


def clean(overrides: dict[str, str]) -> dict[str, str]:
    """Given keys as columns of a table: without Hydra's signs, and without those on which no result depends."""
    no_result = {f"output.{key}" for key in NO_RESULT}
    return {key.lstrip("+"): value for key, value in overrides.items() if key.lstrip("+") not in no_result}


def _print_progress(done: int, of: int) -> None:
    if of > 1:
        print(f"replication {done} of {of} done", file=sys.stderr, flush=True)
