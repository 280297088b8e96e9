"""Inputs and weights that a variant has written, in real workers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from bench import HONEST, UPSET_BY_LOAD, accepted, case, opened, tried

from aisp_runner.case import Tensor
from aisp_runner.forkserver import ForkServer
from aisp_runner.judge import ARMS
from aisp_runner.protect.memory.inputs_unchanged import InputsUnchanged, same

pytest_plugins = ("shared_server",)

N = 16384
WEIGHT = (Tensor("a", (N,), "float32", "activation"), Tensor("b", (N,), "float32", "weight"))
ADD = "def candidate(a, b, c):\n    torch.add(a, b, out=c)\n"


def refusals(made: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [
        (e["arm"], e["stage"], e["observed"])
        for e in made["evidence"]
        if e["protection"] == "memory.inputs_unchanged" and e["status"] == "fail"
    ]


@pytest.mark.parametrize("written", ["a[5] += 1", "a.copy_(c)", "b[-1] = float('nan')", "b.zero_()"])
def test_an_input_that_was_written_is_refused_although_the_output_is_right(
    server: ForkServer, tmp_path: Path, written: str
) -> None:
    made = tried(case(tmp_path, f"{ADD}    {written}\n"), server, tmp_path)
    assert set(made["reasons"]) - set(UPSET_BY_LOAD) == {"memory.inputs_unchanged"}
    arm, stage, observed = refusals(made)[0]
    assert (arm, stage) == ("candidate", "verify") and observed.endswith(f"checked calls: {written[0]}")


@pytest.mark.parametrize(
    ("written", "refused"),
    [("b[5] = torch.nextafter(b[5], b[5] + 1)", True), ("b[5] += 0", False)],
    ids=["the least change", "no change"],
)
def test_a_weight_that_was_written_is_refused(server: ForkServer, tmp_path: Path, written: str, refused: bool) -> None:
    code = f"{ADD}    if not hasattr(candidate, 'done'):\n        candidate.done = True\n        {written}\n"
    outputs = (Tensor("c", (N,), "float32", "output", rtol=1e-6, atol=1e-5),)
    made = tried(case(tmp_path, code, inputs=WEIGHT, outputs=outputs), server, tmp_path)
    assert ("memory.inputs_unchanged" in made["reasons"]) == refused, made["message"]
    assert not [reason for reason in made["reasons"] if reason.startswith("output.")]
    assert refusals(made) == ([("candidate", "conclude", "the variant wrote into its weights: b")] if refused else [])


def test_inputs_that_are_only_read_pass(server: ForkServer, tmp_path: Path) -> None:
    made = tried(case(tmp_path, HONEST), server, tmp_path)
    assert accepted(made), made["message"]
    assert refusals(made) == [] and any(e["protection"] == "memory.inputs_unchanged" for e in made["evidence"])


def test_the_judge_looks_at_the_slots_of_the_checked_calls(server: ForkServer, tmp_path: Path) -> None:
    with opened(server, tmp_path) as judge:
        judge.draw(dict.fromkeys(ARMS, 4))
        judge.checked["candidate"] = (1, 2)
        batch = judge.run("candidate", 4, 32, "wall")
        look = InputsUnchanged()
        judge.arms["candidate"].views["a"][batch.order[0]].zero_()
        assert look.judge_verify(judge, batch, []).status == "pass", "call 0 is not checked"
        judge.arms["candidate"].views["b"][batch.order[2]][7] += 1
        found = look.judge_verify(judge, batch, [])
        assert (found.status, found.observed) == ("fail", "the variant wrote into its inputs of 2 checked calls: b")


def test_bits_are_compared_and_not_values() -> None:
    store = torch.tensor([[0.0, float("nan")]])
    assert same(store.clone(), [0], store, [0])
    assert not same(torch.tensor([[-0.0, float("nan")]]), [0], store, [0])
