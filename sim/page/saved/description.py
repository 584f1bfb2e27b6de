"""description.json, typed: the receipt of a log and the card of its traffic, as `describe` saved them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from pydantic import TypeAdapter

from sim.schema import ConfigError
from sim.study.saved import checked
from sim.workload.description.card import Card
from sim.workload.logs.receipt import Receipt

JSON_NAME = "description.json"


class Described(NamedTuple):
    """What a log was taken for, and its traffic."""

    log: Receipt
    traffic: Card


_RECEIPT, _CARD = TypeAdapter(Receipt), TypeAdapter(Card)


def read_description(folder: Path) -> Described:
    """Raises ConfigError if the folder holds no description.json, or one of another form."""
    path = folder / JSON_NAME
    receipt, card = checked(_RECEIPT, path, "log"), checked(_CARD, path, "traffic")
    if receipt is None or card is None:
        raise ConfigError(f"{path}: cannot be read, or is not the description of a log")
    return Described(receipt, card)
