from __future__ import annotations

import dataclasses
import importlib.machinery
import importlib.util
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from aisp_runner import plan_schema, schema
from aisp_runner.case import Limits, Measure, Plan, to_json
from aisp_runner.config import compose, load_yaml
from aisp_runner.content import content_root
from aisp_runner.errors import ConfigError
from aisp_runner.plan import World, plan_of
from aisp_runner.plan_file import load_plan, save_plan

H100 = {"name": "H100", "capability": "9.0", "memory_bytes": 80 * 2**30}
A100 = {"name": "A100", "capability": "8.0", "memory_bytes": 80 * 2**30}
CPU = World(why_none="NVML counts no GPU", cores=4)
GPU = World(gpus=(H100,), cores=4)

KERNEL = """
def reference(a): ...
def loop(a, c): ...
def fast(a, c): ...
def on_gpu(a, c): ...
def returning(a): ...
"""

ADD = """
chapter: tst1
question: Is it faster?
source: k.py
baseline: loop
optimized: [fast, {name: on_gpu, device: cuda}]
inputs:
  a: {shape: [n, m], dtype: float32}
outputs:
  c: {shape: ["n // 2"], dtype: float16, rtol: 1.0e-3, atol: 0.0}
axes:
  cpu: {n: [4, 8], m: [3]}
  cuda: {n: [16], m: [2, 3]}
held_out:
  cpu: [{m: 7, n: 6}]
work: {bytes: 4 * n * m, flops: n}
margin: 0.03
margin_because: less is lost in what surrounds a call
verify: {phase: gate, require: faster}
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A config dir with the workloads tst_add (chapter tst1) and tst_sub (chapter tst1), tst_other (lab tstlab)."""
    put(tmp_path, "tst_add", ADD)
    put(tmp_path, "tst_sub", ADD)
    put(tmp_path, "tst_other", ADD.replace("chapter: tst1", "lab: tstlab"))
    (tmp_path / "k.py").write_text(KERNEL)
    return tmp_path


def put(folder: Path, name: str, text: str) -> None:
    (folder / "workload").mkdir(exist_ok=True)
    (folder / "workload" / f"{name}.yaml").write_text(text)


def plan(folder: Path, *overrides: str, world: World = CPU) -> Plan:
    return plan_of(list(overrides), [folder], world)


def refusal(folder: Path, *overrides: str, world: World = CPU) -> str:
    with pytest.raises(ConfigError) as refused:
        plan(folder, *overrides, world=world)
    return str(refused.value)


def skips(made: Plan) -> list[str]:
    return [f"{skip.variant} {skip.device}: {skip.reason}" for skip in made.skips]


def test_cases_are_the_axes_product_times_the_variants_and_the_held_out_ones(mine: Path) -> None:
    made = plan(mine, "+workload=tst_add")
    assert [(c.optimized.name, c.axes, c.held_out) for c in made.cases] == [
        ("fast", {"n": 4, "m": 3}, False),
        ("fast", {"n": 8, "m": 3}, False),
        ("fast", {"n": 6, "m": 7}, True),
    ]
    assert skips(made) == ["on_gpu cpu: it needs cuda, and this run is on cpu"]


def test_case_is_concrete(mine: Path) -> None:
    case = plan(mine, "+workload=tst_add").cases[1]
    assert (case.inputs[0].shape, case.inputs[0].role) == ((8, 3), "activation")
    assert (case.outputs[0].shape, case.outputs[0].role, case.outputs[0].rtol) == ((4,), "output", 1e-3)
    assert (case.work_bytes, case.work_flops) == (96.0, 8.0)
    assert (case.group, case.phase, case.require, case.measure.margin) == ("tst1", "gate", "faster", 0.03)
    assert case.threads == 3
    assert case.reference.returns and case.reference.function == "reference"
    assert case.baseline.source.path == str(mine / "k.py")
    assert (case.measure.processes, case.measure.rounds, case.measure.min_rounds, case.measure.seconds) == (5, 12, 2, 3.0)
    assert case.cache == "cold" and case.measure.control and case.measure.mode == "auto"
    assert case.limits.memory_gib == 8.0


def test_settings_of_the_command_line_take_the_place_of_the_workloads(mine: Path) -> None:
    case = plan(
        mine, "+chapter=tst1", "verify.phase=detect", "verify.require=valid", "margin=0.1", "threads=2", "measure=quick",
        "measure.rounds=5", "measure.calls=[2,9]", "limits.batch_seconds=3",
    ).cases[0]  # fmt: skip
    assert (case.phase, case.require, case.measure.margin, case.threads) == ("detect", "valid", 0.1, 2)
    assert (case.measure.rounds, case.measure.seconds, case.measure.calls) == (5, 0.5, (2, 9))
    assert case.limits.batch_seconds == 3.0


def test_measure_groups_say_how_long(mine: Path) -> None:
    quick, standard, publication = (
        plan(mine, "+workload=tst_add", f"measure={name}").cases[0].measure for name in ("quick", "standard", "publication")
    )
    assert [m.processes for m in (quick, standard, publication)] == [1, 5, 10]
    assert [m.half_width for m in (quick, standard, publication)] == [0.02, 0.005, 0.002]
    assert quick.rounds == 8 and quick.device_clock == "off"


def test_a_gate_always_has_a_control(mine: Path) -> None:
    def control(*overrides: str) -> bool:
        return plan(mine, "+workload=tst_add", *overrides).cases[0].measure.control

    assert control("measure.control=false"), "the workload asks for a gate"
    assert not control("measure.control=false", "verify.phase=detect")
    assert control("verify.phase=detect")


@pytest.mark.parametrize(("installed", "clock"), [(True, "cupti"), (False, "off")])
def test_the_device_clock_is_the_one_that_is_installed(
    mine: Path, monkeypatch: pytest.MonkeyPatch, installed: bool, clock: str
) -> None:
    real = importlib.util.find_spec
    found = importlib.machinery.ModuleSpec("cupti", None) if installed else None
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: found if name == "cupti" else real(name, *rest))
    assert plan(mine, "+workload=tst_add").cases[0].measure.device_clock == clock
    for asked in ("kineto", "cupti", "off"):
        assert plan(mine, "+workload=tst_add", f"measure.device_clock={asked}").cases[0].measure.device_clock == asked
    assert plan(mine, "+workload=tst_add", "measure=quick").cases[0].measure.device_clock == "off"


def test_without_a_margin_of_its_own_a_workload_has_that_of_its_claim(mine: Path) -> None:
    text = re.sub("margin.*\n", "", ADD)
    for claim, margin in (("kernel", 0.01), ("wall", 0.02)):
        put(mine, "tst_add", f"{text}claim: {claim}\ncache: hot\n")
        case = plan(mine, "+workload=tst_add").cases[0]
        assert (case.claim, case.measure.margin, case.cache) == (claim, margin, "hot")


def test_a_margin_needs_a_reason(mine: Path) -> None:
    put(mine, "tst_add", re.sub("margin_because.*\n", "", ADD))
    said = "margin: without a reason. Add margin_because: why a difference of that size means nothing here."
    assert said in refusal(mine, "+workload=tst_add")


def test_chapter_and_lab_select_by_tag_without_a_file_of_their_own(mine: Path) -> None:
    assert {case.workload for case in plan(mine, "+chapter=tst1").cases} == {"tst_add", "tst_sub"}
    assert {case.workload for case in plan(mine, "+lab=tstlab").cases} == {"tst_other"}


def test_selections_are_combined_and_each_workload_taken_once(mine: Path) -> None:
    made = plan(mine, "+workload=tst_sub", "+chapter=tst1", "+lab=tstlab")
    assert list(dict.fromkeys(case.workload for case in made.cases)) == ["tst_sub", "tst_add", "tst_other"]


def test_several_workloads_are_chosen_by_list_and_by_pattern(mine: Path) -> None:
    for text in ("+workload=[tst_add,tst_other]", "+workload=tst_add,tst_other", "+workload=tst_[ao]*"):
        assert {case.workload for case in plan(mine, text).cases} == {"tst_add", "tst_other"}
    assert {case.workload for case in plan(mine, "+workload=tst_add", "+workload=tst_other").cases} == {"tst_add", "tst_other"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- a", "it holds a list; a mapping of keys to values is wanted."),
        ("", "question: missing. A question in one line is wanted."),
        ("question: ${", "tst_add.yaml: token recognition error|tst_add.yaml: .*[$]"),
        ("question: a\ndefaults: [tst_sub]", "defaults: a workload is one file that pulls in no other. Write its keys out."),
        ("# @package _global_\nverify: {phase: detect}", "it has a `# @package` line, which could change a run's settings."),
        ("a: [", "line 2: not YAML: "),
    ],
)
def test_workload_that_is_no_plain_mapping_is_refused(mine: Path, text: str, said: str) -> None:
    put(mine, "tst_add", text + "\n")
    assert re.search(said, refusal(mine, "+workload=tst_add"))


def test_suite_selects_by_tag_and_pattern_and_excludes(mine: Path) -> None:
    (mine / "suite").mkdir()
    (mine / "suite" / "few.yaml").write_text(
        "title: few\nselect: {chapters: [tst1], workloads: ['tst_o*']}\nexclude: [tst_add]\n"
    )
    assert {case.workload for case in plan(mine, "+suite=few").cases} == {"tst_sub", "tst_other"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("title: x\nselect: {chapters: [tst2]}", "select.chapters: no workload has `chapter: tst2`. Did you mean 'tst1'?"),
        ("title: x\nselect: {workloads: ['zz*']}", "select.workloads: no workload is called 'zz*'."),
        ("title: x\nselect: {chapter: [tst1]}", "select.chapter: unknown key. Did you mean 'chapters'?"),
        ("title: x", "select: missing."),
    ],
)
def test_suite_that_selects_nothing_is_refused(mine: Path, text: str, said: str) -> None:
    (mine / "suite").mkdir()
    (mine / "suite" / "few.yaml").write_text(text)
    assert said in refusal(mine, "+suite=few")


def test_single_workload_is_changed_on_the_command_line(mine: Path) -> None:
    made = plan(mine, "+workload=tst_add", "workload.axes.cpu.n=[2]", "workload.claim=wall", "~workload.held_out")
    assert [(case.axes["n"], case.claim) for case in made.cases] == [(2, "wall")]


def test_change_of_a_workload_is_checked_like_its_file(mine: Path) -> None:
    text = refusal(mine, "+workload=tst_add", "workload.inputs.a.shpe=[n]")
    assert "with the command line's workload.*: inputs.a.shpe: unknown key. Did you mean 'shape'?" in text


def test_change_of_several_workloads_is_refused(mine: Path) -> None:
    text = refusal(mine, "+workload=[tst_add,tst_sub]", "workload.margin=0.1")
    assert text.startswith("workload.margin=0.1: this changes one workload, chosen by +workload=NAME.")


def test_auto_takes_the_gpu_where_there_is_one(mine: Path) -> None:
    made = plan(mine, "+workload=tst_add", world=GPU)
    assert [(c.device, c.optimized.name, c.axes["m"]) for c in made.cases] == [
        ("cuda", "fast", 2), ("cuda", "on_gpu", 2), ("cuda", "fast", 3), ("cuda", "on_gpu", 3),
    ]  # fmt: skip
    assert made.skips == ()


def test_auto_keeps_to_the_cpu_what_has_sizes_for_it_alone(mine: Path) -> None:
    put(mine, "tst_cpu", ADD.replace("  cuda: {n: [16], m: [2, 3]}\n", ""))
    assert {case.device for case in plan(mine, "+workload=tst_cpu", world=GPU).cases} == {"cpu"}


def test_asking_for_a_gpu_that_is_not_there_skips_with_the_reason(mine: Path) -> None:
    made = plan(mine, "+workload=tst_add", "device=cuda")
    assert made.cases == ()
    assert skips(made) == [f"{name} cuda: no CUDA GPU is visible: NVML counts no GPU" for name in ("fast", "on_gpu")]


def test_asking_for_a_device_without_sizes_skips(mine: Path) -> None:
    put(mine, "tst_gpu", ADD.replace("  cpu: {n: [4, 8], m: [3]}\n", "").replace("held_out:\n  cpu: [{m: 7, n: 6}]\n", ""))
    made = plan(mine, "+workload=tst_gpu", "device=cpu")
    assert (made.cases, skips(made)[0]) == ((), "fast cpu: it declares no sizes for cpu (axes.cpu)")


@pytest.mark.parametrize(
    ("environment", "world", "reason"),
    [
        ('{min_capability: "9.0"}', World(gpus=(A100,)), "A100 has compute capability 8.0, and 9.0 is needed"),
        ('{min_capability: "9.0"}', World(gpus=({"name": "?", "capability": None},)), "? has compute capability None, and 9.0"),
        ("{gpus: 4}", World(gpus=(H100, H100)), "2 of 4 GPUs asked for are visible (CUDA_VISIBLE_DEVICES=0,1)"),
        ("{gpus: 4}", CPU, "it needs 4 GPUs, and this run is on cpu"),
        ("{device: cuda}", CPU, "no CUDA GPU is visible: NVML counts no GPU"),
    ],
)
def test_unmet_requirement_skips_with_the_reason(
    mine: Path, environment: str, world: World, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    put(mine, "tst_env", f"{ADD}environment: {environment}\n")
    made = plan(mine, "+workload=tst_env", world=world)
    assert made.cases == ()
    assert all(reason in text for text in skips(made))


def test_capability_is_asked_of_gpus_alone(mine: Path) -> None:
    put(mine, "tst_env", f'{ADD}environment: {{min_capability: "9.0"}}\n')
    assert plan(mine, "+workload=tst_env").cases


def test_capability_ten_is_above_nine(mine: Path) -> None:
    put(mine, "tst_env", f'{ADD}environment: {{min_capability: "9.0"}}\n')
    assert plan(mine, "+workload=tst_env", world=World(gpus=({**H100, "capability": "10.0"},))).cases


def test_case_larger_than_the_memory_limit_is_skipped(mine: Path) -> None:
    made = plan(mine, "+workload=tst_add", "workload.axes.cpu.n=[4000000000]", "workload.optimized=fast")
    assert len(made.cases) == 1  # the held-out one
    assert made.skips[0].reason == "one call's tensors take 48.43 GiB at n=4000000000,m=3, more than limits.memory_gib=8"


def test_case_larger_than_the_machines_memory_is_skipped_with_the_figures(mine: Path) -> None:
    world = dataclasses.replace(CPU, memory_bytes=256)
    made = plan(mine, "+workload=tst_add", world=world)
    assert not made.cases
    reason = skips(made)[-1].partition(": ")[2]
    assert re.fullmatch(
        r"the case at n=6,m=7 takes at least 0\.00 GiB of host memory \(oracle, judge and every process of the variants\), "
        r"and this machine has 0\.00 GiB; fewer sets of processes \(measure\.processes\) take less",
        reason,
    ), reason
    assert plan(mine, "+workload=tst_add", world=dataclasses.replace(CPU, memory_bytes=2**30)).cases


def test_size_that_is_no_whole_number_is_refused(mine: Path) -> None:
    text = refusal(mine, "+workload=tst_add", "workload.axes.cpu.n=[1]")
    assert "outputs.c.shape: 'n // 2' is 0 at n=1, m=3; a size is a whole number, at least 1." in text


def test_candidate_takes_the_place_of_every_variant(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(mine)
    Path("theirs.py").write_text("def mine(a, c): ...\ndef back(a): ...\n")
    made = plan(mine, "+chapter=tst1", "candidate=theirs.py::mine", "device=cpu")
    assert {(c.workload, c.optimized.name, c.optimized.returns) for c in made.cases} == {
        ("tst_add", "mine", False), ("tst_sub", "mine", False),
    }  # fmt: skip
    assert made.cases[0].optimized.source.path == str(mine / "theirs.py")
    assert made.cases[0].baseline.source.path == str(mine / "k.py")
    returned = plan(mine, "+workload=tst_add", "candidate=theirs.py::back", "candidate_returns=true")
    assert returned.cases[0].optimized.returns


@pytest.mark.parametrize(
    ("candidate", "said"),
    [
        ("their.py::mine", "candidate: there is no file 'their.py'. Did you mean 'theirs.py'?"),
        ("theirs.py", "names no function. Write candidate=theirs.py::FUNCTION. Its functions: mine, back, odd."),
        ("theirs.py::min", "has no function 'min'. Did you mean 'mine'? Its functions: mine, back, odd."),
        ("theirs.py::odd", "odd(x) does not match the workload's tensors (a, c). Rename the parameters"),
        ("theirs.py::back", "if it returns its outputs, say candidate_returns=true"),
    ],
)
def test_candidate_that_cannot_be_used_is_refused(
    mine: Path, candidate: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(mine)
    Path("theirs.py").write_text("def mine(a, c): ...\ndef back(a): ...\ndef odd(x): ...\n")
    assert said in refusal(mine, "+workload=tst_add", f"candidate={candidate}")


def test_name_in_two_folders_is_refused(mine: Path) -> None:
    name = sorted((content_root() / "conf" / "workload").glob("*.yaml"))[0].stem
    put(mine, name, ADD)
    text = refusal(mine, f"+workload={name}")
    assert text.startswith(f"workload/{name}.yaml is in both conf and {mine}. Names must differ")


def test_mistakes_of_several_workloads_are_reported_together(mine: Path) -> None:
    put(mine, "tst_add", ADD.replace("question", "qestion"))
    put(mine, "tst_sub", ADD.replace("k.py", "kk.py"))
    text = refusal(mine, "+chapter=tst1")
    assert "tst_add.yaml: qestion: unknown key. Did you mean 'question'?" in text
    assert "tst_sub.yaml: source: there is neither" in text


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("measure.calls=[9,2]", "measure.calls: [9, 2] must be (short, long)"),
        ("measure.rounds=0", "measure.rounds: 0 is not allowed; a number of rounds, at least 1 is wanted."),
        ("measure.processes=0", "measure.processes: 0 is not allowed; a number of sets of processes, at least 1 is wanted."),
        ("measure.mode=gate", "measure.mode: 'gate' is not one of auto, graph, gated, wall. Did you mean 'gated'?"),
        ("margin=2", "margin: 2 is not allowed; a fraction between 0 and 0.5 is wanted."),
        ("threads=0", "threads: 0 is not allowed; a number of threads, at least 1 is wanted."),
        ("candidate_returns=maybe", "candidate_returns: 'maybe' is a string; true or false is wanted."),
        ("+limits.memori_gib=3", "limits.memori_gib: unknown key. Did you mean 'memory_gib'?"),
        (
            "run_dir=${oc.env:AISP_NO_SUCH}",
            "run_dir: KeyError raised while resolving interpolation: \"Environment variable 'AISP_NO_SUCH' not found\"",
        ),
    ],
)
def test_setting_that_makes_no_sense_is_refused(mine: Path, override: str, said: str) -> None:
    assert said in refusal(mine, "+workload=tst_add", override)


def test_protections_are_on_unless_turned_off(mine: Path) -> None:
    assert plan(mine, "+workload=tst_add", "protect=off").cases[0].protections.keys() == {"output.tolerance_bound"}
    assert plan(mine, "+workload=tst_add", "protect.mode=off").cases[0].protections.keys() == {"output.tolerance_bound"}


def test_plan_is_the_same_for_the_same_request(mine: Path) -> None:
    first, second = plan(mine, "+workload=tst_add"), plan(mine, "+workload=tst_add")
    assert first.sha256() == second.sha256()


def test_saved_plan_is_read_back_equal(mine: Path, tmp_path: Path) -> None:
    made = plan(mine, "+workload=tst_add", "measure.calls=[2,9]")
    save_plan(made, tmp_path / "deep" / "plan.json")
    assert load_plan(tmp_path / "deep" / "plan.json") == made
    assert load_plan(tmp_path / "deep" / "plan.json").sha256() == made.sha256()


def test_plan_changed_after_it_was_made_is_refused(mine: Path, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    save_plan(plan(mine, "+workload=tst_add"), path)
    path.write_text(path.read_text().replace('"require": "faster"', '"require": "valid"'))
    with pytest.raises(ConfigError, match=r"plan\.json: its content does not match its sha256 \(\w+ instead of \w+\)"):
        load_plan(path)
    assert load_plan(path, check=False).cases[0].require == "valid"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON"),
        ("[]", "not a plan"),
        ('{"sha256": "0", "plan": {"format": 99, "cases": []}}', "it has format 99; this version reads format 1."),
    ],
)
def test_file_that_is_no_plan_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(ConfigError, match=said):
        load_plan(tmp_path / "plan.json")
    with pytest.raises(ConfigError, match=r"none\.json: cannot be read"):
        load_plan(tmp_path / "none.json")


def test_plan_schema_is_fresh_and_describes_a_plan(mine: Path) -> None:
    written = (content_root() / "schemas" / "plan.schema.json").read_text("utf-8")
    assert written == plan_schema.text(), "run python -m aisp_runner.plan_schema"
    made = plan(mine, "+chapter=tst1")
    whole: Any = json.loads(json.dumps({"sha256": made.sha256(), "plan": to_json(made)}))
    jsonschema.Draft7Validator(json.loads(written)).validate(whole)
    del whole["plan"]["cases"][0]["axes"]
    assert not jsonschema.Draft7Validator(json.loads(written)).is_valid(whole)


def test_standard_measure_and_limits_are_the_dataclasses_own_but_for_the_device_clock(mine: Path) -> None:
    case = plan(mine, "+workload=tst_add", "margin=0.02").cases[0]
    assert case.measure.device_clock in ("cupti", "off"), "decided when the plan is made"
    assert dataclasses.replace(case.measure, device_clock="auto") == Measure()
    assert case.limits == Limits()


@pytest.mark.parametrize("name", ["chapter", "lab", "suite"])
def test_chapters_labs_and_suites_of_the_repository_keep_to_their_schema(name: str) -> None:
    for file in (content_root() / "conf" / name).glob("*.yaml"):
        data = load_yaml(file)
        assert schema.problems(data, name) == []
        assert data.get("id", file.stem) == file.stem


@pytest.mark.parametrize("world", [CPU, GPU], ids=["cpu", "gpu"])
def test_every_workload_of_the_repository_is_planned(world: World) -> None:
    names = {file.stem for file in (content_root() / "conf" / "workload").glob("*.yaml")}
    made = plan_of(["+suite=all"], world=world)
    assert {case.workload for case in made.cases} | {skip.workload for skip in made.skips} == names
    assert len(made.cases) > len(made.skips)


def test_planning_a_chapter_is_quick_and_imports_neither_torch_nor_a_kernel(tmp_path: Path) -> None:
    code = (
        "import sys; from aisp_runner.plan import plan_of; plan_of(['+chapter=ch12']); "
        "bad = [m for m in sys.modules if m.split('.')[0] in ('torch', 'triton', 'numpy')]; sys.exit(', '.join(bad) or 0)"
    )
    start = time.perf_counter_ns()
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(content_root())}, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert (time.perf_counter_ns() - start) / 1e9 < 5.0  # 0.5 s on a quiet machine


@pytest.mark.parametrize(("said", "processes"), [([], 1), (["measure=standard"], 5), (["measure.processes=3"], 3)])
def test_a_suite_may_say_how_it_is_measured_and_the_command_line_says_it_last(said: list[str], processes: int) -> None:
    assert compose(["+suite=quick", *said]).settings["measure"]["processes"] == processes
