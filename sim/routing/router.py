"""Which backend a request goes to: the fleet or the API."""

from __future__ import annotations

from typing import ClassVar, Protocol

import numpy as np

from sim.clock import Clock
from sim.policy import Policy
from sim.records import Backend
from sim.views import SystemView
from sim.work import Request


class RouterAtWork(Protocol):
    """A router in one run, with whatever it remembers during the run."""

    def choose(self, request: Request, view: SystemView) -> Backend:
        """The backend to serve this request."""

    def second_try(self, request: Request, view: SystemView) -> bool:
        """Whether a request that the fleet refused is sent to the API."""

    def settled(self, request: Request) -> None:
        """The API has finished with a request."""


class Router(Policy):
    """Chooses a backend for every request, from the request and a view of the system.

    `request.previous` says where the task's previous call was served (None for the first call).

    The contract of every kind (tests/contracts/test_routing.py):

    1. `choose` answers `Backend.FLEET` or `Backend.API`: only backends that the class says it needs (`needs_fleet`,
       `needs_api`).
    2. Request and view are only read. Neither `output_tokens` nor the calls of the task, nor their number, are read:
       a real router cannot know them beforehand. `request.task.profile` holds what is known.
    3. Answers depend on what was shown since `start` and on nothing else. If the class defines `choose` itself, what
       `start` returns gives the same first answer.

    Optional: `is_demand`, `retries` with `second_try`, and `settled`.

    >>> from typing import ClassVar, Literal
    >>> import sim
    >>> from sim.records import Backend
    >>> class LongToApi(sim.Router):
    ...     kind: Literal["long_to_api"] = "long_to_api"
    ...     needs_fleet: ClassVar[bool] = True
    ...     needs_api: ClassVar[bool] = True
    ...     def choose(self, request, view):
    ...         return Backend.API if request.input_tokens > 4000 else Backend.FLEET
    >>> run = sim.simulate(sim.scenario("fleet=hybrid_overflow", routing=LongToApi(), horizon_s=60))
    >>> 0 <= run.summary["api_request_fraction"] < 1
    True
    """

    needs_fleet: ClassVar[bool]
    """Whether it may choose FLEET. If so, `view.fleet` is never None."""
    needs_api: ClassVar[bool]
    """Whether it may choose API. If so, `view.api` is never None."""

    @property
    def retries(self) -> bool:
        """Whether a request that the fleet refuses may be sent to the API (`second_try` decides)."""
        return False

    def choose(self, request: Request, view: SystemView) -> Backend:
        """The backend to serve this request."""
        raise NotImplementedError

    def start(self, clock: Clock, rng: np.random.Generator) -> RouterAtWork:
        """See `Policy.start`."""
        return self

    def is_demand(self, request: Request) -> bool:
        """Whether a request sent to the API would have gone to the fleet had a replica been ready.

        The scaler sees such requests as demand; otherwise a fleet at zero would never start.
        """
        return False

    def second_try(self, request: Request, view: SystemView) -> bool:
        """See RouterAtWork."""
        return False

    def settled(self, request: Request) -> None:
        """See RouterAtWork."""
