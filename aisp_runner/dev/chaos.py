"""Whether a sweep survives SIGKILL at any moment: runs of a small plan in which processes are killed, resumed until done.

python -m aisp_runner.dev.chaos --runs N --seed S [--lanes 2] [--out FILE.json]

In each run the runner (which is the judge), the fork server or a worker is killed at a random moment, or the runner while it
writes; the resumed run may be killed again. Then every case must have one record that stands, every record that was whole on
the disk must still be there, and `verify_record` must find nothing. Blind spot: the machine itself does not crash here, so what
fsync promises is not tried.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aisp_runner import __version__, chain, record, record_file, verify_record
from aisp_runner.against_plan import claimed_identity, identity
from aisp_runner.case import Case, Limits, Measure, Plan, Tensor, Variant
from aisp_runner.host import children, descendants
from aisp_runner.machine import cpu_facts
from aisp_runner.plan_file import save_plan
from aisp_runner.protect import registry
from aisp_runner.report import Console
from aisp_runner.sources import describe

KERNEL = """
import torch

def reference(a, b):
    return a + b

def baseline(a, b, c):
    for i in range(0, a.numel(), 1024):
        torch.add(a[i : i + 1024], b[i : i + 1024], out=c[i : i + 1024])

def candidate(a, b, c):
    torch.add(a, b, out=c)
"""
SIZES = (4096, 8192, 16384)
WORKLOADS = ("chaos_one", "chaos_two")
"""Of different files, so that the trusted processes are ended and started again in the middle."""

VICTIMS = ("runner", "writing runner", "server", "worker")
"""What is killed first, with equal odds; the writing runner as soon as a file in its folder is seen to change."""

VICTIMS_OF_LANES = (*VICTIMS, "lane")
"""The same where the run has lanes: each is a process with a server of its own."""

AGAIN, MOST_KILLS = 0.4, 3
"""Odds that a resumed run is killed too, and how many kills a run has at most."""

TORN = 0.3
"""Odds that the beginning of a further record is left behind when the runner was killed."""

LIMIT_S = 120.0
"""No command of this plan takes so long."""


def plan(folder: Path) -> Plan:
    """Six quick cases on the CPU, of two kernel files in the folder."""
    cases = []
    for name in WORKLOADS:
        path = folder / name / "kernel.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(KERNEL, "utf-8")
        source = describe(path)
        cases += [_case(name, n, {f: Variant(f, source, f) for f in ("reference", "baseline", "candidate")}) for n in SIZES]
    return Plan(tuple(cases))


def _case(name: str, n: int, variants: dict[str, Variant]) -> Case:
    return Case(
        workload=name,
        question="Does one addition beat many?",
        group="",
        origin=f"{name}.yaml",
        axes={"n": n},
        held_out=False,
        device="cpu",
        inputs=(Tensor("a", (n,), "float32", "activation"), Tensor("b", (n,), "float32", "activation")),
        outputs=(Tensor("c", (n,), "float32", "output", rtol=1e-6, because="one addition, rounded once"),),
        reference=variants["reference"],
        baseline=variants["baseline"],
        optimized=variants["candidate"],
        measure=Measure(
            processes=1, control=False, rounds=2, min_rounds=2, half_width=10.0, calls=(4, 32), verify_seconds=0.002
        ),
        limits=Limits(start_seconds=30.0, batch_seconds=10.0, memory_gib=2.0, output_mib=1.0),
        protections=registry.select({"mode": "strict"}),
    )


@dataclass
class Told:
    """What became of one run."""

    kills: list[dict[str, Any]] = field(default_factory=list)
    attempts: int = 0
    torn: int = 0
    """Half-written lines that were left behind on purpose: a kill seldom hits the microseconds of a write."""
    mended: int = 0
    """Half-written lines that were cut off."""
    left_running: int = 0
    """Processes that lived on 10 s after their runner had ended."""
    lost: int = 0
    """Cases without a record that stands, and records that were whole on the disk and are gone."""
    duplicated: int = 0
    corrupt: int = 0
    """Lines that are no record, or none that the schema and its own samples bear out."""
    chain_broken: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    """Reasons of records that are ERROR."""
    unexplained: int = 0
    """More ERROR records than processes were killed, or an exit code that is none of a finished run."""
    findings: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        return self.torn <= self.mended and not (
            self.lost or self.duplicated or self.corrupt or self.chain_broken or self.left_running or self.unexplained
        )


def one_run(folder: Path, draw: random.Random, length_s: float, lanes: int = 1) -> Told:
    """A run from its start to its last case. length_s: how long one without a kill takes. lanes: on the CPU."""
    made, told = plan(folder), Told()
    save_plan(made, folder / "plan.json")
    run_dir, whole = folder / "run", set[str]()
    code: int | None = None
    while code is None or code < 0:
        kill = told.attempts == 0 or (len(told.kills) < MOST_KILLS and draw.random() < AGAIN)
        code = _attempt(folder, run_dir, draw if kill else None, length_s, told, lanes)
        if code < 0 and draw.random() < TORN:
            _tear(run_dir, draw, told)
        lost = whole - _whole(run_dir)
        told.lost += len(lost)
        told.findings += [f"lost {known[:12]}" for known in lost]
        whole = _whole(run_dir)
    if code != 0:
        told.unexplained += 1
        told.findings.append(f"exit code {code}")
    _judge(run_dir, made, told)
    return told


def _tear(run_dir: Path, draw: random.Random, told: Told) -> None:
    """Leaves the beginning of a further record behind, as a runner does that is killed while it writes."""
    path = run_dir / record.FILE
    if not path.is_file() or not (lines := path.read_bytes().split(b"\n")[:-1]):
        return
    with open(path, "ab") as file:
        file.write(lines[-1][: draw.randrange(1, len(lines[-1]))])
    told.torn += 1


def _attempt(folder: Path, run_dir: Path, draw: random.Random | None, length_s: float, told: Told, lanes: int) -> int:
    """Starts or resumes the run, and kills something in it where `draw` is given; gives the exit code."""
    given = (
        ["--resume", str(run_dir)]
        if (run_dir / "plan.json").is_file()
        else [str(folder / "plan.json"), "--run-dir", str(run_dir)]
    )
    command = [sys.executable, "-m", "aisp_runner.execute", *given, *_lanes(lanes)]
    told.attempts += 1
    with open(folder / "log", "ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env=_environment(folder))
        seen: set[int] = set()
        if draw is not None:
            seen = _kill(process, run_dir, draw, length_s, told, lanes)
        try:
            code = process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise RuntimeError(f"a run of {folder} went on for over {LIMIT_S:g} s") from None
    told.mended = (folder / "log").read_text("utf-8", "replace").count("half-written")
    until = time.monotonic() + 10
    while (living := [pid for pid in seen if _lives(pid)]) and time.monotonic() < until:
        time.sleep(0.02)
    told.left_running += len(living)
    return code


def _environment(folder: Path) -> dict[str, str]:
    """Temporary folders of a killed run stay: below the run's own, so that they go with it."""
    (folder / "tmp").mkdir(exist_ok=True)
    return os.environ | {"TMPDIR": str(folder / "tmp")}


def _kill(
    process: subprocess.Popen[bytes], run_dir: Path, draw: random.Random, length_s: float, told: Told, lanes: int
) -> set[int]:
    """Kills one process of the run at a random moment; gives all that there were then. Nothing, where it has ended by then."""
    victim, moment = draw.choice(VICTIMS_OF_LANES if lanes > 1 else VICTIMS), draw.uniform(0.0, length_s)
    start = time.monotonic()
    while time.monotonic() - start < moment and process.poll() is None:
        time.sleep(min(0.005, max(0.0, moment - (time.monotonic() - start))))
    if victim == "writing runner":
        before = _sizes(run_dir)
        while _sizes(run_dir) == before and process.poll() is None and time.monotonic() - start < LIMIT_S:
            time.sleep(0.00005)
    seen = descendants(process.pid)
    pid, name = _pid_of(victim, process.pid, draw, lanes)
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            told.kills.append({"victim": name, "after_s": round(time.monotonic() - start, 3), "attempt": told.attempts})
    return seen


def _lanes(count: int) -> list[str]:
    return ["--cpu-lanes", str(count), "--lane-cores", "1"] if count > 1 else []


def _pid_of(victim: str, runner: int, draw: random.Random, lanes: int) -> tuple[int, str]:
    """The process to kill and what it is; the runner where there is none of the kind."""
    below = sorted(children(runner))
    servers = [pid for lane in below for pid in sorted(children(lane))] if lanes > 1 else below
    if victim == "lane" and below:
        return draw.choice(below), "lane"
    workers = [pid for server in servers for pid in sorted(children(server))]
    if victim == "server" and servers:
        return draw.choice(servers), "server"
    if victim == "worker" and workers:
        pid = draw.choice(workers)
        with contextlib.suppress(OSError):
            return pid, f"worker {Path(os.readlink(f'/proc/{pid}/cwd')).name}"
        return pid, "worker"
    return runner, victim if victim == "writing runner" else "runner"


def _sizes(run_dir: Path) -> list[int]:
    found = []
    for name in ("plan.json", record.FILE):
        try:
            found.append(os.stat(run_dir / name).st_size)
        except FileNotFoundError:
            found.append(-1)
    return found


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _whole(run_dir: Path) -> set[str]:
    """What the records that are whole on the disk are known as."""
    path = run_dir / record.FILE
    lines = path.read_bytes().split(b"\n")[:-1] if path.is_file() else []
    return {record_file.known_as(found) for line in lines if (found := chain.parsed(line)) is not None}


def _judge(run_dir: Path, made: Plan, told: Told) -> None:
    """Counts what is wrong with the finished file."""
    records = []
    for line in (run_dir / record.FILE).read_bytes().splitlines():
        found = chain.parsed(line)
        if found is None or record.complaints(found, "record") or record.recompute(found):
            told.corrupt += 1
        else:
            records.append(found)
    standing = record_file.standing(records)
    times = Counter(claimed_identity(r) for r in standing)
    told.lost += sum(times[identity(case)] == 0 for case in made.cases)
    told.duplicated += sum(max(0, n - 1) for n in times.values())
    told.errors = Counter(r["reasons"][0] for r in standing if r["status"] == "ERROR")
    told.unexplained += max(0, sum(told.errors.values()) - len(told.kills))
    verified = verify_record.verify(run_dir)
    told.findings += [f.line() for f in verified.findings if f.contradicts]
    told.chain_broken += verified.exit_code != 0


def go(runs: int, seed: int, console: Console, out: Path | None = None, lanes: int = 1) -> dict[str, Any]:
    """So many runs in which something was killed; gives the figures. out: where they are written after each run."""
    tolds: list[Told] = []
    with tempfile.TemporaryDirectory(prefix="aisp-chaos-") as base:
        length_s = min(_length(Path(base) / f"calm{n}", lanes) for n in range(2))
        console.write(f"Without a kill a run of {len(SIZES) * len(WORKLOADS)} cases takes {length_s:.1f} s.", "dim")
        number = 0
        while (killed := sum(bool(told.kills) for told in tolds)) < runs and number < 3 * runs:
            folder, start = Path(base) / f"run{number}", time.monotonic()
            folder.mkdir()
            told = one_run(folder, random.Random(f"{seed}/{number}"), length_s, lanes)
            tolds.append(told)
            number += 1
            if not told.kills:  # it ended before its moment came, so that moments were drawn from too long a time
                length_s = min(length_s, time.monotonic() - start)
            victims = ", ".join(f"{kill['victim']} after {kill['after_s']:.2f} s" for kill in told.kills) or "none was killed"
            end = "sound" if told.sound else f"NOT SOUND: {'; '.join(told.findings) or told}"
            line = f"[{killed + bool(told.kills)}/{runs}] {victims}: {told.attempts} attempts, {end}"
            console.write(line, "" if told.sound else "bold red")
            if out:
                out.write_text(json.dumps(figures(tolds, runs, seed, length_s, lanes), indent=1) + "\n", "utf-8")
    return figures(tolds, runs, seed, length_s, lanes)


def _length(folder: Path, lanes: int) -> float:
    """Seconds that a run without a kill takes."""
    folder.mkdir()
    save_plan(plan(folder), folder / "plan.json")
    start = time.monotonic()
    command = [sys.executable, "-m", "aisp_runner.execute", str(folder / "plan.json"), "--run-dir", str(folder / "run")]
    subprocess.run(
        [*command, *_lanes(lanes)], cwd=folder, stdout=subprocess.DEVNULL, check=True, timeout=LIMIT_S, env=_environment(folder)
    )
    return time.monotonic() - start


def figures(tolds: Sequence[Told], runs: int, seed: int, length_s: float, lanes: int = 1) -> dict[str, Any]:
    """What is written to the file."""
    sums = {
        key: sum(getattr(told, key) for told in tolds)
        for key in ("attempts", "torn", "mended", "lost", "duplicated", "corrupt")
    }
    sums |= {key: sum(getattr(told, key) for told in tolds) for key in ("chain_broken", "left_running", "unexplained")}
    errors: Counter[str] = sum((told.errors for told in tolds), Counter())
    kills = [kill for told in tolds for kill in told.kills]
    return {
        "command": f"python -m aisp_runner.dev.chaos --runs {runs} --seed {seed}" + (f" --lanes {lanes}" if lanes > 1 else ""),
        "runner": __version__,
        "machine": {"cpu": cpu_facts()["cpu"], "cores": os.cpu_count(), "kernel": platform.release()},
        "python": platform.python_version(),
        "runs": len(tolds),
        "runs_with_a_kill": sum(bool(told.kills) for told in tolds),
        "cases_a_run": len(SIZES) * len(WORKLOADS),
        "length_s": round(length_s, 2),
        "kills": len(kills),
        "victims": dict(sorted(Counter(kill["victim"] for kill in kills).items())),
        "sound": sum(told.sound for told in tolds),
        **sums,
        "error_records": dict(sorted(errors.items())),
        "findings": [line for told in tolds for line in told.findings],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: 0 where every run was sound, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m aisp_runner.dev.chaos", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lanes", type=int, default=1, help="CPU lanes of each run")
    parser.add_argument("--out", type=Path, help="also write the figures there, as JSON")
    given = parser.parse_args(arguments)
    console = Console()
    made = go(given.runs, given.seed, console, given.out, given.lanes)
    console.write(json.dumps({key: value for key, value in made.items() if key != "findings"}), "bold")
    return 0 if made["sound"] == made["runs"] else 1


if __name__ == "__main__":
    sys.exit(main())
