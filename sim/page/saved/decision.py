"""decision.json, typed. Parts that a decision may lack are empty; what this version does not know is left alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, model_validator

from sim.schema import ConfigError
from sim.study.saved import checked

JSON_NAME = "decision.json"


class _Data(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Span(_Data):
    """A number with its 95 % interval, if it has one."""

    mean: float | None = None
    low: float | None = None
    high: float | None = None
    replications: int = 0


class Final(_Data):
    """A finalist on fresh seeds."""

    name: str
    words: list[str] | None = None
    usd_per_month: Span
    search_usd_per_month: Span = Span()
    slo_judgement: str = ""
    slo_attainment_fraction: Span = Span()
    repeats: bool = False


class Flip(_Data):
    """An input, and the nearest value of it in one direction at which another fleet wins; None: none was found."""

    key: str
    name: str = ""
    unit: str = ""
    value: float | None = None
    flips_at: float | None = None
    to: str | None = None
    because: str = ""
    change_fraction: float | None = None
    low_fraction: float | None = None
    high_fraction: float | None = None
    why_not: str = ""


class Part(_Data):
    """One source of error, as a 95 % range of the cost in fractions of it; None: not known."""

    name: str
    low_fraction: float | None = None
    high_fraction: float | None = None
    survives: bool | None = None
    basis: str = ""


class Budget(_Data):
    """The errors of a decision, side by side and together."""

    parts: list[Part]
    together: Part
    worlds: int = 0
    worlds_won: int = 0


class BreakEven(_Data):
    """Which fleet wins by volume (columns) and burstiness (rows); None: none looked at meets the SLO."""

    volume_factors: list[float]
    burst_exponents: list[float]
    winners: list[list[str | None]]
    usd_per_month: list[list[float | None]]

    @model_validator(mode="after")
    def _is_a_rectangle(self) -> BreakEven:
        for rows in (self.winners, self.usd_per_month):
            if len(rows) != len(self.burst_exponents) or any(len(row) != len(self.volume_factors) for row in rows):
                raise ValueError("must have a row per burst_exponent and a column per volume_factor")
        return self


class TunedKnob(_Data):
    """A threshold or timeout: its value as configured and as tuned (None: as configured), within what was searched."""

    key: str
    configured: float
    tuned: float | None = None
    low: float | None = None
    high: float | None = None


class Tuned(_Data):
    """A finalist whose thresholds and timeouts were searched. `saves_usd_per_month` is None where none was tuned."""

    name: str
    knobs: list[TunedKnob]
    trials: int = 0
    saves_usd_per_month: Span | None = None
    is_taken: bool = False


class Scenario(_Data):
    """A fleet that was played in the search."""

    name: str
    kind: str = ""
    command: str = ""
    usd_per_month: Span
    slo_attainment_fraction: Span = Span()
    slo_judgement: str = ""


class Named(_Data):
    """A fleet that was left out, and why."""

    name: str
    reason: str


class Relaxed(_Data):
    """A relaxed SLO, and what the cheapest fleet that keeps it costs."""

    what: str
    words: list[str] | None = None
    usd_per_month: Span


class Decision(_Data):
    """What `decide` found."""

    sentence: str
    winner: Final | None = None
    runner_up: Final | None = None
    finalists: list[Final] = []
    difference_usd_per_month: Span | None = None
    probability_best: float | None = None
    tuned: list[Tuned] = []
    not_tuned: list[str] = []
    not_resolved: list[str] = []
    simulations: int = 0
    today_usd_per_month: float | None = None
    saves_usd_per_month: float | None = None
    flips: list[Flip] = []
    relaxations: list[Relaxed] = []
    scenarios: list[Scenario] = []
    left_out: list[Named] = []
    commands: list[str] = []
    rests_on: list[str] = []
    slo_target_fraction: float | None = None
    error_budget: Budget | None = None
    break_even_map: BreakEven | None = None
    log: dict[str, Any] = {}


_DECISION = TypeAdapter(Decision)


def read_decision(folder: Path) -> Decision:
    """Raises ConfigError if the folder holds no decision.json, or one of another form."""
    found = checked(_DECISION, folder / JSON_NAME)
    if found is None:
        raise ConfigError(f"{folder / JSON_NAME}: cannot be read, or is not JSON")
    return found
