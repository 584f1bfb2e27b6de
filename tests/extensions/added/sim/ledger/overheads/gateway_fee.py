"""An overhead that grows with the number of requests."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sim.ledger.lines import OVERHEAD, Line, Usd
from sim.ledger.overheads.overheads import Overhead
from sim.ledger.usage import Usage


class GatewayFee(Overhead):
    """A gateway in front of the fleet that charges for every request that it passes on."""

    kind: Literal["gateway_fee"] = "gateway_fee"
    usd_per_request: Usd = Field(examples=[0.001])

    def lines(self, usage: Usage, usd_gpu: float) -> list[Line]:
        requests = int(usage.fleet["requests"].sum())
        return [Line("gateway", f"{OVERHEAD}: gateway", requests, "request", requests * self.usd_per_request)]
