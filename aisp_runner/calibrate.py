"""From loaded workers to a schedule: warm them up, choose the clock, find how many calls a batch needs."""

from __future__ import annotations

from dataclasses import dataclass, replace

from aisp_runner.arm import ArmTimeout, CannotCapture, NotReady
from aisp_runner.cast import ARMS
from aisp_runner.device.base import slot_bytes
from aisp_runner.errors import WorkerFault
from aisp_runner.judge import Batch, Judge
from aisp_runner.statistics import Calls

GATED_CALLS = 400
"""Calls of a gated batch at most: the queue behind a gate holds about 1,020 launches."""

CONTENT_BYTES = 4 << 30
"""Inputs and outputs of a batch at most, unless calls are given: drawing and revealing more takes longer than timing it."""

SHORT_PART = 5
"""A long batch has this many times the calls of a short one."""

WALL_GPU_FACTOR = 4.0
"""Batches timed from the host on a GPU are this much longer than gated ones: their handshake varies by tens of microseconds."""

ALIKE = 2.0
"""Arms whose times a call differ by less than this factor get the same number of calls."""

STEADY = {"cpu": 0.05, "cuda": 0.02}
"""Warm-up is over when two batches of an arm in a row differ by less than this fraction."""

WARM_UP_BATCHES = 8
"""After so many pairs of batches measuring starts in any case, and the record says that the machine was not steady."""


@dataclass(frozen=True)
class Schedule:
    """How batches of a case are run."""

    calls: Calls
    mode: str
    """graph, gated or wall."""
    reason: str = ""
    """Why the clock is not a better one on a GPU, or ""."""
    warm_up_batches: int = 0
    """Pairs of batches it took until times were steady."""
    steady: bool = True


def calibrate(judge: Judge) -> Schedule:
    """Warms all workers up on throwaway content, chooses the clock and the calls of a batch. Raises WorkerFault. A variant
    whose batches are ready behind the gate at one time and not at another is timed from the host's clock.

    Every slot that will be timed is visited by every worker before, so that lazy loading, compiling and per-address set-up
    are over.
    """
    case = judge.case
    judge.process = 0
    first = [judge.arms[arm] for arm in ARMS]
    rest = [arm for arm in judge.cast.all() if arm not in first]
    # NCCL's kernels wait for one another on their GPUs: those of several variants at once would take turns at waiting.
    alone = case.ranks > 1 and case.device == "cuda"
    for arms in [[arm] for arm in (*first, *rest)] if alone else [first, rest]:
        judge.rehearse(arms)
    mode, reason = _choose(judge)
    calls: dict[str, int] = {}
    while True:
        try:
            calls = calls or _calls(judge, mode)
            _visit(judge, calls, mode)
            both = Calls(*(_short_and_long(case.measure.calls, calls[arm]) for arm in ARMS))
            return _settle(judge, Schedule(both, mode, reason), calls)
        except NotReady as full:
            smaller = not case.measure.calls and max(calls.values(), default=0) > 2 and isinstance(full, ArmTimeout)
            if smaller:
                calls = {arm: max(2, n // 4) for arm, n in calls.items()}
            elif case.measure.mode != "auto":
                raise _unusable(case.measure.mode, f"{full}: more than fits behind the gate") from full
            else:
                mode, reason = "wall", f"{full}: more than fits behind the gate"


def fall_back(schedule: Schedule, why: Exception) -> Schedule:
    """The same calls from the host's clock, after a gated batch that no longer could be made ready."""
    return replace(schedule, mode="wall", reason=f"{why}: a batch that had fitted behind the gate no longer did")


def most_calls(judge: Judge, mode: str) -> int:
    """Calls of a long batch at most: slots, what fits behind the gate, content that can be drawn quickly or stays in the
    cache.
    """
    per_call = max(1, slot_bytes((*judge.case.inputs, *judge.case.outputs)))
    room = judge.device.cache_bytes // 2 if judge.case.cache == "hot" and judge.device.cache_bytes else CONTENT_BYTES
    most = max(2, min(judge.slots, room // per_call))
    return min(most, GATED_CALLS) if mode == "gated" else most


def batches(judge: Judge, calls: dict[str, int], window: dict[str, int], mode: str) -> list[Batch]:
    """A batch of each arm on the same new content, throwaway. Nothing is checked: a worker cannot tell, and no time of it
    counts.
    """
    judge.draw(calls)
    return [judge.run(arm, calls[arm], window[arm], mode) for arm in ARMS]


def _choose(judge: Judge) -> tuple[str, str]:
    """The best clock that both arms allow, tried with one call each, and why it is not a better one."""
    wanted = judge.case.measure.mode
    if judge.case.device != "cuda":
        return "wall", ""
    if judge.case.claim == "wall" or wanted == "wall":
        return "wall", "the claim is wall time" if judge.case.claim == "wall" else "measure.mode is wall"
    one, reasons = dict.fromkeys(ARMS, 1), []
    for mode in ("graph", "gated") if wanted == "auto" else (wanted,):
        try:
            tried = batches(judge, one, one, mode)
        except CannotCapture as refused:
            reasons.append(f"no graph: {refused}")
            continue
        except ArmTimeout as stuck:
            reasons.append(f"{stuck} waits for the device inside a call")
            break
        if mode == "gated" or judge.agrees(tried):
            return mode, "; ".join(reasons)
        reasons.append("no graph: calls are not all launched on the current stream")
    if wanted != "auto":
        raise _unusable(wanted, "; ".join(reasons))
    return "wall", "; ".join(reasons)


def _unusable(mode: str, why: str) -> WorkerFault:
    return WorkerFault("candidate", "mode", f"measure.mode={mode} cannot be used: {why}. Use measure.mode=auto")


def _calls(judge: Judge, mode: str) -> dict[str, int]:
    """Calls of a long batch, by arm: as asked for, or by growing batches until they last as long as is aimed at."""
    wanted = judge.case.measure
    if wanted.calls:
        return dict.fromkeys(ARMS, min(wanted.calls[1], judge.slots))
    aim_ns, most = _aim_ns(judge, mode), most_calls(judge, mode)
    ns = _grow(judge, aim_ns, most, mode)
    calls = {arm: max(2, min(most, round(aim_ns / ns[arm]))) for arm in ARMS}
    if max(ns.values()) < ALIKE * min(ns.values()):
        calls = dict.fromkeys(ARMS, min(calls.values()))
    return calls


def _aim_ns(judge: Judge, mode: str) -> float:
    wanted = judge.case.measure
    if judge.case.device == "cuda":
        return wanted.batch_gpu_ms * 1e6 * (WALL_GPU_FACTOR if mode == "wall" else 1.0)
    return wanted.batch_ms * 1e6


def _grow(judge: Judge, aim_ns: float, most: int, mode: str) -> dict[str, float]:
    """Each arm's time a call, ns, by its largest batch less an empty one: the largest that fits behind the gate."""
    calls, found = dict.fromkeys(ARMS, 1), dict[str, float]()
    while True:
        try:
            done = batches(judge, calls, calls, mode)
        except ArmTimeout:
            if found:
                return found
            raise
        empty = judge.run("baseline", 0, 1, mode).elapsed_ns
        elapsed = {b.arm: max(1.0, b.elapsed_ns - empty) for b in done}
        found = {arm: elapsed[arm] / calls[arm] for arm in ARMS}
        growing = {arm: min(most, n * 8) for arm, n in calls.items() if elapsed[arm] < aim_ns / 8 and n < most}
        if not growing:
            return found
        calls |= growing


def _visit(judge: Judge, calls: dict[str, int], mode: str) -> None:
    """Every worker visits every slot that will be timed: first free to wait for the device, then as it will be timed."""
    by_role = {role: calls["candidate" if role == "candidate" else "baseline"] for role in judge.cast.roles}
    for number in range(len(judge.cast.sets)):
        judge.process = number
        for way in dict.fromkeys(("wall", mode)):
            judge.draw(by_role)
            done = [judge.run(role, n, n, way) for role, n in by_role.items()]
            if judge.shields.on("output.poisoned_outputs"):
                judge.verify([b for b in done if b.arm in ARMS])
    judge.process = 0


def _settle(judge: Judge, schedule: Schedule, calls: dict[str, int]) -> Schedule:
    """Runs batches until two in a row of each arm agree."""
    limit = STEADY[judge.case.device]
    before = [float(b.elapsed_ns) for b in batches(judge, calls, calls, schedule.mode)]
    for count in range(2, WARM_UP_BATCHES + 1):
        now = [float(b.elapsed_ns) for b in batches(judge, calls, calls, schedule.mode)]
        if all(abs(a / b - 1) < limit for a, b in zip(now, before, strict=True)):
            return replace(schedule, warm_up_batches=count)
        before = now
    return replace(schedule, warm_up_batches=WARM_UP_BATCHES, steady=False)


def _short_and_long(wanted: tuple[int, int] | None, long: int) -> tuple[int, int]:
    return min(wanted[0] if wanted else max(1, long // SHORT_PART), long - 1), long
