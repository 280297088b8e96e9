"""From a schedule to samples: rounds in every set by the clock that decides, then what else is asked of the clocks."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from aisp_runner import device_rounds
from aisp_runner.arm import ArmTimeout, NotReady
from aisp_runner.calibrate import Schedule, fall_back
from aisp_runner.cast import ARMS
from aisp_runner.judge import Batch, Judge
from aisp_runner.rounds import over, palindrome, turned, verify
from aisp_runner.state import mismatched
from aisp_runner.statistics import Estimate, Round, by_stamps, estimate, median

GAP_CALLS = 64
"""Calls by which the gap between launches on a stream is found: few enough to fit behind the gate."""

UNSEEN, UNSEEN_NS = 0.003, 5_000
"""A batch's time may be wrong by this share of itself, or by this much, ns, whichever is more."""


@dataclass
class Measurement:
    """What was sampled of a case. Times a call are in ns, by arm."""

    schedule: Schedule
    rounds: list[Round] = field(default_factory=list)
    dropped: int = 0
    """Rounds left out because the arms ran at clocks that differ by more than 1 %, or because the judge was kept from
    looking.
    """
    busy: list[Round] = field(default_factory=list)
    """The same palindromes in the device's own time: kernel-busy time of each batch."""
    span: list[Round] = field(default_factory=list)
    """From the first kernel's start to the last one's end."""
    kernels: dict[str, float] = field(default_factory=dict)
    """Kernels a call, by arm."""
    no_device_clock: str = ""
    """Why there are no device rounds."""
    stamped: list[Round] = field(default_factory=list)
    """Where time stamps decide: times of a call in each batch, the lower quartile. Empty where the judge's clock decides."""
    why_device: str = ""
    """Why time stamps decide, or ""."""
    serial: dict[str, list[float]] = field(default_factory=dict)
    """One-call batches, less the shortest empty one: another process on the GPU makes a batch longer, and none shorter."""
    unsettled_ns: float = 0.0
    """By how much empty batches differ, which a one-call batch does as well: twice their median less the shortest."""
    launch_gap: dict[str, float] = field(default_factory=dict)
    """What a call takes longer when it is launched on a stream than in a graph."""

    @property
    def source(self) -> str:
        """Whose clock decides: sealed, the judge's, or device."""
        return "device" if self.stamped else "sealed"

    @property
    def purpose(self) -> str:
        """Of the batches whose times decide."""
        return "device" if self.stamped else "round"

    def estimate(self, sealed: bool = True) -> Estimate:
        """What the clock that decides says. sealed: see statistics.estimate. Raises ValueError without a round."""
        own = estimate(self.rounds, self.schedule.calls, sealed)
        return by_stamps(self.stamped, own) if self.stamped else own


def measure(judge: Judge, schedule: Schedule, progress: Callable[[int, int], None]) -> Measurement:
    """Rounds until the interval is narrow enough, the time is up, or the rounds are. Raises WorkerFault.

    progress is told (round, rounds). A gated batch that cannot be made ready any more makes the whole case start over from
    the host's clock.
    """
    judge.note_state(keep=False)
    try:
        return _measured(judge, schedule, progress)
    except NotReady as stuck:
        for batch in judge.batches:
            batch.purpose = "dropped" if batch.purpose == "round" else batch.purpose
        return _measured(judge, fall_back(schedule, stuck), progress)


def _measured(judge: Judge, schedule: Schedule, progress: Callable[[int, int], None]) -> Measurement:
    made = Measurement(schedule)
    _rounds(judge, made, progress)
    if made.why_device:
        device_rounds.decide(judge, made, progress)
        if not made.stamped:
            _rounds(judge, made, progress)
    judge.process = 0
    if not judge.shields.on("output.poisoned_outputs"):
        judge.check_once(
            [next(b for b in reversed(judge.batches) if b.arm == arm and b.calls and not b.process) for arm in ARMS]
        )
    if made.schedule.mode != "wall" and not made.stamped and not judge.refused():
        _serial(judge, made)
        device_rounds.beside(judge, made)
        _gap(judge, made)
    return made


def _rounds(judge: Judge, made: Measurement, progress: Callable[[int, int], None]) -> None:
    """Rounds by the judge's clock, after those that there are. They end early where time stamps are to decide."""
    wanted, sets, start_s = judge.case.measure, len(judge.cast.sets), time.monotonic()
    for number in range(len(made.rounds) // sets, wanted.rounds):
        for process in range(sets):
            judge.process = process
            made.rounds.append(_steady_round(judge, made, number))
        judge.note_state()
        progress(number + 1, wanted.rounds)
        if number + 1 >= wanted.min_rounds:
            made.why_device = device_rounds.why(judge, made)
        if made.why_device or over(judge, made, number + 1, start_s):
            break


def _steady_round(judge: Judge, made: Measurement, number: int) -> Round:
    """A round whose arms ran at the same clock, and whose batches the judge saw end. One that is not is dropped, counted and
    repeated, as often as there are rounds.
    """
    while True:
        first, usual_ns = len(judge.batches), _usually_unseen_ns(judge.batches)
        made_round = _round(judge, made.schedule, number)
        clocks: dict[str, list[int | None]] = {}
        for batch in judge.batches[first:]:
            if batch.calls:
                clocks.setdefault(batch.arm, []).append(batch.clock_mhz)
        sound = not mismatched(clocks) and not any(unseen(batch, usual_ns) for batch in judge.batches[first:])
        if sound or made.dropped >= judge.case.measure.rounds:
            return made_round
        made.dropped += 1
        for batch in judge.batches[first:]:
            batch.purpose = "dropped"


def unseen(batch: Batch, usual_ns: float = 0.0) -> bool:
    """Whether the judge was kept from looking when the batch began or ended, by another process or an interrupt, for longer
    than a time may be wrong. What it always misses is in every batch, empty ones too, and so in no time a call.
    """
    return batch.unseen_ns is not None and batch.unseen_ns - usual_ns > max(UNSEEN_NS, UNSEEN * batch.elapsed_ns)


def _usually_unseen_ns(batches: Sequence[Batch]) -> float:
    missed = [float(batch.unseen_ns) for batch in batches if batch.unseen_ns is not None]
    return median(missed) if missed else 0.0


def _round(judge: Judge, schedule: Schedule, number: int) -> Round:
    mode, calls = schedule.mode, schedule.calls
    empty = judge.run("baseline", 0, 1, mode, "round", number).elapsed_ns
    done = palindrome(judge, calls, mode, "round", number)
    long = {role: tuple(float(judge.time_ns(b)) for b in done if b.arm == role) for role in judge.cast.roles}
    short: dict[str, float] = {}
    if judge.process == 0:
        few = {arm: calls.of(arm)[0] for arm in ARMS}
        judge.draw(few)
        ran = [judge.run(arm, few[arm], calls.of(arm)[1], mode, "round", number) for arm in turned(judge, number, ARMS)]
        verify(judge, ran)
        short = {b.arm: float(judge.time_ns(b)) for b in ran}
    return Round(judge.process, float(empty), short, long)


def _serial(judge: Judge, made: Measurement) -> None:
    """One call at a time: its content is revealed when the call before it is done, so no call can do another one's work."""
    mode, took = made.schedule.mode, []
    for number in range(judge.case.measure.serial):
        judge.run("baseline", 0, 1, mode, "serial", number)
        judge.draw(dict.fromkeys(ARMS, 1))
        ran = [judge.run(arm, 1, made.schedule.calls.of(arm)[1], mode, "serial", number) for arm in ARMS]
        verify(judge, ran)
        took += [(batch.arm, batch.elapsed_ns) for batch in ran]
    if not took:
        return
    empty = [float(b.elapsed_ns) for b in judge.batches if not b.calls and b.purpose in ("round", "serial")]
    made.serial = {arm: [float(ns - min(empty)) for who, ns in took if who == arm] for arm in ARMS}
    made.unsettled_ns = 2 * (median(empty) - min(empty))


def _gap(judge: Judge, made: Measurement) -> None:
    """Launches on a stream against the graph, by batches of the same calls; nothing where there is no graph."""
    if made.schedule.mode != "graph":
        return
    few = {arm: min(GAP_CALLS, made.schedule.calls.of(arm)[1]) for arm in ARMS}
    times: dict[tuple[str, str], list[float]] = {}
    try:
        for number in range(2):
            for mode in ("gated", "graph"):
                empty = judge.run("baseline", 0, 1, mode, "gap", number).elapsed_ns
                judge.draw(few)
                ran = [judge.run(arm, few[arm], few[arm], mode, "gap", number) for arm in ARMS]
                verify(judge, ran)
                for b in ran:
                    times.setdefault((b.arm, mode), []).append((b.elapsed_ns - empty) / b.calls)
    except ArmTimeout:
        return  # more launches than the queue holds: the gap stays "not measured"
    made.launch_gap = {arm: median(times[arm, "gated"]) - median(times[arm, "graph"]) for arm in ARMS}
