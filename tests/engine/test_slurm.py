"""engine=slurm on a Slurm of one node on this machine: an array of 20 tasks, one over its time, one cancelled."""

from __future__ import annotations

import collections
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from engine_runs import accounted, command, files

from aisp_runner import record
from aisp_runner.record_file import standing
from aisp_runner.verify_record import verify

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel")
CASES, LIMIT_S = 20, 900
OVER_TIME, ENDED, NEVER_BEGUN = 2048 * 5, 2048 * 7, 2048 * CASES
"""Sizes of the cases whose tasks do not end by themselves: past their time, cancelled while it runs, and before."""

pytest.importorskip("submitit", reason="submitit is not installed: pip install 'aisp-run[slurm]'")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool([p for p in PROGRAMS if not shutil.which(p)]), reason="Slurm and MUNGE are not installed here"),
    pytest.mark.skipif(os.geteuid() != 0, reason="a Slurm of its own is started by root alone"),
]

CONF = """
ClusterName=here
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
ReturnToService=2
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
KillWait=5
OverTimeLimit=0
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=here Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def _free_ports() -> list[int]:
    opened = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    ports = [s.getsockname()[1] for s in opened]
    for s in opened:
        s.close()
    return ports


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """munged, slurmctld and slurmd of this test alone; one node with two CPUs, no accounting."""
    folder = tmp_path / "slurm"
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    (folder / "key").write_bytes(secrets.token_bytes(128))
    (folder / "key").chmod(0o600)
    host = socket.gethostname().partition(".")[0]
    (folder / "slurm.conf").write_text(CONF.format(host=host, folder=folder, ports=_free_ports()))
    monkeypatch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
    munge = ["munged", "-F", "--force", f"--socket={folder}/munge.socket", f"--key-file={folder}/key"]
    munge += [f"--pid-file={folder}/munge.pid", f"--log-file={folder}/munge.log", f"--seed-file={folder}/munge.seed"]
    started = []
    try:
        for program in (munge, ["slurmctld", "-D"], ["slurmd", "-D"]):
            started.append(subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
            time.sleep(1)
        _until(lambda: asked("sinfo", "-h", "-o", "%T").strip() == "idle", 60)
        yield
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(30)


def asked(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout


def _until(holds: Any, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.2)


def test_a_task_over_its_time_and_a_cancelled_one_are_accounted_for(slurm: None, tmp_path: Path) -> None:
    began = time.monotonic()
    files(tmp_path, sizes=range(2048, 2048 * (CASES + 1), 2048), hangs=(OVER_TIME, ENDED))
    words = ("run_dir=out", "engine=slurm", "engine.time_limit_minutes=1", "engine.cpus_per_task=1", "engine.partition=here")
    with open(tmp_path / "said.txt", "wb") as said:
        run = subprocess.Popen(command(*words), cwd=tmp_path, env=command(environment=True), stdout=said, stderr=said)
    _until(lambda: f"_{CASES - 1}" in asked("squeue", "-h", "-r", "-o", "%F_%K"), 60)
    subprocess.run(["scancel", f"1_{CASES - 1}"], check=True)
    _until(lambda: "1_6 RUNNING" in asked("squeue", "-h", "-r", "-o", "%F_%K %T"), 120)
    subprocess.run(["scancel", "1_6"], check=True)
    assert run.wait(LIMIT_S) == 0, (tmp_path / "said.txt").read_text()
    seconds = time.monotonic() - began

    records = {r["case"]["axes"]["n"]: r for r in accounted(tmp_path / "out", CASES)}
    over, ended, never = (records.pop(size) for size in (OVER_TIME, ENDED, NEVER_BEGUN))
    assert "ERROR" not in {r["status"] for r in records.values()}
    assert (over["status"], over["reasons"]) == ("ERROR", ["engine.time_limit"])
    assert "Slurm says TIMEOUT (engine.time_limit_minutes=1)" in over["message"]
    assert {(r["status"], *r["reasons"]) for r in (ended, never)} == {("ERROR", "engine.lost")}
    assert "Slurm says CANCELLED" in ended["message"] and "aisp-run resume=out" in ended["message"]
    assert "Slurm no longer knows it: it was cancelled before it began" in never["message"]
    assert verify(tmp_path / "out").exit_code == 0
    assert not list((tmp_path / "out").rglob("shard.json"))
    _figures([*records.values(), over, ended, never], seconds)


def test_an_interruption_cancels_the_tasks_and_keeps_what_is_recorded(slurm: None, tmp_path: Path) -> None:
    files(tmp_path, sizes=range(2048, 2048 * (CASES + 1), 2048))
    file = tmp_path / "out" / record.FILE
    with open(tmp_path / "said.txt", "wb") as said:
        words = command("run_dir=out", "engine=slurm", "engine.cases_per_task=2")
        run = subprocess.Popen(words, cwd=tmp_path, env=command(environment=True), stdout=said, stderr=said)
    _until(file.exists, 120)
    run.send_signal(signal.SIGINT)
    assert run.wait(60) == 130, (tmp_path / "said.txt").read_text()
    _until(lambda: not asked("squeue", "-h"), 60)
    kept = record.read(file)
    assert 2 <= len(kept) < CASES and "ERROR" not in {r["status"] for r in kept}
    assert "To go on: aisp-run resume=out" in (tmp_path / "said.txt").read_text()
    resumed = command("resume=out", "engine=slurm", "engine.cases_per_task=10", selected=False)
    done = subprocess.run(resumed, cwd=tmp_path, env=command(environment=True), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    whole = accounted(tmp_path / "out", CASES)
    assert whole[: len(kept)] == kept and not [r for r in whole if "supersedes" in r]


def _figures(records: list[dict[str, Any]], seconds: float) -> None:
    """Written where AISP_ENGINE_FIGURES names a file, for docs/results/cpu/slurm.json."""
    if "AISP_ENGINE_FIGURES" in os.environ:
        import submitit

        reasons = collections.Counter(reason for r in records for reason in r["reasons"])
        told = {
            "command": "AISP_ENGINE_FIGURES=FILE python -m pytest tests/engine/test_slurm.py -k over_its_time",
            "slurm": asked("sinfo", "--version").split()[-1],
            "submitit": submitit.__version__,
            "python": sys.version.split()[0],
            "machine": {"cpu": records[0]["machine"]["cpu"], "cores": os.cpu_count()},
            "nodes": "one of two CPUs, this machine; no accounting",
            "cases": CASES,
            "cases_a_task": 1,
            "time_limit_minutes": 1,
            "seconds": round(seconds, 1),
            "statuses": dict(collections.Counter(r["status"] for r in records)),
            "reasons": dict(reasons),
            "messages": [r["message"] for r in records if r["status"] == "ERROR"],
            "missing": CASES - len(standing(records)),
        }
        Path(os.environ["AISP_ENGINE_FIGURES"]).write_text(json.dumps(told, indent=1) + "\n")
