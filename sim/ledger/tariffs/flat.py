"""A tariff that is the same for all models."""

from __future__ import annotations

from typing import Literal

from sim.ledger.tariffs.base import ApiTariff
from sim.ledger.tariffs.rates import TokenRates


class TokenTariff(ApiTariff, TokenRates):
    """The same rates for every model."""

    kind: Literal["token_tariff"] = "token_tariff"

    def rates(self, model_name: str | None) -> TokenRates:
        return self
