"""Rounds in the device's own time: beside the judge's clock, or deciding where another process computes on the GPU."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aisp_runner.arm import ArmTimeout
from aisp_runner.calibrate import most_calls
from aisp_runner.cast import ARMS
from aisp_runner.judge import Batch, Judge
from aisp_runner.rounds import over, palindrome
from aisp_runner.sharing import LEAST_NS, READERS, STEP_NS, TURN_NS, answerable, empty_batches, limit_us
from aisp_runner.statistics import Calls, Round, estimate, stamped_rounds

if TYPE_CHECKING:
    from aisp_runner.measure import Measurement

NO_STAMPS = "measure.device_clock is off: install cupti-python, or take the seconds that measure.device_clock=kineto costs"
TOO_MANY = "launches more than fits behind the gate, so no time stamps were taken"

LEAST_CALLS = 8
"""Calls of a batch that time stamps decide by, where its content has room: of calls as long as a turn few fit into one."""

INTERRUPTED = 0.1
"""Share of the batches that may have no call which fits into a turn."""


def beside(judge: Judge, made: Measurement) -> None:
    """Palindromes of the first set under the profiler, to be held against the judge's clock."""
    judge.process = 0
    if judge.case.measure.device_clock not in READERS:
        made.no_device_clock = NO_STAMPS
    elif judge.case.ranks > 1:
        made.no_device_clock = f"{judge.case.ranks} ranks run on as many GPUs, whose clocks have no common start"
    for number in range(judge.case.measure.device_rounds):
        if made.no_device_clock:
            break
        _take(judge, made, number, made.schedule.calls)


def why(judge: Judge, made: Measurement) -> str:
    """Why time stamps are to decide a case, or "" where the judge's clock does."""
    case, bounded = judge.case, judge.shields.on("timing.clock_agreement")
    able = case.measure.device_clock in READERS and not made.no_device_clock and bounded and not judge.refused()
    seen = empty_batches(judge.batches, limit_us(case))
    if not able or seen is None or not answerable(case, made.schedule.mode):
        return ""
    if seen.shared:
        return f"another process computes on the GPU: {seen}; limit {seen.limit_us:.0f} us"
    if max(seen.us) > seen.limit_us and estimate(made.rounds, made.schedule.calls).speedup is None:
        longest = f"a batch without calls took up to {max(seen.us):.0f} us; limit {seen.limit_us:.0f} us"
        return f"another process computes on the GPU at times: {longest}, and the judge's clock gives no time a call"
    return ""


def decide(judge: Judge, made: Measurement, progress: Callable[[int, int], None]) -> None:
    """Palindromes in every set until the interval is narrow enough. Without time stamps to decide by, made.no_device_clock
    says why, and nothing of them is kept.
    """
    wanted, start_s, calls = judge.case.measure, time.monotonic(), _calls(judge, made)
    _warm_up(judge, made, calls)
    for number in range(wanted.rounds):
        for process in range(len(judge.cast.sets)):
            judge.process = process
            done = [] if made.no_device_clock else _take(judge, made, number, calls)
            made.no_device_clock = made.no_device_clock or _untellable(done)
        made.no_device_clock = made.no_device_clock or _interrupted(judge.batches)
        if made.no_device_clock:
            made.busy, made.span, made.stamped, made.why_device = [], [], [], ""
            return
        made.stamped = stamps_of(judge.batches)
        judge.note_state()
        progress(number + 1, wanted.rounds)
        if over(judge, made, number + 1, start_s):
            return


def _calls(judge: Judge, made: Measurement) -> Calls:
    """Those of the schedule, or more where they are few: one of them at least is to fit into a turn."""
    most = most_calls(judge, "gated")
    least = {arm: max(made.schedule.calls.of(arm)[1], min(most, LEAST_CALLS)) for arm in ARMS}
    return Calls((1, least["baseline"]), (1, least["candidate"]))


def _warm_up(judge: Judge, made: Measurement, calls: Calls) -> None:
    """A batch of each worker under the profiler that does not count: the first one switches it on."""
    by_role = {role: calls.of(role)[1] for role in judge.cast.roles}
    try:
        for process in range(len(judge.cast.sets)):
            judge.process = process
            judge.draw(by_role)
            for role, n in by_role.items():
                judge.run(role, n, n, "profiled")
    except ArmTimeout as stuck:
        made.no_device_clock = f"{stuck} {TOO_MANY}"


def stamps_of(batches: list[Batch]) -> list[Round]:
    """The rounds that time stamps amount to."""
    told = [b for b in batches if b.purpose == "device" and b.device]
    return stamped_rounds([(b.process, b.round, b.arm, (b.device or {})["quarter_ns"]) for b in told])


def _take(judge: Judge, made: Measurement, number: int, calls: Calls) -> list[Batch]:
    """One palindrome; without time stamps nothing is kept, and made.no_device_clock says why."""
    try:
        done = palindrome(judge, calls, "profiled", "device", number)
    except ArmTimeout as stuck:
        return _none(made, f"{stuck} {TOO_MANY}")
    odd = next((b for b in done if b.device is None or "error" in b.device), None)
    if odd is not None:
        return _none(made, f"{odd.arm}: {(odd.device or {}).get('error', 'no time stamps')}")
    own = made.schedule.calls
    made.busy.append(_round(judge, done, own, lambda device, calls: float(device["call_ns"])))
    made.span.append(_round(judge, done, own, lambda device, calls: float(device["span_ns"]) / calls))
    made.kernels = {b.arm: (b.device or {})["kernels"] / b.calls for b in done}
    return done


def _none(made: Measurement, reason: str) -> list[Batch]:
    made.no_device_clock, made.busy, made.span = reason, [], []
    return []


def _round(judge: Judge, done: list[Batch], calls: Calls, call_ns: Callable[[dict[str, Any], int], float]) -> Round:
    """As long as the schedule's batches of so many calls would take. call_ns: a time a call from time stamps and calls."""
    times = {
        role: tuple(call_ns(b.device, b.calls) * calls.of(role)[1] for b in done if b.arm == role and b.device)
        for role in judge.cast.roles
    }
    return Round(judge.process, 0.0, {}, times)


def _untellable(done: list[Batch]) -> str:
    """Why the time of a call cannot be read from these batches' time stamps, or ""."""
    for b in done:
        device = b.device or {}
        if device["kernels"] % b.calls:
            return f"{b.arm}: {device['kernels']} kernels cannot be shared out over {b.calls} calls"
        if device["quarter_ns"] < LEAST_NS:
            took = f"{b.arm}: a call takes {device['quarter_ns'] / 1e3:.2f} us"
            return f"{took}, and time stamps in steps of {STEP_NS} ns tell {LEAST_NS / 1e3:.1f} us or more"
    return ""


def _interrupted(batches: list[Batch]) -> str:
    """Why these time stamps hold another process's turns, or "". The few batches that do now and then are loud ones to the
    estimate.
    """
    told_ns = [(b.device or {})["quarter_ns"] for b in batches if b.purpose == "device" and b.device]
    longer = sum(ns > TURN_NS for ns in told_ns)
    if longer <= INTERRUPTED * len(told_ns):
        return ""
    turn = f"{TURN_NS / 1e6:.0f} ms, the turn that a process has on a shared GPU"
    return f"in {longer} of {len(told_ns)} batches every call took longer than {turn}"
