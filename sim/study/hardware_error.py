"""The model error of a scenario: that of the least known card of its pools."""

from __future__ import annotations

from sim.measured.model_error import ModelError, largest, model_error
from sim.scenarios import Scenario


def hardware_error(scenario: Scenario) -> ModelError | None:
    """The error that measured servers teach to expect; None without a fleet, or with step times given by hand."""
    pools = [pool.scenario for pool in scenario.pool_list]
    found = [
        model_error(pool.gpu, pool.model, pool.engine) for pool in pools if pool.engine.step_time.kind == "roofline"
    ]
    return largest(found) if found else None
