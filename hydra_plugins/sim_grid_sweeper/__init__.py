"""What Hydra must know before it composes a configuration; it takes that from packages in `hydra_plugins` only.

`hydra/sweeper=grid` is the node of the axes that an experiment brings; `sim.study.sweep` plays them.
"""

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from sim.units import WEEK_S

_AS_LONG_AS_IT_LASTS = ("replay", "closed_loop", "ladder", "rate_profile", "client_mix")
OmegaConf.register_new_resolver(
    "week_or_log", lambda kind: None if kind in _AS_LONG_AS_IT_LASTS else WEEK_S, replace=True
)
ConfigStore.instance().store(group="hydra/sweeper", name="grid", node={"params": None}, provider="sim")
