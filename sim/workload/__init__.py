"""What arrives: arrival processes, token lengths, task shapes, and readers of real logs.

Importing the package makes every kind known to `sim.schema.kinds_of`.
"""

from sim.workload.arrivals import Arrivals, Bursty, Diurnal, Source, Steady
from sim.workload.closed_loop import ClosedLoop
from sim.workload.lengths import Empirical, Fixed, Lengths, Lognormal, Uniform
from sim.workload.mixed import Mixed
from sim.workload.pooled import Pooled
from sim.workload.replay import Replay
from sim.workload.tasks import AgentLoop, SingleCall, Tasks
from sim.workload.workload import Workload

__all__ = [
    "AgentLoop", "Arrivals", "Bursty", "ClosedLoop", "Diurnal", "Empirical", "Fixed", "Lengths", "Lognormal", "Mixed",
    "Pooled", "Replay", "SingleCall", "Source", "Steady", "Tasks", "Uniform", "Workload",
]  # fmt: skip
