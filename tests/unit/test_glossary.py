"""Every number that a run writes is defined in the glossary, and every definition belongs to something written."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pandas as pd
import pytest

from sim.ledger import lines
from sim.records import API_EXTRAS, REQUEST_COLUMNS, SPAN_COLUMNS
from sim.report import tables
from sim.report.glossary import BILL, BILL_ITEMS, REQUESTS, RESULTS, SPANS, SUMMARY, Definition, defined, name_in
from sim.scenarios import compose_config
from sim.study.job import plain_config, run_alone

SHORT = ["replications=2", "horizon_s=300", "warmup_s=30", "drain_s=600", "output.figures=false"]
URGENT_AND_NOT = ["tasks.priority_shares={0: 0.5, 1: 0.5}", "slo=chat_and_batch"]
RUNS = {
    "an API alone, with limits": ["fleet=api_only", "model=llama_3_3_70b", "api=rate_limited"],
    "an API that takes batches": ["fleet=api_only", "model=llama_3_3_70b", "api=open_model_70b_batch", *URGENT_AND_NOT],
    "a price for cache writes": ["fleet=api_only", "prices=claude_opus_5_cache_write", "tasks=support"],
    "a fleet": ["fleet=always_on", "+prices/overhead=fifteen_percent"],
    "a fleet that starts from zero": ["fleet=scale_to_zero", "arrivals=bursty", "kv_tiers=host_memory"],
    "several pools, one of them spot": ["fleet=baseline_spot_api", "arrivals.rate_per_s=12"],
    "several applications": ["fleet=hybrid_overflow", "applications=chat_and_coding"],
    "priorities": ["engine.scheduling_policy=priority", *URGENT_AND_NOT],
    "owned GPUs": ["prices=owned_8xh100", "gpu=h100_sxm", "+prices/overhead=tenth_of_an_engineer"],
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """Each of RUNS played, by name, and the folder that it left."""
    place = tmp_path_factory.mktemp("glossary")
    return {
        name: run_alone(plain_config(compose_config(*SHORT, *words, f"output.dir={place / str(i)}")))
        for i, (name, words) in enumerate(RUNS.items())
    }


def header(path: Path) -> list[str]:
    with path.open(encoding="utf-8", newline="") as file:
        return next(csv.reader(file))


def undefined(keys, glossary) -> list[str]:
    return [key for key in keys if defined(key, glossary) is None]


def dead(keys, glossary) -> set[str]:
    return set(glossary) - {name_in(key, glossary) for key in keys}


def every_key(folders) -> set[str]:
    return {key for folder in folders.values() for key in json.loads((folder / "summary.json").read_text())}


def test_every_key_of_a_summary_is_defined_and_no_definition_is_dead(folders):
    keys = every_key(folders)
    assert undefined(keys, SUMMARY) == [] and dead(keys, SUMMARY) == set()
    assert len(keys) > 114 and any(key.startswith("pool_spot_") for key in keys)


def test_every_number_of_a_replication_is_defined(folders):
    for folder in folders.values():
        for replication in json.loads((folder / "replications.json").read_text()):
            assert undefined(replication, SUMMARY) == [] and not any(key.endswith("_ci95") for key in replication)


def test_every_column_of_a_bill_is_defined(folders):
    columns = [name for folder in folders.values() for name in header(folder / "bill.csv")]
    assert undefined(columns, BILL) == [] and dead(columns, BILL) == set()


def test_every_item_on_a_bill_is_defined_with_the_unit_it_has(folders):
    """The item of an API line may go on after a comma with the tier or the hours that set its price apart."""
    for folder in folders.values():
        for _, line in pd.read_csv(folder / "bill.csv").iterrows():
            found = defined(line["item"].split(",")[0], BILL_ITEMS)
            assert found is not None and line["unit"] in found.unit, line.to_dict()


def test_every_item_that_can_stand_on_a_bill_is_defined_and_no_other():
    items = {value for name, value in vars(lines).items() if re.match("(GPU|API|OVERHEAD)", name)}
    assert set(BILL_ITEMS) == items | {"overhead: <name>"}


def test_every_column_of_the_parquet_tables_is_defined(folders):
    for name, glossary, facts in (
        ("requests", REQUESTS, {*REQUEST_COLUMNS, *API_EXTRAS}),
        ("spans", SPANS, set(SPAN_COLUMNS)),
    ):
        columns = {c for folder in folders.values() for c in pd.read_parquet(folder / f"{name}.parquet")}
        of_graphs = {"wait_for"} & set(glossary)  # only of runs with sub-agents: see test_recorder
        assert undefined(columns, glossary) == [] and dead(columns | of_graphs, glossary) == set()
        assert facts <= columns


def test_every_column_of_a_sweep_is_defined(play, tmp_path):
    words = ["lengths=fixed", "horizon_s=300", "arrivals.rate_per_s=0.1", "drain_s=600", "hydra/launcher=basic"]
    assert play("-m", "tasks=single_call,chat", *words, "output.study=x").code == 0
    columns = header(tmp_path / "outputs/x/results.csv")
    given = columns[: columns.index("status")]
    assert "given_tasks" in given and "tasks" in columns, "the number of tasks, and the config group of that name"
    own = {*RESULTS} - {"<key>", "given_<key>"}
    assert own <= set(columns) and undefined(set(columns) - own - set(given), SUMMARY) == []


def test_whatever_is_printed_of_a_run_is_defined():
    shown = [key for section in tables._SECTIONS.values() for _, key, _ in section]
    assert undefined(shown, SUMMARY) == []


@pytest.mark.parametrize("glossary", [SUMMARY, BILL, BILL_ITEMS, RESULTS, REQUESTS, SPANS], ids=len)
def test_a_definition_is_a_sentence(glossary):
    for name, definition in glossary.items():
        assert re.match(r"[A-Z0-9a-z].*[.;a-z]$", definition.meaning, re.DOTALL), name
        assert len(definition.meaning.split()) >= 2 and "  " not in definition.meaning, name


def test_what_is_not_defined_is_found():
    assert undefined(["usd_total", "usd_total_ci95", "usd_totals", "pool_usd_gpu"], SUMMARY) == [
        "usd_totals", "pool_usd_gpu",
    ]  # fmt: skip
    assert dead(["usd_total", "pool_a_usd_gpu"], {"usd_total": Definition("", "x"), "ttft": Definition("", "y")}) == {
        "ttft"
    }
