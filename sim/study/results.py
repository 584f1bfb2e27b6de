"""What a finished scenario leaves in its folder."""

from __future__ import annotations

import json
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from omegaconf._utils import get_omega_conf_dumper

import sim.columns
from sim.ledger.usage import Usage
from sim.scenarios import Scenario
from sim.schema import ConfigError
from sim.study.folder import (
    BILL,
    CONFIG,
    REPLICATIONS,
    REQUESTS,
    SPANS,
    SUMMARY,
    USAGE,
    plain,
    replacing,
    without_formulas,
    write_json,
    write_text,
)
from sim.study.played import Result, request_tables
from sim.study.replicate import priced_names
from sim.study.saved import DAMAGED, content_of
from sim.study.steadiness import clock_line


def write_result(folder: Path, config: dict[str, Any], scenario: Scenario, result: Result, alone: bool) -> None:
    """Write a scenario's files, each whole or not at all.

    Always summary.json (over replications; with the receipt of the traffic's log as `log`, second 0 as `moment_zero`
    where it is told or hours are read off it, and `model_error` with a fleet), replications.json (each summary),
    config.yaml, usage.json (what re-pricing needs) and bill.csv; requests.parquet, spans.parquet and figures for a run
    on its own unless `output` says no, and for others if it says yes.
    """
    write_text(folder / CONFIG, config_text(config))
    write_text(folder / USAGE, json.dumps(_usages(scenario, result.usages)))
    write_text(folder / BILL, bills_text(result.bills))
    write_json(folder / REPLICATIONS, result.per_replication, indent=None)
    if _wanted(scenario.output.requests, alone):
        _write_requests(folder / REQUESTS, result)
    if _wanted(scenario.output.spans, alone):
        _write_parquet(folder / SPANS, result.spans)
    if _wanted(scenario.output.figures, alone):
        from sim.report import figures  # loads matplotlib

        figures.write_run(folder, scenario, result)
    write_json(folder / SUMMARY, result.summary | _beside(scenario, result))


def contents(config: dict[str, Any], scenario: Scenario, result: Result) -> dict[str, Any]:
    """What `write_result` writes for a scenario without tables, by name of file; of the summary, what is no figure."""
    return {
        CONFIG: config,
        USAGE: _usages(scenario, result.usages),
        BILL: bills_text(result.bills),
        REPLICATIONS: plain(result.per_replication),
        SUMMARY: _beside(scenario, result),
    }


def _beside(scenario: Scenario, result: Result) -> dict[str, Any]:
    clock = {"moment_zero": str(result.moment_zero)} if clock_line(scenario, result.moment_zero) else {}
    receipts = [receipt.as_dict() for receipt in result.receipts]
    log = {"log": receipts[0]} if receipts else {}
    return log | clock | ({"model_error": result.model_error} if result.model_error else {})


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """Writes what OmegaConf writes, at a tenth of the time with the C library."""


_Dumper.add_representer(str, get_omega_conf_dumper().str_representer)


def config_text(config: dict[str, Any]) -> str:
    """A resolved configuration, plain data, as YAML that `OmegaConf.load` reads."""
    text: str = yaml.dump(config, Dumper=_Dumper, default_flow_style=False, allow_unicode=True, sort_keys=False)
    return text


def wants_tables(scenario: Scenario, alone: bool) -> bool:
    """Whether anything is asked for that needs every request of every run."""
    output = scenario.output
    return any(_wanted(asked, alone) for asked in (output.requests, output.spans, output.figures))


def _wanted(asked: bool | None, alone: bool) -> bool:
    return alone if asked is None else asked


def _usages(scenario: Scenario, usages: list[Usage]) -> dict[str, Any]:
    """Billable use of every replication, and the names under which price tables know the hardware."""
    gpu, model = priced_names(scenario)
    return {"gpu": gpu, "model": model, "replications": [json.loads(usage.to_json()) for usage in usages]}


def read_usages(folder: Path) -> tuple[str, str, list[Usage]]:
    """(GPU name, model name, use per replication) of a finished run. Raises ConfigError if it has none of ours."""
    content = content_of(folder, USAGE)
    try:
        gpu, model = content["gpu"], content["model"]
        usages = [Usage.from_json(json.dumps(usage)) for usage in content["replications"]]
        if not usages or not isinstance(gpu, str) or not isinstance(model, str):
            raise ValueError("names or replications are missing")
        return gpu, model, usages
    except ConfigError:
        raise
    except DAMAGED:
        raise ConfigError(f"{folder / USAGE}: is not the usage.json of a finished run") from None


def bills_text(bills: list[pd.DataFrame]) -> str:
    """All bills in one CSV, with the column `replication` in front."""
    table = pd.concat(bills, keys=range(len(bills)), names=["replication"]).reset_index(level="replication")
    return without_formulas(table).to_csv(index=False, lineterminator="\n")


def _write_requests(path: Path, result: Result) -> None:
    """The table of requests, a row group at a time, as a long run's does not fit into memory."""
    import pyarrow as pa  # here, so that scenarios of a sweep need not load it
    from pyarrow.parquet import ParquetWriter

    held: list[pd.DataFrame] = []
    with replacing(path) as partial, ExitStack() as stack:
        writer: Any = None
        for table in chain(request_tables(result.runs), (None,)):
            if held and (table is None or sum(map(len, held)) + len(table) > sim.columns.ROWS_AT_ONCE):
                rows = pa.Table.from_pandas(pd.concat(held), preserve_index=False)
                if writer is None:
                    writer = stack.enter_context(ParquetWriter(partial, rows.schema))
                writer.write_table(rows)
                held.clear()
            held += [] if table is None else [table]
        if writer is None:
            result.requests.to_parquet(partial, index=False)  # no request at all


def _write_parquet(path: Path, table: pd.DataFrame) -> None:
    with replacing(path) as partial:
        table.to_parquet(partial, index=False)
