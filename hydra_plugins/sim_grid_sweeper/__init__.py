"""What Hydra must know before it composes a configuration; it takes that from packages in `hydra_plugins` only.

`hydra/sweeper=grid` is the node of the axes that an experiment brings; `sim.study.sweep` plays them.
`hydra/launcher=ray` and `hydra/launcher=slurm` are the nodes of `sim.study.launchers`.
"""

from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from sim.hardware.gpu import is_large_for_vllm
from sim.units import WEEK_S

_AS_LONG_AS_IT_LASTS = ("replay", "closed_loop", "ladder", "rate_profile", "client_mix")
OmegaConf.register_new_resolver(
    "week_or_log", lambda kind: None if kind in _AS_LONG_AS_IT_LASTS else WEEK_S, replace=True
)


def _card(parent: Any, root: Any) -> Any:
    """The card that an engine runs on: its pool's own, or the scenario's."""
    around = parent._get_parent()
    return (around.get("gpu") if around is not None else None) or root.gpu


def _by_card(large: Any, other: Any, *, _parent_: Any, _root_: Any) -> Any:
    """Of two defaults of vLLM the one for the card."""
    gpu = _card(_parent_, _root_)
    return large if is_large_for_vllm(gpu.name, gpu.memory_gb) else other


def _by_memory(*limits_and_defaults: Any, _parent_: Any, _root_: Any) -> Any:
    """The default after the first limit, in GB, that the card's memory is below; the last one if there is none."""
    memory_gb = _card(_parent_, _root_).memory_gb
    *pairs, largest = limits_and_defaults
    below = [value for limit_gb, value in zip(pairs[::2], pairs[1::2], strict=True) if memory_gb < limit_gb]
    return below[0] if below else largest


OmegaConf.register_new_resolver("by_card", _by_card, replace=True)
OmegaConf.register_new_resolver("by_memory", _by_memory, replace=True)

_RAY = {
    "kind": "ray",
    "address": None,  # of a cluster: auto, HOST:6379 or ray://HOST:10001; None: a Ray of this machine only
    "n_jobs": -1,  # scenarios at once on this machine, -1: one per core; a cluster plays as many as it has CPUs
}
_SLURM = {
    "kind": "slurm",
    "cluster": "slurm",  # or local: processes of this machine, to try it
    "n_jobs": 16,  # jobs of the array; each plays its part of the scenarios
    "cpus_per_task": 1,  # of each job, and scenarios that it plays at once
    "timeout_min": 60,  # of each job; what is left when it ends goes to another
    "mem_gb": None,
    "partition": None,
    "account": None,
    "qos": None,
}
_STORE = ConfigStore.instance()
_STORE.store(group="hydra/sweeper", name="grid", node={"params": None}, provider="sim")
_STORE.store(group="hydra/launcher", name="ray", node=_RAY, provider="sim")
_STORE.store(group="hydra/launcher", name="slurm", node=_SLURM, provider="sim")
