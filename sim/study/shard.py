"""A part of a sweep for one machine of several, told by the places of its scenarios: none asks another."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from sim.schema import ConfigError

WORD = "shard="
T = TypeVar("T")


class Shard(NamedTuple):
    """Number `number` of `of`, counted from 1."""

    number: int
    of: int

    def own(self, scenarios: Sequence[T]) -> Sequence[T]:
        """The shard's part of all scenarios of a sweep: every `of`-th, so that each shard has small and large ones.

        >>> Shard(1, 2).own(["a", "b", "c"]), Shard(2, 2).own(["a", "b", "c"])
        (['a', 'c'], ['b'])
        """
        return scenarios[self.number - 1 :: self.of]

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


def split_off(words: list[str]) -> tuple[list[str], Shard | None]:
    """Words of a command line without `shard=3/64`, and the shard it names. Raises ConfigError."""
    given = [word.removeprefix(WORD) for word in words if word.startswith(WORD)]
    if not given:
        return words, None
    return [word for word in words if not word.startswith(WORD)], _parsed(given[-1])


def _parsed(text: str) -> Shard:
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    shard = Shard(int(found[1]), int(found[2])) if found else None
    if shard is None or not 1 <= shard.number <= shard.of:
        raise ConfigError(f"{WORD}{text}: must be {WORD}1/4 to {WORD}4/4 for four machines: counted from 1")
    return shard
