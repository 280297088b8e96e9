"""`aisp show --config`: the effective values are those of the plan, and each names the line that sets it."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aisp_runner import aisp
from aisp_runner.config_page.command import as_json, composed
from aisp_runner.config_page.page import ANY_GPU
from aisp_runner.content import content_root
from aisp_runner.errors import ConfigError
from aisp_runner.plan import World, plan_of
from aisp_runner.protect import registry

VECTOR_ADD = "conf/workload/ch06_vector_add.yaml"
Captured = pytest.CaptureFixture[str]
Rows = list[dict[str, Any]]

KERNEL = """raise SystemExit("this file was imported")


def reference(x):
    return 2 * x


def slow(x, y):
    y.copy_(x).mul_(2)


def fast(x, y):
    y.copy_(x + x)
"""
YAML = """question: Is it faster?
source: ../k.py
baseline: slow
optimized: {name: fast, device: cpu}
margin: 0.03
margin_because: the clock of this machine drifts by two percent
inputs:
  x:
    shape: [n, 2]
    dtype: float32
    init: uniform
    low: 1.0
    high: 2.0
outputs:
  y: {shape: [n, 2], dtype: float32, rtol: 1.0e-6, atol: 0.0, because: one multiplication by two is exact}
axes:
  cpu: {n: [8, 16]}
held_out:
  cpu:
    - {n: 5}
    - {n: 7}
environment: {device: cpu, require: {torch: "2.11"}}
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A config dir of one's own with a workload whose kernel file must not be imported."""
    (tmp_path / "workload").mkdir()
    (tmp_path / "measure").mkdir()
    (tmp_path / "k.py").write_text(KERNEL)
    (tmp_path / "workload" / "doubled.yaml").write_text(YAML)
    (tmp_path / "measure" / "brief.yaml").write_text("defaults: [quick, _self_]\nseconds: 0.25\n")
    return tmp_path


def page(name: str, *overrides: str, config_dirs: tuple[Path, ...] = ()) -> dict[str, Any]:
    made = composed(name, overrides, config_dirs)
    return as_json(made, made.sections())


def row(told: dict[str, Any], section: str, key: str) -> dict[str, Any]:
    """The first row of a key."""
    return next(row for row in told["sections"][section] if row["key"] == key)


def set_by(told: dict[str, Any], section: str, key: str) -> str:
    return str(row(told, section, key)["set_by"]["text"])


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("measure=quick", "verify.phase=gate"),
        ("measure=publication", "environment=bare_metal", "threads=3"),
        ("measure.rounds=7", "margin=0.1", "limits.memory_gib=2"),
    ],
    ids=lambda words: " ".join(words) or "none",
)
def test_the_values_are_those_of_the_plan(overrides: tuple[str, ...]) -> None:
    told = page("ch06_vector_add", *overrides)
    for device in ("cpu", "cuda"):
        case = plan_of(
            ["+workload=ch06_vector_add", *overrides, f"device={device}"],
            world=World((ANY_GPU,), cores=len(os.sched_getaffinity(0))),
        ).cases[0]
        for field in dataclasses.fields(case.measure):
            value = getattr(case.measure, field.name)
            if field.name not in ("margin", "calls"):
                shown = f"{value:g}" if isinstance(value, float) else str(value).lower()
                assert row(told, "measure", field.name)["value"].split(" ")[0] == shown, field.name
        assert row(told, "verdict", "margin")["value"].split(" ")[0] == f"{case.measure.margin:g}"
        assert row(told, "verdict", "verify.phase")["value"] == case.phase
        assert row(told, "verdict", "verify.require")["value"] == case.require
        assert row(told, "machine", "limits.memory_gib")["value"] == f"{case.limits.memory_gib:g}"
        assert str(case.threads) in row(told, "machine", "threads")["value"]
        on = {row["key"] for row in told["sections"]["protections"] if row["value"].startswith("on")}
        assert on == set(case.protections)


@pytest.mark.parametrize(
    ("section", "key", "value", "origin"),
    [
        ("comparison", "question", "Does one launch beat 256 chunked ones?", f"{VECTOR_ADD}:2"),
        ("comparison", "work.bytes", "12 * n bytes a call", f"{VECTOR_ADD}:22"),
        ("functions", "reference", "reference(a, b) at kernels/vector_add.py:22", "default (schemas/workload.schema.json)"),
        ("functions", "baseline", "chunked(a, b, c) at kernels/vector_add.py:27", f"{VECTOR_ADD}:4"),
        ("verdict", "claim", "wall", f"{VECTOR_ADD}:23"),
        ("verdict", "cache", "cold", "default (schemas/workload.schema.json)"),
        ("verdict", "margin", "0.02 for a claim of wall", "default (schemas/workload.schema.json)"),
        ("verdict", "verify.phase", "detect", "command line: verify.phase=detect"),
        ("verdict", "verify.require", "valid", f"{VECTOR_ADD}:24"),
        ("measure", "rounds", "8", "conf/measure/quick.yaml:5"),
        ("measure", "control", "true", "conf/measure/standard.yaml:7"),
        ("measure", "seconds", "9", "command line: measure.seconds=9"),
        ("machine", "limits.start_seconds", "60", "conf/environment/shared_host.yaml:5"),
        ("machine", "device", "auto", "conf/device/auto.yaml:2"),
        ("machine", "ranks", "1", "default (schemas/workload.schema.json)"),
        ("protections", "mode", "strict", "conf/protect/strict.yaml:1"),
    ],
    ids=lambda value: value if isinstance(value, str) and " " not in value and ":" not in value else "",
)
def test_each_value_names_what_sets_it(section: str, key: str, value: str, origin: str) -> None:
    told = page("ch06_vector_add", "measure=quick", "verify.phase=detect", "measure.seconds=9")
    found = row(told, section, key)
    assert (found["value"], found["set_by"]["text"]) == (value, origin)
    if not origin.startswith(("default", "command")):
        file, _, line = origin.rpartition(":")
        assert (found["set_by"]["file"], found["set_by"]["line"]) == (file, int(line))
        last = key.rpartition(".")[2]
        assert f"{last}:" in (content_root() / file).read_text().splitlines()[int(line) - 1]


def test_a_file_that_is_composed_later_wins() -> None:
    told = page("ch06_vector_add", "environment=bare_metal")
    assert set_by(told, "machine", "limits.memory_gib") == "conf/environment/bare_metal.yaml:5"
    knob = next(r for r in told["sections"]["protections"] if "bare_metal =" in r["value"])
    assert (knob["value"], knob["set_by"]["text"]) == ("on, bare_metal = 1", "conf/environment/bare_metal.yaml:6")


def test_what_a_gate_changes_is_told_beside_what_was_asked_for() -> None:
    told = page("ch06_vector_add", "measure.control=false", "verify.phase=gate")
    assert row(told, "measure", "control")["value"] == "true (asked for: false: a gate always has it)"


def test_protections_are_on_or_off_with_their_knobs() -> None:
    told = page("ch06_vector_add", "protect.disable=[timing.drain_bound]", "protect.knobs.memory.late_writes.settle_ms=5")
    rows: Rows = told["sections"]["protections"]
    assert {r["key"] for r in rows} == {"mode", *registry.known()}
    off = [(r["key"], r["set_by"]["text"]) for r in rows if r["value"].startswith("OFF")]
    assert off == [("timing.drain_bound", "command line: protect.disable=[timing.drain_bound]")]
    knobs = {r["value"]: r["set_by"]["text"] for r in rows if r["key"] == "memory.late_writes"}
    module = content_root() / "aisp_runner" / "protect" / "memory" / "late_writes.py"
    line = module.read_text().splitlines().index("    elements: int = 64")
    assert knobs == {
        "on, elements = 64": f"aisp_runner/protect/memory/late_writes.py:{line + 1}",
        "on, settle_ms = 5": "command line: protect.knobs.memory.late_writes.settle_ms=5",
    }
    bare = page("ch06_vector_add", "protect=off")
    on = [r["key"] for r in bare["sections"]["protections"] if r["value"].startswith("on")]
    assert on == list(registry.UNPROTECTED)
    assert set_by(bare, "protections", "mode") == "conf/protect/off.yaml:2"


def test_sizes_shapes_and_bytes_are_shown_for_each_device() -> None:
    told = page("ch06_vector_add")
    cases = [(r["key"], r["value"], r["set_by"]["text"]) for r in told["sections"]["cases"]]
    assert cases[0] == (
        "cpu",
        "n=262144: a [262144], b [262144], c [262144]; tensors of a call 3,145,728 bytes, 3,145,728 bytes must move, "
        "262,144 operations",
        f"{VECTOR_ADD}:17",
    )
    assert [(device, value.split(":")[0]) for device, value, _ in cases if "skipped" not in value] == [
        ("cpu", "n=262144"),
        ("cpu", "n=300007 held out"),
        ("cuda", "n=1048576"),
        ("cuda", "n=16777216"),
        ("cuda", "n=3145739 held out"),
    ]
    only = page("ch06_vector_add", "device=cuda")
    assert {r["key"] for r in only["sections"]["cases"]} == {"cuda"}


def test_a_workload_of_ones_own_is_read_and_not_imported(mine: Path) -> None:
    told = page("doubled", "measure=brief", config_dirs=(mine,))
    yaml = mine / "workload" / "doubled.yaml"
    assert row(told, "functions", "optimized")["value"].startswith(f"fast(x, y) (cpu only) at {mine / 'k.py'}:12")
    assert row(told, "measure", "seconds")["value"] == "0.25"
    assert set_by(told, "measure", "seconds") == f"{mine / 'measure' / 'brief.yaml'}:2"
    assert set_by(told, "measure", "rounds") == "conf/measure/quick.yaml:5"
    assert set_by(told, "measure", "mode") == "conf/measure/standard.yaml:8"
    assert (row(told, "verdict", "margin")["value"], set_by(told, "verdict", "margin")) == ("0.03", f"{yaml}:5")
    assert row(told, "verdict", "margin_because")["value"] == "the clock of this machine drifts by two percent"
    assert [(r["value"], r["set_by"].get("line")) for r in told["sections"]["inputs"]] == [
        ("[n, 2]", 9),
        ("float32", 10),
        ("init uniform", 11),
        ("role activation", None),
        ("low 1", 12),
        ("high 2", 13),
    ]
    assert [r["set_by"]["line"] for r in told["sections"]["cases"]] == [17, 17, 20, 21]
    assert row(told, "machine", "environment.require.torch")["value"] == "2.11"
    assert page(str(yaml), "measure=brief") == told | {"overrides": told["overrides"]}


def test_an_override_of_the_workload_is_named_instead_of_its_line(mine: Path) -> None:
    told = page("doubled", "workload.margin=0.05", "workload.axes.cpu.n=[64]", config_dirs=(mine,))
    assert (row(told, "verdict", "margin")["value"], set_by(told, "verdict", "margin")) == (
        "0.05",
        "command line: workload.margin=0.05",
    )
    assert row(told, "cases", "cpu")["value"].startswith("n=64: x [64, 2], y [64, 2]; tensors of a call 1,024 bytes")
    assert set_by(told, "cases", "cpu") == "command line: workload.axes.cpu.n=[64]"


def test_a_candidate_takes_the_place_of_the_optimized_variants(mine: Path) -> None:
    told = page("doubled", f"candidate={mine / 'k.py'}::slow", config_dirs=(mine,))
    assert [r["key"] for r in told["sections"]["functions"]] == ["reference", "baseline", "candidate"]
    assert set_by(told, "functions", "candidate").startswith("command line: candidate=")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ch06_vecto_add"], "there is no workload 'ch06_vecto_add'. Did you mean 'ch06_vector_add'?"),
        (["ch06_vector_add", "measure=quik"], "there is no measure 'quik'. Did you mean 'quick'?"),
        (["ch06_vector_add", "measure.round=3"], "there is no setting 'measure.round'. Did you mean 'measure.rounds'?"),
        (["ch06_vector_add", "measure.rounds=few"], "measure.rounds: 'few' is a string"),
        (["ch06_vector_add", "workload.margin=0.05"], "margin: without a reason. Add margin_because"),
        (["ch06_*"], "workloads, and a page shows one. Name one."),
        (["ch06_vector_add", "runs/x"], "runs/x: overrides such as measure=quick may follow"),
        (["ch06_vector_add", "+suite=all"], "+suite=all: overrides such as measure=quick may follow"),
        (["nowhere/workload/x.yaml"], "there is no such file FOLDER/workload/NAME.yaml"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_aisp_run_would_refuse_is_refused_in_its_words(words: list[str], said: str, capsys: Captured) -> None:
    assert aisp.main(["show", "--config", *words]) == 2
    assert said in capsys.readouterr().err


def test_settings_without_a_config_are_refused(capsys: Captured) -> None:
    assert aisp.main(["show", "runs/x", "measure=quick"]) == 2
    assert "settings and --config-dir go with --config WORKLOAD" in capsys.readouterr().err
    assert aisp.main(["show", "--config", "ch06_vector_add", "--markdown"]) == 2
    with pytest.raises(ConfigError, match="there is no workload 'nothing'"):
        composed("nothing", [])


def test_the_page_fits_its_width_and_says_the_same_as_the_json(capsys: Captured) -> None:
    assert aisp.main(["show", "--config", "ch06_vector_add", "measure=quick", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert aisp.main(["show", "--config", "ch06_vector_add", "measure=quick"]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 120
    flat = " ".join(text.split())
    for rows in told["sections"].values():
        for each in rows:
            assert each["key"] in flat and each["set_by"]["text"] in flat
            assert each["value"].split(";")[0] in flat, each["value"]


def test_showing_a_config_imports_neither_torch_nor_a_kernel() -> None:
    code = (
        "import sys; from aisp_runner.aisp import main; code = main(['show', '--config', 'ch12_kernel_fusion']);"
        "bad = [m for m in sys.modules if m.split('.')[0] in ('torch', 'triton', 'numpy')];"
        "sys.stderr.write(' '.join(bad)); sys.exit(code)"
    )
    environment = {**os.environ, "PYTHONPATH": str(content_root())}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, "")
