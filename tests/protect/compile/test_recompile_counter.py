"""What is compiled while the clock runs: counted in a worker, held against the batches by the judge."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from aisp_runner.protect.base import Evidence
from aisp_runner.protect.compile import recompile_counter
from aisp_runner.protect.compile.recompile_counter import RecompileCounter, compiled
from protect.batches import batch

ID = RecompileCounter.id


def concluded(told: list[tuple[str, str]], arm: str = "candidate", process: int = 0) -> Evidence:
    """Evidence about an arm whose batches were of these purposes and told these counts."""
    made = [batch(arm, purpose=purpose, process=process, told={ID: said}) for purpose, said in told]
    judge = SimpleNamespace(batches=made, cast=SimpleNamespace(roles=("baseline", "candidate")))
    (found,) = RecompileCounter().judge_conclude(judge)  # type: ignore[arg-type]
    return found


def test_compiling_in_warm_up_passes() -> None:
    found = concluded([("warm_up", "dynamo 0"), ("warm_up", "dynamo 2"), ("round", "dynamo 2"), ("round", "dynamo 2")])
    assert found.status == "pass" and found.observed == "something was compiled in 0 of 2 timed batches"


@pytest.mark.parametrize("arm", ["baseline", "candidate"])
def test_compiling_in_a_timed_batch_is_refused_and_says_where(arm: str) -> None:
    found = concluded([("warm_up", "dynamo 2"), ("round", "dynamo 2"), ("round", "dynamo 3"), ("round", "dynamo 3")], arm)
    assert found.status == "fail" and found.arm == arm
    assert found.observed == "something was compiled in 1 of 3 timed batches (dynamo 2, then dynamo 3)"


def test_compiling_in_the_first_timed_batch_is_refused() -> None:
    assert concluded([("warm_up", "no compiler is loaded"), ("round", "dynamo 1")]).status == "fail"


def test_compiling_in_a_round_that_was_dropped_or_after_the_rounds_is_not_counted() -> None:
    told = [
        ("warm_up", "triton 1"),
        ("dropped", "triton 2"),
        ("round", "triton 2"),
        ("serial", "triton 3"),
        ("gap", "triton 4"),
    ]
    assert concluded(told).status == "pass"


def test_processes_are_counted_each_for_itself() -> None:
    said = [
        ("warm_up", 0, "torch.jit 1"),
        ("warm_up", 1, "torch.jit 2"),
        ("round", 0, "torch.jit 1"),
        ("round", 1, "torch.jit 2"),
    ]
    made = [batch(purpose=purpose, process=process, told={ID: told}) for purpose, process, told in said]
    judge = SimpleNamespace(batches=made, cast=SimpleNamespace(roles=("candidate",)))
    (found,) = RecompileCounter().judge_conclude(judge)  # type: ignore[arg-type]
    assert found.status == "pass"


def test_a_trace_and_a_script_are_counted_and_calls_are_not() -> None:
    before = compiled()["torch.jit"]
    traced = torch.jit.trace(torch.sin, (torch.ones(2),), check_trace=False)
    assert compiled()["torch.jit"] == before + 1
    for size in (2, 3):
        traced(torch.ones(size))
    assert compiled()["torch.jit"] == before + 1


COUNTS_DYNAMO = """
import torch
from aisp_runner.protect.compile.recompile_counter import compiled

assert "dynamo" not in compiled()
double = torch.compile(lambda x, n: x * n, backend="eager", dynamic=False)
counts = []
for n in (2, 2, 3):
    double(torch.ones(4), n)
    counts.append(compiled()["dynamo"])
torch._dynamo.reset()
double(torch.ones(4), 2)
counts.append(compiled()["dynamo"])
assert counts[0] == counts[1] < counts[2] < counts[3], counts
"""


def test_a_failed_guard_and_a_reset_of_dynamo_are_counted_and_it_is_not_loaded_for_that() -> None:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", COUNTS_DYNAMO], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_triton_counts_once_and_goes_on_calling_the_hook_that_was_there(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[Any] = []
    runtime = SimpleNamespace(jit_post_compile_hook=lambda **named: called.append(named))
    monkeypatch.setitem(sys.modules, "triton", SimpleNamespace(knobs=SimpleNamespace(runtime=runtime)))  # type: ignore[arg-type]
    monkeypatch.setitem(recompile_counter._TRITON, "kernels", 0)
    for _ in range(2):
        RecompileCounter().worker_boot(SimpleNamespace())  # type: ignore[arg-type]
    runtime.jit_post_compile_hook(key="k")
    assert compiled()["triton"] == 1 and called == [{"key": "k"}]
