"""Variants of several ranks: who waits for whom, what becomes of a rank that fails, and where each one's memory lies."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from bench import QUICK, accepted, case, kernel, opened, tried

from aisp_runner import record
from aisp_runner.arm import ArmTimeout, CannotCapture
from aisp_runner.case import Case, Limits, Plan, Tensor
from aisp_runner.device.cpu import CpuDevice
from aisp_runner.errors import WorkerFault
from aisp_runner.execute import run_plan
from aisp_runner.forkserver import ForkServer
from aisp_runner.judge import ARMS
from aisp_runner.ranks import RankedArm
from aisp_runner.sources import describe

pytest_plugins = ("shared_server",)

RANKED = """
import torch.distributed as dist

def reference(a):
    return [sum(a) for _ in a]

def baseline(a, c):
    c.copy_(a)
    dist.all_reduce(c)

def candidate(a, c):
    {act}
    baseline(a, c)
"""


def ranked(folder: Path, act: str = "pass", elements: int = 64, **changes: Any) -> Case:
    """c = the sum of both ranks' a."""
    shape = (elements,)
    tensors = {
        "inputs": tuple(Tensor(f"a@{r}", shape, "float32", "activation", rank=r) for r in range(2)),
        "outputs": tuple(Tensor(f"c@{r}", shape, "float32", "output", rtol=2e-6, atol=2e-6, rank=r) for r in range(2)),
    }
    given: dict[str, Any] = {"ranks": 2, "claim": "wall", "measure": dataclasses.replace(QUICK, calls=(2, 8)), **tensors}
    return case(folder, RANKED.format(act=act), **(given | changes))


# On a CPU


def test_ranks_that_share_their_work_are_accepted(server: ForkServer, tmp_path: Path) -> None:
    made = tried(ranked(tmp_path), server, tmp_path)
    assert accepted(made), made["message"]
    assert set(made["errors"]) == {"c@0", "c@1"} and made["errors"]["c@1"]["outputs_checked"] > 8


def test_content_differs_from_rank_to_rank_and_answers_lie_where_the_outputs_do(server: ForkServer, tmp_path: Path) -> None:
    given = ranked(tmp_path)
    code = RANKED.format(act="pass")
    changes = {f.name: getattr(given, f.name) for f in dataclasses.fields(given) if f.name in ("ranks", "inputs", "outputs")}
    with opened(server, tmp_path, code, measure=given.measure, **changes) as judge:
        judge.draw(dict.fromkeys(ARMS, 2))
        assert not torch.equal(judge.content.store["a@0"][:2], judge.content.store["a@1"][:2])
        answers = judge.answers((0, 1))
        assert torch.allclose(answers["c@0"], answers["c@1"])
        assert [a.device for a in answers.values()] == [torch.device("cpu")] * 2


@pytest.mark.parametrize(
    ("act", "kind", "said"),
    [
        ("import os; dist.get_rank() and os._exit(3)", "died", "candidate candidate, rank 1 ended its process (exit status 3)"),
        ("1 / (1 - dist.get_rank())", "raised", "rank 1 raised ZeroDivisionError"),
        ("while dist.get_rank(): pass", "hung", "candidate candidate, rank 0 did not finish a batch within 1 s"),
    ],
    ids=["dies", "raises", "hangs"],
)
def test_a_rank_that_fails_is_named_whichever_the_judge_waited_for(
    server: ForkServer, tmp_path: Path, act: str, kind: str, said: str
) -> None:
    limits = Limits(start_seconds=20.0, batch_seconds=1.0, memory_gib=2.0)
    act = f"calls.append(1); {act} if len(calls) > 3 else None" if kind != "hung" else f"calls.append(1)\n    {act}"
    code = RANKED.replace("def candidate", "calls = []\n\ndef candidate").replace("{act}", act.replace("import os; ", ""))
    if kind == "hung":
        code = code.replace("while dist", "while len(calls) > 3 and dist")
    given = ranked(tmp_path, limits=limits)
    fields = {f.name: getattr(given, f.name) for f in dataclasses.fields(given)}
    wanted = ("ranks", "claim", "measure", "inputs", "outputs", "limits")
    made = tried(case(tmp_path, code, **{name: fields[name] for name in wanted}), server, tmp_path)
    assert (made["status"], made["reasons"]) == ("ERROR", [f"worker.{kind}"]), made["message"]
    assert said in made["message"]
    assert kind != "died" or made["message"].startswith(said)


# Arming, with made-up members


class Member:
    """One rank's arm that answers as it is told to, and writes down what happens to it."""

    def __init__(self, rank: int, log: list[str], answers: dict[str, Any]) -> None:
        self.rank, self.log, self.answers, self.looked_ns = rank, log, answers, answers.get("looked")
        self.seen_ns = answers.get("seen", 0)
        self.pid, self.signals, self.channel, self.patience = rank, self, SimpleNamespace(end=self), 60.0

    def fileno(self) -> int:
        return self.rank + 10

    @staticmethod
    def wait_all(ends: Any, sequence: int, seconds: float, rest_ns: int) -> int | None:
        ends[0][0].log.append(f"{[channel for _, channel in ends]} {seconds:g} {rest_ns}")
        return next((number for number, (member, _) in enumerate(ends) if "fault" in member.answers), None)

    def lost(self, sequence: int) -> None:
        raise self.answers["fault"]

    def note(self, what: str) -> None:
        self.log.append(f"{what} {self.rank}")

    def who(self) -> str:
        return f"candidate x, rank {self.rank}"

    def tell(self, sequence: int, order: Any, step: str) -> None:
        self.note(step)

    def arm(self, sequence: int, order: Any, mode: str) -> None:
        self.note(f"arm {mode}")

    def hear(self, sequence: int, seconds: float) -> dict[str, Any] | None:
        self.note("hear")
        assert 0 < seconds <= 5.0
        answer: dict[str, Any] | None = self.answers.get("ready", {"kind": "ready"})
        return answer

    def hear_late(self, sequence: int) -> dict[str, Any]:
        self.note("late")
        return {"kind": "ready"}

    def refusal(self, message: dict[str, Any]) -> CannotCapture:
        return CannotCapture(f"{self.who()}: {message['refused']}")

    def open_gate(self, sequence: int) -> None:
        self.note("open")

    def finish(self, sequence: int) -> dict[str, Any]:
        self.note("finish")
        return {"reported_ns": 1, "evidence": []}

    def fell(self, seconds: float) -> WorkerFault | None:
        fault: WorkerFault | None = self.answers.get("fell")
        return fault


def arm_of(*answers: dict[str, Any]) -> tuple[RankedArm, list[str]]:
    made, log = object.__new__(RankedArm), list[str]()
    made.role, made.case = "candidate", SimpleNamespace(limits=Limits(batch_seconds=5.0))  # type: ignore[assignment]
    made.members = [Member(rank, log, given) for rank, given in enumerate(answers)]  # type: ignore[misc]
    return made, log


def test_every_rank_is_told_before_any_is_heard() -> None:
    arm, log = arm_of({}, {})
    arm.arm(7, (0,), "gated")
    assert log == ["gated 0", "gated 1", "hear 0", "hear 1"]


def test_a_graph_is_captured_by_all_before_any_replays_it() -> None:
    arm, log = arm_of({}, {})
    arm.arm(7, (0,), "graph")
    assert log == ["capture 0", "capture 1", "hear 0", "hear 1", "replay 0", "replay 1", "hear 0", "hear 1"]


def test_where_one_cannot_capture_none_replays() -> None:
    arm, log = arm_of({}, {"ready": {"refused": "it waits"}})
    with pytest.raises(CannotCapture, match="candidate x, rank 1: it waits"):
        arm.arm(7, (0,), "graph")
    assert not [entry for entry in log if entry.startswith(("replay", "open"))]


def test_where_one_cannot_be_enqueued_all_gates_open_and_all_reports_are_read() -> None:
    arm, log = arm_of({}, {"ready": None})
    with pytest.raises(ArmTimeout, match="candidate x, rank 1"):
        arm.arm(7, (0,), "gated")
    assert log[4:] == ["open 0", "open 1", "late 1", "finish 0", "finish 1"]


def test_a_capture_that_takes_too_long_opens_no_gate() -> None:
    arm, log = arm_of({"ready": None}, {})
    with pytest.raises(ArmTimeout, match="rank 0"):
        arm.arm(7, (0,), "graph")
    assert log[4:] == ["late 0"]


def test_ranks_are_waited_for_together_and_only_the_first_batch_may_take_long() -> None:
    arm, log = arm_of({"looked": 40, "seen": 50}, {"looked": 0, "seen": 0})
    assert arm.await_done(7, 30) == 50
    arm.await_done(8)
    assert log == ["[10, 11] 60 30", "[10, 11] 5 0"] and arm.looked_ns == 40


def test_a_fault_tells_of_every_rank_that_failed_the_cause_first() -> None:
    hung, died = WorkerFault("candidate", "hung", "rank 0 hung"), WorkerFault("candidate", "died", "rank 1 died")
    arm, _ = arm_of({"fault": hung}, {"fell": died})
    with pytest.raises(WorkerFault, match=r"^rank 1 died; rank 0 hung$") as told:
        arm.await_done(7)
    assert told.value.kind == "died" and told.value.arm == "candidate"


def test_ranks_on_a_cpu_are_stopped_together_and_watched_for_one_window(server: ForkServer, tmp_path: Path) -> None:
    given = ranked(tmp_path)
    changes = {name: getattr(given, name) for name in ("ranks", "inputs", "outputs", "measure")}
    with opened(server, tmp_path, RANKED.format(act="pass"), **changes) as judge:
        device, pids = CpuDevice(), judge.arms["candidate"].pids
        marks = device.after_done(pids)
        states = [Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] for pid in pids]
        start = time.perf_counter()
        drained = device.drained(pids, marks)
        assert len(pids) == 2 and states == ["T", "T"] and drained < 3_000_000
        assert time.perf_counter() - start < 0.05


# On GPUs


@pytest.fixture
def two_gpus() -> None:
    """Skips where there are fewer."""
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if there < 2:
        pytest.skip(f"needs 2 GPUs, one a rank, and {there} can be seen")


@pytest.mark.cuda
@pytest.mark.parametrize(
    ("claim", "mode", "clock"),
    [("wall", "auto", "wall"), ("kernel", "gated", "gated"), ("kernel", "graph", "graph"), ("kernel", "auto", "graph")],
)
def test_ranks_have_a_gpu_each(tmp_path: Path, two_gpus: None, claim: str, mode: str, clock: str) -> None:
    measure = dataclasses.replace(QUICK, calls=(12, 64), mode=mode)
    limits = Limits(start_seconds=60.0, batch_seconds=20.0)
    run_plan(
        Plan((ranked(tmp_path, elements=1 << 22, device="cuda", claim=claim, measure=measure, limits=limits),)),
        tmp_path / "run",
    )
    (made,) = record.read(tmp_path / "run" / record.FILE)
    assert made["status"] == "VALID", made["message"]
    assert made["clock"]["mode"] == clock, made["clock"]["why_not_gated"]


@pytest.mark.cuda
@pytest.mark.parametrize(
    ("act", "kind"),
    [("dist.get_rank() and len(calls) > 3 and os._exit(3)", "died"), ("1 / (len(calls) < 4 or 1 - dist.get_rank())", "raised")],
)
def test_a_rank_that_fails_on_its_gpu_is_named(tmp_path: Path, two_gpus: None, act: str, kind: str) -> None:
    code = RANKED.replace("def candidate", "calls = []\n\ndef candidate").replace("{act}", f"calls.append(1); {act}")
    given = ranked(tmp_path / "given", device="cuda", elements=1 << 20, limits=Limits(start_seconds=60.0, batch_seconds=3.0))
    source = describe(kernel(tmp_path, code))
    variant = dataclasses.replace(given.optimized, source=source)
    run_plan(Plan((dataclasses.replace(given, optimized=variant),)), tmp_path / "run")
    (made,) = record.read(tmp_path / "run" / record.FILE)
    assert made["reasons"] == [f"worker.{kind}"] and "rank 1" in made["message"], made["message"]
