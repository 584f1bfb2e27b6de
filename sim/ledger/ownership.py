"""What an owned GPU costs by the hour: capital, colocation and power on paper."""

from __future__ import annotations

from pydantic import Field

from sim.schema import Config
from sim.units import HOUR_S, MONTH_S

_YEAR_HOURS = 12 * MONTH_S / HOUR_S


class OwnedNode(Config):
    """A server with its GPUs, bought, housed and powered. People are overhead, not in here: nothing is stacked.

    capital: annuity(capex) - sinking fund(residual), per year; at no cost of capital capex (1 - residual) / years.
    colocation is paid by contracted kW, metered power by kWh x PUE; a contract that includes power has usd_per_kwh 0.
    """

    gpus: int = Field(8, ge=1, description="in the node")
    capex_usd: float = Field(ge=0, description="of the node, network share included")
    residual_fraction: float = Field(0.0, ge=0, le=1, description="of capex that it still sells for at the end")
    years: float = Field(gt=0, description="it is kept")
    cost_of_capital: float = Field(0.0, ge=0, description="interest a year, 0.1 is 10 %")
    kw: float = Field(ge=0, description="drawn by the node at full load, before PUE")
    idle_power_fraction: float = Field(1.0, ge=0, le=1, description="of that, drawn while idle")
    pue: float = Field(1.0, ge=1, description="power usage effectiveness of the building")
    usd_per_kwh: float = Field(0.0, ge=0)
    colocation_usd_per_kw_month: float = Field(0.0, ge=0)

    @property
    def capital_usd_per_gpu_hour(self) -> float:
        """Depreciation and interest, over every hour of its years, used or not."""
        r, n = self.cost_of_capital, self.years
        grown = (1 + r) ** n
        if grown > 1:
            yearly = self.capex_usd * r * (grown - self.residual_fraction) / (grown - 1)
        else:
            yearly = self.capex_usd * (1 - self.residual_fraction) / n
        return yearly / _YEAR_HOURS / self.gpus

    @property
    def fixed_usd_per_gpu_hour(self) -> float:
        """Capital and colocation: owed whether used or not."""
        return self.capital_usd_per_gpu_hour + self.kw_per_gpu * self.colocation_usd_per_kw_month / (MONTH_S / HOUR_S)

    @property
    def kw_per_gpu(self) -> float:
        return self.kw / self.gpus

    @property
    def power_usd_per_gpu_hour(self) -> float:
        """Metered power at full load: the marginal cost of using what is already owned."""
        return self.kw_per_gpu * self.pue * self.usd_per_kwh

    @property
    def usd_per_gpu_hour(self) -> float:
        """All of it, running at full load around the clock."""
        return self.fixed_usd_per_gpu_hour + self.power_usd_per_gpu_hour
