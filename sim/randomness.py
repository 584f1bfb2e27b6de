"""Random streams keyed by component name, so that every policy meets the same arrivals, tasks and failures."""

from __future__ import annotations

from zlib import crc32

import numpy as np


class Streams:
    """One independent generator per component name, for one (seed, replication).

    The same (seed, replication, name) gives the same numbers on every machine and regardless of which other streams are
    used: common random numbers by construction.

    >>> a = Streams(1, 0).generator("arrivals").random()
    >>> a == Streams(1, 0).generator("arrivals").random(), a == Streams(1, 1).generator("arrivals").random()
    (True, False)
    """

    def __init__(self, seed: int, replication: int = 0, prefix: str = ""):
        self.seed = seed
        self.replication = replication
        self._prefix = prefix

    def within(self, part: str) -> Streams:
        """The streams of a part of the system, e.g. a pool, whose components are named like those of another."""
        return Streams(self.seed, self.replication, f"{self._prefix}{part}/")

    def generator(self, name: str) -> np.random.Generator:
        """A fresh generator at the start of the stream called `name`."""
        entropy = [self.seed, self.replication, crc32((self._prefix + name).encode())]
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))
