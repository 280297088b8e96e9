"""A run whose cases are judged on other machines: tasks go out, records come back and are merged, what did not come is said.

This process judges nothing and starts no worker. docs/engines.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from aisp_runner import chain, lineage, quarantine, record, record_file, resume, verdict
from aisp_runner.case import Plan
from aisp_runner.engine.choice import Engine
from aisp_runner.engine.collect import collect
from aisp_runner.engine.lost import AwayBench, lost_record
from aisp_runner.engine.task import Ended, Executor, Task, cut
from aisp_runner.errors import DiskError
from aisp_runner.execute import Ways, begun, refuse_lock, refuse_unprotected_gates
from aisp_runner.pool import Pool
from aisp_runner.progress import Lines, Progress
from aisp_runner.report import Console
from aisp_runner.shards import mixture

Opener = Callable[[Engine, Path, bool, Callable[[str], None]], Executor]
"""(engine, the run's folder, whether clocks are locked, where to say something) -> what runs the tasks."""


def run_away(
    plan: Plan,
    run_dir: Path,
    engine: Engine,
    ways: Ways,
    lock_clocks: bool = False,
    console: Console | None = None,
    opener: Opener | None = None,
) -> int:
    """Runs a plan by an engine that is not local; writes RUN_DIR/plan.json and records.jsonl, and gives the exit code.

    opener: what opens the engine; by default Ray or Slurm as it says.
    """
    bench = AwayBench(plan, run_dir, console or Console(), Pool())
    refuse_unprotected_gates(plan)
    refuse_lock(plan, lock_clocks)
    quarantine.load(quarantine.default_path())
    chain.signing_key()
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DiskError(f"{run_dir}: the folder cannot be made: {error.strerror}. Name another with run_dir=FOLDER.") from None
    with record_file.alone(run_dir):
        found = begun(bench, ways, any_device=True)
        sweep = Sweep(found, bench, ways)
        records = sweep.run(engine, opener or open_engine, lock_clocks)
    if mixed := mixture([r for r in records if not resume.is_lost(r)]):
        bench.console.write(f"{mixed}. The key of each record says which.", "yellow")
    code = verdict.exit_code(records)
    bench.console.finished(records, plan.skips, run_dir, code)
    return code


def open_engine(engine: Engine, run_dir: Path, lock_clocks: bool, say: Callable[[str], None]) -> Executor:
    """Ray or Slurm. Raises ConfigError where it cannot be reached."""
    if engine.name == "ray":
        from aisp_runner.engine.on_ray import OnRay

        return OnRay(engine, lock_clocks, say)
    from aisp_runner.engine.on_slurm import OnSlurm

    return OnSlurm(engine, run_dir, lock_clocks, say)


class Sweep:
    """What of a run is there, and what is still out."""

    def __init__(self, found: resume.Found, bench: AwayBench, ways: Ways) -> None:
        self.found, self.bench, self.ways = found, bench, ways
        self.records = {slot.number: slot.record for slot in found.slots if slot.record is not None}
        self.keys = {slot.number: bench.key_of(slot.case) for slot in found.slots}
        self.progress, self.lines = Progress(len(found.slots), found.kept), Lines(ways.progress == "json")
        self._last_ns = time.perf_counter_ns()

    def run(self, engine: Engine, opener: Opener, lock_clocks: bool) -> list[dict[str, Any]]:
        """Runs what is left; gives the records of all cases in the plan's order, without their samples."""
        tasks = cut(self.found.slots, len(self.bench.plan.cases), self.ways.shard, engine.cases_per_task)
        self.lines.started(self.progress, str(self.bench.run_dir), self.bench.plan_sha256, str(self.ways.shard))
        code = None
        try:
            if tasks:
                executor = opener(engine, self.bench.run_dir, lock_clocks, lambda text: self.bench.console.write(text, "dim"))
                try:
                    self._through(tasks, executor)
                except KeyboardInterrupt:
                    executor.cancel()
                    raise
                finally:
                    executor.close()
            whole = [self.records[slot.number] for slot in self.found.slots]
            code = verdict.exit_code(whole)
            return whole
        except KeyboardInterrupt:
            shown = [r for _, r in sorted(self.records.items())]
            self.bench.console.interrupted(shown, self.progress.left, self.bench.run_dir)
            raise
        finally:
            self.bench.console.close()
            self.lines.ended(self.progress, code)

    def _through(self, tasks: Sequence[Task], executor: Executor) -> None:
        executor.start(tasks, (self.bench.run_dir / "plan.json").read_bytes())
        out = {task.number for task in tasks}
        while out:
            for ended in executor.ended():
                self.take(ended)
                out.discard(ended.task.number)
                executor.merged(ended.task)

    def take(self, ended: Ended) -> None:
        """Every case of a task has its record on the disk when this returns: the node's, or one that says what is known."""
        task = ended.task
        came = collect(ended.records, task, self.bench.plan_sha256, self.keys)
        made = {slot.number: lineage.moved(r, str(task.shard)) for slot, r in came.records}
        for slot in task.slots:
            if slot.number not in made:
                kind, why = ended.kind or "failed", ended.message
                if came.refused:
                    kind, why = "refused", f"what came back was not taken: {came.refused}. {ended.message}"
                made[slot.number] = lost_record(slot, self.bench, kind, f"{task.said()}: {why}".rstrip(". ") + ".")
            self._write_down(slot, made[slot.number])

    def _write_down(self, slot: resume.Slot, made: dict[str, Any]) -> None:
        now_ns = time.perf_counter_ns()
        seconds, self._last_ns = (now_ns - self._last_ns) / 1e9, now_ns
        record.append(self.bench.run_dir / record.FILE, made)
        record.validate(made)
        self.records[slot.number] = resume.bare(made)
        self.progress.add(made, seconds)
        self.bench.console.case_started(slot.number, len(self.found.slots), slot.case, self.progress.words())
        self.bench.console.case_finished(made, self.progress.words())
        self.lines.case_ended(self.progress, slot.number, slot.case, made, seconds)
