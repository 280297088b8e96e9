from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aisp_runner import schema
from aisp_runner.errors import ConfigError
from aisp_runner.spec import load_workload, workload_from_dict

KERNEL = """
def reference(a): ...
def loop(a, c): ...
def fast(a, c): ...
def tuned(a, c, block=4): ...
def returning(a): ...
def renamed(x, y): ...
"""

GOOD = """
question: Is it faster?
source: k.py
baseline: loop
optimized: [fast, {name: tuned, device: cuda}]
inputs:
  a: {shape: [n, "2 * n"], dtype: float32, init: normal}
outputs:
  c: {shape: [n], dtype: float32, rtol: 1e-6, atol: 0.0, because: one addition}
axes:
  cpu: {n: [4, 8]}
  cuda: {n: [16]}
held_out:
  cpu: [{n: 5}]
work: {bytes: 12 * n, flops: n}
verify: {phase: gate}
environment: {device: any, min_capability: "9.0"}
"""


def problems(folder: Path, text: str) -> list[str]:
    """The lines of the refusal of a workload, without the file's name, which each must begin with."""
    (folder / "k.py").write_text(KERNEL)
    file = folder / "x.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as refused:
        load_workload(file)
    lines = str(refused.value).split("\n")
    assert all(line.startswith(f"{file}: ") for line in lines)
    return [line.removeprefix(f"{file}: ") for line in lines]


def changed(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


def test_good_workload_is_loaded_with_its_defaults(tmp_path: Path) -> None:
    (tmp_path / "k.py").write_text(KERNEL)
    (tmp_path / "x.yaml").write_text(GOOD)
    spec = load_workload(tmp_path / "x.yaml")
    assert (spec.name, spec.source, spec.parameters) == ("x", tmp_path / "k.py", ("a", "c"))
    assert spec.inputs[0].shape == ("n", "2 * n")
    assert spec.outputs[0].rtol == 1e-6  # PyYAML would have read a string
    assert [(v.name, v.device) for v in spec.optimized] == [("fast", "any"), ("tuned", "cuda")]
    assert (spec.claim, spec.phase, spec.require, spec.margin, spec.gpus) == ("kernel", "gate", "valid", None, 1)
    assert spec.min_capability == (9, 0)
    assert spec.held_out == {"cpu": ({"n": 5},)}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        pytest.param(
            "atol: 0.0",
            "attol: 0.0, atol: 0.0",
            "outputs.c.attol: unknown key. Did you mean 'atol'? Known keys: atol, because, dtype, rtol, shape.",
            id="unknown key",
        ),
        pytest.param("atol: 0.0, ", "", "outputs.c.atol: missing. A number, at least 0 is wanted.", id="missing key"),
        pytest.param(
            '[n, "2 * n"]',
            "n",
            "inputs.a.shape: 'n' is a string; a list of axis names or sizes is wanted.",
            id="shape is no list",
        ),
        pytest.param(
            '[n, "2 * n"]', "[m]", "inputs.a.shape: axis 'm' is not defined for device cpu. Axes: n.", id="undefined axis"
        ),
        pytest.param("bytes: 12 * n", "bytes: f(n)", "work.bytes: 'f(n)' holds a call.", id="work is no arithmetic"),
        pytest.param(
            "verify: {phase: gate}",
            "verify: {phase: gaet}",
            "verify.phase: 'gaet' is not one of detect, quarantine, gate. Did you mean 'gate'?",
            id="misspelt choice",
        ),
        pytest.param(
            "dtype: float32, init",
            "dtype: flaot32, init",
            "inputs.a.dtype: 'flaot32' is not one of float64, float32,",
            id="misspelt dtype",
        ),
        pytest.param("[4, 8]", "[4, 4]", "axes.cpu.n: 4 is there twice.", id="size twice"),
        pytest.param("[4, 8]", "[0]", "axes.cpu.n[0]: 0 is not allowed; a size, at least 1 is wanted.", id="size zero"),
        pytest.param(
            "[4, 8]", "4", "axes.cpu.n: 4 is a number; a list of sizes such as [1024, 4096], or a range", id="one size"
        ),
        pytest.param("[fast, ", "[fast, fast, ", "optimized: 'fast' is there 2 times. Leave one.", id="duplicate variant"),
        pytest.param("[fast, ", "[loop, ", "optimized: 'loop' is the baseline.", id="baseline among the variants"),
        pytest.param(
            "[fast, ", "[3, ", "optimized[0]: 3 is a number; a function's name, or {name, device, returns}", id="variant 3"
        ),
        pytest.param(
            "{name: tuned, device: cuda}",
            "{name: tuned, devise: cuda}",
            "optimized[1].devise: unknown key. Did you mean 'device'? Known keys: device, name, returns.",
            id="variant's key",
        ),
        pytest.param("k.py", "kk.py", "source: there is neither ", id="missing source"),
        pytest.param("k.py", "kk.py", "Did you mean 'k.py'?", id="missing source, nearest"),
        pytest.param(
            "[fast, ", "[fats, ", "k.py has no function 'fats'. Did you mean 'fast'? Its functions: ", id="no function"
        ),
        pytest.param(
            "[fast, ",
            "[renamed, ",
            "k.py:7: renamed(x, y) does not match the workload's tensors (a, c). Rename the parameters or the YAML's inputs.",
            id="parameters",
        ),
        pytest.param("[fast, ", "[returning, ", "if it returns its outputs, say `returns: true`", id="returns, not said"),
        pytest.param(
            "[fast, ",
            "[{name: fast, returns: true}, ",
            "if it writes into them, say `returns: false`",
            id="writes, said to return",
        ),
        pytest.param(
            "cpu: [{n: 5}]", "cpu: [{n: 4}]", "held_out.cpu[0]: {'n': 4} is one of the declared cases", id="not held out"
        ),
        pytest.param(
            "cpu: [{n: 5}]", "cpu: [{m: 5}]", "held_out.cpu[0].m: axis 'm' is not defined for device cpu", id="other axis"
        ),
        pytest.param("cpu: [{n: 5}]", "cpu: [{}]", "held_out.cpu[0]: n missing.", id="axis missing"),
        pytest.param(
            '"9.0"', '"9.x"', "environment.min_capability: '9.x' is not allowed; a compute capability", id="capability"
        ),
        pytest.param(
            '"9.0"', "9.0", "environment.min_capability: 9.0 is a number; a compute capability in quotes", id="unquoted"
        ),
        pytest.param(
            '"9.0"', '"9.0", gpus: -1', "environment.gpus: -1 is not allowed; a number of GPUs, at least 1", id="gpus -1"
        ),
        pytest.param(
            'any, min_capability: "9.0"',
            "cpu, gpus: 4",
            "environment.gpus: 4 cannot be had with device: cpu. Remove it, or say device: cuda.",
            id="gpus on cpu",
        ),
        pytest.param(
            "  cuda: {n: [16]}",
            "  gpu: {n: [16]}",
            "axes.gpu: unknown key. Did you mean 'cuda'? Known keys: cpu, cuda.",
            id="device",
        ),
        pytest.param("init: normal", "init: uniform, low: 3", "inputs.a: low 3 is not below high 1.", id="empty range"),
        pytest.param("init: normal", "init: log_uniform", "inputs.a.low: 0 is not above 0", id="log of zero"),
        pytest.param("init: normal", "init: normal, low: 3", "inputs.a.low: init normal has no low.", id="range of normal"),
        pytest.param("  c: {", "  a: {", "outputs.a: there is an input 'a' too.", id="input and output of one name"),
        pytest.param("question:", "chapter: no\nquestion:", "chapter: False is a boolean; ", id="boolean by YAML"),
        pytest.param(
            "  cpu: {n", "  on: {n", "axes: the key True: YAML reads on, off, yes, no, true and false as", id="key by YAML"
        ),
        pytest.param("one addition", "one addition, once", "A comma ends a value inside { }", id="comma in a flow mapping"),
        pytest.param("question: Is it faster?\n", "", "question: missing. A question in one line is wanted.", id="no question"),
        pytest.param(
            "question:", "chapter: a\nlab: b\nquestion:", "lab: a workload belongs to a chapter or to a lab", id="both"
        ),
        pytest.param(
            "question:", "cuda: [x.cu]\nquestion:", "x.cu is not there. `cuda:` names files beside k.py.", id="no .cu"
        ),
        pytest.param("question:", "question: again\nquestion:", "not YAML: found duplicate key question.", id="key twice"),
        pytest.param("question:", "\tquestion:", "not YAML: found character '\\t'", id="tab"),
        pytest.param("question:", "defaults: [x]\nquestion:", "defaults: unknown key.", id="defaults list"),
        pytest.param("question:", "_target_: os.system\nquestion:", "_target_: unknown key.", id="target"),
    ],
)
def test_mistake_is_refused_with_place_and_remedy(tmp_path: Path, old: str, new: str, said: str) -> None:
    found = problems(tmp_path, changed(old, new))
    assert any(said in line for line in found), found


def test_because_may_be_left_out(tmp_path: Path) -> None:
    (tmp_path / "k.py").write_text(KERNEL)
    (tmp_path / "x.yaml").write_text(changed(", because: one addition", ""))
    assert load_workload(tmp_path / "x.yaml").outputs[0].because == ""


def test_all_problems_of_a_file_are_reported_together(tmp_path: Path) -> None:
    text = changed("atol: 0.0", "attol: 0.0").replace("verify: {phase: gate}", "verify: 3").replace("[4, 8]", "[-1]")
    found = problems(tmp_path, text)
    assert [line.split(":")[0] for line in found] == ["axes.cpu.n[0]", "outputs.c.attol", "outputs.c.atol", "verify"]


def test_all_problems_with_the_kernel_file_are_reported_together(tmp_path: Path) -> None:
    found = problems(tmp_path, changed("baseline: loop", "baseline: lop").replace("[fast, ", "[renamed, "))
    assert len(found) == 2


def test_source_may_lie_in_the_config_dir_above_the_workload_folder(tmp_path: Path) -> None:
    (tmp_path / "workload").mkdir()
    (tmp_path / "k.py").write_text(KERNEL)
    (tmp_path / "workload" / "x.yaml").write_text(GOOD)
    assert load_workload(tmp_path / "workload" / "x.yaml").source == tmp_path / "k.py"


def test_missing_source_names_both_places(tmp_path: Path) -> None:
    (tmp_path / "workload").mkdir()
    (tmp_path / "workload" / "x.yaml").write_text(GOOD)
    with pytest.raises(ConfigError) as refused:
        load_workload(tmp_path / "workload" / "x.yaml")
    assert f"there is neither {tmp_path}/workload/k.py nor {tmp_path}/k.py." in str(refused.value)


def test_interpolation_is_not_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AISP_TEST_SECRET", "hunter2")
    (tmp_path / "k.py").write_text(KERNEL)
    (tmp_path / "x.yaml").write_text(changed("Is it faster?", "${oc.env:AISP_TEST_SECRET}"))
    assert "hunter2" not in load_workload(tmp_path / "x.yaml").question


def test_composed_values_are_checked_like_a_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^the command line: question: missing"):
        workload_from_dict("x", {"source": "k.py"}, "the command line", tmp_path)


def described(node: Any, where: str) -> list[str]:
    """Properties without a description that says unit and default."""
    found = []
    if isinstance(node, dict):
        for name, inner in node.get("properties", {}).items() if isinstance(node.get("properties"), dict) else ():
            target = inner
            if "description" not in inner and "$ref" in inner:
                target = schema.load(where.split(":")[0])["definitions"][inner["$ref"].rpartition("/")[2]]
            text = target.get("description", "")
            if "unit" not in text.lower() or "default" not in text.lower():
                found.append(f"{where}.{name}")
        for name, inner in node.items():
            found += described(inner, f"{where}.{name}")
    return found


@pytest.mark.parametrize("name", ["workload", "chapter", "suite", "config"])
def test_every_property_of_a_schema_says_meaning_unit_and_default(name: str) -> None:
    assert described(schema.load(name), f"{name}:") == []
