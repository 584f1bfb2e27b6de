"""A tariff with rates for each model."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sim.ledger.lines import looked_up
from sim.ledger.tariffs.base import ApiTariff
from sim.ledger.tariffs.rates import TokenRates


class ModelTariff(ApiTariff):
    """A price list by model."""

    kind: Literal["model_tariff"] = "model_tariff"
    models: dict[str, TokenRates] = Field(description="rates by model, named as in conf/model")

    def rates(self, model_name: str | None) -> TokenRates:
        return looked_up(self.models, model_name, "prices.api.models")
