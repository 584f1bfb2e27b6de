"""Application: one of several kinds of traffic that share a deployment, each judged by its own SLO."""

from __future__ import annotations

from typing import NamedTuple

from pydantic import Field

from sim.report.slo import Slo
from sim.schema import Config, OneOf
from sim.workload.arrivals.base import Arrivals, Source
from sim.workload.lengths.base import Lengths
from sim.workload.mix import Member
from sim.workload.tasks.base import Tasks
from sim.workload.tasks.mixed import Mixed
from sim.workload.workload import Workload


class Application(Config):
    """One of several applications; what it does not state is as the scenario's key of the same name has it."""

    arrivals: OneOf[Source] | None = Field(None, description="when its tasks arrive; null: as arrivals")
    lengths: OneOf[Lengths] | None = Field(None, description="tokens of its single calls; null: as lengths")
    tasks: OneOf[Tasks] | None = Field(None, description="what its tasks consist of; null: as tasks")
    slo: Slo | None = Field(None, description="limits that its calls must stay within; null: as slo")
    priority: int | None = Field(None, description="of all its tasks, lower is more urgent; null: as tasks says")


class PlannedApplication(NamedTuple):
    """An application with all that it has from the scenario."""

    name: str
    arrivals: Source
    lengths: Lengths
    tasks: Tasks
    slo: Slo
    priority: int | None

    def law_broken(self) -> str:
        """What is wrong with it as one application of several; '' if nothing is."""
        key = f"applications.{self.name}"
        if not isinstance(self.arrivals, Arrivals):
            return f"{key}.arrivals.kind = {self.arrivals.kind}: tasks that wait for others cannot be one of several"
        if isinstance(self.tasks, Mixed):
            return f"{key}.tasks.kind = mixed: is several applications; list them here instead"
        if self.priority is not None and self.tasks.priority_shares:
            return f"{key}.priority = {self.priority}: cannot be had together with tasks.priority_shares"
        return ""

    @property
    def member(self) -> Member:
        """Its traffic."""
        return Member(Workload(self.arrivals, self.lengths, self.tasks), self.priority)
