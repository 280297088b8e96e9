"""The order of a run. `run_case` is the whole line, from a case to its record; `run_plan` goes through a plan.

    python -m aisp_runner.execute plan.json [--run-dir DIR] [--lock-clocks] [--progress json]
    python -m aisp_runner.execute [plan.json] --resume RUN_DIR [--retry-errors]
                                  [--gpus all|N|[I,J] --gpus-mode one|spread] [--cpu-lanes N]

runs a plan where Hydra is not installed and writes the same records as `aisp-run` does.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from aisp_runner import chain, host_memory, machine, quarantine, record, record_file, resume, verdict
from aisp_runner.case import Case, Plan
from aisp_runner.clock_lock import locked_clocks
from aisp_runner.errors import AispError, ConfigError, DiskError, HostError, LaneError
from aisp_runner.keys import Key, Keys
from aisp_runner.lanes import gpu_lock, gpus
from aisp_runner.lanes.asked import Asked, add_options, of_words
from aisp_runner.lanes.dispatch import Dispatch, Done, Terms
from aisp_runner.lanes.lane import serve
from aisp_runner.lanes.layout import Lane, is_plain, layout
from aisp_runner.plan_file import WHOLE, Shard, load_plan, load_replaced, load_shard, save_plan
from aisp_runner.pool import Pool
from aisp_runner.progress import Lines, Progress
from aisp_runner.protect import registry
from aisp_runner.protect.evaluation.sealed_judge import package_digest
from aisp_runner.report import Console
from aisp_runner.system import refuse_inspection
from aisp_runner.trial import Trial


@dataclass
class Bench:
    """One run: its plan, where it is written down, and who is told."""

    plan: Plan
    run_dir: Path
    console: Console
    pool: Pool
    package_digest: str = field(default_factory=package_digest)

    def __post_init__(self) -> None:
        self.plan_sha256 = self.plan.sha256()
        self._cases = {id(case): case.sha256() for case in self.plan.cases}
        self._right_bytes = ""
        """Digest of the bytes of plan.json when it was last found to hold this plan."""
        self._keys = Keys(self.package_digest)

    def plan_changed(self) -> str:
        """What is wrong with plan.json on the disk, or "" when it still is the plan that is run.

        Read as a plan only where its bytes are others than those that were: a plan of a thousand cases takes seconds.
        """
        path = self.run_dir / "plan.json"
        try:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            on_disk = self.plan_sha256 if digest == self._right_bytes else load_plan(path).sha256()
        except OSError as odd:
            return f"{path}: cannot be read: {odd.strerror}"
        except AispError as odd:
            return str(odd)
        if on_disk != self.plan_sha256:
            return f"plan.json now is plan {on_disk[:12]}, not {self.plan_sha256[:12]}"
        self._right_bytes = digest
        return ""

    def key_of(self, case: Case) -> Key:
        """What must be the same for the case's record to stand later."""
        return self._keys.of(case, self._cases.get(id(case), ""))

    def case_changed(self, case: Case) -> bool:
        """Whether a case in memory is another than the plan had when the run began."""
        return self._cases.get(id(case)) != case.sha256()


@dataclass(frozen=True)
class Ways:
    """How a run goes through its plan."""

    resume: bool = False
    """Go on in the folder: cases that have a record there that stands are not run again."""
    retry_errors: bool = False
    """With resume: run cases again whose record is ERROR."""
    shard: Shard = WHOLE
    """The part of the plan that is run."""
    progress: str = "plain"
    """plain, or json: JSON lines on stderr as well."""
    replaces: Mapping[int, dict[str, str]] = field(default_factory=dict)
    """What the records of a new run take the place of in another file, by the case's place in the plan, from 0."""
    asked: Asked = field(default_factory=Asked)
    """GPUs and CPU lanes."""


def run_plan(
    plan: Plan,
    run_dir: Path,
    console: Console | None = None,
    pool: Pool | None = None,
    lock_clocks: bool = False,
    ways: Ways = Ways(),
) -> int:
    """Runs all cases, writes RUN_DIR/plan.json and records.jsonl, tells the console, and gives the exit code.

    pool: processes to use and leave running; by default they are this run's own. lock_clocks: hold the GPU's clocks still
    until the last case is over.
    """
    if pool is None:
        with Pool() as own:
            return run_plan(plan, run_dir, console, own, lock_clocks, ways)
    bench = Bench(plan, run_dir, console or Console(), pool)
    refuse_unprotected_gates(plan)
    refuse_lock(plan, lock_clocks)
    refuse_no_gpu(plan)
    quarantine.load(quarantine.default_path())  # one that cannot be read is said before anything is measured
    chain.signing_key()  # likewise
    refuse_inspection()
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DiskError(f"{run_dir}: the folder cannot be made: {error.strerror}. Name another with run_dir=FOLDER.") from None
    with record_file.alone(run_dir):
        found = begun(bench, ways)
        records = _go_through(found, bench, lock_clocks, ways)
    code = verdict.exit_code(records)
    bench.console.finished(records, plan.skips, run_dir, code)
    return code


def begun(bench: Bench, ways: Ways, any_device: bool = False) -> resume.Found:
    """plan.json is in the folder; gives what is left to run. any_device: as `resume.find` has it."""
    cases = ways.shard.cases(bench.plan)
    if not ways.resume:
        save_plan(bench.plan, bench.run_dir / "plan.json", ways.shard)
        places = range(ways.shard.number - 1, len(bench.plan.cases), ways.shard.of)
        slots = zip(resume.nothing(cases).slots, places, strict=True)
        return resume.Found(tuple(replace(slot, supersedes=ways.replaces.get(place)) for slot, place in slots))
    resume.refuse_changed_sources(cases)
    found = resume.find(cases, bench.run_dir, bench.key_of, ways.retry_errors, any_device)
    replaced = resume.replace_plan(bench.plan, bench.run_dir, ways.shard)
    for line in (*([replaced] if replaced else []), *found.said):
        bench.console.write(line, "dim")
    return found


def _go_through(found: resume.Found, bench: Bench, lock_clocks: bool, ways: Ways) -> list[dict[str, Any]]:
    """Runs what is left; gives the records of all cases in the plan's order, without their samples."""
    records: dict[int, dict[str, Any]] = {slot.number: slot.record for slot in found.slots if slot.record is not None}
    progress, lines = Progress(len(found.slots), found.kept), Lines(ways.progress == "json")
    lines.started(progress, str(bench.run_dir), bench.plan_sha256, str(ways.shard))
    code = None
    try:
        with contextlib.closing(_work(found, bench, lock_clocks, ways, progress, lines)) as work:
            for done in work:
                if done.slot.supersedes:
                    done.made["supersedes"] = done.slot.supersedes
                _write_down(done.made, bench)
                records[done.slot.number] = resume.bare(done.made)
                progress.add(done.made, done.seconds, done.lane)
                words = progress.words(done.lane)
                bench.console.case_ended(done.slot.number, len(found.slots), done.slot.case, done.made, words)
                lines.case_ended(progress, done.slot.number, done.slot.case, done.made, done.seconds, done.lane)
        whole = [records[slot.number] for slot in found.slots]
        code = verdict.exit_code(whole)
        return whole
    except (KeyboardInterrupt, LaneError):
        bench.console.interrupted([r for _, r in sorted(records.items())], progress.left, bench.run_dir)
        raise
    finally:
        bench.console.close()
        lines.ended(progress, code)


def _work(
    found: resume.Found, bench: Bench, lock_clocks: bool, ways: Ways, progress: Progress, lines: Lines
) -> Generator[Done, None, None]:
    """Each case that is left, as it ends: one after the other in this process, or side by side on lanes."""
    left = [slot for slot in found.slots if slot.record is None]
    cases = [slot.case for slot in left]
    if is_plain(ways.asked, cases):
        yield from _one_by_one(left, len(found.slots), bench, lock_clocks, ways.asked, progress, lines)
        return
    made = layout(ways.asked, cases)
    for said in made.said:
        bench.console.write(said, "yellow")
    tell = Terms(lock_clocks, ways.asked.wait_seconds, lambda s, n: lines.case_started(progress, s.number, s.case, n))
    yield from Dispatch(made, left, bench, progress, tell).done()


def _one_by_one(
    left: Sequence[resume.Slot], of: int, bench: Bench, lock_clocks: bool, asked: Asked, progress: Progress, lines: Lines
) -> Generator[Done, None, None]:
    """The cases in this process, and the GPU locked against other runs where one of them is on it."""
    if left:
        bench.pool.start_server(left[0].case.device)  # it imports torch while this process does
    tell, cuda = (lambda text: bench.console.write(text, "yellow")), [s.case for s in left if s.case.device == "cuda"]
    used, why = gpus.held_by_a_plain_run(max(case.ranks for case in cuda)) if cuda else ([], "")
    if why:
        tell(f"The GPU is not locked against other runs: {why}")
    with (
        gpu_lock.held([gpu.uuid for gpu in used], asked.wait_seconds, tell),
        locked_clocks(lock_clocks and bool(left)) as locked,
    ):
        if locked:
            bench.console.write(locked.line())
        for slot in left:
            start_ns = time.perf_counter_ns()
            bench.console.case_started(slot.number, of, slot.case, progress.words())
            lines.case_started(progress, slot.number, slot.case)
            made = run_case(slot.case, bench)
            if slot.case.device == "cuda":
                made["machine"] = {**made["machine"], **({"locked_clocks": asdict(locked)} if locked else {})}
                made["lane"] = Lane(1, tuple(sorted(os.sched_getaffinity(0))), tuple(used[: slot.case.ranks])).to_json()
            yield Done(slot, made, (time.perf_counter_ns() - start_ns) / 1e9)


def _write_down(made: dict[str, Any], bench: Bench) -> None:
    """The record is on the disk when this returns, and also when the quarantine file, which comes first, cannot be written.

    Raises DiskError and ConfigError then.
    """
    trouble: AispError | None = None
    try:
        made["quarantined"] = quarantine.update(quarantine.default_path(), made, bench.run_dir)
    except ConfigError as odd:
        trouble = odd
    except OSError as full:
        trouble = DiskError(
            f"{quarantine.default_path()}: could not be written: {full.strerror}. The record is in {bench.run_dir}."
        )
    record.append(bench.run_dir / record.FILE, made)
    record.validate(made)
    if trouble is not None:
        raise trouble


def refuse_lock(plan: Plan, lock_clocks: bool) -> None:
    """Raises ConfigError where clocks are to be locked that no case of the plan runs on, or that cannot all be locked."""
    if lock_clocks and plan.cases and all(case.device == "cpu" for case in plan.cases):
        raise ConfigError(
            "environment.lock_clocks: every case of this plan runs on the CPU, so there is no GPU clock to lock. Leave it off, "
            "or say device=cuda."
        )
    several = [case for case in plan.cases if case.device == "cuda" and case.ranks > 1]
    if lock_clocks and several:
        raise ConfigError(
            f"environment.lock_clocks: {several[0].workload} runs on {several[0].ranks} GPUs, and the first one's clocks alone "
            "would be locked. Leave it off: clocks of all of them are read in each round."
        )


def refuse_no_gpu(plan: Plan) -> None:
    """Raises ConfigError for a plan made elsewhere that needs a GPU, where there is none."""
    cuda = sum(case.device == "cuda" for case in plan.cases)
    there, why = machine.gpus() if cuda else ([], "")
    if cuda and not there:
        why = f": {why}" if why else ""
        raise ConfigError(
            f"{cuda} of {len(plan.cases)} cases of this plan run on cuda, and no CUDA GPU is visible{why}. "
            "Run it on a machine that has one (aisp doctor says what is there), or plan anew with device=cpu."
        )


def run_case(case: Case, bench: Bench) -> dict[str, Any]:
    """One comparison, from processes to record. Nothing a candidate does ends the run: it becomes the record's verdict."""
    from aisp_runner.calibrate import calibrate
    from aisp_runner.judge import Judge
    from aisp_runner.measure import measure

    trial = Trial(case)
    shields, tell = trial.shields, bench.console.stage
    shields.run("preflight", bench, case)
    if not trial.refused():
        with trial.catching(), tempfile.TemporaryDirectory(prefix="aisp-") as folder:
            if too_little := host_memory.lacking(case):
                raise HostError(too_little)
            server, device = bench.pool.open(case.device)
            state, crew = bench.pool.state(case.device), bench.pool.crew(case.device)
            with Judge(case, device, server, shields, Path(folder), state, crew) as judge:
                trial.judge, bench.pool.own_pids, judge.floor_s = judge, judge.cast.pids, bench.pool.floor_s(case)
                with trial.stage("start"):
                    judge.start_oracle()
                    if not trial.refused():
                        judge.start_candidate()
                if not trial.refused():
                    with trial.stage("calibrate"):
                        tell("calibrate")
                        schedule = calibrate(judge)
                    with trial.stage("measure"):
                        trial.measured = judge.measured = measure(judge, schedule, lambda d, of: tell(f"measure {d}/{of}"))
                    shields.run("conclude", judge)
    shields.run("seal", bench, case)
    return trial.record(bench)


def refuse_unprotected_gates(plan: Plan) -> None:
    """Raises ConfigError for a gate without an essential protection."""
    for case in plan.cases:
        missing = [name for name, kind in registry.known().items() if kind.essential and name not in case.protections]
        if missing and case.phase == "gate":
            raise ConfigError(
                f"{case.workload}: phase gate without {', '.join(missing)}. Without them a run proves nothing: "
                "use protect=strict, or verify.phase=detect to look at what an unprotected run would say."
            )


def _run_given(given: argparse.Namespace) -> int:
    if given.plan is None and given.resume is None:
        raise ConfigError("a plan is wanted: python -m aisp_runner.execute plan.json, or --resume RUN_DIR.")
    if given.retry_errors and given.resume is None:
        raise ConfigError("--retry-errors: it goes with --resume RUN_DIR, which names the run whose errors are run again.")
    path = given.plan or resume.folder_of(given.resume) / "plan.json"
    plan, shard = load_plan(path), load_shard(path)
    now = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
    run_dir = given.resume or given.run_dir or Path("runs") / f"{now}-{plan.sha256()[:8]}"
    if given.resume is None and (run_dir / record.FILE).exists():
        raise ConfigError(
            f"--run-dir: {run_dir} holds another run's {record.FILE}. Name another folder, or --resume {run_dir}."
        )
    replaces = load_replaced(path) if given.resume is None else {}
    asked = of_words(given.gpus, given.gpus_mode, given.gpus_wait, given.cpu_lanes, given.lane_cores)
    ways = Ways(given.resume is not None, given.retry_errors, shard, given.progress, replaces, asked)
    return run_plan(plan, run_dir, lock_clocks=given.lock_clocks, ways=ways)


def main(arguments: list[str] | None = None) -> int:
    """The command line of `python -m aisp_runner.execute`."""
    parser = argparse.ArgumentParser(
        prog="python -m aisp_runner.execute", description="Runs a plan.json that `aisp-run` wrote."
    )
    parser.add_argument("plan", nargs="?", type=Path, help="a plan.json; with --resume, that of the folder by default")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--run-dir", type=Path, help="where plan.json and records.jsonl go (default: runs/<time>-<plan>)")
    where.add_argument("--resume", type=Path, metavar="RUN_DIR", help="go on with the run in this folder: run what is missing")
    parser.add_argument("--retry-errors", action="store_true", help="with --resume: run cases that ended with ERROR again")
    parser.add_argument("--progress", choices=("plain", "json"), default="plain", help="json: also JSON lines on stderr")
    parser.add_argument("--lock-clocks", action="store_true", help="hold the GPU's clocks still for the run; needs root")
    add_options(parser)
    given = parser.parse_args(arguments)
    if given.lane is not None:
        return serve(given.lane)
    try:
        return _run_given(given)
    except AispError as error:
        sys.stderr.write(f"aisp-run: error: {error}\n")
        return verdict.USAGE if isinstance(error, ConfigError) else verdict.INTERNAL
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
