"""The constants of conf/gpu that rest on operator tables are what the tables give, by one derivation for all cards."""

from __future__ import annotations

import pytest

from sim.hardware.gpu import gpu_named
from tests.fidelity.operator_tables import CARDS, COPIES, PACKAGE, differences, folder


@pytest.mark.parametrize("copy", COPIES)
def test_a_relative_has_the_constants_of_the_card_that_was_measured(copy):
    relative, fields = COPIES[copy]
    assert [getattr(gpu_named(copy), f) for f in fields] == [getattr(gpu_named(relative), f) for f in fields]


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.file)
def test_a_constant_is_what_the_operator_tables_give(card):
    systems = folder()
    if systems is None:
        pytest.skip(f"NOT CHECKED against operator tables: {PACKAGE} is absent (make operator-tables fetches it)")
    assert differences(card, systems) == []
