"""How a log is grown to next quarter's traffic: more users, more calls of each, longer contexts; or replayed faster."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from sim.schema import Config


class Scale(Config):
    """Factors on a log; 1 leaves it as it was. D is the log's index of dispersion.

    - `more_users`: copies of the log as other users, each moved in time; of a factor that is not whole, the last copy
      has a random part of the tasks. Sessions stay whole and copies share no prefix. Of m whole copies D'(w) = D(w) for
      windows much shorter than the shift; of a part p <= 1 alone D'(w) = 1 + p (D(w) - 1); of both the mean of the two,
      weighted by their rates.
    - `more_calls_per_user`: within every session, calls are made again on the context as it is, and waits are shorter
      by the same factor, so that a session lasts as long (but for the time served). Needs sessions.
    - `longer_contexts`: all prompts, and the prefixes that they share, are longer; answers and moments stay.
    - `longer_answers`: all answers are longer; prompts stay as recorded, with the earlier answers that they hold.
    - `sharper_bursts`: an exponent: the rate of each minute over that of its hour to this power, tasks in their order
      (see `sharpened`). Hours keep their tasks, and D changes within an hour only.
    - `faster_clock`: time runs faster; D'(w) = D(factor * w). The span shrinks, and days with it.
    """

    more_users: float = Field(1.0, gt=0, le=10_000, description="factor on the number of users; below 1: fewer")
    more_calls_per_user: float = Field(1.0, ge=1, le=1000, description="factor on the calls of every session")
    longer_contexts: float = Field(1.0, gt=0, le=1000, description="factor on the prompt tokens of every call")
    longer_answers: float = Field(1.0, gt=0, le=1000, description="factor on the output tokens of every call")
    sharper_bursts: float = Field(
        1.0, ge=0, le=10, description="exponent on the rate of a minute over that of its hour; 0: even, 1: as recorded"
    )
    faster_clock: float = Field(1.0, gt=0, description="factor on the speed of the log's clock")
    shift: Literal["auto", "days", "random"] = Field(
        "auto", description="of copies: whole days or any time; auto: whole days, if the log has one for each copy"
    )

    @property
    def rate_factor(self) -> float:
        """Tasks per second / those of the log."""
        return self.more_users * self.faster_clock

    def receipt_lines(self, shift: str) -> Iterator[str]:
        """What each factor keeps and changes, one sentence each. `shift`: how copies are moved, in words."""
        users, calls, contexts, speed = (
            self.more_users,
            self.more_calls_per_user,
            self.longer_contexts,
            self.faster_clock,
        )
        if users > 1:
            yield (
                f"more_users = {users:g}: the log as that many times the users, each copy moved by {shift}; keeps "
                "sessions, lengths and burstiness; changes the rate, and copies share no prefix"
            )
        elif users < 1:
            yield (
                f"more_users = {users:g}: a random part of the sessions; keeps sessions and lengths; changes the rate, "
                "and bursts are weaker"
            )
        if calls != 1:
            yield (
                f"more_calls_per_user = {calls:g}: calls of a session are made again on the same context; keeps "
                "sessions, their moments, lengths and time between first and last call; changes calls per session and "
                "cached prompt tokens"
            )
        if contexts != 1:
            yield (
                f"longer_contexts = {contexts:g}: prompts and shared prefixes are that many times as long; keeps "
                "moments, calls and answers; changes prompt tokens and the memory that they need"
            )
        if self.longer_answers != 1:
            yield (
                f"longer_answers = {self.longer_answers:g}: answers are that many times as long; keeps moments, calls "
                "and prompts, with the earlier answers in them; changes output tokens"
            )
        if self.sharper_bursts != 1:
            yield (
                f"sharper_bursts = {self.sharper_bursts:g}: the rate of each minute over that of its hour to this "
                "power; keeps tasks, their order and the tasks of every hour; changes moments within the hour"
            )
        if speed != 1:
            yield (
                f"faster_clock = {speed:g}: keeps tasks and their order; changes the rate, the span, and the length of "
                "a day; waits within sessions stay as recorded"
            )
