"""Policies at work without a simulation around them."""

from __future__ import annotations

from typing import Any

import numpy as np
import simpy

from sim.clock import Clock
from sim.policy import Policy


def start(policy: Policy, env: simpy.Environment | None = None, seed: int = 0) -> Any:
    """What decides for this policy in a run whose time is that of `env`."""
    return policy.start(Clock(env or simpy.Environment()), np.random.default_rng(seed))
