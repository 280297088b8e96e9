"""Simulated noise of batches, and rounds made of it, with a true speed-up that is known.

What is simulated is what a judge sees: batches in time, in the order of `statistics.order`, each with a handshake of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from aisp_runner.statistics import Calls, Round, order

ARMS = ("baseline", "candidate", "control")
CALLS = Calls((20, 100), (20, 100))
CALL_NS = 20e3
HANDSHAKE_NS = 150e3
"""What a batch costs beyond its calls: an H200's (docs/sealed-clock.md)."""
HANDSHAKE_SD = 0.01
JITTER_SD = 0.006
"""Standard deviation of ln(time of a batch) that every regime has."""


@dataclass(frozen=True)
class Regime:
    """A kind of noise. Fractions are of a batch's time."""

    name: str
    means: str
    """What it stands for."""
    between: float = 0.0
    """Standard deviation between sets of processes of ln(baseline / candidate)."""
    drift: float = 0.0
    """How much slower the last batch is than the first."""
    wander: float = 0.0
    """Standard deviation of an AR(1) process over batches with a coefficient of 0.9."""
    bursts: float = 0.0
    """Slow-down while a neighbour works: a fifth of the time, ten batches at a time on average."""
    spikes: float = 0.0
    """Share of batches that a spike hits: at least +10 %, Pareto with exponent 1.5, so of infinite variance."""
    crowd: float = 0.0
    """Share of batches that another process lengthens by 10 to 80 %."""
    first: float = 0.0
    """How much slower the first batch after a check of the outputs is: the first of either half of a round."""
    carry: float = 0.0
    """How much slower a batch is that follows another arm's."""


REGIMES = (
    Regime("quiet", "0.6 % jitter of each batch; in every row below as well"),
    Regime("drift", "4 % slower from the first to the last batch", drift=0.04),
    Regime("AR(1)", "1 % wander, coefficient 0.9", wander=0.01),
    Regime("bursts", "a neighbour, +22 % for 10 batches at a time, a fifth of the time", bursts=0.22),
    Regime("spikes", "8 % of batches at least +10 %, heavy tail", spikes=0.08),
    Regime("crowd", "a third of batches 10 to 80 % longer, as on a shared CPU", crowd=1 / 3),
    Regime("position", "first batch of either half of a round 1 % slower", first=0.01),
    Regime("carry-over", "1 % slower after another arm's batch", carry=0.01),
    Regime("between 0.1 %", "processes differ by 0.1 %", between=0.001),
    Regime("between 0.5 %", "processes differ by 0.5 %", between=0.005),
)


def simulate(
    regime: Regime, trials: int, processes: int, rounds: int, speedup: float = 1.0, seed: int = 0
) -> Iterator[list[Round]]:
    """The rounds of each trial, in the order they are measured: every process once, then the next round."""
    source = np.random.default_rng([seed, processes, rounds])
    lengths = (trials, rounds, processes, 2 * len(ARMS))
    noise = logarithms(regime, source, trials, math.prod(lengths[1:])).reshape(lengths)
    between = source.normal(0, regime.between / math.sqrt(2), (trials, processes, len(ARMS)))
    fixed = HANDSHAKE_NS * (1 + source.normal(0, HANDSHAKE_SD, (trials, rounds, processes, 1 + 2 * len(ARMS))))
    noise[..., :: len(ARMS)] += regime.first
    for number in range(rounds):
        for process in range(processes):
            arms = palindrome(number + process)
            noise[:, number, process] += between[:, process, [ARMS.index(arm) for arm in arms]]
            noise[:, number, process] += [regime.carry * (k > 0 and arm != arms[k - 1]) for k, arm in enumerate(arms)]
    work = {arm: CALLS.of(arm)[1] * CALL_NS / (speedup if arm == "candidate" else 1.0) for arm in ARMS}
    for times, empty in zip(np.exp(noise).tolist(), fixed.tolist(), strict=True):
        yield [
            _round(number, process, times[number][process], empty[number][process], work)
            for number in range(rounds)
            for process in range(processes)
        ]


def palindrome(number: int) -> tuple[str, ...]:
    """Arms of the long batches of a round in time."""
    half = order(number, ARMS)
    return (*half, *reversed(half))


def _round(number: int, process: int, factors: list[float], fixed: list[float], work: dict[str, float]) -> Round:
    long: dict[str, list[float]] = {arm: [] for arm in ARMS}
    for arm, factor, handshake in zip(palindrome(number + process), factors, fixed[1:], strict=True):
        long[arm].append(handshake + work[arm] * factor)
    return Round(process, fixed[0], {}, {arm: tuple(times) for arm, times in long.items()})


def logarithms(regime: Regime, source: np.random.Generator, trials: int, batches: int) -> np.ndarray:
    """ln(noise factor) of batches in a row, [trials, batches]: all of a regime but what depends on processes and arms."""
    shape = (trials, batches)
    noise = source.normal(0, JITTER_SD, shape) + np.linspace(0, math.log1p(regime.drift), batches)
    if regime.wander:
        noise += autoregressive(source, shape, regime.wander)
    if regime.bursts:
        noise += math.log1p(regime.bursts) * neighbour(source, shape)
    if regime.spikes:
        hit = source.random(shape) < regime.spikes
        noise += hit * np.log1p(0.1 * (1 + source.pareto(1.5, shape)))
    if regime.crowd:
        noise += (source.random(shape) < regime.crowd) * np.log1p(source.uniform(0.1, 0.8, shape))
    return noise


def autoregressive(source: np.random.Generator, shape: tuple[int, int], deviation: float, keep: float = 0.9) -> np.ndarray:
    """An AR(1) process along the second axis, stationary from the start."""
    steps = source.normal(0, deviation * math.sqrt(1 - keep**2), shape)
    steps[:, 0] = source.normal(0, deviation, shape[0])
    for i in range(1, shape[1]):
        steps[:, i] += keep * steps[:, i - 1]
    return steps


def neighbour(source: np.random.Generator, shape: tuple[int, int], share: float = 0.2, batches: float = 10.0) -> np.ndarray:
    """Whether a neighbour works at each batch: `share` of the time, `batches` in a row on average."""
    draws, works = source.random(shape), np.empty(shape, bool)
    works[:, 0] = draws[:, 0] < share
    stop, start = 1 / batches, share / (1 - share) / batches
    for i in range(1, shape[1]):
        works[:, i] = np.where(works[:, i - 1], draws[:, i] >= stop, draws[:, i] < start)
    return works
