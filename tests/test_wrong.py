"""Wrong variants that are made of a workload's own baseline, through the real line."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aisp_runner import aisp
from aisp_runner.audit import wrong
from aisp_runner.content import content_root
from aisp_runner.errors import ConfigError
from aisp_runner.listing import load, this_machine
from aisp_runner.pool import Pool
from aisp_runner.spec import load_workload

RESULTS = content_root() / "docs" / "results" / "cpu" / "wrong.json"

KERNELS = """
import torch

def sums(x):
    return x + 1, x.sum().reshape(1)

def sums_into(x, y, s):
    torch.add(x, 1, out=y)
    torch.sum(x, 0, keepdim=True, out=s)

def largest(key):
    return key.argmax(1).to(torch.int32)

def all_the_same(x):
    return x.sum().expand(x.shape[0]).contiguous()

other_sums = sums_into
other_largest = largest
other_same = all_the_same
"""

INTO = """
question: Is a sum a sum?
source: k.py
reference: sums
baseline: sums_into
optimized: [other_sums]
inputs: {x: {shape: [n], dtype: float32, init: uniform, low: 1, high: 2}}
outputs:
  y: {shape: [n], dtype: float32, rtol: 1.0e-6, atol: 0.0, because: one addition is rounded once}
  s: {shape: [1], dtype: float32, rtol: 1.0e-5, atol: 0.0, because: "fp32: a sum of 4096 positive numbers"}
axes: {cpu: {n: [4096]}}
"""

RETURNS = """
question: Which is the largest?
source: k.py
reference: largest
baseline: largest
optimized: [other_largest]
returns: true
inputs: {key: {shape: [n, m], dtype: float32}}
outputs: {i: {shape: [n], dtype: int32, rtol: 0.0, atol: 0.0, because: an index is never rounded}}
axes: {cpu: {n: [512], m: [64]}}
"""

HIDING = """
question: Does a shift show where all elements are alike?
source: k.py
reference: all_the_same
baseline: all_the_same
optimized: [other_same]
returns: true
inputs: {x: {shape: [n], dtype: float32, init: uniform, low: 1, high: 2}}
outputs: {c: {shape: [n], dtype: float32, rtol: 1.0e-5, atol: 0.0, because: "fp32: a sum of 2048 positive numbers"}}
axes: {cpu: {n: [2048]}}
"""


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool() as shared:
        yield shared


def workload(folder: Path, name: str, text: str) -> Path:
    (folder / "k.py").write_text(KERNELS)
    path = folder / f"{name}.yaml"
    path.write_text(textwrap.dedent(text))
    return path


def made(path: Path, pool: Pool, tmp_path: Path) -> dict[str, dict[str, Any]]:
    return {row["kind"]: row for row in wrong.rows([load_workload(path)], "cpu", tmp_path / "wrong", pool)}


def test_every_fault_of_a_sound_workload_is_refused(pool: Pool, tmp_path: Path) -> None:
    found = made(workload(tmp_path, "into", INTO), pool, tmp_path)
    assert set(found) == set(wrong.KINDS)
    assert all(row["refused"] and wrong.holds(row) for row in found.values()), found
    assert "output.fresh_inputs" in found["stale"]["reasons"]
    assert "output.poisoned_outputs" in found["tail"]["reasons"]


def test_a_fault_that_cannot_be_made_is_told(pool: Pool, tmp_path: Path) -> None:
    found = made(workload(tmp_path, "returns", RETURNS), pool, tmp_path)
    assert found["half"]["why_not"] == "no output is of floats"
    assert all(found[kind]["refused"] for kind in ("tail", "tile", "stale")), found


def test_a_workload_that_hides_a_fault_is_found_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert aisp.main(["audit", "--wrong", str(workload(tmp_path, "hiding", HIDING)), "--out", "rows.json"]) == 3
    rows = {row["kind"]: row for row in json.loads(Path("rows.json").read_text())}
    assert {kind: row["refused"] for kind, row in rows.items()} == {"tail": True, "tile": False, "half": True, "stale": True}
    told = capsys.readouterr().out
    assert "tile   ACCEPTED" in told and "3 of 4 wrong variants of 1 workloads refused" in told


def test_a_name_that_is_none_is_told_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"'ch06_vector_ad' is no workload\. Did you mean 'ch06_vector_add'"):
        wrong.chosen(["ch06_vector_ad"])
    assert {spec.name for spec in wrong.chosen(["ch12_*", "ch06_vector_add"])} > {"ch06_vector_add", "ch12_work_queue"}


def test_every_workload_of_a_cpu_was_tried_and_refuses_them_all() -> None:
    rows = json.loads(RESULTS.read_text())
    assert [row for row in rows if not wrong.holds(row)] == []
    tried = {row["workload"] for row in rows if "kind" in row}
    known = load([content_root() / "conf"], this_machine()).workloads
    assert {w.name for w in known if "cpu" in w.cases} <= tried, "aisp audit --wrong all --out docs/results/cpu/wrong.json"
