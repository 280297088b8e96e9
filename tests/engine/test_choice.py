"""The settings under `engine`: what each engine takes, what is missing, and what a task asks a scheduler for."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bench import case

from aisp_runner import cli
from aisp_runner.content import content_root
from aisp_runner.engine import choice, on_slurm
from aisp_runner.engine.choice import OWN, Engine, chosen
from aisp_runner.engine.on_slurm import OnSlurm
from aisp_runner.engine.task import Ended, Task
from aisp_runner.errors import ConfigError
from aisp_runner.plan_file import WHOLE, Shard
from aisp_runner.resume import Slot


def task(*cases: Any) -> Task:
    return Task(1, WHOLE, tuple(Slot(n, c) for n, c in enumerate(cases, start=1)))


def test_each_engine_has_a_file_with_its_own_settings_and_no_others() -> None:
    import yaml

    files = {path.stem: yaml.safe_load(path.read_text())["engine"] for path in (content_root() / "conf" / "engine").glob("*")}
    assert files.keys() == OWN.keys()
    for name, settings in files.items():
        assert settings.pop("name") == name and settings.keys() == set(OWN[name])
        told = {field.name: field.default for field in dataclasses.fields(Engine)}
        assert all(told[key] == value for key, value in settings.items()), "the file's defaults are the code's"


def test_a_setting_of_another_engine_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^engine.partition: engine=ray has no such setting. It goes with engine=slurm\.$"):
        chosen({"engine": {"name": "ray", "partition": "gpu"}})


@pytest.mark.parametrize("lanes", [{"gpus": {"use": "all"}}, {"cpus": {"lanes": 2}}])
def test_lanes_of_this_machine_do_not_go_with_another(lanes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"^engine=ray: gpus and cpus share out this machine\. Leave them out"):
        chosen({"engine": {"name": "ray"}} | lanes)


def test_a_package_that_is_missing_is_named_with_the_way_around(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice.importlib.util, "find_spec", lambda name: None)
    assert chosen({"engine": {"name": "local"}}) == chosen({}) == Engine()
    with pytest.raises(ConfigError, match=r"the package submitit is not installed here\. pip install 'aisp-run\[slurm\]', or"):
        chosen({"engine": {"name": "slurm"}})


def test_the_command_line_refuses_it_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(choice.importlib.util, "find_spec", lambda name: None)
    assert cli.run(["+workload=ch01_row_normalize", "device=cpu", "engine=ray"]) == 2
    assert "engine=ray: the package ray is not installed here." in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_no_process_is_started_here_for_what_runs_elsewhere() -> None:
    assert not cli.will_run(["+workload=x", "engine=ray"]) and cli.will_run(["+workload=x", "engine=local"])


def test_local_runs_import_neither_library_and_no_driver() -> None:
    code = "import sys, aisp_runner.cli, aisp_runner.execute; sys.stdout.write(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert "aisp_runner.engine.choice" in loaded
    assert not {"ray", "submitit", "aisp_runner.engine.sweep", "aisp_runner.engine.on_ray"} & set(loaded)


def test_a_task_asks_for_the_gpus_and_cpus_of_its_largest_case(tmp_path: Path) -> None:
    cpu = case(tmp_path, n=2048)
    gpu = dataclasses.replace(cpu, device="cuda")
    pair = dataclasses.replace(gpu, ranks=2)
    assert [task(*cases).gpus for cases in ((cpu,), (cpu, gpu), (gpu, pair))] == [0, 1, 2]
    wide = dataclasses.replace(cpu, threads=6)
    assert task(cpu, wide).cpus(Engine("ray")) == 7 and task(wide).cpus(Engine("ray", cpus_per_task=3)) == 3


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OnSlurm:
    """One task that is with Slurm as 7_3, and no wait between two looks."""
    monkeypatch.setattr(on_slurm, "POLL_S", 0.0)
    made = OnSlurm(Engine("slurm", time_limit_minutes=9), tmp_path, False, lambda text: None)
    made._jobs["7_3"] = Task(1, Shard(4, 5), (Slot(4, case(tmp_path / "kernels", n=2048)),))
    return made


def answers(monkeypatch: pytest.MonkeyPatch, squeue: str = "", sacct: str = "") -> None:
    """What Slurm's commands print."""
    texts = {"squeue": squeue, "sacct": sacct}
    monkeypatch.setattr(on_slurm, "_asked_slurm", lambda command: texts.get(command[0], ""))


@pytest.mark.parametrize(
    ("squeue", "sacct", "kind", "said"),
    [
        ("7|3|TIMEOUT|n2", "", "time_limit", "job 7_3 on node n2: Slurm says TIMEOUT (engine.time_limit_minutes=9)"),
        ("7|3|NODE_FAIL|n2", "", "lost", "job 7_3 on node n2: Slurm says NODE_FAIL"),
        ("", "7_3|CANCELLED by 0|None assigned", "lost", "job 7_3: Slurm says CANCELLED"),
        ("7|3|FAILED|n2", "7_3|RUNNING|n2", "failed", "job 7_3 on node n2: Slurm says FAILED: it left no log"),
    ],
    ids=["over time", "node", "accounting alone", "squeue is newer"],
)
def test_what_slurm_calls_over_is_told_in_its_words(
    slurm: OnSlurm, monkeypatch: pytest.MonkeyPatch, squeue: str, sacct: str, kind: str, said: str
) -> None:
    answers(monkeypatch, squeue, sacct)
    (ended,) = slurm.ended()
    assert (ended.kind, ended.message, ended.records) == (kind, said, None)


@pytest.mark.parametrize("state", ["RUNNING", "PENDING", "COMPLETING", "CONFIGURING", "SUSPENDED"])
def test_a_task_that_is_not_over_is_waited_for(slurm: OnSlurm, monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    answers(monkeypatch, f"7|3|{state}|n2")
    assert [slurm.ended() for _ in range(10)] == [[]] * 10


def test_a_task_that_slurm_forgot_is_lost_after_a_few_looks(slurm: OnSlurm, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch)
    looks: list[list[Ended]] = [slurm.ended() for _ in range(on_slurm.UNKNOWN_POLLS)]
    assert not any(looks[:-1])
    assert looks[-1][0].kind == "lost" and "Slurm no longer knows it" in looks[-1][0].message


def test_records_of_a_completed_task_are_waited_for_on_a_slow_file_system(
    slurm: OnSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(monkeypatch, "7|3|COMPLETED|n2")
    assert slurm.ended() == []
    file = slurm.folder / "00001" / "run" / "records.jsonl"
    file.parent.mkdir(parents=True)
    file.write_text("")
    assert [ended.records for ended in slurm.ended()] == [file]
    slurm._jobs["7_3"] = Task(2, WHOLE, ())
    slurm._settling.clear()
    assert slurm.ended() == []
    monkeypatch.setattr(on_slurm, "SETTLE_S", 0.0)
    assert [(ended.kind, ended.records) for ended in slurm.ended()] == [("failed", None)]


def test_slurm_is_told_not_to_queue_again_and_to_send_no_warning(slurm: OnSlurm) -> None:
    asked = slurm._asked(gpus=1, cpus=3)
    assert asked["additional_parameters"] == {"no-requeue": True, "signal": "URG@1"}
    assert (asked["gpus_per_node"], asked["cpus_per_task"], asked["time"]) == (1, 3, 9)
    assert "partition" not in asked and "gpus_per_node" not in slurm._asked(gpus=0, cpus=1)


@pytest.mark.parametrize("word", ["hydra/launcher=joblib", "+hydra/launcher=submitit_slurm"])
def test_a_launcher_that_runs_jobs_at_once_is_refused(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["-m", "+workload=ch01_row_normalize", "device=cpu", word]) == 2
    assert f"{word}: jobs of -m run one after the other" in capsys.readouterr().err
    cli.foreign(["hydra/launcher=basic"])
