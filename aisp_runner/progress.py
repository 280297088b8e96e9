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


class Progress:
    """Counts the cases of a run, those of the runs before it included."""

    def __init__(self, total: int, kept: Sequence[dict[str, Any]] = ()) -> None:
        """kept: records of earlier runs that stand."""
        self.total, self.kept = total, len(kept)
        self.statuses: dict[str, int] = {}
        self._logs: list[float] = []
        self._seconds: list[float] = []
        for record in kept:
            self._count(record)

    def add(self, record: dict[str, Any], seconds: float) -> None:
        """A case has its record. seconds: what it took, all in all."""
        self._count(record)
        self._seconds.append(seconds)

    @property
    def done(self) -> int:
        """Cases that have a record, whatever it says."""
        return sum(self.statuses.values())

    @property
    def failed(self) -> int:
        """Of these: INVALID and ERROR."""
        return sum(self.statuses.get(status, 0) for status in FAILED)

    @property
    def left(self) -> int:
        """Cases without a record."""
        return self.total - self.done

    @property
    def left_s(self) -> float | None:
        """Seconds that the cases that are left take, if they take what those of this run took on average; None before one has
        ended.
        """
        return self.left * sum(self._seconds) / len(self._seconds) if self._seconds else None

    @property
    def speedup(self) -> float | None:
        """Geometric mean of the speed-ups of VALID cases so far; None where there is none."""
        return math.exp(sum(self._logs) / len(self._logs)) if self._logs else None

    def words(self) -> str:
        """3 done, 1 failed, 16 left, about 2 min; 2.31x on average. "" where nothing is left."""
        if not self.left:
            return ""
        parts = [f"{self.done} done", f"{self.failed} failed" if self.failed else "", f"{self.left} left"]
        parts.append(f"about {duration(self.left_s)}" if self.left_s is not None else "")
        mean = f"; {self.speedup:.2f}x on average" if self.speedup is not None and len(self._logs) > 1 else ""
        return ", ".join(part for part in parts if part) + mean

    def to_json(self) -> dict[str, Any]:
        """The counts, as every line has them."""
        rounded = {
            key: None if value is None else round(value, 4) for key, value in (("left_s", self.left_s), ("mean", self.speedup))
        }
        counts = {status.lower(): self.statuses.get(status, 0) for status in ("VALID", "INVALID", "INCONCLUSIVE", "ERROR")}
        of = {"total": self.total, "kept": self.kept, "done": self.done, "failed": self.failed, "left": self.left}
        return of | {"statuses": counts, "left_s": rounded["left_s"], "speedup_mean": rounded["mean"]}

    def _count(self, record: dict[str, Any]) -> None:
        self.statuses[record["status"]] = self.statuses.get(record["status"], 0) + 1
        if record["status"] == "VALID" and record["speedup"] is not None and not record["quarantined"]:
            self._logs.append(math.log(record["speedup"]["value"]))


class Lines:
    """Writes the lines. Where it is off it writes nothing."""

    def __init__(self, on: bool, stream: TextIO | None = None) -> None:
        self.on, self.stream = on, stream or sys.stderr
        self._start_ns = time.perf_counter_ns()

    def started(self, progress: Progress, run_dir: str, plan_sha256: str, shard: str) -> None:
        """The first line of a run."""
        self._write("start", progress, run_dir=run_dir, plan_sha256=plan_sha256, shard=shard)

    def case_started(self, progress: Progress, number: int, case: Case) -> None:
        """Before each case. number: from 1."""
        self._write("case_start", progress, case={"number": number, "title": case.title})

    def case_ended(self, progress: Progress, number: int, case: Case, record: dict[str, Any], seconds: float) -> None:
        """After each case; its record is on the disk."""
        shown = record["speedup"] if record["status"] == "VALID" and not record["quarantined"] else None
        told: dict[str, Any] = {"number": number, "title": case.title, "status": record["status"], "outcome": record["outcome"]}
        told |= {"speedup": None if shown is None else shown["value"], "reasons": record["reasons"]}
        told |= {"seconds": round(seconds, 3), "supersedes": "supersedes" in record}
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


def duration(seconds: float) -> str:
    """40 s, 12 min, 3.5 h, 2.1 d."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} d"
