"""The arithmetic of leaps: how long k decode steps take, and how many have begun by a given moment.

While the batch does not change, decode step j (j = 0, 1, …) of n sequences takes `first_s + j * growth_s`, because each
step reads n more tokens of KV than the one before. Hence k steps take k*first_s + growth_s*k*(k-1)/2.
"""

# Compiled: every event passes through this module (see sim.hot_path).

from __future__ import annotations

from math import ceil, sqrt


def leap_s(steps: int, first_s: float, growth_s: float) -> float:
    """Seconds that `steps` consecutive decode steps take.

    >>> leap_s(3, 1.0, 0.5)
    4.5
    """
    return steps * (first_s + 0.5 * growth_s * (steps - 1))


def steps_begun(elapsed_s: float, first_s: float, growth_s: float) -> int:
    """The least k >= 1 with leap_s(k) >= elapsed_s: the step under way after `elapsed_s` ends the k-th.

    >>> [steps_begun(t, 1.0, 0.5) for t in (0.0, 1.0, 1.1, 2.5, 2.6)]
    [1, 1, 2, 2, 3]
    """
    half = 0.5 * growth_s
    linear = first_s - half
    k = max(1, ceil(2.0 * elapsed_s / (linear + sqrt(linear * linear + 4.0 * half * elapsed_s)) - 1e-9))
    while k * (first_s + half * (k - 1)) < elapsed_s:
        k += 1
    while k > 1 and (k - 1) * (first_s + half * (k - 2)) >= elapsed_s:
        k -= 1
    return k
