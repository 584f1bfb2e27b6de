"""A discrete-event traffic simulator for LLM serving.

Tasks are drawn from the workload's own random streams, played through a router into backends that know only tokens and
seconds, leave behind an append-only book of facts, and only then does anyone speak of dollars or percentiles.
`scenarios` is the door in, `simulation` the place where the rooms meet, `study` what runs it many times.
"""

from importlib import import_module

from sim._version import __version__ as __version__
from sim.hot_path import use_extensions

use_extensions()

_HOME = {
    "ConfigError": "sim.schema",
    "Scenario": "sim.scenarios",
    "SimError": "sim.schema",
    "compose_config": "sim.scenarios",
    "kv_blocks": "sim.hardware.fits",
    "parse": "sim.scenarios",
    "replicate": "sim.study.replicate",
}
__all__ = sorted(_HOME)


def __getattr__(name: str):
    """The public names, loaded when first asked for: `python -m sim --help` need not wait for the simulator."""
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'sim' has no attribute {name!r}")
