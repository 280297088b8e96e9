"""Which lanes a run has, one after the other in phases, and which cases each may run. Nothing is started here.

Cases on a GPU come first, side by side on the GPUs; then those that need several GPUs at once (ranks), alone; then those on
the CPU, on CPU lanes. So nothing of one kind runs beside another kind's measurement.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from aisp_runner.case import Case
from aisp_runner.errors import ConfigError
from aisp_runner.lanes import cores, gpus
from aisp_runner.lanes.asked import Asked
from aisp_runner.lanes.gpus import Gpu


@dataclass(frozen=True)
class Lane:
    """What one lane has."""

    number: int
    """From 1, in the order of their phases."""
    cores: tuple[int, ...]
    gpus: tuple[Gpu, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As a record has it: number, cores, and the GPU, or all of them where a case ran on several."""
        named = [gpu.to_json() for gpu in self.gpus]
        made: dict[str, Any] = {"number": self.number, "cores": list(self.cores), "gpu": named[0] if named else None}
        return made | ({"other_gpus": named[1:]} if len(named) > 1 else {})

    def __str__(self) -> str:
        return " ".join([f"lane {self.number}", *(str(gpu) for gpu in self.gpus)])


@dataclass(frozen=True)
class Phase:
    """Lanes that go side by side, and what they may run."""

    lanes: tuple[Lane, ...]
    takes: Callable[[Case], bool]


@dataclass(frozen=True)
class Layout:
    """All phases of a run, and what a person should know of them."""

    phases: tuple[Phase, ...]
    said: tuple[str, ...] = ()

    def fits(self, lane: Lane, case: Case) -> bool:
        """Whether a lane may run a case that its phase takes."""
        return not case.gpu or any(gpu.uuid == case.gpu for gpu in lane.gpus)


def is_plain(asked: Asked, cases: Sequence[Case]) -> bool:
    """Whether a run goes without lanes, in one process: nothing else is asked, and no case names its GPU."""
    return asked.plain and not any(case.gpu for case in cases)


def mode_of(asked: Asked, count: int) -> str:
    """one, spread or each. count: GPUs that are meant. Raises ConfigError where the two contradict."""
    mode = asked.mode or ("spread" if count > 1 else "one")
    if mode == "one" and count > 1:
        raise ConfigError(f"{asked.words()} with gpus.mode=one: {count} GPUs are meant. Name one, or say spread or each.")
    return mode


def threads(asked: Asked, device: str, usable: int) -> int:
    """CPU threads that a worker may use where nothing else was said: the cores of its lane less one for the judge.

    usable: cores that this process may use, a count; where there are lanes, the machine is asked for them.
    """
    if asked.plain:
        return max(1, usable - 1)
    there = os.sched_getaffinity(0)
    wanted = asked.cpu_lanes if device == "cpu" else len(gpus.chosen(asked))
    count = cores.most_lanes(there, wanted, asked.lane_cores, cores.quota_cores())
    return max(1, cores.of_a_lane(there, count) - 1)


def each(cases: Sequence[Case], asked: Asked) -> tuple[Case, ...]:
    """The cases, those on a GPU once for each GPU that is meant where every one is to be measured on each."""
    if asked.mode != "each" or not any(case.device == "cuda" for case in cases):
        return tuple(cases)
    named = gpus.chosen(asked)
    many = [case.workload for case in cases if case.ranks > 1 and case.device == "cuda"]
    if many:
        raise ConfigError(f"gpus.mode=each: {many[0]} runs on several GPUs at once. Leave it out, or say gpus.mode=spread.")
    return tuple(
        dataclasses.replace(case, gpu=gpu.uuid) if gpu else case
        for case in cases
        for gpu in (named if case.device == "cuda" else (None,))
    )


def layout(asked: Asked, cases: Sequence[Case]) -> Layout:
    """The lanes for what is left to run. Raises ConfigError where GPUs or cores do not allow it."""
    usable = frozenset(os.sched_getaffinity(0))
    made = _Builder(usable, asked)
    single = [case for case in cases if case.device == "cuda" and case.ranks == 1]
    several = [case for case in cases if case.device == "cuda" and case.ranks > 1]
    if single:
        made.side_by_side(_gpus_for(single, asked), any(case.gpu for case in single))
    if asked.use != 1 and not single:
        made.said.append(f"{asked.words()}: no case that is left runs on one GPU.")
    if several:
        there, why = gpus.visible()
        gpus.refuse_none(there, why)
        made.phases.append(
            Phase((made.lane(tuple(sorted(usable)), tuple(there)),), lambda c: c.device == "cuda" and c.ranks > 1)
        )
    if any(case.device == "cpu" for case in cases):
        made.on_cpu()
    _refuse_crowding(made.phases, cases)
    return Layout(tuple(made.phases), tuple(made.said))


def _gpus_for(cases: Sequence[Case], asked: Asked) -> list[Gpu]:
    """The GPUs that the cases name, or else those that were asked for."""
    named = {case.gpu for case in cases if case.gpu}
    if not named:
        if asked.mode == "each":
            raise ConfigError("gpus.mode=each: the plan's cases name no GPU. Name what to run, so that the plan is made anew.")
        meant = gpus.chosen(asked)
        if mode_of(asked, len(meant)) == "spread":
            gpus.refuse_mixture(meant)
        return meant
    there, why = gpus.visible()
    absent = sorted(named - {gpu.uuid for gpu in there})
    if absent:
        raise ConfigError(
            f"the plan's cases are for {', '.join(absent)}, which {'is' if len(absent) == 1 else 'are'} not visible here"
            f"{f' ({why})' if why else ''}. Make the GPU visible, or make the plan again."
        )
    return [gpu for gpu in there if gpu.uuid in named]


class _Builder:
    """Collects phases and numbers their lanes."""

    def __init__(self, usable: frozenset[int], asked: Asked) -> None:
        self.usable, self.asked = usable, asked
        self.phases: list[Phase] = []
        self.said: list[str] = []

    def lane(self, mine: tuple[int, ...], named: tuple[Gpu, ...] = (), ahead: int = 0) -> Lane:
        """The next lane. ahead: how many of its own phase come before it."""
        return Lane(1 + ahead + sum(len(phase.lanes) for phase in self.phases), mine, named)

    def side_by_side(self, named: Sequence[Gpu], bound: bool) -> None:
        """Lanes with a GPU each, as many at a time as there are cores for. bound: cases name their GPUs, so all get a turn."""
        count = self._count(len(named), "GPU")
        rounds = [named[i : i + count] for i in range(0, len(named), count)] if bound else [named[:count]]
        for group in rounds:
            parts = cores.partition(self.usable, [*(gpu.near for gpu in group), *[()] * (count - len(group))])[: len(group)]
            lanes = tuple(self.lane(part, (gpu,), n) for n, (part, gpu) in enumerate(zip(parts, group, strict=True)))
            mine = frozenset(gpu.uuid for gpu in group)
            self.phases.append(Phase(lanes, lambda case, mine=mine: _on_one_gpu(case) and case.gpu in {"", *mine}))  # type: ignore[misc]

    def on_cpu(self) -> None:
        """CPU lanes."""
        parts = cores.partition(self.usable, [()] * self._count(self.asked.cpu_lanes, "CPU"))
        lanes = tuple(self.lane(part, (), n) for n, part in enumerate(parts))
        self.phases.append(Phase(lanes, lambda case: case.device == "cpu"))

    def _count(self, wanted: int, kind: str) -> int:
        quota = cores.quota_cores()
        count = cores.most_lanes(self.usable, wanted, self.asked.lane_cores, quota)
        if count < wanted:
            of = f"{len(self.usable)} cores" + (f", of which a quota allows {quota:g}" if quota is not None else "")
            self.said.append(
                f"{count} {kind} lane{'' if count == 1 else 's'} instead of {wanted}: there are {of}, and a lane has at least "
                f"{self.asked.lane_cores} (cpus.lane_cores)."
            )
        if kind == "CPU" and count > 1 and self.asked.lane_cores == 1 and len(self.usable) < 2 * count:
            self.said.append("A lane of one core: the judge and the workers share it, so times scatter more.")
        return count


def _on_one_gpu(case: Case) -> bool:
    return case.device == "cuda" and case.ranks == 1


def _refuse_crowding(phases: Sequence[Phase], cases: Sequence[Case]) -> None:
    """Raises ConfigError where a worker has more threads than its lane has cores."""
    for phase in phases:
        room = min(len(lane.cores) for lane in phase.lanes)
        crowded = [case for case in cases if phase.takes(case) and len(phase.lanes) > 1 and case.threads > max(1, room - 1)]
        if crowded:
            raise ConfigError(
                f"{crowded[0].title}: its workers have {crowded[0].threads} threads, and a lane has {room} cores, one of them "
                f"for the judge. Make the plan with the same gpus and cpus settings, or with threads={max(1, room - 1)}."
            )
