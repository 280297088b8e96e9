"""What a sweep over sizes says of each variant: its geometric mean, its worst size, and from which size on it wins.

The mean of n sizes is exp of the mean of their log speed-ups. Its interval takes their errors as independent: half-widths in
log are added in squares and divided by n (propagation of errors, as for any mean of measured values), below and above apart.
Held-out sizes count as any other. Refused and withheld comparisons have no numbers and are counted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from aisp_runner.report import clean, has_numbers, microseconds, speedup_text

BAR, BAR_LOG2 = 24, 6.0
"""Characters of a bar, and the log2 of the speed-up that fills it."""


@dataclass(frozen=True)
class Point:
    """One size of a variant."""

    axes: dict[str, int]
    held_out: bool
    speedup: float
    low: float
    high: float
    outcome: str
    baseline_us: float | None
    candidate_us: float | None
    share: float | None
    """Of the roofline that this machine allows, from 0 to 1; None where it was not measured."""
    text: str

    @property
    def size(self) -> str:
        return ",".join(f"{axis}={value}" for axis, value in self.axes.items()) + " held out" * self.held_out


@dataclass(frozen=True)
class Curve:
    """A variant over its sizes, in the order of the sizes."""

    workload: str
    variant: str
    device: str
    points: tuple[Point, ...]
    without: int
    """Comparisons that have no numbers."""

    @property
    def worst(self) -> Point:
        """Where it gains least."""
        return min(self.points, key=lambda point: point.speedup)

    def mean(self) -> tuple[float, float, float]:
        """Geometric mean of the speed-ups, and its interval."""
        n = len(self.points)
        middle = sum(math.log(p.speedup) for p in self.points) / n
        below = math.sqrt(sum(math.log(p.speedup / p.low) ** 2 for p in self.points)) / n
        above = math.sqrt(sum(math.log(p.high / p.speedup) ** 2 for p in self.points)) / n
        return math.exp(middle), math.exp(middle - below), math.exp(middle + above)

    def line(self) -> str:
        """geometric mean 2.98x [2.90, 3.05] of 3 sizes, worst 2.69x at n=1024; wins from n=4096 up."""
        value, low, high = self.mean()
        gone = f", {self.without} without numbers" if self.without else ""
        told = f"geometric mean {value:.2f}x [{low:.2f}, {high:.2f}] of {len(self.points)} sizes{gone}"
        return f"{told}, worst {self.worst.speedup:.2f}x at {self.worst.size}; {'; '.join(self.crossovers())}"

    def crossovers(self) -> list[str]:
        """From or up to which size it wins, along each axis that varies while the others stay."""
        wins = [point.outcome == "FASTER" for point in self.points]
        if all(wins):
            return ["wins at every size"]
        if not any(wins):
            return ["slower at every size" if all(p.outcome == "SLOWER" for p in self.points) else "wins at no size for sure"]
        found = [told for axis in self.points[0].axes for group in self._along(axis) for told in _crossover(axis, group)]
        return found or [f"wins at {sum(wins)} of {len(wins)} sizes"]

    def _along(self, axis: str) -> Iterator[list[Point]]:
        """Points that differ in this axis alone, in its order."""
        groups: dict[tuple[Any, ...], list[Point]] = {}
        for point in self.points:
            groups.setdefault(tuple(v for name, v in point.axes.items() if name != axis), []).append(point)
        yield from (sorted(g, key=lambda p: p.axes[axis]) for g in groups.values() if len({p.axes[axis] for p in g}) > 1)


def _crossover(axis: str, points: list[Point]) -> Iterator[str]:
    """Where wins begin or end along an axis, once; nothing where they come and go, or never change."""
    wins = [point.outcome == "FASTER" for point in points]
    turns = [i for i in range(1, len(wins)) if wins[i] != wins[i - 1]]
    fixed = ",".join(f"{name}={value}" for name, value in points[0].axes.items() if name != axis)
    at = f" at {fixed}" if fixed else ""
    if len(turns) == 1:
        here, before = points[turns[0]], points[turns[0] - 1]
        others = points[: turns[0]] if wins[-1] else points[turns[0] :]
        sure = ", undecided elsewhere" if all(p.outcome == "UNDECIDED" for p in others) else _near(axis, before, here)
        if wins[-1]:
            yield f"wins from {axis}={here.axes[axis]} up{at}{sure}"
        else:
            yield f"wins up to {axis}={before.axes[axis]}{at}{sure}"
    elif turns:
        won = ", ".join(str(point.axes[axis]) for point, win in zip(points, wins, strict=True) if win)
        yield f"wins at {axis}={won}{at}, with no single crossover"


def _near(axis: str, before: Point, here: Point) -> str:
    """Where the straight line between two sizes, both in log, meets a speed-up of 1; nothing where it does not."""
    a, b = math.log(before.speedup), math.log(here.speedup)
    if a * b >= 0:
        return ""
    x, y = math.log(before.axes[axis]), math.log(here.axes[axis])
    return f" (even near {axis}={math.exp(x + (y - x) * a / (a - b)):.2g})"


def of_records(records: Sequence[dict[str, Any]]) -> list[Curve]:
    """A curve for each variant that was measured at two sizes or more; the one with the worst size first."""
    grouped: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for r in records:
        grouped.setdefault((r["workload"], r["candidate"] or r["variant"], r["case"]["device"]), []).append(r)
    found = []
    for (workload, variant, device), own in grouped.items():
        points = sorted((_point(r) for r in own if has_numbers(r)), key=lambda point: tuple(point.axes.values()))
        if len(points) > 1:
            found.append(Curve(workload, variant, device, tuple(points), len(own) - len(points)))
    return sorted(found, key=lambda curve: curve.worst.speedup)


def _point(r: dict[str, Any]) -> Point:
    case, s, clock = r["case"], r["speedup"], r["clock"] or {}
    share = (r.get("roofline") or {}).get("share")
    times = clock.get("baseline_us"), clock.get("candidate_us")
    told = s["value"], s["low"], s["high"], r["outcome"] or ""
    return Point(dict(case["axes"]), case["held_out"], *told, *times, share, speedup_text(r))


def lines(found: Sequence[Curve]) -> list[str]:
    """Each curve: its summary, then a line a size with a bar, 1x in the middle."""
    made: list[str] = []
    for curve in found:
        made += [f"{curve.workload} / {curve.variant} ({curve.device})", f"  {curve.line()}"]
        width = max(len(point.size) for point in curve.points)
        texts = max(len(point.text) for point in curve.points)
        for p in curve.points:
            share = f"{100 * p.share:5.1f} % of roofline" if p.share is not None else ""
            times = f"{microseconds(p.baseline_us):>8} -> {microseconds(p.candidate_us):>8} us"
            made.append(f"  {p.size:<{width}}  {times}  {p.text:<{texts}}  {_bar(p.speedup)}  {share}".rstrip())
        made.append("")
    return [clean(line) for line in made]


def _bar(speedup: float) -> str:
    """To the right of the middle where it is faster."""
    half = BAR // 2
    length = min(half, round(abs(math.log2(speedup)) / BAR_LOG2 * half))
    left, right = ("", "#" * length) if speedup >= 1 else ("#" * length, "")
    return f"{left:>{half}}|{right:<{half}}"


def as_json(found: Sequence[Curve]) -> list[dict[str, Any]]:
    """Curves as plain values."""
    return [
        {
            "workload": curve.workload,
            "variant": curve.variant,
            "device": curve.device,
            "geometric_mean": dict(zip(("value", "low", "high"), curve.mean(), strict=True)),
            "worst": curve.worst.axes,
            "crossovers": curve.crossovers(),
            "without_numbers": curve.without,
            "points": [asdict(point) for point in curve.points],
        }
        for curve in found
    ]
