"""Simulated noise has the properties that its description names."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from aisp_runner.dev.noise import (
    CALL_NS,
    CALLS,
    HANDSHAKE_NS,
    JITTER_SD,
    REGIMES,
    Regime,
    autoregressive,
    logarithms,
    neighbour,
    palindrome,
    simulate,
)
from aisp_runner.statistics import estimate

BY_NAME = {regime.name: regime for regime in REGIMES}


def logs(regime: Regime, trials: int = 400, batches: int = 200) -> np.ndarray:
    return logarithms(regime, np.random.default_rng(1), trials, batches)


def test_a_palindrome_reads_the_same_backwards_and_holds_every_arm_twice() -> None:
    for number in range(3):
        arms = palindrome(number)
        assert arms == arms[::-1] and sorted(arms) == sorted(2 * ["baseline", "candidate", "control"])


def test_quiet_noise_is_jitter() -> None:
    assert logs(BY_NAME["quiet"]).std() == pytest.approx(JITTER_SD, rel=0.01)


def test_drift_ends_slower_than_it_starts() -> None:
    noise = logs(BY_NAME["drift"])
    assert noise[:, -1].mean() - noise[:, 0].mean() == pytest.approx(math.log(1.04), abs=0.002)


def test_wander_is_stationary_and_correlated() -> None:
    steps = autoregressive(np.random.default_rng(2), (4000, 60), 0.01)
    assert steps.std(0) == pytest.approx(np.full(60, 0.01), rel=0.06)
    assert np.corrcoef(steps[:, 30], steps[:, 31])[0, 1] == pytest.approx(0.9, abs=0.02)


def test_a_neighbour_works_a_fifth_of_the_time_ten_batches_in_a_row() -> None:
    works = neighbour(np.random.default_rng(3), (500, 2000))
    assert works.mean() == pytest.approx(0.2, abs=0.01)
    starts = (works[:, 1:] & ~works[:, :-1]).sum()
    assert works.sum() / starts == pytest.approx(10, rel=0.05)


@pytest.mark.parametrize(("name", "share"), [("spikes", 0.08), ("crowd", 1 / 3)])
def test_some_batches_are_longer_by_a_tenth_at_least(name: str, share: float) -> None:
    noise = logs(BY_NAME[name])
    assert (noise > 0.06).mean() == pytest.approx(share, abs=0.01)


def test_without_noise_a_simulated_run_gives_the_speedup_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("JITTER_SD", "HANDSHAKE_SD"):
        monkeypatch.setattr(f"aisp_runner.dev.noise.{name}", 0.0)
    (rounds,) = simulate(Regime("none", ""), 1, 3, 2, speedup=1.25)
    assert len(rounds) == 6 and [r.process for r in rounds] == [0, 1, 2, 0, 1, 2]
    e = estimate(rounds, CALLS)
    assert e.speedup is not None and e.control is not None
    assert e.speedup.value == pytest.approx(1.25) and e.control.value == pytest.approx(1)
    assert e.baseline_ns == pytest.approx(CALL_NS) and e.handshake_ns == HANDSHAKE_NS


@pytest.mark.parametrize(("name", "arms"), [("position", 2), ("carry-over", 3)])
def test_what_a_place_costs_lies_where_it_should(name: str, arms: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of either half; after another arm's batch: four of six, not the first and not the fourth."""
    for name_ in ("JITTER_SD", "HANDSHAKE_SD"):
        monkeypatch.setattr(f"aisp_runner.dev.noise.{name_}", 0.0)
    (rounds,) = simulate(BY_NAME[name], 1, 1, 1)
    slow = [arm for arm, times in rounds[0].long_ns.items() for ns in times if ns > HANDSHAKE_NS + 100 * CALL_NS + 1]
    assert len(slow) == (2 if name == "position" else 4) and len(set(slow)) == arms


def test_processes_differ_as_much_as_the_regime_says() -> None:
    calm = dataclasses.replace(BY_NAME["between 0.5 %"], between=0.05)
    centres = [sum(v) / len(v) for rounds in simulate(calm, 300, 3, 3) for v in estimate(rounds, CALLS).by_process]
    assert np.std(centres) == pytest.approx(0.05, rel=0.1)


def test_the_same_seed_gives_the_same_runs() -> None:
    first, again, other = (next(simulate(REGIMES[0], 1, 3, 2, seed=seed)) for seed in (4, 4, 5))
    assert first == again and first != other
