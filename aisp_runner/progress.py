"""How far a run is: counts, time left, speed-up so far; for people as words, for machines as JSON lines.

schemas/progress.schema.json has the keys of a line.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Sequence
from typing import Any, TextIO

from aisp_runner.case import Case

FORMAT = 1
"""Version of the lines."""

FAILED = ("INVALID", "ERROR")


class Tally:
    """Counts of records by status, what they took, and the mean of their speed-ups."""

    def __init__(self) -> None:
        self.statuses: dict[str, int] = {}
        self.logs: list[float] = []
        self.seconds: list[float] = []

    def count(self, record: dict[str, Any]) -> None:
        """One more record."""
        self.statuses[record["status"]] = self.statuses.get(record["status"], 0) + 1
        if record["status"] == "VALID" and record["speedup"] is not None and not record["quarantined"]:
            self.logs.append(math.log(record["speedup"]["value"]))

    @property
    def done(self) -> int:
        """Cases that have a record, whatever it says."""
        return sum(self.statuses.values())

    @property
    def failed(self) -> int:
        """Of these: INVALID and ERROR."""
        return sum(self.statuses.get(status, 0) for status in FAILED)

    @property
    def speedup(self) -> float | None:
        """Geometric mean of the speed-ups of VALID cases so far; None where there is none."""
        return math.exp(sum(self.logs) / len(self.logs)) if self.logs else None


class LaneTally(Tally):
    """The same of one lane, in this run."""

    def __init__(self, named: dict[str, Any]) -> None:
        super().__init__()
        self.named = named
        """As a record has the lane."""
        self.state = "starting"
        """starting, waiting (for its GPU), running, ended, or closed after a fault."""
        self.title = ""
        """The case that it runs."""
        self.left = 0
        """Cases that it may still take, those that others may take too among them."""
        self.sharers = 1
        """Open lanes that may take them."""

    @property
    def left_s(self) -> float | None:
        """Seconds until what it may take is done, its share of it where others may take it too; None before one has ended."""
        if not self.seconds or self.state in ("ended", "closed"):
            return None
        return self.left / self.sharers * sum(self.seconds) / len(self.seconds)

    def to_json(self) -> dict[str, Any]:
        """As a line of progress has it."""
        gpu = self.named["gpu"]
        of = {"lane": self.named["number"], "gpu": None if gpu is None else {key: gpu[key] for key in ("uuid", "index")}}
        counts = {"done": self.done, "failed": self.failed, "left": self.left}
        return of | {"state": self.state, **counts, "left_s": _rounded(self.left_s), "speedup_mean": _rounded(self.speedup)}


class Progress(Tally):
    """Counts the cases of a run, those of the runs before it included, and those of each lane where there are lanes."""

    def __init__(self, total: int, kept: Sequence[dict[str, Any]] = ()) -> None:
        """kept: records of earlier runs that stand."""
        super().__init__()
        self.total, self.kept = total, len(kept)
        self.lanes: dict[int, LaneTally] = {}
        for record in kept:
            self.count(record)

    def add(self, record: dict[str, Any], seconds: float, lane: int | None = None) -> None:
        """A case has its record. seconds: what it took, all in all. lane: which one ran it."""
        for tally in (self, *([self.lanes[lane]] if lane in self.lanes else [])):
            tally.count(record)
            tally.seconds.append(seconds)
        if lane in self.lanes:
            self.lanes[lane].left = max(0, self.lanes[lane].left - 1)

    def lane(self, number: int, named: dict[str, Any] | None = None, state: str = "", title: str = "") -> LaneTally:
        """The tally of a lane, which begins with what the lane has (`named`); state and title: what it does now."""
        if number not in self.lanes:
            self.lanes[number] = LaneTally(named or {"number": number, "gpu": None})
        found = self.lanes[number]
        found.state, found.title = state or found.state, title if state else found.title
        found.left = 0 if state in ("ended", "closed") else found.left
        return found

    @property
    def left(self) -> int:
        """Cases without a record."""
        return self.total - self.done

    @property
    def left_s(self) -> float | None:
        """Seconds that the cases that are left take, if they take what those of this run took on average; None before one has
        ended.
        """
        busy = max(1, sum(lane.state == "running" for lane in self.lanes.values()))
        return self.left / busy * sum(self.seconds) / len(self.seconds) if self.seconds else None

    def words(self, lane: int | None = None) -> str:
        """3 done, 1 failed, 16 left, about 2 min; 2.31x on average. "" where nothing is left. lane: what it has done, too."""
        if lane is not None:
            return "; all: ".join(part for part in (self.lane_words(lane), self.words()) if part)
        if not self.left:
            return ""
        parts = [f"{self.done} done", f"{self.failed} failed" if self.failed else "", f"{self.left} left"]
        parts.append(f"about {duration(self.left_s)}" if self.left_s is not None else "")
        mean = f"; {self.speedup:.2f}x on average" if self.speedup is not None and len(self.logs) > 1 else ""
        return ", ".join(part for part in parts if part) + mean

    def to_json(self) -> dict[str, Any]:
        """The counts, as every line has them."""
        counts = {status.lower(): self.statuses.get(status, 0) for status in ("VALID", "INVALID", "INCONCLUSIVE", "ERROR")}
        of = {"total": self.total, "kept": self.kept, "done": self.done, "failed": self.failed, "left": self.left}
        made = of | {"statuses": counts, "left_s": _rounded(self.left_s), "speedup_mean": _rounded(self.speedup)}
        return made | ({"lanes": [lane.to_json() for _, lane in sorted(self.lanes.items())]} if self.lanes else {})

    def lane_words(self, number: int) -> str:
        """lane 1 (GPU 0): 3 done, 1 failed, about 40 s; 2.31x on average."""
        lane = self.lanes[number]
        gpu = lane.named["gpu"]
        words = [f"{lane.done} done", f"{lane.failed} failed" if lane.failed else ""]
        words += [f"about {duration(lane.left_s)}" if lane.left_s else ""]
        mean = f"; {lane.speedup:.2f}x on average" if lane.speedup is not None and len(lane.logs) > 1 else ""
        name = f"lane {number}" + (f" (GPU {gpu['index']})" if gpu else "")
        return f"{name}: {', '.join(word for word in words if word)}{mean}"


class Lines:
    """Writes the lines. Where it is off it writes nothing."""

    def __init__(self, on: bool, stream: TextIO | None = None) -> None:
        self.on, self.stream = on, stream or sys.stderr
        self._start_ns = time.perf_counter_ns()

    def started(self, progress: Progress, run_dir: str, plan_sha256: str, shard: str) -> None:
        """The first line of a run."""
        self._write("start", progress, run_dir=run_dir, plan_sha256=plan_sha256, shard=shard)

    def case_started(self, progress: Progress, number: int, case: Case, lane: int | None = None) -> None:
        """Before each case. number: from 1. lane: which one runs it, where there are lanes."""
        self._write("case_start", progress, case={"number": number, "title": case.title} | _on(lane))

    def case_ended(
        self, progress: Progress, number: int, case: Case, record: dict[str, Any], seconds: float, lane: int | None = None
    ) -> None:
        """After each case; its record is on the disk."""
        shown = record["speedup"] if record["status"] == "VALID" and not record["quarantined"] else None
        told: dict[str, Any] = {"number": number, "title": case.title, "status": record["status"], "outcome": record["outcome"]}
        told |= {"speedup": None if shown is None else shown["value"], "reasons": record["reasons"]}
        told |= {"seconds": round(seconds, 3), "supersedes": "supersedes" in record} | _on(lane)
        self._write("case_end", progress, case=told)

    def ended(self, progress: Progress, exit_code: int | None) -> None:
        """The last line. exit_code: None where the run was interrupted or broke off."""
        self._write("end", progress, exit_code=exit_code)

    def _write(self, event: str, progress: Progress, **more: Any) -> None:
        if not self.on:
            return
        elapsed = round((time.perf_counter_ns() - self._start_ns) / 1e9, 3)
        line = {"format": FORMAT, "event": event, "elapsed_s": elapsed} | progress.to_json() | more
        self.stream.write(json.dumps(line, separators=(",", ":")) + "\n")
        self.stream.flush()


def _on(lane: int | None) -> dict[str, int]:
    return {} if lane is None else {"lane": lane}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def duration(seconds: float) -> str:
    """40 s, 12 min, 3.5 h, 2.1 d."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} d"
