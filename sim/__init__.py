"""A discrete-event traffic simulator for LLM serving.

Tasks are drawn from the workload's own random streams, played through a router into backends that know only tokens and
seconds, leave behind an append-only book of facts, and only then does anyone speak of dollars or percentiles.

From Python: `scenario` describes, `simulate` plays once, `replicate` several times, `sweep` every combination of some
values, `load` reads what is done; `describe` says what a request log holds. A policy of one's own derives from a base
below and is given as it is: `scenario(placement=MostCached())`.

>>> import sim
>>> base = sim.scenario("arrivals=bursty", "lengths=fixed", horizon_s=600, **{"arrivals.rate_per_s": 0.2})
>>> result = sim.replicate(base, replications=2)
>>> result["usd_total"].mean > 0
True
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sim._version import __version__ as __version__
from sim.hot_path import use_extensions

use_extensions()

if TYPE_CHECKING:  # for type checkers; the same names are loaded below when first asked for
    # ruff: noqa: F401
    from sim.api.provider import ApiChoice
    from sim.fleet.supply.cold_starts import ColdStarts
    from sim.fleet.victims.victims import Victim
    from sim.hardware.fits import kv_blocks
    from sim.hardware.step_time.model import StepTimeModel
    from sim.ledger.overheads.overheads import Overhead
    from sim.ledger.plans.base import GpuPlan
    from sim.ledger.tariffs.base import ApiTariff
    from sim.moment_zero import OnTheClock
    from sim.report.estimators import Interval
    from sim.routing.placement.placement import Placement
    from sim.routing.placement.prefix_index import PrefixIndex
    from sim.routing.router import Router
    from sim.scaling.scaler import Scaler
    from sim.scenarios import Scenario, compose_config, parse, scenario
    from sim.schema import AuditError, ConfigError, SimError, TraceError
    from sim.study.describe import describe
    from sim.study.grid_in_python import load, sweep
    from sim.study.played import PlayedRun, Result
    from sim.study.replicate import replicate, simulate
    from sim.study.table import Table
    from sim.workload.arrivals.base import Arrivals, Source
    from sim.workload.lengths.base import Lengths
    from sim.workload.logs.readers.reader import LogReader
    from sim.workload.tasks.base import Tasks

_HOME = {
    "ApiChoice": "sim.api.provider",
    "ApiTariff": "sim.ledger.tariffs.base",
    "Arrivals": "sim.workload.arrivals.base",
    "AuditError": "sim.schema",
    "ColdStarts": "sim.fleet.supply.cold_starts",
    "ConfigError": "sim.schema",
    "GpuPlan": "sim.ledger.plans.base",
    "Interval": "sim.report.estimators",
    "Lengths": "sim.workload.lengths.base",
    "LogReader": "sim.workload.logs.readers.reader",
    "OnTheClock": "sim.moment_zero",
    "Overhead": "sim.ledger.overheads.overheads",
    "Placement": "sim.routing.placement.placement",
    "PrefixIndex": "sim.routing.placement.prefix_index",
    "PlayedRun": "sim.study.played",
    "Result": "sim.study.played",
    "Router": "sim.routing.router",
    "Scaler": "sim.scaling.scaler",
    "Scenario": "sim.scenarios",
    "SimError": "sim.schema",
    "Source": "sim.workload.arrivals.base",
    "StepTimeModel": "sim.hardware.step_time.model",
    "Table": "sim.study.table",
    "Tasks": "sim.workload.tasks.base",
    "TraceError": "sim.schema",
    "Victim": "sim.fleet.victims.victims",
    "compose_config": "sim.scenarios",
    "describe": "sim.study.describe",
    "kv_blocks": "sim.hardware.fits",
    "load": "sim.study.grid_in_python",
    "parse": "sim.scenarios",
    "replicate": "sim.study.replicate",
    "scenario": "sim.scenarios",
    "simulate": "sim.study.replicate",
    "sweep": "sim.study.grid_in_python",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    """The public names, loaded when first asked for: `llm-traffic-sim --help` need not wait for the simulator."""
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'sim' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
