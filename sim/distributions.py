"""The normal, Student's t and chi-squared distributions, of scipy.special: the numbers of scipy.stats to the last bit.

scipy.stats takes longer to load than a short scenario takes to play, so no module that a plain run imports loads it;
scipy.special is loaded when the first interval is computed, which a single replication does not have.
"""

from __future__ import annotations

import numpy as np


def normal_quantile(probability: float) -> float:
    """The z that a standard normal number stays below with this probability, which lies in [0, 1].

    >>> round(normal_quantile(0.975), 6)
    1.959964
    """
    from scipy.special import ndtri

    return float(ndtri(probability))


def normal_cdf(z: float | np.ndarray) -> np.ndarray:
    """The probability, float64 of the shape of `z`, that a standard normal number is at most `z`."""
    from scipy.special import ndtr

    return np.asarray(ndtr(z))


def normal_density(z: float | np.ndarray) -> np.ndarray:
    """The density of the standard normal distribution, float64 of the shape of `z`."""
    return np.asarray(np.exp(-np.square(z) / 2) / np.sqrt(2 * np.pi))


def student_t_quantile(probability: float, degrees_of_freedom: int) -> float:
    """The t that a number of Student's t distribution stays below with this probability.

    >>> round(student_t_quantile(0.975, 4), 6)
    2.776445
    """
    from scipy.special import stdtrit

    return float(stdtrit(degrees_of_freedom, probability))


def chi_squared_quantile(probability: float, degrees_of_freedom: int) -> float:
    """The value that a number of the chi-squared distribution stays below with this probability.

    >>> round(chi_squared_quantile(0.975, 9), 5)
    19.02277
    """
    from scipy.special import gammaincinv

    return float(2 * gammaincinv(degrees_of_freedom / 2, probability))
