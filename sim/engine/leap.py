"""The arithmetic of leaps: how many seconds k decode steps take, and how many have begun by a given moment.

A leap is a series of decode steps of the same n sequences, simulated as one event. Step j (j = 0, 1, …) takes
`first_s + j * growth_s` seconds, because each step reads n more tokens of KV than the step before. Hence k steps take
k * first_s + growth_s * k * (k - 1) / 2 seconds.
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
    """How many steps of a leap have begun `elapsed_s` after its start: the least k >= 1 with leap_s(k) >= elapsed_s.

    The positive root of the quadratic equation leap_s(k) = elapsed_s, rounded up. The two loops after it undo an error
    of one step that floating-point rounding may cause.

    >>> [steps_begun(t, 1.0, 0.5) for t in (0.0, 1.0, 1.1, 2.5, 2.6)]
    [1, 1, 2, 2, 3]
    """
    quadratic_s = 0.5 * growth_s
    linear_s = first_s - quadratic_s
    k = max(1, ceil(2.0 * elapsed_s / (linear_s + sqrt(linear_s * linear_s + 4.0 * quadratic_s * elapsed_s)) - 1e-9))
    while k * (first_s + quadratic_s * (k - 1)) < elapsed_s:
        k += 1
    while k > 1 and (k - 1) * (first_s + quadratic_s * (k - 2)) >= elapsed_s:
        k -= 1
    return k
