"""What is asked of a counterfactual bill: the sessions, who has seats, what a month is, and what to set beside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override
from omegaconf import OmegaConf
from pydantic import Field, model_validator

from sim.composition import Composition
from sim.schema import Config, ConfigError, parse_config
from sim.study.folder import digest
from sim.study.search.question import Question, question
from sim.units import HOUR_S, MONTH_S
from sim.workload.arrivals.compaction import Compaction
from sim.workload.arrivals.replay import Replay

HOURS_PER_MONTH = MONTH_S / HOUR_S
SLO = "slo=agent_5s"
"""Of the calls, unless the words choose one."""
DRAIN = "drain_s=86400"
"""Sessions wait for their humans: all may end, unless the words say otherwise."""
_N_REPLICAS = "scaling.n_replicas"
_CHOSEN_BY_ROWS = ("fleet", "routing", "scaling", "pools", "disaggregation")


class Month(Config):
    """How the log becomes a month."""

    hours: float = Field(
        HOURS_PER_MONTH, gt=0, le=HOURS_PER_MONTH, description="of a month's 730 h, those that are like the log"
    )
    sessions_per_seat: float | None = Field(None, gt=0, description="that a seat begins in a month")


class Other(Config):
    """What to set beside the sessions as they were recorded."""

    model: tuple[str, ...] = Field((), description="of conf/model, in place of the model")
    compact_at_tokens: int | None = Field(None, ge=1, description="an earlier compaction of contexts; null: none")
    summary_tokens: int = Field(Compaction().summary_tokens, ge=1, description="tokens that a compaction leaves")

    @model_validator(mode="after")
    def _compaction_gains(self) -> Other:
        if self.compact_at_tokens is not None and self.compact_at_tokens <= self.summary_tokens:
            raise ValueError(
                f"compact_at_tokens = {self.compact_at_tokens} must be > summary_tokens = {self.summary_tokens}"
            )
        return self

    @property
    def compaction(self) -> Compaction:
        """The rule for the replay."""
        return Compaction(at_tokens=self.compact_at_tokens, summary_tokens=self.summary_tokens)


class Counterfactuals(Config):
    """The words of `bill-agents` beside those of a scenario."""

    seats: float | None = Field(None, gt=0, description="people whose sessions the log holds; null: the users it names")
    n_replicas: int | None = Field(None, ge=1, description="of fleets of one's own; null: the fewest within the SLO")
    month: Month = Month()
    other: Other = Other()


@dataclass(frozen=True, eq=False)
class Asked:
    """The sessions, and what is asked of them."""

    question: Question
    told: Counterfactuals

    def seats(self, tasks_per_month: float) -> tuple[float, str] | None:
        """How many seats share the log, and how that is known; None: it is not known."""
        month, users = self.told.month, self.question.receipt.users
        if self.told.seats is not None:
            return self.told.seats, "as told"
        if month.sessions_per_seat is not None:
            return tasks_per_month / month.sessions_per_seat, "as many as make these tasks"
        more_users = parse_config(Replay, self.question.base.config["arrivals"]).scale.more_users
        return None if users is None else (users * more_users, "the users that the log names")


def asked(log: str, words: Sequence[str]) -> Asked:
    """Read the log and understand the words. Raises ConfigError and TraceError."""
    tree, rest, given = OmegaConf.create(), [], set()
    for word, override in zip(words, OverridesParser.create().parse_overrides(list(words)), strict=True):
        key = override.get_key_element().lstrip("+")
        first = key.partition(".")[0]
        given.add(first)
        if first in Counterfactuals.model_fields or key == _N_REPLICAS:
            OmegaConf.update(tree, key.removeprefix("scaling."), _value(word, key, override), force_add=True)
        elif first in _CHOSEN_BY_ROWS:
            raise ConfigError(f"{word}: the rows of the bill choose it; of own fleets, {_N_REPLICAS}=N may be stated")
        else:
            rest.append(word)
    told = parse_config(Counterfactuals, OmegaConf.to_container(tree))
    if told.seats is not None and told.month.sessions_per_seat is not None:
        raise ConfigError(
            f"seats = {told.seats:g} and month.sessions_per_seat = {told.month.sessions_per_seat:g}: one of the two "
            "says how many seats there are"
        )
    usual = [word for word in (SLO, DRAIN) if word.partition("=")[0] not in given]
    for name in told.other.model:
        Composition().changed([f"model={name}"], {})  # raises ConfigError for a name that is none
    found = Asked(_whole(question(log, [*usual, *rest])), told)
    if found.question.card.sessions is None and told.other.compact_at_tokens is not None:
        raise ConfigError(
            f"other.compact_at_tokens = {told.other.compact_at_tokens}: needs sessions; columns.session=NAME says "
            "which column of the log names them"
        )
    return found


def _whole(found: Question) -> Question:
    """The question with a window that holds all calls, where those of a log have no times but that of their session."""
    base, span_s = found.base, found.card.span_s
    replay = parse_config(Replay, base.config["arrivals"])
    if base.config["horizon_s"] is not None or replay.loop or span_s <= replay.excerpt.period_s * (1 + 1e-9):
        return found
    return replace(found, base=base.changed([f"horizon_s={span_s / replay.scale.faster_clock:.3f}"], {}))


def _value(word: str, key: str, override: Override) -> Any:
    """Of `other.model=a,b` both; elsewhere one value. Raises ConfigError."""
    if override.is_delete() or (override.is_sweep_override() and key != "other.model"):
        raise ConfigError(f"{word}: must be key=value, with one value")
    value = override.value()
    if isinstance(value, ChoiceSweep):
        return [str(part) for part in value.list]
    return [value] if key == "other.model" and isinstance(value, str) else value


def folder_of(found: Asked) -> Path:
    """Where what is played and the bill go: below output.dir, named after the log and what is asked."""
    config = found.question.base.config
    stem = Path(config["arrivals"]["path"]).stem or "log"
    name = digest({**config, "counterfactuals": found.told.model_dump()})
    return Path(config["output"]["dir"]) / "bill_agents" / f"{stem}-{name}"
