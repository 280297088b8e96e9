"""From batches to a ceiling, with a clock that is told what calls cost."""

from __future__ import annotations

import pytest

from aisp_runner.errors import DeviceError
from aisp_runner.peak.clock import MOST_CALLS, Effort, Way, best, lengths, spread, sustained, timing
from peak.made import FakeClock


def call() -> None:
    """Never run: the clock knows what it costs."""


QUIET = Effort(repeats=9, rest_s=0.0)


@pytest.mark.parametrize("handshake", [0.0, 7e-6, 1e-3])
def test_what_a_batch_costs_beyond_its_calls_falls_away(handshake: float) -> None:
    clock = FakeClock(handshake)
    clock.cost(call, 2e-6)
    found = timing(clock, call, QUIET, clock.rest)
    assert found.seconds == pytest.approx(2e-6)
    assert (found.spread, found.repeats) == (pytest.approx(0.0, abs=1e-9), 9)


def test_a_call_runs_without_the_gate_before_it_is_timed_behind_it() -> None:
    clock = FakeClock()
    clock.cost(call, 1e-3)
    timing(clock, call, QUIET, clock.rest)
    assert clock.warmed[0] is call and len(clock.warmed) == 1 + QUIET.repeats


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(1e-6, (80, MOST_CALLS)), (1e-3, (1, 8)), (22e-3, (1, 2)), (1e-4, (16, 80))],
    ids=["too many for the queue", "milliseconds", "longer than a batch", "between"],
)
def test_a_long_batch_has_the_aimed_length_and_fits_behind_the_gate(seconds: float, expected: tuple[int, int]) -> None:
    clock = FakeClock()
    clock.cost(call, seconds)
    assert lengths(clock, call, batch_s=8e-3) == expected
    assert max(clock.batches) <= MOST_CALLS


def test_a_clock_without_a_gate_needs_no_short_batch() -> None:
    clock = FakeClock(handshake=0.0, gated=False)
    clock.cost(call, 1e-3)
    assert lengths(clock, call, batch_s=8e-3) == (0, 8)
    assert timing(clock, call, QUIET, clock.rest).seconds == pytest.approx(1e-3)


def test_short_and_long_take_turns_at_going_first() -> None:
    clock = FakeClock()
    clock.cost(call, 1e-3)
    timing(clock, call, Effort(repeats=3, rest_s=0.0), clock.rest)
    assert clock.batches[-6:] == [1, 8, 8, 1, 1, 8]


def test_a_call_that_costs_nothing_is_no_ceiling() -> None:
    clock = FakeClock()
    clock.cost(call, 0.0)
    with pytest.raises(DeviceError, match="a call is too short to be timed in batches of 80 and 400"):
        timing(clock, call, QUIET, clock.rest)


def test_a_burst_is_taken_after_a_rest_and_a_sustained_value_is_not() -> None:
    clock = FakeClock()

    def hot(now: float, _: int) -> float:
        """1.4 ms a call, 1.7 ms once the card has been busy for 0.3 s without a rest."""
        return 1.7e-3 if now - rested[0] > 0.3 else 1.4e-3

    rested = [0.0]

    def rest(seconds: float) -> None:
        clock.rest(seconds)
        rested[0] = clock.now

    clock.cost(call, hot)
    effort = Effort(rest_s=0.05, sustained_s=1.0)
    assert timing(clock, call, effort, rest).seconds == pytest.approx(1.4e-3)
    assert sustained(clock, call, effort, clock.time).seconds == pytest.approx(1.7e-3)


def test_the_best_way_gives_the_value_and_every_way_is_kept() -> None:
    clock = FakeClock()
    slow, fast = (lambda: None), (lambda: None)
    clock.cost(slow, 2e-3)
    clock.cost(fast, 1e-3)
    value, way = best(clock, [Way("slow", slow, 1e9), Way("fast", fast, 1e9)], "B/s", QUIET)
    assert value.value == pytest.approx(1e12)
    assert (value.how, value.unit, value.repeats, value.reason) == ("fast", "B/s", 9, "")
    assert [(t.how, t.value) for t in value.tried] == [("slow", pytest.approx(5e11)), ("fast", pytest.approx(1e12))]
    assert way is not None and way.how == "fast"


def test_a_way_that_fails_is_kept_with_its_reason_and_the_others_count() -> None:
    clock = FakeClock()
    clock.cost(call, 1e-3)

    def broken(now: float, _: int) -> float:
        raise RuntimeError("CUDA out of memory\nand a long story")

    failing = clock.cost(lambda: None, broken)
    value, _ = best(clock, [Way("broken", failing, 1.0), Way("works", call, 1e9)], "B/s", QUIET)
    assert value.how == "works" and value.reason == ""
    assert value.tried[0].reason == "CUDA out of memory" and value.tried[0].value is None


def test_where_every_way_fails_the_value_says_why() -> None:
    def ways() -> object:
        raise DeviceError("one GPU is visible, and a peer copy needs two")
        yield

    value, way = best(FakeClock(), ways(), "B/s", QUIET)  # type: ignore[arg-type]
    assert (value.value, way) == (None, None)
    assert value.reason == "one GPU is visible, and a peer copy needs two"


def test_spread_is_the_distance_of_the_quartiles_over_the_median() -> None:
    assert spread([1.0, 2.0, 3.0, 4.0, 5.0]) == pytest.approx(2 / 3)
    assert spread([1.0]) == 0.0
