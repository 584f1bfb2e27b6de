"""What sets tasks going; here, arrival processes. The synthetic ones are Cox: a rate path, then points on it."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from sim.schema import Choice, ConfigError
from sim.units import DAY_S, HOUR_S, MINUTE_S, WEEK_S
from sim.workload.arrivals.weekly_rate import WeeklyRate

_POINTS = 4096
_SOJOURNS = 1024
_MOST_PATHS = 200_000
_FIRST_PATHS, _HOPELESS = 1000, -50.0
"""Paths tried at least, and the log-likelihood that the best of them must reach for the search to go on."""
RatePath = Iterator[tuple[np.ndarray, np.ndarray]]
"""Chunks of a piecewise constant rate: edges in seconds (m + 1) and the expected number of tasks between them (m)."""


class Source(Choice):
    """What sets tasks going: a point process that knows nothing of the server, or clients that wait for it.

    A class of one's own derives from `Arrivals`.
    """

    @property
    def ends_by_itself(self) -> bool:
        """Whether a run needs no horizon."""
        return False

    @property
    def default_horizon_s(self) -> float | None:
        """How long a run without a horizon lasts; None if it ends with the last task, or never."""
        return None

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the results should know about this source."""
        return ()


class Arrivals(Source):
    """A point process of tasks on [0, horizon_s).

    The contract of every kind (tests/contracts/test_arrivals.py):

    1. `times` yields float64 arrays of at most 5000 moments. They are sorted, within an array and from one to the next,
       and lie in [0, horizon_s).
    2. All chance comes from `rng`: the same stream gives the same moments. Another stream gives other moments, unless
       the class says `is_random = False`.
    3. A longer horizon only adds moments: those before the shorter horizon stay where they are, to within 0.2 s.
    4. The mean number of moments per second over a long time is `mean_rate_per_s`; over a horizon of 12 000 expected
       moments (whole weeks, if the rate has a weekly profile: let the class say `period_s`) it is within 10 % of it.
    5. Memory does not grow with the horizon, if the process goes on forever: 300 arrays take less than 2 MB.

    Optional:

    6. `index_of_dispersion` states how bursty the process is; None, the default, states nothing.
    7. A field `exact_tasks`, if there is one, makes every horizon hold exactly so many moments.
    8. `ends_by_itself` with `default_horizon_s`: for a process that ends, such as a recording.
    """

    is_random: ClassVar[bool] = True  # two random streams give different moments
    period_s: ClassVar[float | None] = None  # the cycle after which the expected rate repeats itself

    @property
    @abstractmethod
    def mean_rate_per_s(self) -> float:
        """Tasks per second in the long run."""

    def index_of_dispersion(self, window_s: float) -> float | None:
        """Variance of the number of tasks in a window of this length, over its mean (1 for Poisson); None: not stated.

        The window begins at a uniformly random moment of the endless stationary process.
        """
        return None

    @abstractmethod
    def times(self, rng: np.random.Generator, horizon_s: float) -> Iterator[np.ndarray]:
        """Arrival moments: sorted float64 blocks in [0, horizon_s), drawn lazily, in bounded memory."""


class Cox(Arrivals):
    """A Poisson process whose rate is itself a path in time (Cox 1955).

    With `exact_tasks` = n, the process of mean rate n / horizon is conditioned on n tasks in the horizon; `rate_per_s`
    plays no part. Shapes as different as steady and bursty then carry the same n tasks, hence the same tokens. Given
    N = n, a rate path of mass M (its integral) has density proportional to M^n e^-M; given the path, the n moments are
    independent with density proportional to the rate (counts of time slices multinomial, order statistics within each).
    So a burst keeps its multiple of the mean rate to within 1 / sqrt(n). The index of dispersion, stated for the
    unconditioned process, is lower over windows that are a notable share of the horizon.
    """

    has_random_path: ClassVar[bool] = False  # two draws of `_rate_path` may differ in their mass

    rate_per_s: float = Field(gt=0, description="mean number of tasks per second")
    exact_tasks: int | None = Field(None, ge=0, description="exactly this many tasks in the horizon; null = random")

    @property
    def mean_rate_per_s(self) -> float:
        return self.rate_per_s

    @abstractmethod
    def _rate_path(self, rng: np.random.Generator, horizon_s: float) -> RatePath:
        """The rate from 0 to horizon_s in chunks of bounded size. Same rng, same path."""

    def times(self, rng: np.random.Generator, horizon_s: float) -> Iterator[np.ndarray]:
        path_seed, point_seed = rng.integers(2**63, size=2).tolist()
        points = np.random.Generator(np.random.PCG64(point_seed))
        n_tasks = self.exact_tasks
        if n_tasks is None:
            return _on_path(_poisson_points(points), self._path(path_seed, horizon_s), horizon_s)
        if n_tasks and self.has_random_path:
            path_seed = self._seed_of_conditioned_path(path_seed, n_tasks, horizon_s)
        mass = _mass(self._path(path_seed, horizon_s))
        if mass == 0 and n_tasks:
            law = f"needs a rate above 0 somewhere in the {horizon_s:g} s horizon"
            raise ConfigError(f"arrivals.exact_tasks = {n_tasks}: {law}")
        return _on_path(_exact_points(points, n_tasks, mass), self._path(path_seed, horizon_s), horizon_s)

    def _path(self, seed: int, horizon_s: float) -> RatePath:
        return self._rate_path(np.random.Generator(np.random.PCG64(seed)), horizon_s)

    def _seed_of_conditioned_path(self, seed: int, n_tasks: int, horizon_s: float) -> int:
        """The seed of a path drawn with density proportional to M^n e^-M, M scaled so that its mean is n.

        Exact, by rejection: the density is largest at M = n, so a path is kept with probability (M/n)^n e^(n-M).
        Raises ConfigError where hardly any path has a mass near n.
        """
        draws = np.random.Generator(np.random.PCG64(seed))
        expected = self.mean_rate_per_s * horizon_s
        likeliest, n_paths = -math.inf, 0
        while n_paths < _MOST_PATHS and (likeliest > _HOPELESS or n_paths < _FIRST_PATHS):
            candidate, chance = int(draws.integers(2**63)), draws.random()
            relative = _mass(self._path(candidate, horizon_s)) / expected
            log_likelihood = n_tasks * (math.log(relative) - relative + 1) if relative > 0 else -math.inf
            if chance < math.exp(log_likelihood):
                return candidate
            likeliest, n_paths = max(likeliest, log_likelihood), n_paths + 1
        raise ConfigError(
            f"arrivals.exact_tasks = {n_tasks}: none of {n_paths} paths of this process comes near that in "
            f"{horizon_s:g} s; choose a longer horizon_s, or leave exact_tasks out"
        )


class Steady(Cox):
    """Poisson: constant rate, no memory."""

    kind: Literal["steady"] = "steady"

    def index_of_dispersion(self, window_s: float) -> float:
        return 1.0

    def _rate_path(self, rng: np.random.Generator, horizon_s: float) -> RatePath:
        yield np.array([0.0, horizon_s]), np.array([self.rate_per_s * horizon_s])


class Bursty(Cox):
    """Two-state Markov-modulated Poisson process: quiet and burst periods of exponential length, started stationary.

    Law: burst_factor * burst_time_fraction <= 1, so that what bursts leave over for quiet times is not negative; at 1
    all tasks arrive in bursts (an interrupted Poisson process).
    """

    kind: Literal["bursty"] = "bursty"
    has_random_path: ClassVar[bool] = True
    burst_factor: float = Field(ge=1, description="rate during a burst over the mean rate")
    mean_burst_s: float = Field(gt=0, description="mean length of a burst")
    burst_time_fraction: float = Field(gt=0, lt=1, description="share of time spent in bursts")

    @model_validator(mode="after")
    def _quiet_rate_is_not_negative(self) -> Bursty:
        share = self.burst_factor * self.burst_time_fraction
        if share > 1 + 1e-9:
            raise ValueError(
                f"burst_factor * burst_time_fraction must be <= 1, not {self.burst_factor:g} * "
                f"{self.burst_time_fraction:g} = {share:g}: bursts alone would exceed the mean rate"
            )
        return self

    @property
    def burst_rate_per_s(self) -> float:
        return self.burst_factor * self.rate_per_s

    @property
    def quiet_rate_per_s(self) -> float:
        left = max(1 - self.burst_factor * self.burst_time_fraction, 0.0)
        return self.rate_per_s * left / (1 - self.burst_time_fraction)

    @property
    def mean_quiet_s(self) -> float:
        return self.mean_burst_s * (1 - self.burst_time_fraction) / self.burst_time_fraction

    def index_of_dispersion(self, window_s: float) -> float:
        """Heffes and Lucantoni, A Markov modulated characterization of packetized voice and data traffic, 1986."""
        leave_burst, leave_quiet = 1 / self.mean_burst_s, 1 / self.mean_quiet_s
        both = leave_burst + leave_quiet
        gap = self.burst_rate_per_s - self.quiet_rate_per_s
        limit = 2 * gap**2 * leave_burst * leave_quiet / (both**3 * self.rate_per_s)
        x = both * window_s
        return 1 + limit * (1 - (-math.expm1(-x)) / x if x > 1e-5 else x / 2)

    def _rate_path(self, rng: np.random.Generator, horizon_s: float) -> RatePath:
        bursting, start_s = rng.random() < self.burst_time_fraction, 0.0
        burst, quiet = (self.mean_burst_s, self.burst_rate_per_s), (self.mean_quiet_s, self.quiet_rate_per_s)
        means, rates = np.resize(np.array([burst, quiet] if bursting else [quiet, burst]), (_SOJOURNS, 2)).T
        while start_s < horizon_s:
            edges = np.add.accumulate(np.concatenate(([start_s], rng.exponential(size=_SOJOURNS) * means)))
            edges = np.minimum(edges[: np.searchsorted(edges, horizon_s) + 1], horizon_s)
            yield edges, np.diff(edges) * rates[: len(edges) - 1]
            start_s = float(edges[-1])


class Diurnal(Cox):
    """Non-homogeneous Poisson process with a smooth daily cycle and a weekly one.

    `profile[h]` is the relative rate in the middle of hour h; `weekday_factor` and `weekend_factor` scale whole days.
    The week's 168 points are joined by a periodic monotone cubic (see WeeklyRate), so the rate is smooth and never
    leaves the range of its points, and scaled so that the mean over a week is `rate_per_s`. `peak_to_trough` stretches
    the profile linearly until its largest point is that multiple of its smallest. The horizon begins on `start_day` at
    `start_hour`.

    `index_of_dispersion` is that of a window placed at a uniformly random moment of the week: 1 + Var(M)/E(M), M the
    integral of the rate over the window. (Given the moment, counts are Poisson.)
    """

    kind: Literal["diurnal"] = "diurnal"
    period_s: ClassVar[float] = WEEK_S
    profile: tuple[float, ...] = Field(min_length=24, max_length=24, description="relative rate of hours 0 to 23")
    peak_to_trough: float | None = Field(None, ge=1, description="largest over smallest rate of a day; null = as given")
    weekday_factor: float = Field(1.0, ge=0, description="scale of Monday to Friday")
    weekend_factor: float = Field(1.0, ge=0, description="scale of Saturday and Sunday")
    start_day: Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"] = "mon"
    start_hour: float = Field(0.0, ge=0, lt=24)

    @model_validator(mode="after")
    def _some_rate(self) -> Diurnal:
        low, high = min(self.profile), max(self.profile)
        if low < 0 or high == 0:
            raise ValueError(f"profile must be >= 0 and not all 0, but ranges from {low:g} to {high:g}")
        if self.weekday_factor + self.weekend_factor == 0:
            raise ValueError("weekday_factor and weekend_factor must not both be 0")
        if self.peak_to_trough is not None and low == high and self.peak_to_trough > 1:
            raise ValueError(f"peak_to_trough = {self.peak_to_trough:g} needs a profile that is not flat")
        return self

    @property
    def day_points(self) -> np.ndarray:
        """The 24 relative rates after `peak_to_trough`."""
        points = np.array(self.profile)
        if self.peak_to_trough is None:
            return points
        height = (points - points.min()) / max(points.max() - points.min(), 1e-300)
        return 1 + (self.peak_to_trough - 1) * height

    @property
    def weekly_rate(self) -> WeeklyRate:
        """The rate as a function of the time since Monday 0:00."""
        factors = np.array([self.weekday_factor] * 5 + [self.weekend_factor] * 2)
        return WeeklyRate(np.outer(factors, self.day_points).ravel(), self.rate_per_s)

    @property
    def start_s(self) -> float:
        """Time since Monday 0:00 at which the horizon begins."""
        days = ("mon", "tue", "wed", "thu", "fri", "sat", "sun").index(self.start_day)
        return days * DAY_S + self.start_hour * HOUR_S

    def index_of_dispersion(self, window_s: float) -> float:
        rate, moments = self.weekly_rate, np.arange(0.0, WEEK_S, MINUTE_S)
        masses = rate.integral(moments + window_s) - rate.integral(moments)
        return 1 + float(masses.var() / masses.mean())

    def _rate_path(self, rng: np.random.Generator, horizon_s: float) -> RatePath:
        """Exact in every minute; within a minute the rate is taken as constant."""
        rate, begin_s = self.weekly_rate, 0.0
        while begin_s < horizon_s:
            end_s = min(begin_s + DAY_S, horizon_s)
            edges = np.append(np.arange(begin_s, end_s, MINUTE_S), end_s)
            yield edges, np.diff(rate.integral(self.start_s + edges))
            begin_s = end_s


def _mass(path: RatePath) -> float:
    """The expected number of tasks of a whole rate path."""
    total = 0.0
    for _, masses in path:
        total = float(np.add.accumulate(np.concatenate(([total], masses)))[-1])
    return total


def _poisson_points(rng: np.random.Generator) -> Iterator[np.ndarray]:
    """An endless Poisson process of rate 1, in blocks."""
    last = 0.0
    while True:
        block = np.add.accumulate(np.concatenate(([last], rng.exponential(size=_POINTS))))[1:]
        last = float(block[-1])
        yield block


def _exact_points(rng: np.random.Generator, n: int, length: float) -> Iterator[np.ndarray]:
    """Order statistics of n uniform points on [0, length), slice by slice: each count binomial given those before."""
    slices, left, inside = max(1, -(-n // _POINTS)), n, np.nextafter(length, 0)
    for i in range(slices):
        count = int(rng.binomial(left, 1 / (slices - i)))
        left -= count
        block = np.sort(i + rng.random(count)) * (length / slices)
        yield np.minimum(block, inside)


def _on_path(points: Iterator[np.ndarray], path: RatePath, horizon_s: float) -> Iterator[np.ndarray]:
    """Points of rate 1 in operational time, moved to where the expected number of tasks reaches them (Cinlar 1975)."""
    pending, reached, latest, before_end = np.empty(0), 0.0, 0.0, np.nextafter(horizon_s, 0)
    for edges, masses in path:
        marks = np.add.accumulate(np.concatenate(([reached], masses)))
        reached = float(marks[-1])
        while True:
            n_here = int(np.searchsorted(pending, reached))
            if n_here:
                times = np.interp(pending[:n_here], marks, edges)
                times[0] = max(times[0], latest)  # rounding may disorder neighbours by one ulp
                times = np.minimum(np.maximum.accumulate(times), before_end)
                pending, latest = pending[n_here:], times[-1]
                yield times
            if pending.size:
                break
            pending = next(points, None)
            if pending is None:
                return
