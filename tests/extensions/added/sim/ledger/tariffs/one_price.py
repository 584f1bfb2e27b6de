"""A tariff that charges the same for prompts and answers."""

from __future__ import annotations

from typing import Literal

from sim.ledger.lines import Usd
from sim.ledger.tariffs.base import ApiTariff
from sim.ledger.tariffs.rates import TokenRates


class OnePrice(ApiTariff):
    """Every token of every model costs the same."""

    kind: Literal["one_price"] = "one_price"
    usd_per_mtok: Usd

    def rates(self, model_name: str | None) -> TokenRates:
        return TokenRates(usd_per_mtok_input=self.usd_per_mtok, usd_per_mtok_output=self.usd_per_mtok)
