"""Policies: rules that a configuration chooses and that decide while a run is played."""

from __future__ import annotations

from typing import Any

import numpy as np

from sim.clock import Clock
from sim.schema import Choice


class Policy(Choice):
    """A rule that decides in a run: a scaler, a router, a placement or a victim rule.

    The rule itself is configuration: it is frozen, and many runs may share it. `start` is called once for every run
    (with several pools, once for every pool), before the first decision, and answers what decides there. A rule without
    memory answers itself, which is the default. A rule that remembers anything answers a new object that keeps it.
    """

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        if "start" in cls.model_fields:
            raise TypeError(f"{cls.__name__}.start: a policy cannot have a field `start`; it is what begins a run")

    def start(self, clock: Clock, rng: np.random.Generator) -> Any:
        """What decides in one run: an object with the deciding method of this family.

        `clock`: the simulated time of the run. `rng`: the run's own random stream for this policy, the same whatever
        other policies do; all chance must come from it.
        """
        return self
