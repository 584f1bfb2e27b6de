"""What an owned GPU costs by the hour: capital, colocation and power on paper."""

from __future__ import annotations

from pydantic import Field

from sim.schema import Config
from sim.units import HOUR_S, MONTH_S

_YEAR_HOURS = 12 * MONTH_S / HOUR_S


class OwnedNode(Config):
    """A server with its GPUs: its price, its colocation and its power. Staff is not included: that is an overhead.

    Capital per year: annuity of the capex minus the sinking-fund payment of the residual value; at no cost of capital
    this is capex x (1 - residual) / years. Colocation is paid per contracted kW, metered power per kWh x PUE; where the
    colocation contract includes power, usd_per_kwh is 0.
    """

    gpus: int = Field(8, ge=1, description="GPUs in the node")
    capex_usd: float = Field(ge=0, description="price of the node, with its share of the network")
    residual_fraction: float = Field(0.0, ge=0, le=1, description="resale value at the end / capex")
    years: float = Field(gt=0, description="how long the node is kept")
    cost_of_capital: float = Field(0.0, ge=0, description="interest per year, 0.1 is 10 %")
    kw: float = Field(ge=0, description="power of the node at full load, before PUE")
    idle_power_fraction: float = Field(1.0, ge=0, le=1, description="power while idle / power at full load")
    pue: float = Field(1.0, ge=1, description="power usage effectiveness of the building")
    usd_per_kwh: float = Field(0.0, ge=0)
    colocation_usd_per_kw_month: float = Field(0.0, ge=0)

    @property
    def capital_usd_per_gpu_hour(self) -> float:
        """Depreciation and interest, spread over every hour of `years`, whether the GPU is used or not."""
        r, n = self.cost_of_capital, self.years
        grown = (1 + r) ** n
        if grown > 1:
            yearly = self.capex_usd * r * (grown - self.residual_fraction) / (grown - 1)
        else:
            yearly = self.capex_usd * (1 - self.residual_fraction) / n
        return yearly / _YEAR_HOURS / self.gpus

    @property
    def fixed_usd_per_gpu_hour(self) -> float:
        """Capital and colocation: owed whether the GPU is used or not."""
        return self.capital_usd_per_gpu_hour + self.kw_per_gpu * self.colocation_usd_per_kw_month / (MONTH_S / HOUR_S)

    @property
    def kw_per_gpu(self) -> float:
        """A GPU's share of the node's power at full load, before PUE."""
        return self.kw / self.gpus

    @property
    def power_usd_per_gpu_hour(self) -> float:
        """Metered power at full load: the marginal cost of using a GPU that is already owned."""
        return self.kw_per_gpu * self.pue * self.usd_per_kwh

    @property
    def usd_per_gpu_hour(self) -> float:
        """Capital, colocation and power of a GPU at full load around the clock."""
        return self.fixed_usd_per_gpu_hour + self.power_usd_per_gpu_hour
