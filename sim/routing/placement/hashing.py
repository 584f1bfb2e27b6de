"""A hash that is the same on every machine and in every run."""

from __future__ import annotations

_64_BITS = (1 << 64) - 1


def mixed(*numbers: int) -> int:
    """A pseudo-random int in [0, 2**64) from ints: the finalizer of SplitMix64 (Steele, Lea and Flood, 2014), chained.

    >>> mixed(0) == 0xE220A8397B1DCDAF, mixed(1, 2) == mixed(1, 2), mixed(1, 2) == mixed(2, 1)
    (True, True, False)
    """
    x = 0
    for number in numbers:
        x = (x + number + 0x9E3779B97F4A7C15) & _64_BITS
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _64_BITS
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _64_BITS
        x ^= x >> 31
    return x
