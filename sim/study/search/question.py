"""What is asked of a decision: a log, and what is fixed beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser

from sim.composition import Composition, text_of
from sim.report.slo import Slo
from sim.scenarios import Scenario
from sim.schema import ConfigError, parse_config
from sim.study.folder import digest, files_named_in
from sim.study.search.paper import Load
from sim.workload.arrivals.replay import Replay
from sim.workload.description.calls import DescribedLog
from sim.workload.description.card import Card, card_of
from sim.workload.logs.receipt import Receipt

JSON_NAME = "decision.json"
_TODAY, _DATE = "today.usd_per_month", "today.date"


@dataclass(frozen=True, eq=False)
class Question:
    """A log, and what is fixed beside it."""

    base: Composition
    card: Card
    receipt: Receipt
    load: Load
    slo: Slo
    today_usd_per_month: float | None
    n_days: int
    """Whole days of the log."""
    today: date
    """From which price lists have their age."""

    @property
    def typed_prices(self) -> frozenset[str]:
        """`gpu`, `api`: of which the words give prices."""
        return frozenset(
            side for side in ("gpu", "api") if any(w.startswith(f"prices.{side}.") for w in self.base.words)
        )


def question(log: str, words: Sequence[str]) -> Question:
    """Read the log and fix what the words say. Raises ConfigError and TraceError.

    Words are those of `run`; keys that say how to read the log may go without their `arrivals.`. A log of two whole
    days or more is drawn anew by days in each replication, unless `arrivals.bootstrap` says otherwise.
    """
    told, usd, today = [], None, date.today()
    for word, override in zip(words, OverridesParser.create().parse_overrides(list(words)), strict=True):
        key = override.get_key_element().lstrip("+")
        if override.is_sweep_override() or override.is_delete():
            raise ConfigError(f"{word}: must be key=value, with one value")
        if key == _TODAY:
            usd = _dollars(word, override.value())
        elif key == _DATE:
            today = _date(word, override.value())
        else:
            first = key.partition(".")[0]
            told.append(
                f"arrivals.{word}" if first in Replay.model_fields and first not in Scenario.model_fields else word
            )
    composition = Composition().changed(["arrivals=replay", text_of("arrivals.path", log), *told], {})
    if composition.config.get("applications"):
        raise ConfigError(
            "applications: would take the place of the log; `llm-traffic-sim plan` finds a fleet for applications"
        )
    for name in files_named_in(composition.config):
        if not Path(name).exists() and not any(sign in name for sign in "*?["):
            raise ConfigError(f"{name}: cannot be read: no such file")
    replay = parse_config(Replay, composition.config["arrivals"])
    n_days = len(replay.model_copy(update={"bootstrap": "none"}).days)
    if n_days >= 2 and "arrivals.bootstrap" not in composition.words:
        composition = composition.changed(["arrivals.bootstrap=days"], {})
    options = DescribedLog.model_validate({name: getattr(replay, name) for name in DescribedLog.model_fields})
    calls = options.calls()
    card, receipt = card_of(calls), calls.log.receipt
    assert receipt is not None, "every log that is read from a file has one"
    slo = parse_config(Slo, composition.config["slo"])
    return Question(composition, card, receipt, Load.of(card, replay.scale), slo, usd, n_days, today)


def _dollars(word: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ConfigError(f"{word}: must be a number of US dollars, such as {_TODAY}=31900")
    return float(value)


def _date(word: str, value: Any) -> date:
    try:
        return date.fromisoformat(str(value))
    except ValueError:
        raise ConfigError(f"{word}: must be a date, such as {_DATE}=2026-11-29") from None


def folder_of(asked: Question) -> Path:
    """Where what is played and decision.json go: below output.dir, named after the log and the question."""
    config = asked.base.config
    stem = Path(config["arrivals"]["path"]).stem or "log"
    return Path(config["output"]["dir"]) / "decide" / f"{stem}-{digest(config)}"
