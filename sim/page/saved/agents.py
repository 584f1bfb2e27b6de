"""agents.json, typed: the rows of a counterfactual bill."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter

from sim.page.saved.decision import Named, Span
from sim.schema import ConfigError
from sim.study.saved import checked

JSON_NAME = "agents.json"


class _Data(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Row(_Data):
    """A way to serve the sessions. Counts are per task that began; a time that is None was never reached."""

    what: str
    name: str
    usd_per_task: Span
    usd_per_month: Span = Span()
    usd_per_seat_and_month: Span | None = None
    difference_usd_per_task: Span | None = None
    times_the_first: str = ""
    doubts: list[str] = []
    ttft_p50_s: float | None = None
    ttft_p95_s: float | None = None
    task_mean_s: float | None = None
    task_p95_s: float | None = None
    requests_per_task: float | None = None
    input_tokens_per_task: float | None = None
    cached_input_tokens_per_task: float | None = None
    output_tokens_per_task: float | None = None
    tasks_finished_fraction: float = 1.0
    slo_judgement: str = ""
    slo_attainment_fraction: Span = Span()
    command: str = ""


class Agents(_Data):
    """What `bill-agents` found."""

    sentence: str
    rows: list[Row]
    below: list[str] = []
    left_out: list[Named] = []
    rests_on: list[str] = []


_AGENTS = TypeAdapter(Agents)


def read_agents(folder: Path) -> Agents:
    """Raises ConfigError if the folder holds no agents.json, or one of another form."""
    found = checked(_AGENTS, folder / JSON_NAME)
    if found is None or not found.rows:
        raise ConfigError(f"{folder / JSON_NAME}: cannot be read, or holds no rows")
    return found
