"""The bases of arrival processes and of clients in a closed loop."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Protocol

import numpy as np

from sim.schema import Choice
from sim.work import Call, Graph, Request, Task, TaskProfile

Kind = tuple[tuple[Call, ...], int, TaskProfile, Graph | None]
"""A task without its moment: its calls, the number of its application, what routers may know of it, and its graph."""

Begin = Callable[[Task], None]
"""Called with each task when it begins."""


class Source(Choice):
    """What starts tasks: a point process that does not depend on the server, or clients that wait for its answers.

    A new process derives from `Arrivals`.

    >>> import sim
    >>> source = sim.scenario(arrivals="closed_loop").arrivals
    >>> isinstance(source, sim.Source), isinstance(source, sim.Arrivals)
    (True, False)
    """

    @property
    def ends_by_itself(self) -> bool:
        """Whether a run may have no horizon, because the source ends."""
        return False

    @property
    def default_horizon_s(self) -> float | None:
        """Seconds that a run without a horizon lasts; None if it ends with the last task, or never."""
        return None

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that a reader of the results should know about this source."""
        return ()


class TaskTraffic(Protocol):
    """Tasks being played, that wait for others to end."""

    def task_ended(self, request: Request) -> None:
        """A task has ended, with any outcome: its last request."""


class ServerDriven(Source):
    """A source whose tasks wait for earlier ones to end, such as clients in a closed loop."""

    @abstractmethod
    def traffic(
        self, env: Any, kinds: Iterator[Kind], rng: np.random.Generator, begin: Begin, **options: Any
    ) -> TaskTraffic:
        """Start playing. `task_ended(request)` must be called with the last request of every task.

        Options: `priorities`, of the k-th task; `delay_s`, from sending a task to `begin(task)`; `until_s`, after which
        no task begins; `on_finished`, called once no task is left; `first_id`, of the tasks.
        """


class Arrivals(Source):
    """A point process of tasks on [0, horizon_s).

    The contract of every kind (tests/contracts/test_arrivals.py):

    1. `times` yields float64 arrays of at most 5000 moments. They are sorted, within an array and from one to the next,
       and lie in [0, horizon_s).
    2. All chance comes from `rng`: the same stream gives the same moments. Another stream gives other moments, unless
       the class says `is_random = False`.
    3. A longer horizon only adds moments: those before the shorter horizon stay where they are, to within 0.2 s.
    4. The mean number of moments per second over a long time is `mean_rate_per_s`; over a horizon of 12 000 expected
       moments (whole periods, where the expected rate repeats: `period_s`) it is within 10 % of it.
    5. Memory does not grow with the horizon, if the process goes on forever: 300 arrays take less than 2 MB.

    Optional:

    6. `index_of_dispersion` states how bursty the process is; None, the default, states nothing.
    7. A field `exact_tasks`, if there is one, is the exact number of moments in every horizon.
    8. A process that reads hours or weekdays derives from `OnTheClock` as well.
    9. `ends_by_itself` with `default_horizon_s`: for a process that ends, such as a recording.

    >>> from typing import Literal
    >>> import numpy as np
    >>> import sim
    >>> class Metronome(sim.Arrivals):
    ...     kind: Literal["metronome"] = "metronome"
    ...     gap_s: float = 10.0
    ...     @property
    ...     def mean_rate_per_s(self):
    ...         return 1 / self.gap_s
    ...     def times(self, rng, horizon_s):
    ...         yield np.arange(0, horizon_s, self.gap_s)
    >>> len(sim.simulate(sim.scenario("lengths=fixed", arrivals=Metronome(), horizon_s=60)).requests)
    6
    """

    is_random: ClassVar[bool] = True  # whether two random streams give different moments

    @property
    @abstractmethod
    def mean_rate_per_s(self) -> float:
        """Tasks per second in the long run."""

    @property
    def period_s(self) -> float | None:
        """Seconds after which the expected rate repeats; None: it is the same at all times."""
        return None

    def index_of_dispersion(self, window_s: float) -> float | None:
        """Variance of the number of tasks in a window of this length, over its mean (1 for Poisson); None: not stated.

        The window begins at a uniformly random moment of the endless stationary process.
        """
        return None

    @property
    def has_exact_tasks(self) -> bool:
        """Whether it, or a part of it, has a stated number of tasks, which lie anywhere up to the horizon's end."""
        return getattr(self, "exact_tasks", None) is not None

    def work(self, horizon_s: float) -> Iterator[tuple[str, float, float, str]]:
        """What playing it takes: (key, value, how many, of what), for the estimate before a run.

        Keys are relative to these arrivals. A process that draws more than its tasks, such as changes of a state,
        yields these as well.
        """
        exact, rate_per_s = getattr(self, "exact_tasks", None), getattr(self, "rate_per_s", None)
        if exact is not None:
            yield "exact_tasks", exact, exact, "tasks"
        elif rate_per_s is not None:
            yield "rate_per_s", rate_per_s, self.mean_rate_per_s * horizon_s, "tasks"
        elif not self.ends_by_itself:
            n_tasks = self.mean_rate_per_s * horizon_s
            yield "tasks in the horizon", n_tasks, n_tasks, "tasks"

    @abstractmethod
    def times(self, rng: np.random.Generator, horizon_s: float) -> Iterator[np.ndarray]:
        """Arrival moments: sorted float64 blocks in [0, horizon_s), drawn lazily, in bounded memory."""
