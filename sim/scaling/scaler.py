"""The base of scalers: policies that choose the number of replicas of a fleet from a view of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np
from pydantic import Field, model_validator

from sim.clock import Clock
from sim.policy import Policy
from sim.views import FleetView


class ScalerAtWork(Protocol):
    """A scaler in one run, with whatever it remembers during the run."""

    def target_replicas(self, view: FleetView) -> int:
        """Replicas to have, ready and starting together; within the scaler's [min_replicas, max_replicas]."""


class Scaler(Policy):
    """Chooses the number of replicas that a fleet should have.

    Every kind states as fields, properties or class attributes `min_replicas` and `max_replicas`, the bounds of its
    answer; `initial_replicas`, ready and warm when the run begins; `tick_s`, the seconds between two questions, or
    None; `idle_timeout_s`, the fleet asks exactly this long after a replica fell idle, or None.

    The contract of every kind (tests/contracts/test_scaling.py):

    1. 0 <= min_replicas <= initial_replicas <= max_replicas, and every answer is an int from min to max_replicas.
    2. A view is only read. Answers depend on the views shown since `start` and on nothing else.
    3. The answer is the number to have in all: the fleet compares it with `view.n_ready + view.n_starting`. Asked again
       at the same moment until nothing changes, a rule orders no more replicas while they start than if all were ready
       at once.
    4. The first answer of a run does not fall if the load of the fleet shown grows.
    5. A rule whose bounds differ is asked when work arrives (`asks_on_arrival` or `tick_s`), and when it may give up
       replicas (`asks_on_idle`, `tick_s` or `idle_timeout_s`).
    6. A load of a million waiting requests that lasts `settles_within_s` gets `max_replicas`, and nothing is given up
       meanwhile. A fleet without a load is back at `min_replicas` within `settles_within_s`.

    >>> from typing import ClassVar, Literal
    >>> import sim
    >>> class OnePerEight(sim.Scaler):
    ...     kind: Literal["one_per_eight"] = "one_per_eight"
    ...     min_replicas: int = 0
    ...     max_replicas: int = 4
    ...     initial_replicas: int = 1
    ...     tick_s: float = 10.0
    ...     idle_timeout_s: ClassVar[None] = None
    ...     def target_replicas(self, view):
    ...         return min(self.max_replicas, -(-view.n_outstanding // 8))
    >>> sim.scenario(scaling=OnePerEight(max_replicas=2)).scaling.max_replicas
    2
    """

    asks_on_arrival: ClassVar[bool] = False  # the fleet asks for a number at every request that it accepts
    asks_on_idle: ClassVar[bool] = False  # the fleet asks when a replica becomes idle
    asks_at_zero: ClassVar[bool] = False  # the fleet asks at a request that finds no replica, ready or starting
    counts_tokens: ClassVar[bool] = False  # the fleet sums the tokens of its requests for the view
    calls_off_starting: ClassVar[bool] = False  # of too many replicas, those still starting are released first
    settles_within_s: ClassVar[float] = 3600.0  # seconds of constant load after which the answer is constant, too

    # Each kind states these as fields, properties or class attributes. They are declared for type checkers only,
    # because pydantic does not let a field replace a property of a base class.
    if TYPE_CHECKING:

        @property
        def min_replicas(self) -> int: ...

        @property
        def max_replicas(self) -> int: ...

        @property
        def initial_replicas(self) -> int: ...

        @property
        def tick_s(self) -> float | None: ...

        @property
        def idle_timeout_s(self) -> float | None: ...

    @property
    def is_patient(self) -> bool:
        """Whether its decisions allow for replicas that are still starting; a run of one that does not, and that looks
        more often than a replica takes to start, says so."""
        return True

    def start(self, clock: Clock, rng: np.random.Generator) -> ScalerAtWork:
        """See `Policy.start`."""
        return self

    def target_replicas(self, view: FleetView) -> int:
        """See `ScalerAtWork`."""
        raise NotImplementedError

    def clamp(self, n_replicas: float) -> int:
        """The nearest whole number from `min_replicas` to `max_replicas`, rounded down."""
        return max(self.min_replicas, min(int(n_replicas), self.max_replicas))


class Bounded(Scaler):
    """A scaler with a fixed smallest and largest number of replicas."""

    min_replicas: int = Field(ge=0, description="smallest number of replicas")
    max_replicas: int = Field(ge=1, description="largest number of replicas")

    @model_validator(mode="after")
    def _the_ceiling_is_above_the_floor(self) -> Bounded:
        if self.max_replicas < self.min_replicas:
            raise ValueError(f"max_replicas = {self.max_replicas} must be >= min_replicas = {self.min_replicas}")
        return self


class FromFloor(Bounded):
    """Bounded, with `min_replicas` warm replicas when the run begins."""

    @property
    def initial_replicas(self) -> int:
        return self.min_replicas


def kept(view: FleetView, idle_timeout_s: float, max_replicas: int) -> int:
    """Replicas, ready or starting, that have not been idle for `idle_timeout_s`; at most `max_replicas`."""
    stay = view.n_ready + view.n_starting
    if view.n_idle:
        stay -= view.n_idle_longer_than(idle_timeout_s)
    return min(stay, max_replicas)
