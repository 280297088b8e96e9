"""Every rule by an edit of a real file, and edits that change nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from aisp_runner.content import content_root
from aisp_runner.review.command import review
from aisp_runner.review.findings import Review
from tests.review.copies import TODAY, Edit, applied, copied, told, workload

ALL = len(list((content_root() / "conf" / "workload").glob("*.yaml")))


CLAIM, WALL = "claim: kernel\n", "claim: wall"
OF_WORKLOADS = [
    Edit("tolerance-loosened", workload("ch12_kernel_fusion"), "rtol: 1.0e-6", "rtol: 1.0e-5", "rtol:"),
    Edit("tolerance-tightened", workload("ch18_paged_attention"), "atol: 3.0e-6", "atol: 2.0e-6", "atol:"),
    Edit("dtype-lowered", workload("ch04_shard_sum"), "[s, n], dtype: float32", "[s, n], dtype: float16", "shards:"),
    Edit(
        "dtype-raised",
        workload("ch06_vector_add"),
        "c:\n    shape: [n]\n    dtype: float32",
        "c:\n    shape: [n]\n    dtype: float64",
        "dtype: float64",
    ),
    Edit("work-shrunk", workload("ch07_transpose"), "rows: [2048, 16384]", "rows: [2048]", "cuda: {rows: [2048]"),
    Edit("work-shrunk", workload("ch07_transpose"), "cpu: [{rows: 500, columns: 701}]", "cpu: []", "cpu: []"),
    Edit("work-shrunk", workload("ch17_expert_lists"), "x: {shape: [n, d]", "x: {shape: [n // 2, d]", "x: {shape"),
    Edit(
        "work-grown",
        workload("ch06_branchless"),
        "cuda: {n: [1048576, 16777216]}",
        "cuda: {n: [1048576, 33554432]}",
        "cuda: {n: [1048576, 3",
    ),
    Edit("inputs-easier", workload("ch18_paged_attention"), "low: 128, high: 2048", "low: 128, high: 256", "length: {"),
    Edit(
        "inputs-easier",
        workload("ch01_row_normalize"),
        "dtype: float32, init: normal}",
        "dtype: float32, init: uniform}",
        "init: uniform",
    ),
    Edit("inputs-easier", workload("ch12_kernel_launches"), "init: normal}", "init: normal, role: weight}", "role: weight"),
    Edit(
        "inputs-harder",
        workload("ch17_expert_lists"),
        "down: {shape: [e, h, d], dtype: float32, init: normal, role: weight}",
        "down: {shape: [e, h, d], dtype: float32, init: normal}",
        "down: {",
    ),
    Edit("phase-lowered", workload("ch06_vector_add"), "phase: gate", "phase: detect", "phase: detect"),
    Edit(
        "phase-lowered", workload("ch13_optimizer_step"), "verify: {phase: gate, ", "verify: {phase: quarantine, ", "quarantine"
    ),
    Edit("phase-raised", workload("ch14_gated_block"), "require: valid", "require: faster", "require: faster"),
    Edit("claim-changed", workload("ch01_micro_batches"), WALL, CLAIM.strip(), "claim: kernel"),
    Edit("protection-weakened", workload("ch08_polynomial"), CLAIM, CLAIM + "cache: hot\n", "cache: hot"),
    Edit(
        "statistics-weakened",
        workload("ch14_alibi_attention"),
        CLAIM,
        CLAIM + "margin: 0.2\nmargin_because: a twentieth of a step is noise here\n",
        "margin: 0.2",
    ),
    Edit("variants-changed", workload("ch06_warp_divergence"), "[{name: both_sides, device: cuda}, ", "[", "optimized:"),
    Edit("environment-relaxed", workload("ch10_row_sum"), 'min_capability: "9.0"', 'min_capability: "8.0"', "min_capability"),
    Edit(
        "environment-tightened",
        workload("ch12_work_queue"),
        "environment: {device: any}",
        "environment: {device: any, require: {driver: '>=580'}}",
        "driver",
    ),
    Edit("roofline-changed", workload("ch12_kernel_launches"), "work: {bytes: ", "work: {bytes: 2 * ", "work:"),
    Edit("text-changed", workload("ch06_branchless"), "question: Is it", "question: Now, is it", "question:"),
    Edit(
        "baseline-changed",
        "kernels/work_queue.py",
        "def static_split(x: Tensor, length: Tensor, y: Tensor) -> None:",
        "def static_split(x: Tensor, length: Tensor, y: Tensor) -> None:\n    time.sleep(1e-3)",
        "def static_split",
    ),
    Edit(
        "baseline-changed",
        workload("ch18_rope_cache"),
        "baseline: formula\noptimized:\n  - halves",
        "baseline: halves\noptimized:\n  - formula",
        "baseline:",
    ),
    Edit(
        "reference-changed",
        "kernels/branchless.py",
        "torch.sqrt(1 + x), torch.exp(x))",
        "torch.sqrt(2 + x), torch.exp(x))",
        "def reference",
    ),
    Edit(
        "code-changed",
        "kernels/gated_block.py",
        "def in_place(x: Tensor, gain: Tensor, up: Tensor, down: Tensor, y: Tensor) -> None:",
        "def in_place(x: Tensor, gain: Tensor, up: Tensor, down: Tensor, y: Tensor) -> None:\n    globals()",
        "def in_place",
    ),
]
"""Edits that can stand side by side in one revision."""

OF_ALL = [
    Edit("protection-off", "conf/protect/strict.yaml", "disable: []", "disable: [timing.no_profiler]", "disable:", ALL),
    Edit(
        "protection-weakened",
        "conf/protect/strict.yaml",
        "knobs: {}",
        "knobs: {memory.late_writes: {settle_ms: 0.5}}",
        "settle_ms",
        ALL,
    ),
    Edit("statistics-weakened", "conf/measure/standard.yaml", "rounds: 12", "rounds: 6", "rounds: 6", ALL),
    Edit("statistics-weakened", "conf/measure/standard.yaml", "half_width: 0.005", "half_width: 0.05", "half_width", ALL),
    Edit("statistics-weakened", "conf/measure/publication.yaml", "\nseconds: 30.0", "\nseconds: 3.0", "seconds", ALL),
    Edit("statistics-strengthened", "conf/measure/standard.yaml", "serial: 4", "serial: 8", "serial", ALL),
    Edit("limits-relaxed", "conf/environment/shared_host.yaml", "batch_seconds: 20.0", "batch_seconds: 200.0", "limits:", ALL),
    Edit("changed", "conf/environment/shared_host.yaml", "memory_gib: 8.0", "memory_gib: 4.0", "limits:", ALL),
    Edit("target-code", "conf/config.yaml", "candidate: null", "candidate: kernels/branchless.py::where", "candidate:", ALL),
    Edit(
        "statistics-weakened",
        "conf/suite/all.yaml",
        "title:",
        "defaults: [{override /measure@_global_.measure: quick}]\ntitle:",
        "defaults",
        0,
    ),
    Edit("workload-removed", "conf/suite/quick.yaml", "    - ch07_transpose\n", "", "select:", 0),
]
"""Edits of what every workload shares."""


@pytest.fixture(scope="module")
def of_workloads(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Review, Path]:
    """All edits of workloads and kernels in one review, with a workload that is gone and one that is new."""
    head = applied(OF_WORKLOADS, copied(tmp_path_factory.mktemp("workloads")))
    (head / workload("ch13_kv_cache_growth")).unlink()
    shutil.copy(head / workload("ch12_graph_bandwidth"), head / workload("ch99_new"))
    return review(str(base), head, today=TODAY), head


@pytest.fixture(scope="module")
def of_all(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Review, Path]:
    head = applied(OF_ALL, copied(tmp_path_factory.mktemp("all")))
    return review(str(base), head, today=TODAY), head


@pytest.mark.parametrize("edit", OF_WORKLOADS, ids=str)
def test_an_edit_of_a_workload_is_told_by_its_rule_at_its_line(edit: Edit, of_workloads: tuple[Review, Path]) -> None:
    made, head = of_workloads
    assert told(made, edit, head), [f for f in made.findings if f.file == edit.file]


@pytest.mark.parametrize("edit", OF_ALL, ids=str)
def test_an_edit_of_what_is_shared_is_told_once_with_every_workload(edit: Edit, of_all: tuple[Review, Path]) -> None:
    made, head = of_all
    assert told(made, edit, head), [f for f in made.findings if f.file == edit.file]


TOGETHER = ("workload-removed", "workload-new", "variants-changed", "variant-new")
"""What is told besides of them: two files, and the variant that changed places with its baseline."""


def test_nothing_else_is_told(of_workloads: tuple[Review, Path], of_all: tuple[Review, Path]) -> None:
    """One finding a cause: no edit makes noise under another rule."""
    made, _ = of_workloads
    assert sorted(f.rule for f in made.findings) == sorted([*(e.rule for e in OF_WORKLOADS), *TOGETHER])
    assert sorted(f.rule for f in of_all[0].findings) == sorted(e.rule for e in OF_ALL)
    assert made.exit_code == of_all[0].exit_code == 2 and made.workloads == ALL


def test_only_what_depends_on_a_changed_file_is_composed(
    of_workloads: tuple[Review, Path], of_all: tuple[Review, Path]
) -> None:
    named = {Path(e.file).stem for e in OF_WORKLOADS if e.file.startswith("conf")} | {
        "ch12_work_queue",
        "ch06_branchless",
        "ch14_gated_block",
    }
    assert of_workloads[0].affected == len(named | {"ch99_new"}) and of_all[0].affected == ALL


HARMLESS = [
    (workload("ch12_kernel_fusion"), "chapter: ch12\n", "# What fusing saves.\nchapter: ch12\n"),
    (
        workload("ch18_paged_attention"),
        "claim: kernel\nverify: {phase: gate, require: valid}\n",
        "verify: {require: valid, phase: gate}\nclaim: kernel\n",
    ),
    (workload("ch07_transpose"), "rows: [2048, 16384]", "rows: [16384, 2048]"),
    (workload("ch06_vector_add"), "atol: 0.0", "atol: 0"),
    (workload("ch06_branchless"), "environment: {device: any}", "environment:\n  device: any"),
    (workload("ch04_shard_sum"), "rtol: 1.0e-6", "rtol: 0.000001"),
    (workload("ch17_expert_lists"), "optimized: [listed, padded, dense, ", "optimized: [dense, listed, padded, "),
    (workload("ch12_kernel_launches"), "init: normal}", "init: normal, role: activation}"),
    ("conf/measure/standard.yaml", "control: true\n", ""),
    ("conf/environment/shared_host.yaml", "threads: null\n", ""),
    ("kernels/work_queue.py", "BLOCK = 1024\n", "BLOCK = 1024  # elements a program takes at a time\n"),
]
"""Comments, order, layout, another way to write a number, a default written out or left out."""


def test_edits_that_change_nothing_have_no_effective_change(base: Path, tmp_path: Path) -> None:
    head = applied([Edit("no-effect", file, old, new, "") for file, old, new in HARMLESS], copied(tmp_path))
    made = review(str(base), head, today=TODAY)
    (only,) = made.findings
    assert (only.rule, only.severity, made.exit_code) == ("no-effect", "info", 0)
    assert only.targets == tuple(sorted({file for file, _, _ in HARMLESS})) and only.message.startswith(
        f"no effective change in {ALL}"
    )


def test_the_same_files_are_nothing_to_tell(base: Path) -> None:
    made = review(str(base), base, today=TODAY)
    assert made.findings == () and made.files == () and made.exit_code == 0
