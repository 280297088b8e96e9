"""The order of a run. `run_case` is the whole line, from a case to its record; `run_plan` goes through a plan.

    python -m aisp_runner.execute plan.json [--run-dir DIR]

runs a plan where Hydra is not installed and writes the same records as `aisp-run` does.
"""

from __future__ import annotations

import argparse
import datetime
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aisp_runner import machine, quarantine, record, verdict
from aisp_runner.case import Case, Plan
from aisp_runner.errors import AispError, ConfigError
from aisp_runner.plan_file import load_plan, save_plan
from aisp_runner.protect import registry
from aisp_runner.protect.evaluation.sealed_judge import package_digest
from aisp_runner.report import Console
from aisp_runner.system import refuse_inspection
from aisp_runner.trial import Trial


class Pool:
    """What is started once for all cases, of one run or of several: fork servers, devices, facts, by device name."""

    def __init__(self) -> None:
        self.servers: dict[str, Any] = {}
        self.devices: dict[str, Any] = {}
        self.facts: dict[str, dict[str, Any]] = {}

    def open(self, name: str) -> tuple[Any, Any]:
        """The fork server and the device for cases on `name`; a server that a candidate has killed is started again."""
        from aisp_runner.device import open_device
        from aisp_runner.forkserver import ForkServer

        if name not in self.servers or not self.servers[name].alive():
            self.servers[name] = ForkServer(cuda=name == "cuda")
        if name not in self.devices:
            self.devices[name] = open_device(name)
        if name not in self.facts:
            self.facts[name] = machine.facts(name)
        return self.servers[name], self.devices[name]

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        for server in self.servers.values():
            server.close()


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

    def plan_changed(self) -> str:
        """What is wrong with plan.json on the disk, or "" when it still is the plan that is run."""
        try:
            on_disk = load_plan(self.run_dir / "plan.json").sha256()
        except (AispError, OSError) as odd:
            return str(odd)
        return "" if on_disk == self.plan_sha256 else f"plan.json now is plan {on_disk[:12]}, not {self.plan_sha256[:12]}"


def run_plan(plan: Plan, run_dir: Path, console: Console | None = None, pool: Pool | None = None) -> int:
    """Runs all cases, writes RUN_DIR/plan.json and records.jsonl, tells the console, and gives the exit code.

    pool: processes to use and leave running; by default they are this run's own.
    """
    if pool is None:
        with Pool() as own:
            return run_plan(plan, run_dir, console, own)
    bench = Bench(plan, run_dir, console or Console(), pool)
    _refuse_unprotected_gates(plan)
    quarantine.load(quarantine.default_path())  # one that cannot be read is said before anything is measured
    refuse_inspection()
    run_dir.mkdir(parents=True, exist_ok=True)
    save_plan(plan, run_dir / "plan.json")
    records: list[dict[str, Any]] = []
    try:
        for number, case in enumerate(plan.cases, start=1):
            bench.console.case_started(number, len(plan.cases), case)
            made = run_case(case, bench)
            made["quarantined"] = quarantine.update(quarantine.default_path(), made, run_dir)
            record.append(run_dir / record.FILE, made)
            record.validate(made)
            records.append(made)
            bench.console.case_finished(made)
    finally:
        bench.console.close()
    code = verdict.exit_code(records)
    bench.console.finished(records, plan.skips, run_dir, code)
    return code


def run_case(case: Case, bench: Bench) -> dict[str, Any]:
    """One comparison, from processes to record. Nothing a candidate does ends the run: it becomes the record's verdict."""
    from aisp_runner.judge import Judge
    from aisp_runner.measure import calibrate, measure

    trial = Trial(case)
    shields, tell = trial.shields, bench.console.stage
    shields.run("preflight", bench, case)
    if not trial.refused():
        with trial.catching(), tempfile.TemporaryDirectory(prefix="aisp-") as folder:
            server, device = bench.pool.open(case.device)
            with Judge(case, device, server, shields, Path(folder)) as judge:
                trial.judge = judge
                with trial.stage("start"):
                    judge.start_oracle()
                    if not trial.refused():
                        judge.start_candidate()
                if not trial.refused():
                    with trial.stage("calibrate"):
                        tell("calibrate")
                        trial.schedule = calibrate(judge)
                    with trial.stage("measure"):
                        trial.rounds = measure(judge, trial.schedule, lambda done, of: tell(f"measure {done}/{of}"))
                    shields.run("conclude", judge)
    shields.run("seal", bench, case)
    return trial.record(bench)


def _refuse_unprotected_gates(plan: Plan) -> None:
    for case in plan.cases:
        missing = [name for name, kind in registry.known().items() if kind.essential and name not in case.protections]
        if missing and case.phase == "gate":
            raise ConfigError(
                f"{case.workload}: phase gate without {', '.join(missing)}. Without them a run proves nothing: "
                "use protect=strict, or verify.phase=detect to look at what an unprotected run would say."
            )


def main(arguments: list[str] | None = None) -> int:
    """The command line of `python -m aisp_runner.execute`."""
    parser = argparse.ArgumentParser(
        prog="python -m aisp_runner.execute", description="Runs a plan.json that `aisp-run` wrote."
    )
    parser.add_argument("plan", type=Path, help="a plan.json")
    parser.add_argument("--run-dir", type=Path, help="where plan.json and records.jsonl go (default: runs/<time>-<plan>)")
    given = parser.parse_args(arguments)
    try:
        plan = load_plan(given.plan)
        now = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
        return run_plan(plan, given.run_dir or Path("runs") / f"{now}-{plan.sha256()[:8]}")
    except AispError as error:
        sys.stderr.write(f"aisp-run: error: {error}\n")
        return verdict.USAGE if isinstance(error, ConfigError) else verdict.INTERNAL
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
