"""A file of measurements, and a price list, damaged anyhow, are read or refused with one line."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sim.ledger.bill import bill, money
from sim.ledger.prices import Prices
from sim.ledger.usage import Usage
from sim.measured.readers.files import read_results
from sim.schema import SimError, parse_config
from tests.facts_builder import quiet_book
from tests.fidelity.test_any_file import POINT, RUN, as_csv
from tests.fuzz.mutations import changed, changed_bytes, changed_text, examples
from tests.unit.test_calibrate_cli import DETAILED, VLLM, guidellm

MEASURED = (VLLM, DETAILED, guidellm({"type_": "concurrent", "streams": [2]}, True), [RUN], as_csv([POINT, POINT]))
LISTS = sorted((Path(__file__).parents[2] / "conf/prices").glob("*.yaml"))


@given(st.sampled_from(range(len(MEASURED))), st.randoms(use_true_random=False))
@examples(40)
def test_a_damaged_file_of_measurements_is_read_or_refused(tmp_path, number, rng):
    content = MEASURED[number]
    if not isinstance(content, str):
        for _ in range(rng.choice((0, 1, 1, 3))):
            content = changed(content, rng)
    text, ending = (content, "csv") if isinstance(content, str) else (json.dumps(content), "json")
    if rng.random() < 0.4:
        text = changed_text(text, rng)
    data = text.encode("utf-8", "surrogatepass")
    path = tmp_path / f"measured.{ending}"
    path.write_bytes(changed_bytes(data, rng) if rng.random() < 0.2 else data)
    try:
        results = read_results([str(path)])
        results.all_points()
    except SimError as refused:
        assert str(refused)


@cache
def listed(path: Path) -> dict:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {key: value for key, value in content.items() if key != "defaults"}


@given(st.sampled_from(LISTS), st.randoms(use_true_random=False))
@examples(60)
def test_a_damaged_price_list_is_used_or_refused(path, rng):
    content = listed(path)
    for _ in range(rng.choice((1, 1, 3))):
        key = rng.choice(list(content) or ["gpu"])
        content = content | {key: changed(content.get(key), rng)}
    usage = Usage.from_facts(quiet_book().facts())
    try:
        prices = parse_config(Prices, content)
        prices.check({"baseline": "h100_sxm"}, "llama_3_1_8b")
        total = money(bill(usage, prices, "h100_sxm", "llama_3_1_8b"), usage)["usd_total"]
    except SimError as refused:
        assert str(refused)
    else:
        assert total is not None and np.isfinite(total) and total >= 0
