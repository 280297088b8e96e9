"""From batches to a speed-up with an interval, checked against exact cases, tables and simulation."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable, Iterator

import pytest

from aisp_runner.intervals import median, median_interval, reach, student
from aisp_runner.statistics import Calls, Round, by_stamps, detectable, estimate, order, stamped_rounds

CALLS = Calls((4, 20), (8, 40))
ARMS = ("baseline", "candidate", "control")
HANDSHAKE_NS = 45e3


def rounds(
    baseline_ns: float,
    candidate_ns: float,
    processes: int = 3,
    count: int = 4,
    factor: Callable[[int, str, int], float] = lambda process, arm, place: 1.0,
) -> list[Round]:
    """Rounds of arms that take so long a call, and a handshake of 45 us.

    factor: of a long batch's calls, by process, arm and place in the round (0 to 5), called in the order of time.
    """
    call = {"baseline": baseline_ns, "candidate": candidate_ns, "control": baseline_ns}
    made = []
    for number in range(count):
        for process in range(processes):
            half = order(number + process, ARMS)
            long: dict[str, list[float]] = {arm: [] for arm in ARMS}
            for place, arm in enumerate((*half, *reversed(half))):
                long[arm].append(HANDSHAKE_NS + CALLS.of(arm)[1] * call[arm] * factor(process, arm, place))
            short = {arm: HANDSHAKE_NS + CALLS.of(arm)[0] * call[arm] for arm in ARMS[:2]} if process == 0 else {}
            made.append(Round(process, HANDSHAKE_NS, short, {arm: tuple(times) for arm, times in long.items()}))
    return made


def changed(given: list[Round], arm: str, times: float) -> list[Round]:
    """The same rounds, with the long batches of one arm that much longer."""
    return [dataclasses.replace(r, long_ns={**r.long_ns, arm: tuple(ns * times for ns in r.long_ns[arm])}) for r in given]


@pytest.mark.parametrize("arms", [ARMS, ARMS[:2]])
def test_every_arm_has_every_place_and_every_other_arm_beside_it_equally_often(arms: tuple[str, ...]) -> None:
    halves = [order(number, arms) for number in range(len(arms))]
    for place in range(len(arms)):
        assert sorted(half[place] for half in halves) == sorted(arms)
    assert order(len(arms), arms) == order(0, arms)


@pytest.mark.parametrize("sealed", [True, False])
def test_an_exact_clock_gives_the_exact_speedup(sealed: bool) -> None:
    e = estimate(rounds(800e3, 400e3), CALLS, sealed)
    assert e.speedup is not None and e.control is not None
    if sealed:
        assert (e.speedup.value, e.speedup.low, e.speedup.high) == (pytest.approx(2), pytest.approx(2), pytest.approx(2))
        assert (e.baseline_ns, e.candidate_ns) == (pytest.approx(800e3), pytest.approx(400e3))
        assert e.arms_ns == {
            "baseline": pytest.approx(800e3),
            "candidate": pytest.approx(400e3),
            "control": pytest.approx(800e3),
        }
        assert e.mde == pytest.approx(0) and e.scatter == pytest.approx(0) and e.floor == pytest.approx(0)
    assert e.control.value == pytest.approx(1) if sealed else e.control.value > 0
    assert e.handshake_ns == HANDSHAKE_NS and e.naive == pytest.approx(2)
    assert len(e.by_process) == 3 and all(len(values) == 8 for values in e.by_process)


def test_without_a_control_there_is_no_floor() -> None:
    given = [dataclasses.replace(r, long_ns={a: r.long_ns[a] for a in ARMS[:2]}) for r in rounds(800e3, 400e3)]
    e = estimate(given, CALLS)
    assert e.control is None and e.floor == 0 and set(e.arms_ns) == {"baseline", "candidate"}


def test_the_floor_is_how_far_the_control_is_off_or_could_be() -> None:
    far = estimate(changed(rounds(800e3, 400e3), "control", 1.1), CALLS)
    assert far.floor == pytest.approx(math.log(1.1), rel=0.01), "the same in every process: far, and sure of it"
    unsure = estimate(rounds(800e3, 400e3, factor=lambda p, arm, _: 1 + 0.01 * (p - 1) * (arm == "control")), CALLS)
    assert unsure.control is not None and unsure.control.value == pytest.approx(1, abs=1e-4)
    assert unsure.floor == pytest.approx(student(0.975, 2) * 0.01 / math.sqrt(3), rel=0.01)


def test_padding_of_the_candidates_short_batches_moves_the_naive_estimate_and_not_the_sealed_one() -> None:
    honest = rounds(800e3, 800e3, processes=1)
    padded = [dataclasses.replace(r, short_ns={**r.short_ns, "candidate": r.short_ns["candidate"] + 12e6}) for r in honest]
    sealed, naive = estimate(padded, CALLS), estimate(padded, CALLS, sealed=False)
    assert sealed.speedup == estimate(honest, CALLS).speedup
    assert sealed.speedup is not None and sealed.speedup.value == pytest.approx(1)
    assert naive.speedup is not None and naive.speedup.value > 1.8
    assert sealed.naive == pytest.approx(naive.speedup.value), "the record shows what would have been believed"


def test_a_slow_candidate_start_costs_the_candidate() -> None:
    e = estimate(changed(rounds(800e3, 800e3), "candidate", 1.5), CALLS)
    assert e.speedup is not None and e.speedup.value < 0.7


def test_a_call_shorter_than_the_handshake_tells_no_speedup() -> None:
    given = rounds(800e3, 400e3)
    given[0] = dataclasses.replace(given[0], long_ns={**given[0].long_ns, "candidate": (1e3, 1e6)})
    e = estimate(given, CALLS)
    assert e.speedup is None and e.mde is None and math.isnan(sum(e.by_process[0]))
    assert e.half_width == math.inf and not e.enough(1e9)
    assert e.control is not None, "baseline against baseline can still be told"


def test_a_negative_naive_slope_is_infinite() -> None:
    given = [dataclasses.replace(r, short_ns=r.short_ns and {**r.short_ns, "candidate": 1e9}) for r in rounds(8e5, 4e5)]
    assert estimate(given, CALLS).naive == math.inf


def test_no_round_is_an_error() -> None:
    with pytest.raises(ValueError, match="no values"):
        estimate([], CALLS)


def test_a_drift_cancels_within_a_round() -> None:
    clock = iter(range(10_000))
    drifting = rounds(800e3, 400e3, factor=lambda *_: 1 + 0.001 * next(clock))
    e = estimate(drifting, CALLS)
    assert e.speedup is not None and e.control is not None
    assert e.speedup.value == pytest.approx(2, rel=1e-4) and e.control.value == pytest.approx(1, rel=1e-4)


PLACES = {
    "first": lambda process, arm, place: 1 + 0.01 * (place == 0),
    "after a check": lambda process, arm, place: 1 + 0.01 * (place % 3 == 0),
    "last": lambda process, arm, place: 1 + 0.01 * (place == 5),
}


@pytest.mark.parametrize("cost", PLACES)
def test_what_a_place_costs_favours_no_arm(cost: str) -> None:
    e = estimate(rounds(800e3, 400e3, count=3, factor=PLACES[cost]), CALLS)
    assert e.speedup is not None and e.control is not None
    assert e.speedup.value == pytest.approx(2, rel=1e-6) and e.control.value == pytest.approx(1, rel=1e-6)


def test_reversing_every_other_round_would_have_favoured_the_arm_in_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "order", lambda number, arms: arms[::-1] if number % 2 else arms)
    e = estimate(rounds(800e3, 800e3, count=4, factor=PLACES["after a check"]), CALLS)
    assert e.speedup is not None and e.control is not None and e.used == 1
    assert e.speedup.low > 1.004, "sure of a difference that is not there"
    assert e.control.value == pytest.approx(1), "and the control does not see it"


def noisy(seed: int, between: float, within: float) -> Callable[[int, str, int], float]:
    """Processes that differ, and batches that jitter."""
    source = random.Random(seed)
    offsets: dict[tuple[int, str], float] = {}

    def factor(process: int, arm: str, place: int) -> float:
        offset = offsets.setdefault((process, arm), source.gauss(0, between))
        return math.exp(offset + source.gauss(0, within))

    return factor


def test_noise_widens_the_interval_around_the_truth() -> None:
    wild, calm = (estimate(rounds(8e5, 4e5, 5, factor=noisy(5, 0.0, sd)), CALLS) for sd in (0.05, 0.005))
    assert wild.speedup is not None and calm.speedup is not None
    assert wild.speedup.low < 2 < wild.speedup.high and calm.speedup.low < 2.01 and calm.speedup.high > 1.99
    assert wild.half_width > 3 * calm.half_width


def test_outliers_do_not_move_the_estimate() -> None:
    given = rounds(800e3, 400e3, 3, 6)
    for i, arm in ((0, "baseline"), (4, "candidate"), (9, "candidate"), (14, "control")):
        first, second = given[i].long_ns[arm]
        given[i] = dataclasses.replace(given[i], long_ns={**given[i].long_ns, arm: (first * 50, second)})
    e = estimate(given, CALLS)
    assert e.speedup is not None and (e.speedup.low, e.speedup.high) == (pytest.approx(2), pytest.approx(2))


def test_processes_that_differ_widen_the_interval_and_more_rounds_do_not_narrow_it() -> None:
    few, many = (estimate(rounds(8e5, 8e5, 5, n, noisy(1, 0.01, 0.0)), CALLS) for n in (2, 8))
    assert few.half_width == pytest.approx(many.half_width) and few.half_width > 0.005
    assert few.scatter == pytest.approx(0, abs=1e-9) and few.enough(0.001), "rounds are not what is missing"


def test_one_process_gets_the_sign_tests_interval_over_its_batches() -> None:
    e = estimate(rounds(800e3, 400e3, 1, 6, noisy(2, 0.0, 0.01)), CALLS)
    assert e.speedup is not None and e.mde is None
    assert e.speedup == median_interval(e.by_process[0]).exp()
    assert 0 < e.scatter < 0.1


def loud(pushed: Callable[[str, random.Random], float], seed: int) -> Callable[[int, str, int], float]:
    """A calm machine, on which a batch takes `pushed` times as long by its arm."""
    source = random.Random(seed)
    return lambda process, arm, place: pushed(arm, source) * math.exp(source.gauss(0, 0.002))


def test_where_others_are_at_work_quiet_batches_decide() -> None:
    """A third of all batches is longer by 10 to 80 %."""

    def pushed(arm: str, source: random.Random) -> float:
        return source.choice((1.0, 1.0, 1.0 + source.uniform(0.1, 0.8)))

    found = [estimate(rounds(8e5, 4e5, 5, 8, loud(pushed, seed)), CALLS) for seed in range(20)]
    decided = [e for e in found if e.used < 0.7]
    assert len(decided) >= 18, "of 20: in one of a hundred fair runs the loud batches look partial"
    assert all(e.speedup is not None and e.speedup.value == pytest.approx(2, rel=0.004) for e in decided)
    assert all(
        e.baseline_ns == pytest.approx(8e5, rel=0.01) and e.candidate_ns == pytest.approx(4e5, rel=0.01) for e in decided
    )


def test_quiet_batches_are_chosen_only_where_others_scatter_more() -> None:
    found = [estimate(rounds(8e5, 8e5, 5, 8, noisy(seed, 0.001, 0.006)), CALLS).used for seed in range(20)]
    assert found.count(1.0) >= 18


def test_a_candidate_that_is_slow_by_itself_is_not_judged_by_its_few_fast_batches() -> None:
    def pushed(arm: str, source: random.Random) -> float:
        return source.choice((1.0, 1.5, 1.5)) if arm == "candidate" else 1.0

    e = estimate(rounds(8e5, 8e5, 5, 12, loud(pushed, 1)), CALLS)
    assert e.speedup is not None and e.used == 1
    assert e.speedup.value < 0.8


def test_scatter_is_half_the_width_where_processes_do_not_differ() -> None:
    pairs = [estimate(rounds(8e5, 8e5, 10, 4, noisy(seed, 0.0, 0.01)), CALLS) for seed in range(40)]
    assert median([e.scatter / e.half_width for e in pairs]) == pytest.approx(1, abs=0.15)


def test_a_single_value_a_process_has_no_scatter_to_stop_on() -> None:
    given = [dataclasses.replace(r, long_ns={a: ns[:1] for a, ns in r.long_ns.items()}) for r in rounds(8e5, 8e5, 3, 1)]
    assert not estimate(given, CALLS).enough(1e9)


def test_detectable_is_a_fraction_and_needs_two_processes() -> None:
    assert detectable([0.1]) is None and detectable([0.1, math.nan]) is None
    assert detectable([0.0, 0.01, 0.02]) == pytest.approx(math.expm1(reach(2) * 0.01 / math.sqrt(3)))


# Coverage, on noise made here; aisp_runner.dev.coverage has the wider table.


def trials(processes: int, between: float, within: float, count: int) -> Iterator[list[Round]]:
    for seed in range(count):
        yield rounds(8e5, 8e5, processes, 6, noisy(seed, between, within))


@pytest.mark.parametrize("processes", [3, 5])
def test_intervals_hold_the_truth_as_often_as_they_say_also_when_rounds_stop_early(processes: int) -> None:
    held, stopped_on_width, count = 0, 0, 500
    for given in trials(processes, 0.003, 0.006, count):
        steps = [estimate(given[: processes * n], CALLS) for n in (2, 4, 6)]
        stop = next((e for e in steps if e.enough(0.007)), steps[-1])
        greedy = next((e for e in steps if e.half_width <= 0.007), steps[-1])
        held += stop.speedup is not None and stop.speedup.low <= 1 <= stop.speedup.high
        stopped_on_width += greedy.speedup is not None and greedy.speedup.low <= 1 <= greedy.speedup.high
    assert held / count == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / count))
    assert stopped_on_width <= held


def test_rounds_of_time_stamps_are_whole_and_in_the_order_they_were_run() -> None:
    told = [(p, n, arm, 100.0 * n + p) for n in (1, 0) for p in (1, 0) for arm in ("baseline", "candidate") * 2]
    assert [(r.process, r.long_ns["candidate"]) for r in stamped_rounds(told)] == [
        (0, (0.0, 0.0)), (1, (1.0, 1.0)), (0, (100.0, 100.0)), (1, (101.0, 101.0)),
    ]  # fmt: skip
    assert len(stamped_rounds(told[:-1])) == 3, "one batch of that round is missing"
    assert stamped_rounds([]) == []


def test_a_speed_up_by_time_stamps_keeps_what_the_judges_clock_says_of_empty_batches() -> None:
    sealed = estimate([Round(0, 7e5, {}, {"baseline": (1e6, 1e6), "candidate": (1e6, 1e6)})] * 3, Calls((1, 5), (1, 5)))
    stamped = by_stamps([Round(0, 0.0, {}, {"baseline": (2e4, 2e4), "candidate": (1e4, 1e4)})] * 3, sealed)
    assert stamped.speedup is not None and stamped.speedup.value == pytest.approx(2)
    assert (stamped.baseline_ns, stamped.candidate_ns, stamped.handshake_ns) == pytest.approx((2e4, 1e4, 7e5))
