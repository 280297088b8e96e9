"""A plan in tasks: which cases each one runs, and what it needs of a node.

A task is a shard of the plan, so that a node runs it by the same door as everybody: `python -m aisp_runner.execute shard.json`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from aisp_runner.engine.choice import Engine
from aisp_runner.plan_file import Shard
from aisp_runner.resume import Slot


@dataclass(frozen=True)
class Task:
    """One shard of the plan, and the cases of it."""

    number: int
    """From 1."""
    shard: Shard
    slots: tuple[Slot, ...]
    replaces: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What the new records take the place of, by the case's place in the plan (from 0, as text: it is a key of JSON)."""

    @property
    def gpus(self) -> int:
        """GPUs that the largest case of it takes."""
        return max((slot.case.ranks for slot in self.slots if slot.case.device == "cuda"), default=0)

    def cpus(self, engine: Engine) -> int:
        """CPUs that it takes: as the engine says, or the threads of its largest case and one for the judge."""
        return engine.cpus_per_task or 1 + max(slot.case.threads * slot.case.ranks for slot in self.slots)

    @property
    def head(self) -> dict[str, Any]:
        """What stands beside the plan in its shard.json."""
        return {"shard": asdict(self.shard)} | ({"replaces": self.replaces} if self.replaces else {})

    def said(self) -> str:
        """task 3 (shard 3/20, 1 case)."""
        count = len(self.slots)
        return f"task {self.number} (shard {self.shard}, {count} case{'' if count == 1 else 's'})"


@dataclass(frozen=True)
class Ended:
    """A task that is over, whatever came of it."""

    task: Task
    records: Path | None
    """Its file of records, where there is one."""
    kind: str = ""
    """Why a case may have no record: lost, time_limit or failed; "" where the runner of the task ended by itself and well."""
    message: str = ""
    """What is known of that: the node, the scheduler's own words."""


class Executor(Protocol):
    """What runs tasks: Ray, Slurm, or a stand-in of a test."""

    def start(self, tasks: Sequence[Task], plan: bytes) -> None:
        """Hands all tasks over. plan: the content of plan.json."""

    def ended(self) -> list[Ended]:
        """Waits a moment; gives the tasks that ended since the last call."""

    def cancel(self) -> None:
        """Ends what still runs. Called once, at an interruption."""

    def merged(self, task: Task) -> None:
        """The records of a task are in the run's own file; what was kept for that may go."""

    def close(self) -> None:
        """Lets go of everything."""


def cut(slots: Sequence[Slot], cases: int, within: Shard, cases_per_task: int) -> list[Task]:
    """Tasks for exactly the slots that have no record.

    cases: of the whole plan. within: the part of it that the slots are of, one a slot. Every N-th case goes to a task, as
    `aisp plan split N` does it. Where only some of a task's cases are left (a run that goes on), each of them is a task of its
    own.
    """
    left = {within.number - 1 + place * within.of: slot for place, slot in enumerate(slots) if slot.record is None}
    of = -(-cases // cases_per_task)
    made: list[tuple[Shard, list[int]]] = []
    for number in range(1, of + 1):
        places = range(number - 1, cases, of)
        waiting = [place for place in places if place in left]
        if len(waiting) == len(places):
            made.append((Shard(number, of), waiting))
        else:
            made += [(Shard(place + 1, cases), [place]) for place in waiting]
    return [
        Task(
            number,
            shard,
            tuple(left[place] for place in places),
            {str(place): old for place in places if (old := left[place].supersedes) is not None},
        )
        for number, (shard, places) in enumerate(made, start=1)
    ]


def shard_file(head: dict[str, Any], plan: bytes) -> bytes:
    """The content of a task's shard.json. head: of the task. plan: the content of plan.json."""
    whole = {key: value for key, value in json.loads(plan).items() if key not in ("shard", "replaces")}
    return json.dumps(head | whole, ensure_ascii=False).encode()
