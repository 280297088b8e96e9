"""Centres and intervals of values, and what a repetition can find. Pure functions of lists."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

CONFIDENCE = 0.95
POWER = 0.8
"""Chance to find an effect of the size of the minimum detectable effect."""
QUANTILES = 200
"""Points by which a chi distribution is summed: 400 give the same reach within 0.5 %."""
NORMAL_MAD = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""
MEDIAN_ERROR = math.sqrt(math.pi / 2)
"""Standard error of a normal sample's median over that of its mean."""


@dataclass(frozen=True)
class Interval:
    """A value with its confidence interval."""

    value: float
    low: float
    high: float
    confidence: float
    """What the interval really covers: at least the asked confidence, unless there are too few values for it."""

    def exp(self) -> Interval:
        """An interval of logarithms as one of ratios."""
        return Interval(math.exp(self.value), math.exp(self.low), math.exp(self.high), self.confidence)

    @property
    def half_width(self) -> float:
        """Half of high - low."""
        return (self.high - self.low) / 2


def median(values: Sequence[float]) -> float:
    """The middle value, or the mean of the two middle ones. Raises ValueError for no values."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no values to take a median of")
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def median_error(values: Sequence[float]) -> float:
    """Standard error of the median of at least one value, by their median absolute deviation: normal scatter is assumed."""
    middle = median(values)
    return MEDIAN_ERROR * NORMAL_MAD * median([abs(value - middle) for value in values]) / math.sqrt(len(values))


def centre(values: Sequence[float]) -> float:
    """Hodges-Lehmann centre: the median of the means of all pairs, each value with itself included.

    Source: Hodges and Lehmann 1963. It stands 29 % of values that are far off, and wastes 4.5 % of the others where a mean
    would waste none and a median 36 %. NaN where a value is: a sort would put it anywhere.
    """
    if any(math.isnan(v) for v in values):
        return math.nan
    return median([a + b for i, a in enumerate(values) for b in values[i:]]) / 2


@cache
def sign_rank(count: int, confidence: float = CONFIDENCE) -> tuple[int, float]:
    """The largest k for which the k-th smallest and k-th largest of `count` values enclose the median with `confidence`, and
    what they cover.

    Method: the number of values below the true median is binomial(count, 1/2) (the sign test's interval). Where even the
    extremes cover less than asked (under 6 values for 95 %), k is 1 and the coverage says so.
    """
    tail, k = 0.5**count, 1
    while k < count // 2:
        wider = tail + math.comb(count, k) * 0.5**count
        if 1 - 2 * wider < confidence:
            break
        tail, k = wider, k + 1
    return k, 1 - 2 * tail


def median_interval(values: Sequence[float]) -> Interval:
    """Median and its interval at `CONFIDENCE`."""
    k, covered = sign_rank(len(values))
    ordered = sorted(values)
    return Interval(median(values), ordered[k - 1], ordered[-k], covered)


@cache
def student(quantile: float, degrees: int) -> float:
    """Quantile of Student's t."""
    # scipy.stats takes 0.5 s to import, scipy.special a tenth of it
    from scipy.special import stdtrit  # type: ignore[import-untyped]

    return float(stdtrit(degrees, quantile))


@cache
def reach(degrees: int) -> float:
    """The effect, in estimated standard errors of one run, that a repetition of the run finds with probability `POWER`.

    degrees: processes - 1. Found: the repetition's Student interval at `CONFIDENCE` excludes a speed-up of 1. Both runs
    estimate the deviation, so the condition is z + reach u > t u' with z normal and u, u' the two estimates over the truth.
    The usual t_0.975 + t_0.80 takes u for exact: with three processes such an effect is found 61 times of 100, not 80.
    """
    import numpy as np
    from scipy.special import chdtri, ndtr

    needed = student((1 + CONFIDENCE) / 2, degrees)
    deviations = np.sqrt(chdtri(degrees, (np.arange(QUANTILES) + 0.5) / QUANTILES) / degrees)
    low, high = 0.0, 100.0
    while high - low > 1e-3:
        middle = (low + high) / 2
        if ndtr(middle * deviations[:, None] - needed * deviations[None, :]).mean() < POWER:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def mean_interval(values: Sequence[float]) -> Interval:
    """Mean and Student's interval of at least two values at `CONFIDENCE`."""
    count, mean = len(values), sum(values) / len(values)
    half = student((1 + CONFIDENCE) / 2, count - 1) * deviation(values) / math.sqrt(count)
    return Interval(mean, mean - half, mean + half, CONFIDENCE)


def deviation(values: Sequence[float]) -> float:
    """Sample standard deviation of at least two values."""
    mean = sum(values) / len(values)
    return math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))
