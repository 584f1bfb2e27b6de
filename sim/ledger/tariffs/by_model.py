"""A tariff with separate rates for each model."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from pydantic import Field

from sim.ledger.lines import looked_up
from sim.ledger.tariffs.base import ApiTariff
from sim.ledger.tariffs.rates import TokenRates


class ModelTariff(ApiTariff):
    """Separate rates for each model."""

    kind: Literal["model_tariff"] = "model_tariff"
    models: dict[str, TokenRates] = Field(description="rates by model, named as in conf/model")

    @property
    def priced_models(self) -> Collection[str]:
        return self.models

    def rates(self, model_name: str | None) -> TokenRates:
        return looked_up(self.models, model_name, "prices.api.models")
