"""Plans whose cases name a GPU: made of settings, told apart, found again, and a plain run's lock."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from bench import bench_of, case
from records import valid_record

from aisp_runner import record, resume, verify_record
from aisp_runner.against_plan import claimed_identity, identity
from aisp_runner.case import Case, Plan
from aisp_runner.config import normalised
from aisp_runner.errors import ConfigError, DeviceError
from aisp_runner.execute import Ways, run_plan
from aisp_runner.keys import Keys
from aisp_runner.lanes import gpu_lock
from aisp_runner.lanes.asked import Asked
from aisp_runner.plan import World, plan_of
from aisp_runner.report import Console
from lanes.holder import another
from lanes.nvml import UUIDS, Nvml, installed

GPU = {"name": "Accelerator A", "capability": "9.0", "memory_bytes": 80 << 30, "driver": "570.1"}


@pytest.fixture(autouse=True)
def _two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, Nvml(2))


@pytest.mark.parametrize("word", ["gpus=all", "gpus=[0,1]", "gpus=2"])
def test_gpus_are_named_shortly_on_the_command_line(word: str) -> None:
    words = ["+workload=ch06_vector_add", "device=cuda", word, "gpus.mode=each"]
    assert normalised(words, {})[2] == word.replace("gpus=", "gpus.use=")
    plan = plan_of(words, world=World((GPU, GPU), "", 8))
    on = [c for c in plan.cases if c.optimized.name == "vectorized" and not c.held_out]
    assert {c.gpu for c in on} == set(UUIDS[:2]) and len({c.sha256() for c in plan.cases}) == len(plan.cases)


def test_without_a_word_a_plan_is_as_ever() -> None:
    plan = plan_of(["+workload=ch06_vector_add", "device=cuda"], world=World((GPU, GPU), "", 8))
    assert {(c.gpu, c.threads) for c in plan.cases} == {("", 7)}


@pytest.mark.parametrize(
    "word", ["gpus=some", "gpus=[0,0]", "gpus=0", "gpus.mode=both", "cpus.lanes=0", "gpus.wait_seconds=-1"]
)
def test_what_is_no_setting_is_refused(word: str) -> None:
    with pytest.raises(ConfigError, match=r"^(gpus|cpus)\."):
        plan_of(["+workload=ch06_vector_add", word], world=World())


def bound(folder: Path) -> Plan:
    return Plan(tuple(case(folder, device="cuda", gpu=uuid, n=n) for n in (2048, 4096) for uuid in UUIDS[:2]))


def written(run_dir: Path, plan: Plan, cases: list[Case]) -> None:
    """Records of these cases, as each lane would have made them."""
    keys = Keys("ab" * 32)
    for c in cases:
        lane = {"number": 1, "cores": [0], "gpu": {"uuid": c.gpu, "index": UUIDS.index(c.gpu), "model": "Accelerator A"}}
        of: dict[str, Any] = {"axes": dict(c.axes), "device": "cuda", "held_out": False, "gpu": c.gpu}
        names = {"workload": c.workload, "variant": c.optimized.name, "baseline": c.baseline.name, "question": c.question}
        made = valid_record(case=of, lane=lane, key=keys.of(c).to_json(), plan_sha256=plan.sha256(), group="", phase="detect")
        record.append(run_dir / record.FILE, made | names)


def test_a_resumed_run_finds_exactly_the_gpus_that_are_missing(tmp_path: Path) -> None:
    plan, keys = bound(tmp_path), Keys("ab" * 32)
    run_dir = bench_of(plan, tmp_path / "run").run_dir
    written(run_dir, plan, [plan.cases[0], plan.cases[3]])
    found = resume.find(plan.cases, run_dir, keys.of)
    assert [slot.record is None for slot in found.slots] == [False, True, True, False]
    assert [claimed_identity(r) for r in found.kept] == [identity(plan.cases[0]), identity(plan.cases[3])]
    assert {record.complaints(r, "record") == [] for r in record.read(run_dir / record.FILE)} == {True}


def test_a_record_of_another_gpu_than_the_cases_is_a_contradiction(tmp_path: Path) -> None:
    plan = bound(tmp_path)
    run_dir = bench_of(plan, tmp_path / "run").run_dir
    written(run_dir, plan, list(plan.cases))
    odd = [f.line() for f in verify_record.verify(run_dir).findings if "lane.gpu" in f.line()]
    assert odd == []
    other = plan.cases[0]
    made = valid_record(lane={"number": 1, "cores": [0], "gpu": {"uuid": UUIDS[1], "index": 1}}, plan_sha256=plan.sha256())
    made["case"] = {"axes": dict(other.axes), "device": "cuda", "held_out": False, "gpu": other.gpu}
    made |= {"workload": other.workload, "variant": other.optimized.name, "baseline": other.baseline.name}
    record.append(run_dir / record.FILE, made)
    odd = [f.line() for f in verify_record.verify(run_dir).findings if "lane.gpu" in f.line()]
    assert len(odd) == 1 and f"lane.gpu.uuid: expected {UUIDS[0]}, found {UUIDS[1]}" in odd[0]


def test_the_key_names_the_model_of_the_gpu_that_the_case_is_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, Nvml(2, ("Accelerator A", "Accelerator B")))
    first, second = bound(tmp_path).cases[:2]
    keys = Keys("ab" * 32)
    assert (keys.of(first).device, keys.of(second).device) == ("Accelerator A", "Accelerator B")


def test_a_plain_run_does_not_share_its_gpu_with_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "locks").mkdir()
    monkeypatch.setenv(gpu_lock.FOLDER, str(tmp_path / "locks"))
    plan = Plan((case(tmp_path, device="cuda"),))
    with another(tmp_path / "locks", UUIDS[0]) as process, pytest.raises(DeviceError, match=f"process {process.pid}, it says"):
        run_plan(plan, tmp_path / "run", Console(io.StringIO()), ways=Ways(asked=Asked(wait_seconds=0.0)))
    assert not (tmp_path / "run" / record.FILE).exists()
