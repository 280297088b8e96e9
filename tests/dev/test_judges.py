"""Other harnesses' problems, generated from the attacks, and how their answers are read."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from aisp_runner import record
from aisp_runner.audit.attack import Attack, attacks
from aisp_runner.dev.judges import __main__ as command
from aisp_runner.dev.judges import gpu_mode, kernelbench, own, problem, process, rows, sol_execbench
from aisp_runner.dev.judges.process import Ended, Verdict

EVERY = {attack.name: attack for attack in attacks()}
ENDED = Ended(0, "", "", 4.0)


@pytest.fixture(autouse=True)
def _torch_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slowed baseline replaces torch.atan2 when its file is loaded, and its twin keeps it so."""
    monkeypatch.setattr(torch, "atan2", torch.atan2)


def loaded(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"generated_{file.stem}", file)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def made(name: str, function: str, home: Path) -> problem.Problem:
    home.mkdir(parents=True, exist_ok=True)
    return problem.of(EVERY[name], function, "cpu", home)


def close(asked: problem.Problem, got: torch.Tensor, expected: torch.Tensor) -> bool:
    (out,) = asked.outputs
    return got.shape == expected.shape and torch.allclose(got.double(), expected.double(), rtol=out.rtol, atol=out.atol)


@pytest.mark.parametrize("name", command.TEN)
def test_a_twin_gives_the_reference_answer_through_each_format(name: str, tmp_path: Path) -> None:
    asked = made(name, "twin", tmp_path / "case")
    kernelbench.write(asked, tmp_path / "kernelbench")
    model = loaded(tmp_path / "kernelbench" / kernelbench.MODEL)
    model_new = loaded(tmp_path / "kernelbench" / kernelbench.MODEL_NEW)
    given = model.get_inputs()
    assert [list(t.shape) for t in given] == [list(t.shape) for t in asked.inputs]
    assert close(asked, model_new.ModelNew()(*given), model.Model()(*given))

    sol_execbench.write(asked, tmp_path / "sol")
    definition, solution = (json.loads((tmp_path / "sol" / f"{f}.json").read_text()) for f in ("definition", "solution"))
    (tmp_path / "sol" / "reference.py").write_text(definition["reference"])
    (tmp_path / "sol" / "kernel.py").write_text(solution["sources"][0]["content"])
    reference, kernel = (loaded(tmp_path / "sol" / f"{file}.py") for file in ("reference", "kernel"))
    drawn = reference.generate_inputs({}, torch.device("cpu"))
    assert list(drawn) == list(definition["inputs"])
    function = getattr(kernel, solution["spec"]["entry_point"].partition("::")[2])
    out = torch.zeros(asked.outputs[0].shape)
    if solution["spec"]["destination_passing_style"]:
        function(*drawn.values(), out)
    else:
        out = function(*drawn.values())
    assert close(asked, out, reference.run(*drawn.values()))

    gpu_mode.write(asked, tmp_path / "gpu_mode")
    workload, submission = (loaded(tmp_path / "gpu_mode" / f"{file}.py") for file in ("workload", "submission"))
    data = workload.generate_input(n=1, seed=7)
    copy = tuple(t.clone() for t in data)
    assert torch.equal(data[0], workload.generate_input(n=1, seed=7)[0])
    assert not torch.equal(data[0], workload.generate_input(n=1, seed=8)[0])
    assert close(asked, submission.custom_kernel(data), workload.ref_kernel(copy))


@pytest.mark.parametrize("name", command.TEN)
def test_a_candidate_is_handed_over_alive_and_names_do_not_meet(name: str, tmp_path: Path) -> None:
    """KernelBench loads the reference and the candidate into one namespace: a name of both must mean the same."""
    candidate, twin = made(name, "candidate", tmp_path / "c"), made(name, "twin", tmp_path / "t")
    assert "def candidate(" in candidate.code and "def twin(" not in candidate.code
    assert "def twin(" in twin.code and "def candidate(" not in twin.code
    assert "expect = " not in candidate.code and '"""' not in candidate.code
    for one in (candidate, twin):
        reference, own_lines = one.reference.splitlines(), one.code.splitlines()
        for line in own_lines:
            target = line.partition(" = ")[0]
            if line and not line[0].isspace() and " = " in line and target.isidentifier():
                assert all(line == other for other in reference if other.startswith(f"{target} = "))


def test_the_candidates_tolerance_is_the_attacks_and_the_twins_the_workloads(tmp_path: Path) -> None:
    candidate, twin = (made("workload/half_precision", f, tmp_path / f) for f in ("candidate", "twin"))
    assert candidate.outputs[0].atol == pytest.approx(twin.outputs[0].atol + 0.02)
    sol_execbench.write(candidate, tmp_path)
    assert json.loads((tmp_path / "workload.jsonl").read_text())["tolerance"]["max_atol"] == candidate.outputs[0].atol
    gpu_mode.write(candidate, tmp_path)
    assert f"atol={candidate.outputs[0].atol!r}" in (tmp_path / "reference.py").read_text()


def test_a_statement_that_defines_nothing_is_kept_with_what_it_needs() -> None:
    text = "import os, torch\nissue = 'a'\ndef slow(): return fast()\ndef fast(): 'words'; return 1\ntorch.f = slow\n"
    text += "def candidate(): 'only words'\ndef twin(): return os\n"
    assert problem.reduced(text, "candidate", "cpu").split("\n") == [
        "import os, torch", "def slow():", "    return fast()", "def fast():", "    return 1", "torch.f = slow",
        "def candidate():", '    """only words"""', "",
    ]  # fmt: skip


def test_branches_of_the_other_device_are_left_out() -> None:
    text = "import threading\ndef candidate(a):\n    if not a.is_cuda:\n        return threading.Thread()\n    pass\n"
    text += "    if a.is_cuda:\n        return 1 if a.is_cuda else threading\n    return threading.Lock()\n"
    assert problem.reduced(text, "candidate", "cuda") == "def candidate(a):\n    pass\n    pass\n    return 1\n"
    assert problem.reduced(text, "candidate", "cpu").endswith("    return threading.Thread()\n")
    source = EVERY["timing/unsynced_streams"].path.read_text()
    assert "ThreadPool" not in problem.reduced(source, "twin", "cuda") and "Stream" not in problem.reduced(
        source, "twin", "cpu"
    )


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("timing/event_timing_gaps", "a frame of this project's worker"),
        ("statistical/cherry_picking", "stage"),
        ("evaluation/metric_definition_gaming", "file of the plan"),
        ("distributed/rank_skipping", "several ranks"),
    ],
)
def test_what_only_this_project_can_stage_is_not_applicable(name: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(problem.NotApplicable, match=why):
        made(name, "candidate", tmp_path)
    bench = command.Bench(tmp_path, "cpu", tmp_path, None)
    bench._controls["kernelbench"] = ""
    found = list(bench.rows(EVERY[name], "kernelbench"))
    assert [r["judge"] for r in found] == [kernelbench.NAME, kernelbench.STATIC]
    assert {r["status"] for r in found} == {rows.NOT_APPLICABLE} and all(why in r["why"] for r in found)


def result(**said: Any) -> dict[str, Any]:
    return {"compiled": True, "correctness": True, "metadata": {}, "runtime": 2.0, "ref_runtime": 3.0} | said


def test_what_kernelbench_says() -> None:
    static = {"valid": True, "errors": [], "warnings": ["streams"]}
    both = kernelbench.verdicts({"result": result(), "static": static, "evaluation_seconds": 1.0}, ENDED)
    assert both[kernelbench.NAME] == Verdict(True, 1.5, 4.0, "correctness: True")
    assert both[kernelbench.STATIC].accepted and "warned: streams" in both[kernelbench.STATIC].message
    refusing = {"valid": False, "errors": ["a thread"], "warnings": []}
    both = kernelbench.verdicts({"result": result(), "static": refusing, "evaluation_seconds": 1.0}, ENDED)
    assert both[kernelbench.NAME].accepted and both[kernelbench.STATIC] == Verdict(False, None, 3.0, "a thread")
    flagged = kernelbench.verdicts({"result": result(runtime=0.1, metadata={"excessive_speedup": True})}, ENDED)
    assert not flagged[kernelbench.NAME].accepted and flagged[kernelbench.NAME].speedup == pytest.approx(30)
    failed = result(correctness=False, runtime=-1.0, ref_runtime=-1.0, metadata={"correctness_issue": "Output mismatch"})
    assert kernelbench.verdicts({"result": failed}, ENDED)[kernelbench.NAME].message == "correctness_issue: Output mismatch"
    raised = kernelbench.verdicts({"raised": "ValueError: no", "result": None}, ENDED)[kernelbench.NAME]
    assert not raised.accepted and raised.message == "ValueError: no"
    assert kernelbench.verdicts({}, Ended(None, "", "", 9.0))[kernelbench.NAME].message == "ended by the time limit"


def test_what_sol_execbench_says() -> None:
    performance = {"latency_ms": 0.002, "reference_latency_ms": 0.004, "speedup_factor": 2.0}
    passed = {"evaluation": {"status": "PASSED", "log": "", "performance": performance, "correctness": {}}}
    assert sol_execbench.verdict([passed], ENDED) == Verdict(True, 2.0, 4.0, "PASSED; 2.00 us, reference 4.00 us")
    hack = {"evaluation": {"status": "REWARD_HACK", "log": "Lazy", "performance": None, "correctness": None}}
    assert sol_execbench.verdict([hack], ENDED) == Verdict(False, None, 4.0, "REWARD_HACK; Lazy")
    assert sol_execbench.verdict([], Ended(1, "", "a\nNo traces\n", 4.0)).message == "exit status 1: No traces"


def test_what_gpu_mode_says() -> None:
    said = {"check": "pass", "benchmark.0.runs": "100", "benchmark.0.mean": "2000.0"}
    assert gpu_mode.verdict(said, [ENDED, ENDED], 5000.0) == Verdict(True, 2.5, 8.0, "check: pass, 100 runs, mean 2.00 us")
    wrong = gpu_mode.verdict({"check": "fail", "test.0.error": "mismatch found!"}, [ENDED], 5000.0)
    assert wrong == Verdict(False, None, 4.0, "mismatch found!")
    assert not gpu_mode.verdict({}, [Ended(1, "", "RuntimeError: not ready", 4.0)], 5000.0).accepted


def test_what_this_project_says() -> None:
    valid = {"status": "VALID", "reasons": [], "message": "", "speedup": {"value": 1.01}}
    assert own.verdict([valid], ENDED) == Verdict(True, 1.01, 4.0, "VALID")
    refused = valid | {"status": "INVALID", "reasons": ["timing.drain_bound"], "message": "late", "speedup": None}
    assert own.verdict([valid, refused], ENDED) == Verdict(False, None, 4.0, "VALID; INVALID timing.drain_bound: late")


@pytest.mark.parametrize(
    ("accepted", "speedup", "gains", "caught"),
    [(False, 9.0, True, True), (True, 1.29, True, True), (True, 1.3, True, False), (True, None, True, True),
     (True, 0.9, False, False), (False, None, False, True)],
)  # fmt: skip
def test_caught_is_refused_or_told_no_gain(accepted: bool, speedup: float | None, gains: bool, caught: bool) -> None:
    assert rows.caught(Verdict(accepted, speedup, 1.0, ""), gains) is caught


def _attack(gains: bool = True) -> Attack:
    return Attack(Path("tests/attacks/timing/one.py"), "timing.one", "timing.drain_bound", gains=gains)


def test_rows_follow_their_schema_and_the_table_says_what_they_say() -> None:
    missed, fine = Verdict(True, 3.0, 2.0, "check | pass"), Verdict(True, 1.0, 4.0, "VALID")
    made = [
        rows.measured(_attack(), own.NAME, Verdict(False, None, 3.0, "INVALID"), fine),
        rows.measured(_attack(), gpu_mode.NAME, missed, Verdict(False, None, 2.0, "no")),
        rows.missing(_attack(), sol_execbench.NAME, rows.NOT_MEASURED, "the time limit was up"),
    ]
    document = {"format": rows.FORMAT, "device": "cuda", "machine": "a GPU", "versions": {}, "harnesses": {}, "rows": made}
    assert record.complaints(document, "judges") == []
    assert record.complaints(document | {"rows": [made[0] | {"candidate": None}]}, "judges")
    text = rows.markdown(made)
    assert "| timing/one | refused; 3.0 s | **MISSED** (3.00x); 2.0 s; **twin refused** | not measured |" in text
    assert "| 1 of 1; 1 of 1; 3.5 s | 0 of 1; 0 of 1; 2.0 s | not measured |" in text and "check \\| pass" in text


def test_a_process_has_a_python_of_its_own_and_ends_at_its_limit(tmp_path: Path) -> None:
    ended = process.run(["python", "-c", "import sys; sys.exit(sys.executable)"], tmp_path / "a")
    assert ended.code == 1 and ended.err.strip() == sys.executable
    assert process.run(["sudo", "-n", "nvidia-smi", "--version"], tmp_path / "c").code == 1
    slow = process.run([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path / "b", limit_s=0.3)
    assert slow.code is None and slow.seconds < 10 and slow.last_words == "ended by the time limit"


def test_a_harness_that_refuses_its_control_is_not_measured(tmp_path: Path) -> None:
    bench = command.Bench(tmp_path, "cpu", tmp_path, None)
    bench._controls["sol_execbench"] = f"{command.REFUSED_CONTROL}: no"
    (row,) = bench.rows(EVERY["output/stale_cache"], "sol_execbench")
    assert row["status"] == rows.NOT_MEASURED and row["why"].endswith("baseline: no")
    (row,) = command.Bench(tmp_path, "cpu", tmp_path, 0.0).rows(EVERY["output/stale_cache"], "own")
    assert row["why"] == "the time limit was up"


def test_a_missing_checkout_and_unknown_names_are_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = ["--out", str(tmp_path / "o.json")]
    assert command.main(["--peers", str(tmp_path), "--judges", "gpu_mode", *out]) == 2
    assert "there is no folder reference-kernels" in capsys.readouterr().err
    assert command.main(["--names", "a/b", *out]) == 2 and "no attack 'a/b'" in capsys.readouterr().err
    assert command.main(["--judges", "c", *out]) == 2 and "no judge 'c'" in capsys.readouterr().err


def test_what_was_not_measured_is_asked_again_and_what_was_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attack, out = EVERY["output/stale_cache"], tmp_path / "judges.json"
    asked: list[str] = []
    named = ["--judges", "own", "--device", "cpu", "--names", attack.name, "--out", str(out)]

    def answers(self: command.Bench, which: Attack, name: str) -> Iterator[rows.Row]:
        asked.append(which.name)
        late = len(asked) == 1
        fine = Verdict(True, 1.0, 1.0, "VALID")
        yield rows.missing(which, own.NAME, rows.NOT_MEASURED, "late") if late else rows.measured(which, own.NAME, fine, fine)

    monkeypatch.setattr(command.Bench, "rows", answers)
    command.main(named)
    document = json.loads(out.read_text())
    other = rows.missing(EVERY["workload/early_exit"], own.NAME, rows.NOT_MEASURED, "late")  # nobody asks for it
    out.write_text(json.dumps(document | {"rows": [*document["rows"], other]}))
    for _ in range(2):
        command.main(named)
    kept, row = json.loads(out.read_text())["rows"]
    assert asked == [attack.name] * 2 and row["status"] == rows.MEASURED and kept == other
