"""aisp-run resume=RUN_DIR: with what to run, and from the folder alone; what makes no sense is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from aisp_runner import record
from aisp_runner.case import Plan
from aisp_runner.cli import run, will_run
from aisp_runner.execute import Ways
from aisp_runner.plan_file import Shard, load_plan, save_plan
from aisp_runner.verify_record import verify

KERNEL = """
import torch

def reference(a):
    return a + 1

def loop(a, c):
    for i in range(0, a.numel(), 512):
        torch.add(a[i : i + 512], 1, out=c[i : i + 512])

def fast(a, c):
    torch.add(a, 1, out=c)
"""
MINE = """
question: Is it faster?
source: k.py
baseline: loop
optimized: fast
inputs:
  a: {shape: [n], dtype: float32}
outputs:
  c: {shape: [n], dtype: float32, rtol: 1.0e-6, atol: 0.0, because: "one addition, rounded once"}
axes:
  cpu: {n: [16384, 32768]}
"""
WORDS = ("--config-dir", "mine", "+workload=res_mine", "device=cpu", "measure=quick", "measure.processes=1", "threads=1")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "mine" / "workload").mkdir(parents=True)
    (tmp_path / "mine" / "workload" / "res_mine.yaml").write_text(MINE)
    (tmp_path / "mine" / "k.py").write_text(KERNEL)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def sizes() -> list[int]:
    return [r["case"]["axes"]["n"] for r in record.read("out/records.jsonl")]


def test_a_run_that_was_cut_short_goes_on_by_the_same_words_and_by_its_folder_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*WORDS, "run_dir=out", "progress=json"]) == 0
    events = [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines() if line.startswith("{")]
    assert events == ["start", "case_start", "case_end", "case_start", "case_end", "end"]
    whole = Path("out/records.jsonl").read_bytes().splitlines(keepends=True)
    for words in (WORDS, ()):
        Path("out/records.jsonl").write_bytes(whole[0] + whole[1][:700])
        assert run([*words, "resume=out"]) == 0
        said = capsys.readouterr().out
        assert "a half-written last line of 700 bytes was cut off" in said
        assert "1 of 2 cases have a record that stands; 1 are run." in said
        assert "The plan is another" not in said and not list(Path("out").glob("plan-*"))
        assert sizes() == [16384, 32768] and verify(Path("out")).exit_code == 0


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Plan, Path, Ways]]:
    """What run_plan was asked for; nothing is run."""
    from aisp_runner import execute

    calls: list[tuple[Plan, Path, Ways]] = []

    def run_plan(plan: Plan, folder: Path, pool: object, lock_clocks: bool, ways: Ways) -> int:
        calls.append((plan, folder, ways))
        return 0

    monkeypatch.setattr(execute, "run_plan", run_plan)
    return calls


def test_the_plan_is_made_anew_and_the_old_one_left_to_the_run(asked: list[tuple[Plan, Path, Ways]]) -> None:
    assert run([*WORDS, "mode=plan", "run_dir=out"]) == 0
    before = Path("out/plan.json").read_bytes()
    Path("mine/workload/res_mine.yaml").write_text(MINE.replace("32768", "65536"))
    assert run([*WORDS, "resume=out", "retry_errors=true"]) == 0
    ((plan, folder, ways),) = asked
    assert [c.axes["n"] for c in plan.cases] == [16384, 65536] and folder == Path("out")
    assert ways == Ways(resume=True, retry_errors=True)
    assert Path("out/plan.json").read_bytes() == before


def test_a_part_goes_on_as_that_part(asked: list[tuple[Plan, Path, Ways]]) -> None:
    assert run([*WORDS, "mode=plan", "run_dir=out"]) == 0
    plan = load_plan(Path("out/plan.json"))
    save_plan(plan, Path("out/plan.json"), Shard(2, 2))
    assert run(["resume=out"]) == 0
    ((given, _, ways),) = asked
    assert given == dataclasses.replace(plan) and ways.shard == Shard(2, 2)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("resume=nowhere",), "resume: there is no folder nowhere. Name the folder of the run that is to go on."),
        (("resume=mine",), "resume: mine holds no run. Name the folder of a run, or begin one with run_dir=mine."),
        ((*WORDS, "resume=out", "run_dir=out"), "resume and run_dir both name a folder. Keep resume=RUN_DIR"),
        ((*WORDS, "resume=out", "mode=plan"), "resume with mode=plan: a plan that is not run"),
        ((*WORDS, "retry_errors=true"), "retry_errors: it goes with resume=RUN_DIR"),
        ((*WORDS, "resume=out", "-m"), "resume with --multirun: each job has a folder of its own."),
        ((*WORDS, "progress=xml"), "progress: 'xml' is not "),
    ],
    ids=["no folder", "no run", "two folders", "plan", "retry alone", "multirun", "progress"],
)
def test_what_makes_no_sense_is_refused(
    words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str], asked: list[tuple[Plan, Path, Ways]]
) -> None:
    assert run([*WORDS, "mode=plan", "run_dir=out"]) == 0
    capsys.readouterr()
    assert run(list(words)) == 2
    assert f"aisp-run: error: {said}" in capsys.readouterr().err
    assert not asked


def test_no_process_is_started_ahead_for_what_may_be_nothing() -> None:
    assert not will_run(["+workload=x", "resume=out"]) and will_run(["+workload=x"])
