"""What a finished scenario leaves in its folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import OmegaConf

from sim.ledger.usage import Usage
from sim.scenario import Scenario
from sim.schema import ConfigError
from sim.study.folder import read_json, replacing, write_json, write_text
from sim.study.replicate import Result, priced_names

SUMMARY, CONFIG, USAGE, BILL, REPLICATIONS = "summary.json", "config.yaml", "usage.json", "bill.csv", "replications.json"
REQUESTS, SPANS = "requests.parquet", "spans.parquet"


def write_result(folder: Path, config: dict[str, Any], scenario: Scenario, result: Result, alone: bool) -> None:
    """Write a scenario's files, each whole or not at all.

    Always summary.json (over replications), replications.json (each summary), config.yaml, usage.json (what re-pricing
    needs) and bill.csv; requests.parquet, spans.parquet and figures if `output` asks for them, by default for a run on
    its own only.
    """
    write_text(folder / CONFIG, OmegaConf.to_yaml(OmegaConf.create(config)))
    write_usages(folder / USAGE, scenario, result.usages)
    write_bills(folder / BILL, result.bills)
    write_json(folder / REPLICATIONS, result.per_replication)
    if _wanted(scenario.output.requests, alone):
        _write_parquet(folder / REQUESTS, [run.facts.requests for run in result.runs])
    if _wanted(scenario.output.spans, alone):
        _write_parquet(folder / SPANS, [run.facts.spans for run in result.runs])
    if _wanted(scenario.output.figures, alone):
        from sim.report import figures  # loads matplotlib

        figures.write_run(folder, scenario, result)
    write_json(folder / SUMMARY, result.summary)


def wants_tables(scenario: Scenario, alone: bool) -> bool:
    """Whether anything is asked for that needs every request of every run."""
    output = scenario.output
    return any(_wanted(flag, alone) for flag in (output.requests, output.spans, output.figures))


def _wanted(flag: bool | None, alone: bool) -> bool:
    return alone if flag is None else flag


def write_usages(path: Path, scenario: Scenario, usages: list[Usage]) -> None:
    """Billable use of every replication, and the names under which price tables know the hardware."""
    gpu, model = priced_names(scenario)
    write_text(path, json.dumps({"gpu": gpu, "model": model, "replications": [json.loads(u.to_json()) for u in usages]}))


def read_usages(path: Path) -> tuple[str, str, list[Usage]]:
    """(GPU name, model name, use per replication). Raises ConfigError if the file is not one of ours."""
    content = read_json(path)
    try:
        usages = [Usage.from_json(json.dumps(u)) for u in content["replications"]]
        return content["gpu"], content["model"], usages
    except (KeyError, TypeError, ValueError):
        raise ConfigError(f"{path}: is not the usage.json of a finished run") from None


def write_bills(path: Path, bills: list[pd.DataFrame]) -> None:
    """All bills in one CSV, with the column `replication` in front."""
    table = pd.concat(bills, keys=range(len(bills)), names=["replication"]).reset_index(level="replication")
    with replacing(path) as partial:
        table.to_csv(partial, index=False)


def _write_parquet(path: Path, columns: list[dict[str, Any]]) -> None:
    frames = [pd.DataFrame(c) for c in columns]
    table = pd.concat(frames, keys=range(len(frames)), names=["replication"]).reset_index(level="replication")
    with replacing(path) as partial:
        table.to_parquet(partial, index=False)
