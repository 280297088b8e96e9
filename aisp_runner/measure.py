"""From a schedule to samples: rounds in every set of processes, then what else is asked of the clocks."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from aisp_runner.arm import ArmTimeout, NotReady
from aisp_runner.calibrate import Schedule, fall_back
from aisp_runner.cast import ARMS
from aisp_runner.judge import Batch, Judge
from aisp_runner.state import mismatched
from aisp_runner.statistics import Calls, Round, estimate, median, order

GAP_CALLS = 64
"""Calls by which the gap between launches on a stream is found: few enough to fit behind the gate."""

UNSEEN, UNSEEN_NS = 0.003, 5_000
"""A batch's time may be wrong by this share of itself, or by this much, ns, whichever is more."""

NO_STAMPS = "measure.device_clock is off: install cupti-python, or take the seconds that measure.device_clock=kineto costs"


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
    serial: dict[str, list[float]] = field(default_factory=dict)
    """One-call batches, less the shortest empty one: another process on the GPU makes a batch longer, and none shorter."""
    unsettled_ns: float = 0.0
    """By how much empty batches differ, which a one-call batch does as well: twice their median less the shortest."""
    launch_gap: dict[str, float] = field(default_factory=dict)
    """What a call takes longer when it is launched on a stream than in a graph."""


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
    judge.process = 0
    if not judge.shields.on("output.poisoned_outputs"):
        judge.check_once(
            [next(b for b in reversed(judge.batches) if b.arm == arm and b.calls and not b.process) for arm in ARMS]
        )
    if made.schedule.mode != "wall" and not judge.refused():
        _serial(judge, made)
        _device(judge, made)
        _gap(judge, made)
    return made


def _rounds(judge: Judge, made: Measurement, progress: Callable[[int, int], None]) -> None:
    wanted, start = judge.case.measure, time.monotonic()
    for number in range(wanted.rounds):
        for process in range(len(judge.cast.sets)):
            judge.process = process
            made.rounds.append(_steady_round(judge, made, number))
        judge.note_state()
        progress(number + 1, wanted.rounds)
        done = number + 1
        if done < wanted.min_rounds or (done % 2 and done > 1):
            continue
        if time.monotonic() - start > wanted.seconds or judge.refused():
            break
        if estimate(made.rounds, made.schedule.calls).enough(wanted.half_width):
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
    done = _palindrome(judge, calls, mode, "round", number)
    long = {role: tuple(float(judge.time_ns(b)) for b in done if b.arm == role) for role in judge.cast.roles}
    short: dict[str, float] = {}
    if judge.process == 0:
        few = {arm: calls.of(arm)[0] for arm in ARMS}
        judge.draw(few)
        ran = [judge.run(arm, few[arm], calls.of(arm)[1], mode, "round", number) for arm in _order(judge, number, ARMS)]
        _verify(judge, ran)
        short = {b.arm: float(judge.time_ns(b)) for b in ran}
    return Round(judge.process, float(empty), short, long)


def _palindrome(judge: Judge, calls: Calls, mode: str, purpose: str, number: int) -> list[Batch]:
    """Two long batches of each arm, on two draws of content that all arms share: A B C C B A, B C A A C B or C A B B A C."""
    done: list[Batch] = []
    first = _order(judge, number, judge.cast.roles)
    for half in (first, first[::-1]):
        judge.draw({role: calls.of(role)[1] for role in judge.cast.roles})
        ran = [judge.run(role, calls.of(role)[1], calls.of(role)[1], mode, purpose, number) for role in half]
        _verify(judge, ran)
        done += ran
    return done


def _order(judge: Judge, number: int, roles: tuple[str, ...]) -> tuple[str, ...]:
    """Rotated from round to round, and from one set of processes to the next."""
    return order(number + judge.process, roles)


def _verify(judge: Judge, ran: list[Batch]) -> None:
    if judge.shields.on("output.poisoned_outputs"):
        judge.verify([b for b in ran if b.arm in ARMS])


def _serial(judge: Judge, made: Measurement) -> None:
    """One call at a time: its content is revealed when the call before it is done, so no call can do another one's work."""
    mode, took = made.schedule.mode, []
    for number in range(judge.case.measure.serial):
        judge.run("baseline", 0, 1, mode, "serial", number)
        judge.draw(dict.fromkeys(ARMS, 1))
        ran = [judge.run(arm, 1, made.schedule.calls.of(arm)[1], mode, "serial", number) for arm in ARMS]
        _verify(judge, ran)
        took += [(batch.arm, batch.elapsed_ns) for batch in ran]
    if not took:
        return
    empty = [float(b.elapsed_ns) for b in judge.batches if not b.calls and b.purpose in ("round", "serial")]
    made.serial = {arm: [float(ns - min(empty)) for who, ns in took if who == arm] for arm in ARMS}
    made.unsettled_ns = 2 * (median(empty) - min(empty))


def _device(judge: Judge, made: Measurement) -> None:
    """Palindromes of the first set under the profiler."""
    wanted, calls, judge.process = judge.case.measure, made.schedule.calls, 0
    if wanted.device_clock not in ("cupti", "kineto"):
        made.no_device_clock = NO_STAMPS
        return
    if judge.case.ranks > 1:
        made.no_device_clock = f"{judge.case.ranks} ranks run on as many GPUs, whose clocks have no common start"
        return
    for number in range(wanted.device_rounds):
        try:
            done = _palindrome(judge, calls, "profiled", "device", number)
        except ArmTimeout as stuck:
            made.no_device_clock = f"{stuck} launches more than fits behind the gate, so no time stamps were taken"
            break
        odd = next((b for b in done if b.device is None or "error" in b.device), None)
        if odd is not None:
            made.no_device_clock = f"{odd.arm}: {(odd.device or {}).get('error', 'no time stamps')}"
            break
        made.busy.append(_device_round(judge, done, "call_ns"))
        made.span.append(_device_round(judge, done, "span_ns"))
        made.kernels = {b.arm: (b.device or {})["kernels"] / b.calls for b in done}
    if made.no_device_clock:
        made.busy, made.span = [], []


def _device_round(judge: Judge, done: list[Batch], key: str) -> Round:
    """call_ns is a time a call; a round holds times a batch."""
    times = {
        role: tuple(float(b.device[key]) * (b.calls if key == "call_ns" else 1) for b in done if b.arm == role and b.device)
        for role in judge.cast.roles
    }
    return Round(judge.process, 0.0, {}, times)


def _gap(judge: Judge, made: Measurement) -> None:
    """Launches on a stream against the graph, by batches of the same calls; nothing where there is no graph. It enters no
    verdict, so its outputs are not compared: an oracle's answers may take longer than all of its batches.
    """
    if made.schedule.mode != "graph":
        return
    few = {arm: min(GAP_CALLS, made.schedule.calls.of(arm)[1]) for arm in ARMS}
    times: dict[tuple[str, str], list[float]] = {}
    try:
        for number in range(2):
            for mode in ("gated", "graph"):
                empty = judge.run("baseline", 0, 1, mode, "gap", number).elapsed_ns
                judge.draw(few)
                for b in [judge.run(arm, few[arm], few[arm], mode, "gap", number) for arm in ARMS]:
                    times.setdefault((b.arm, mode), []).append((b.elapsed_ns - empty) / b.calls)
    except ArmTimeout:
        return  # more launches than the queue holds: the gap stays "not measured"
    made.launch_gap = {arm: median(times[arm, "gated"]) - median(times[arm, "graph"]) for arm in ARMS}
