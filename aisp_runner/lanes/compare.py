"""GPUs of one machine beside each other, where each case was measured on each of them (`gpus.mode=each`).

Two GPUs differ in a case where the ratio of their numbers is beyond twice the larger of their noise floors (as an outcome is
decided, docs/decisions/0011). Blind spot: the floor is of one GPU at a time, so what both share, such as the CPU, is not in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aisp_runner.record import by_device


@dataclass(frozen=True)
class Cell:
    """One case on one GPU."""

    index: int
    """Of the GPU among the visible ones, from 0."""
    value: float
    """Speed-up: a ratio."""
    low: float
    high: float
    floor: float
    """The noise floor that A/A found, a fraction."""
    us: float | None
    """A call of the candidate, us."""

    def text(self) -> str:
        """2.10x [2.05, 2.14]"""
        return f"{self.value:.2f}x [{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True)
class Compared:
    """One case on all GPUs that have a number of it."""

    title: str
    cells: tuple[Cell, ...]
    missing: tuple[str, ...] = ()
    """GPU and status, where there is no number."""

    @property
    def limit(self) -> float:
        """What two GPUs may differ by without being said to, a fraction."""
        return 2 * max((cell.floor for cell in self.cells), default=0.0)

    @property
    def times(self) -> list[Cell]:
        """By the time of a call, the fastest GPU first; empty where one has none."""
        timed = [cell for cell in self.cells if cell.us]
        return sorted(timed, key=lambda cell: cell.us or 0.0) if len(timed) == len(self.cells) else []

    @property
    def time_spread(self) -> float | None:
        """By how much longer a call takes on the slowest GPU than on the fastest, a fraction."""
        times = self.times
        return times[-1].us / times[0].us - 1 if len(times) > 1 and times[0].us and times[-1].us else None

    @property
    def speedup_spread(self) -> float | None:
        """By how much the largest speed-up is over the smallest, a fraction."""
        values = [cell.value for cell in self.cells]
        return max(values) / min(values) - 1 if len(values) > 1 else None

    @property
    def apart(self) -> bool:
        """Whether the speed-ups of two GPUs differ: beyond the limit, and their intervals do not meet."""
        low, high = min(self.cells, key=lambda c: c.value), max(self.cells, key=lambda c: c.value)
        return (self.speedup_spread or 0.0) > self.limit and low.high < high.low

    def conclusion(self) -> str:
        """What is said below the row."""
        if len(self.cells) < 2:
            return "fewer than two GPUs have a number"
        spread = self.speedup_spread or 0.0
        words = [f"speed-ups {'differ' if self.apart else 'do not differ'} ({spread:.1%}, limit {self.limit:.1%})"]
        if self.time_spread is not None:
            beyond = "beyond" if self.time_spread > self.limit else "within"
            fast, slow = self.times[0], self.times[-1]
            words.append(
                f"slowest GPU {slow.index}, fastest GPU {fast.index}: {self.time_spread:.1%} apart, {beyond} the limit"
            )
        return "; ".join(words)


def compared(records: Sequence[dict[str, Any]]) -> list[Compared]:
    """Each case that names its GPU, with its numbers on all of them; a number is taken of VALID records out of quarantine, and
    of the judge's clock alone: another one's differ from them by more than GPUs do.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for r in records:
        if r["case"].get("gpu") and (r.get("lane") or {}).get("gpu"):
            groups.setdefault(_title(r), []).append(r)
    made = []
    for title, mine in groups.items():
        mine.sort(key=_index)
        stamped = [r for r in mine if by_device(r)]
        numbered = [r for r in mine if r["status"] == "VALID" and r["speedup"] and not r["quarantined"] and r not in stamped]
        lacking = [(r, "by time stamps" if r in stamped else r["status"]) for r in mine if r not in numbered]
        missing = tuple(f"GPU {_index(r)} {why}" for r, why in lacking)
        made.append(Compared(title, tuple(map(_cell, numbered)), missing))
    return made


def lines(records: Sequence[dict[str, Any]]) -> list[str]:
    """The table as text; nothing where no two GPUs were compared."""
    rows = compared(records)
    indices = sorted({cell.index for row in rows for cell in row.cells})
    if len(indices) < 2:
        return []
    made = ["GPUs compared, speed-up by GPU:"]
    for row in rows:
        cells = [f"GPU {cell.index} {cell.text()}" for cell in row.cells] + list(row.missing)
        made += [f"  {row.title}: {'  '.join(cells)}", f"    {row.conclusion()}"]
    apart = sum(row.apart for row in rows)
    slow = sum((row.time_spread or 0.0) > row.limit for row in rows)
    made.append(f"  speed-ups differ between GPUs in {apart} of {len(rows)} cases, times of a call in {slow}")
    return made


def _cell(r: dict[str, Any]) -> Cell:
    s = r["speedup"]
    return Cell(_index(r), s["value"], s["low"], s["high"], s.get("floor") or 0.0, (r["clock"] or {}).get("candidate_us"))


def _index(r: dict[str, Any]) -> int:
    return int(r["lane"]["gpu"]["index"])


def _title(r: dict[str, Any]) -> str:
    case = r["case"]
    axes = ",".join(f"{k}={v}" for k, v in case["axes"].items())
    words = [r["workload"], r["candidate"] or r["variant"], f"{axes}{' held out' if case['held_out'] else ''}"]
    return "".join(c if c.isprintable() else "?" for c in " / ".join(word for word in words if word))
