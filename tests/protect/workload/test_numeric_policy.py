"""A process that computes less precisely than the baseline's is named; run in this process, which is put back as it was."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from bench import case, tried

from aisp_runner.forkserver import ForkServer
from aisp_runner.protect.base import Evidence
from aisp_runner.protect.workload import numeric_policy
from aisp_runner.protect.workload.numeric_policy import NOTHING, NumericPolicy

pytest_plugins = ("shared_server",)

WORKER: Any = SimpleNamespace()

KEPT = ("workload.numeric_policy", "after_batch")


@pytest.fixture(autouse=True)
def booted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that has booted."""
    monkeypatch.setattr(numeric_policy, "_AT_BOOT", {})
    monkeypatch.setattr(numeric_policy, "_READ", {})
    NumericPolicy().worker_boot(WORKER)


@contextmanager
def switched(on: Callable[[], object], off: Callable[[], object]) -> Iterator[None]:
    on()
    try:
        yield
    finally:
        off()


def told() -> str:
    found = NumericPolicy().worker_after_batch(WORKER)
    assert (found.status, found.witness) == ("pass", "worker")
    return found.observed


CUDA = torch.backends.cuda.matmul
SWITCHES = {
    "default dtype float16, was float32": (
        lambda: torch.set_default_dtype(torch.float16),
        lambda: torch.set_default_dtype(torch.float32),
    ),
    "subnormals flushed to zero, was kept": (
        lambda: torch.set_flush_denormal(True),
        lambda: torch.set_flush_denormal(False),
    ),
    "cpu autocast on, was off": (
        lambda: torch.set_autocast_enabled("cpu", True),
        lambda: torch.set_autocast_enabled("cpu", False),
    ),
    "cublas_allow_fp16_accumulation on, was off": (
        lambda: setattr(CUDA, "allow_fp16_accumulation", True),
        lambda: setattr(CUDA, "allow_fp16_accumulation", False),
    ),
}


@pytest.mark.parametrize("text", SWITCHES)
def test_a_setting_that_became_less_precise_is_named(text: str) -> None:
    assert told() == NOTHING
    with switched(*SWITCHES[text]):
        assert told() == text
    assert told() == NOTHING


def test_products_in_tf32_are_named_and_highest_is_not() -> None:
    before = torch.get_float32_matmul_precision()
    with switched(lambda: torch.set_float32_matmul_precision("high"), lambda: torch.set_float32_matmul_precision(before)):
        assert "cuda matmul tf32, was " in told()
    torch.set_float32_matmul_precision("highest")
    assert told() == NOTHING


@pytest.mark.parametrize(
    ("on", "off"),
    [
        (lambda: torch.set_default_dtype(torch.float64), lambda: torch.set_default_dtype(torch.float32)),
        (lambda: torch.use_deterministic_algorithms(True), lambda: torch.use_deterministic_algorithms(False)),
        (lambda: torch.set_num_threads(1), lambda: None),
    ],
    ids=["a wider default dtype", "deterministic algorithms", "threads"],
)
def test_what_is_no_less_precise_is_not_named(on: Callable[[], object], off: Callable[[], object]) -> None:
    with switched(on, off):
        assert told() == NOTHING


def test_a_block_of_autocast_that_has_ended_is_not_named() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.ones(4, 4) @ torch.ones(4, 4)
    assert told() == NOTHING


def test_a_process_that_is_used_again_is_held_against_its_first_start() -> None:
    with switched(lambda: torch.set_default_dtype(torch.float16), lambda: torch.set_default_dtype(torch.float32)):
        NumericPolicy().worker_boot(WORKER)
        assert told() == "default dtype float16, was float32"


def test_subnormals_are_probed_by_arithmetic() -> None:
    assert numeric_policy._subnormals() == (0, "kept")
    assert sys.float_info.min * 0.5 > 0.0


def concluded(**said: list[str]) -> Evidence:
    """said: what each arm's workers told after their batches."""
    lines = [
        Evidence("workload.numeric_policy", "after_batch", "worker", "pass", text, "", arm)
        for arm, texts in said.items()
        for text in texts
    ]
    judge: Any = SimpleNamespace(shields=SimpleNamespace(evidence=lines))
    return NumericPolicy().judge_conclude(judge)


def test_arms_that_changed_nothing_pass() -> None:
    assert concluded(baseline=[NOTHING], candidate=[NOTHING, NOTHING]).status == "pass"


def test_one_batch_with_a_setting_of_its_own_is_refused_with_its_name() -> None:
    found = concluded(baseline=[NOTHING], candidate=[NOTHING, "cpu autocast on, was off", NOTHING])
    assert (found.status, found.arm, found.witness) == ("fail", "candidate", "worker")
    assert found.observed == "cpu autocast on, was off"


def test_equal_terms_pass_and_what_one_arm_has_alone_does_not() -> None:
    shared, own = "cuda matmul tf32, was none", "subnormals flushed to zero, was kept"
    assert concluded(baseline=[shared], candidate=[shared]).status == "pass"
    found = concluded(baseline=[shared], candidate=[f"{shared}; {own}"])
    assert (found.status, found.arm, found.observed) == ("fail", "candidate", own)
    found = concluded(baseline=[shared], candidate=[NOTHING])
    assert (found.status, found.arm, found.observed) == ("fail", "baseline", shared)


def test_the_controls_settings_are_no_excuse() -> None:
    assert concluded(baseline=[NOTHING], control=["x on, was off"], candidate=["x on, was off"]).status == "fail"


def test_a_candidate_that_tells_nothing_has_not_passed() -> None:
    assert concluded(baseline=[NOTHING]).status == "unavailable"


SWITCHING = """
def candidate(a, b, c):
    torch.set_default_dtype(torch.bfloat16)
    torch.add(a, b, out=c)
"""

INSIDE = """
def candidate(a, b, c):
    torch.set_default_dtype(torch.bfloat16)
    torch.add(a, b, out=c)
    torch.set_default_dtype(torch.float32)
"""


@pytest.mark.parametrize(("code", "named"), [(SWITCHING, True), (INSIDE, False)], ids=["left on", "put back"])
def test_a_candidates_switch_reaches_the_record(server: ForkServer, tmp_path: Path, code: str, named: bool) -> None:
    record = tried(case(tmp_path, code), server, tmp_path / "run")
    assert ("workload.numeric_policy" in record["reasons"]) == named, record["message"]


def test_a_file_that_switches_for_both_arms_is_not_refused(server: ForkServer, tmp_path: Path) -> None:
    both = "torch.set_default_dtype(torch.float16)\n\ndef candidate(a, b, c):\n    torch.add(a, b, out=c)\n"
    record = tried(case(tmp_path, both), server, tmp_path / "run")
    assert "workload.numeric_policy" not in record["reasons"], record["message"]
    said = {e["arm"]: e["observed"] for e in record["evidence"] if (e["protection"], e["stage"]) == KEPT}
    assert said == dict.fromkeys(("baseline", "candidate"), "default dtype float16, was float32")
