"""Which CPU cores each lane has: as many as the others, none twice, those near its GPU first.

Whole physical cores are given out as long as there is one for each lane, so that no two lanes share one's hardware threads.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from aisp_runner.machine import ROOT, cpu_facts
from aisp_runner.system import _siblings


def most_lanes(usable: Collection[int], wanted: int, least: int, quota: float | None = None) -> int:
    """How many of the wanted lanes there can be, at least 1. least: cores a lane has at least, a count.

    quota: CPU time that the control group allows, in cores; it bounds the lanes as the cores do.
    """
    cores = len(usable) if quota is None else min(len(usable), int(quota))
    return max(1, min(wanted, cores // least))


def quota_cores() -> float | None:
    """The CPU quota of this process's control group, in cores; None without one."""
    found: float | None = cpu_facts()["cpu_quota_cores"]
    return found


def partition(usable: Collection[int], near: Sequence[Collection[int]], root: Path = ROOT) -> list[tuple[int, ...]]:
    """The cores of each lane, sorted. near: cores that each lane would have, one collection a lane; empty: any.

    All lanes get equally many. What is left over is nobody's, and the process that tells the lanes what to run goes there.
    Core 0, where interrupts go by default, is given out last.
    """
    units = _units(usable, len(near), root)
    each = len(units) // len(near)
    mine: list[list[tuple[int, ...]]] = [[] for _ in near]
    free = list(units)
    for _ in range(each):  # in turns, so that lanes of one NUMA node share it fairly
        for lane, close in enumerate(near):
            best = min(free, key=lambda unit: (bool(close) and not set(unit) & set(close), 0 in unit, unit))
            free.remove(best)
            mine[lane].append(best)
    least = min(sum(map(len, lane)) for lane in mine)
    return [tuple(sorted(core for unit in lane for core in unit)[:least]) for lane in mine]


def of_a_lane(usable: Collection[int], lanes: int, root: Path = ROOT) -> int:
    """How many cores each of so many lanes gets, a count."""
    return len(partition(usable, [()] * lanes, root)[0])


def _units(usable: Collection[int], lanes: int, root: Path) -> list[tuple[int, ...]]:
    """What is given out as one piece: physical cores, or hardware threads where there are fewer of those than lanes."""
    whole = sorted({tuple(sorted(_siblings(core, root) & set(usable))) for core in usable})
    return whole if len(whole) >= lanes else [(core,) for core in sorted(usable)]
