"""Tasks on Slurm: job arrays that submitit writes and submits, never queued again.

A node gets a command and paths; records come back as files in a folder that all nodes share. submitit pickles the command for
its own child and what that prints; neither is read here. What became of a task is Slurm's to say: squeue, and sacct where
squeue no longer knows it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from aisp_runner import record
from aisp_runner.engine.choice import Engine
from aisp_runner.engine.task import Ended, Task, shard_file
from aisp_runner.errors import ConfigError, DiskError

POLL_S = 2.0
"""Between two questions to Slurm."""

UNKNOWN_POLLS = 5
"""So often in a row unknown to squeue and sacct, and a task is lost."""

FORGOTTEN = "Slurm no longer knows it: it was cancelled before it began, or ended long ago"
"""What stands for the state of such a task: without accounting Slurm keeps nothing of it."""

SETTLE_S = 30.0
"""How long records of a task that Slurm calls completed may take to be seen here: file attributes are cached on NFS."""

MOST_IN_ARRAY = 1000
"""Slurm's own limit is 1001 unless it was raised (MaxArraySize)."""

OVER_TIME = ("TIMEOUT", "DEADLINE")
BY_ITSELF = ("COMPLETED", "FAILED")
OVER = (*OVER_TIME, *BY_ITSELF, "CANCELLED", "NODE_FAIL", "PREEMPTED", "BOOT_FAIL", "OUT_OF_MEMORY", "REVOKED", "LAUNCH_FAILED")
"""States that a task does not leave."""

LAST_WORDS = 300
"""Characters of a task's log in a message."""


class OnSlurm:
    """One run's tasks on Slurm."""

    def __init__(self, engine: Engine, run_dir: Path, lock_clocks: bool, say: Callable[[str], None]) -> None:
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        base = Path(engine.folder).expanduser() if engine.folder else run_dir / "tasks"
        self.folder = base.absolute() / f"{stamp}-{os.getpid()}"
        self.engine, self.say = engine, say
        self.options = ["--lock-clocks"] if lock_clocks else []
        self._jobs: dict[str, Task] = {}
        """Tasks that are out, by Slurm's id: 17_3 in an array, 17 alone."""
        self._unknown: dict[str, int] = {}
        self._settling: dict[str, float] = {}

    def start(self, tasks: Sequence[Task], plan: bytes) -> None:
        """Writes each task's folder and submits them: an array for all that need the same of a node. Raises ConfigError."""
        alike: dict[tuple[int, int], list[Task]] = {}
        try:
            for task in tasks:
                self._of(task).mkdir(parents=True)
                (self._of(task) / "shard.json").write_bytes(shard_file(task.head, plan))
                alike.setdefault((task.gpus, task.cpus(self.engine)), []).append(task)
        except OSError as error:
            raise DiskError(f"engine.folder: {self.folder} cannot be written: {error.strerror}. Name another.") from None
        try:
            for (gpus, cpus), group in alike.items():
                for first in range(0, len(group), MOST_IN_ARRAY):
                    self._submit(group[first : first + MOST_IN_ARRAY], gpus, cpus)
        except BaseException:
            self.cancel()
            raise

    def _submit(self, tasks: list[Task], gpus: int, cpus: int) -> None:
        import submitit

        try:
            executor = submitit.SlurmExecutor(self.folder / "slurm", max_num_timeout=0)
            executor.update_parameters(**self._asked(gpus, cpus))
            with executor.batch():
                jobs = [executor.submit(submitit.helpers.CommandFunction(self._command(task))) for task in tasks]
        except (OSError, RuntimeError, subprocess.CalledProcessError, submitit.core.utils.FailedJobError) as error:
            raise ConfigError(f"engine=slurm: Slurm did not take the tasks: {_last(str(error))}. See sinfo.") from None
        self._jobs |= {str(job.job_id): task for job, task in zip(jobs, tasks, strict=True)}
        self.say(
            f"{len(tasks)} tasks are with Slurm as job {str(jobs[0].job_id).partition('_')[0]}; their folder is {self.folder}"
        )

    def _asked(self, gpus: int, cpus: int) -> dict[str, Any]:
        """The parameters of one array, as submitit calls them."""
        asked: dict[str, Any] = {
            "job_name": "aisp-run",
            "time": self.engine.time_limit_minutes,
            "cpus_per_task": cpus,
            "array_parallelism": self.engine.array_parallelism,
            "use_srun": False,  # since 22.05 a step of srun has one CPU, unless it is told otherwise again
            # submitit would be told of the end up to a minute early, end the task itself and queue it again. URG is ignored.
            "additional_parameters": {"no-requeue": True, "signal": "URG@1"},
        }
        asked |= {"gpus_per_node": gpus} if gpus else {}
        return asked | ({"partition": self.engine.partition} if self.engine.partition else {})

    def _of(self, task: Task) -> Path:
        return self.folder / f"{task.number:05d}"

    def _command(self, task: Task) -> list[str]:
        shard, run_dir = self._of(task) / "shard.json", self._of(task) / "run"
        return [sys.executable, "-m", "aisp_runner.execute", str(shard), "--run-dir", str(run_dir), *self.options]

    def ended(self) -> list[Ended]:
        """Waits two seconds; gives the tasks that Slurm calls over."""
        time.sleep(POLL_S)
        found = states(sorted({job.partition("_")[0] for job in self._jobs}))
        over = []
        for job, task in list(self._jobs.items()):
            state, node = found.get(job, ("", ""))
            self._unknown[job] = 0 if state else self._unknown.get(job, 0) + 1
            if self._unknown[job] >= UNKNOWN_POLLS:
                state = FORGOTTEN
            if state == FORGOTTEN or (state in OVER and not self._still_comes(job, task, state)):
                del self._jobs[job]
                over.append(self._ended(job, task, state, node))
        return over

    def _still_comes(self, job: str, task: Task, state: str) -> bool:
        """Whether a task ended by itself and its records may yet be on their way through the file system."""
        if state != "COMPLETED" or (self._of(task) / "run" / record.FILE).exists():
            return False
        return time.monotonic() - self._settling.setdefault(job, time.monotonic()) < SETTLE_S

    def _ended(self, job: str, task: Task, state: str, node: str) -> Ended:
        kind = "time_limit" if state in OVER_TIME else "failed" if state in BY_ITSELF else "lost"
        where = f"job {job} on node {node}" if node else f"job {job}"
        limit = f" (engine.time_limit_minutes={self.engine.time_limit_minutes})" if kind == "time_limit" else ""
        why = f"{where}: Slurm says {state}{limit}" if state != FORGOTTEN else f"{where}: {FORGOTTEN}"
        if kind == "failed":
            why += f": {_last(self._log(job))}"
        file = self._of(task) / "run" / record.FILE
        return Ended(task, file if file.is_file() else None, kind, why)

    def _log(self, job: str) -> str:
        """What a task said on stderr."""
        found = sorted((self.folder / "slurm").glob(f"{job}_*_log.err"))
        return found[-1].read_text("utf-8", "replace")[-4 * LAST_WORDS :] if found else "it left no log"

    def cancel(self) -> None:
        """Has Slurm end what runs and drop what waits."""
        if self._jobs:
            _asked_slurm(["scancel", *sorted({job.partition("_")[0] for job in self._jobs})])

    def merged(self, task: Task) -> None:
        """Its two copies of the plan go; its records and logs stay, for the user to remove."""
        for copy in (self._of(task) / "shard.json", self._of(task) / "run" / "plan.json"):
            copy.unlink(missing_ok=True)

    def close(self) -> None:
        """Nothing is held."""


def states(jobs: list[str]) -> dict[str, tuple[str, str]]:
    """State and node of each task of these jobs, by its id; those that Slurm forgot are left out.

    squeue knows a job for a while after its end (MinJobAge, 300 s by default); sacct for good, where there is accounting.
    """
    if not jobs:
        return {}
    ids = ",".join(jobs)
    found: dict[str, tuple[str, str]] = {}
    for line in _asked_slurm(["sacct", "-n", "-X", "-P", "-o", "JobID,State,NodeList", "-j", ids]).splitlines():
        parts = line.split("|")
        if len(parts) == 3 and "[" not in parts[0] and parts[1]:
            found[parts[0]] = parts[1].split()[0], parts[2] if parts[2] != "None assigned" else ""
    for line in _asked_slurm(["squeue", "-h", "-r", "-t", "all", "-o", "%F|%K|%T|%N", "-j", ids]).splitlines():
        parts = line.split("|")
        if len(parts) == 4:
            found[f"{parts[0]}_{parts[1]}" if parts[1].isdigit() else parts[0]] = parts[2], parts[3]
    return found


def _asked_slurm(command: list[str]) -> str:
    """What a command of Slurm prints; "" where it fails, is missing or hangs. It is asked again at the next look."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _last(text: str) -> str:
    """The last lines of a text as one."""
    return " ".join(line.strip() for line in text.strip().splitlines()[-3:])[-LAST_WORDS:] or "no words"
