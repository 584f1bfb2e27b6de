"""`llm-traffic-sim -m ...`: hands the grid to `sim.study.sweep`. Hydra accepts plugins from `hydra_plugins` only."""

from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from sim.units import WEEK_S


class GridSweeper(Sweeper):
    """Every combination of the given values, each scenario once, finished ones skipped."""

    def __init__(self, params: Any = None):
        self.params = dict(params or {})

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from hydra.core.plugins import Plugins

        self.hydra_context = hydra_context
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        from sim.study.sweep import run_sweep

        run_sweep(self.hydra_context.config_loader, self.config, self.params, arguments, self.launcher)


_AS_LONG_AS_IT_LASTS = ("replay", "closed_loop", "ladder", "rate_profile", "client_mix")
# Here because Hydra loads its plugins before it composes anything, in every process.
OmegaConf.register_new_resolver(
    "week_or_log", lambda kind: None if kind in _AS_LONG_AS_IT_LASTS else WEEK_S, replace=True
)
ConfigStore.instance().store(
    group="hydra/sweeper",
    name="grid",
    node={"_target_": "hydra_plugins.sim_grid_sweeper.GridSweeper", "params": None},
    provider="sim",
)
