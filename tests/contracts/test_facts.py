"""The numbers in conf/gpu and conf/prices are those of their sources, as two tables beside this test hold them.

facts/gpus.csv: one row per card, from the datasheets named there. facts/prices.csv: one row per price or billing term
(key, value, source) with the price lists that state it. A card or a list of one's own needs no row; but whoever names
a source of the table states its figure.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
import yaml

from sim.hardware.gpu import Gpu
from sim.schema import parse_config

ROOT = Path(__file__).parents[2]
FACTS = Path(__file__).parent / "facts"
NUMBER = re.compile(
    r"(?P<indent>\s*(?:- )?)(?P<key>[\w.]+): *(?P<value>-?[\d_.]+|true|false) *(?:# *(?P<source>.*\S))?"
)
OPENING = re.compile(r"(?P<indent>\s*)(?P<key>[\w.]+): *(?:#.*)?")


def table(name):
    with (FACTS / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


CARDS, PRICES = table("gpus.csv"), table("prices.csv")
LISTS = sorted(
    {name for row in PRICES for name in row["lists"].split()} | {p.stem for p in ROOT.glob("conf/prices/*.yaml")}
)


def numbers_of(text):
    """(dotted key, value, source) of every line of a YAML file that states a number or a yes or no."""
    found, above = [], []
    for line in text.splitlines():
        match = NUMBER.fullmatch(line) or OPENING.fullmatch(line)
        if match is None:
            continue
        depth = len(match["indent"])
        while above and above[-1][0] >= depth:
            above.pop()
        key = ".".join([name for _, name in above] + [match["key"]])
        if "value" in match.groupdict():
            found.append((key, match["value"], match["source"] or ""))
        else:
            above.append((depth, match["key"]))
    return found


def disagreements(name, numbers):
    """What a price list of this name says otherwise than the table, or leaves out."""
    stated = {(row["key"], row["value"], row["source"]) for row in PRICES if name in row["lists"].split()}
    if stated:
        return sorted(stated ^ set(numbers))
    known = {(row["key"], row["source"]): row["value"] for row in PRICES}
    return [
        number for number in numbers if yaml.safe_load(known.get(number[::2], number[1])) != yaml.safe_load(number[1])
    ]


@pytest.mark.parametrize("card", CARDS, ids=lambda row: row["gpu"])
def test_a_card_is_that_of_its_datasheet(card):
    gpu = parse_config(Gpu, yaml.safe_load((ROOT / f"conf/gpu/{card['gpu']}.yaml").read_text()))
    for column in set(card) - {"gpu", "source"}:
        wanted = float(card[column]) if card[column] else None
        assert getattr(gpu, column) == wanted, f"{column}: {card['source']}"


@pytest.mark.parametrize("name", LISTS)
def test_a_price_list_states_the_prices_of_its_sources(name):
    text = (ROOT / f"conf/prices/{name}.yaml").read_text(encoding="utf-8")
    assert disagreements(name, numbers_of(text)) == []


def test_lists_of_the_same_source_state_the_same_price():
    """Also a list that the table does not know."""
    together = "Together Llama-3.3-70B-Instruct-Turbo, pydantic/genai-prices @47df840a, 2026-08-21"
    key = "api.models.llama_3_3_70b.usd_per_mtok_output"
    assert disagreements("my_own", [(key, "0.88", together), ("gpu.minimum_s", "7", "my contract")]) == []
    assert disagreements("my_own", [(key, "0.99", together)])


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("aws_2026_03", ("minimum_s: 60.0", "minimum_s: 0.0")),
        ("gcp_2026_03", ("  minimum_s: 60.0  # costnimbus.com, 2026-03\n", "")),
        ("batch_half_price", ("batch_multiplier: 0.5", "batch_multiplier: 1.0")),
        ("market_2026", ("h100_sxm: 2.69", "h100_sxm: 2.96")),
    ],
)
def test_a_price_that_is_changed_or_left_out_is_found(name, change):
    text = (ROOT / f"conf/prices/{name}.yaml").read_text(encoding="utf-8")
    assert change[0] in text and disagreements(name, numbers_of(text.replace(*change)))
