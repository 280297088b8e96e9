"""Arms on unequal terms: settings that a worker finds changed, and what the judge makes of two arms that differ."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from aisp_runner.protect.base import Evidence
from aisp_runner.protect.compile.mode_parity import AS_GIVEN, ModeParity, changed, differing, terms
from protect.batches import batch


def concluded(baseline: list[str], candidate: list[str], purpose: str = "round") -> Evidence | None:
    told = {"baseline": baseline, "candidate": candidate}
    made = [batch(arm, purpose=purpose, told={ModeParity.id: said}) for arm, every in told.items() for said in every]
    return ModeParity().judge_conclude(SimpleNamespace(batches=made))  # type: ignore[arg-type]


@pytest.mark.parametrize("said", [AS_GIVEN, "threads=1", "mkldnn=False; threads=1"])
def test_arms_on_the_same_terms_pass(said: str) -> None:
    found = concluded([said, said], [said, said])
    assert found is not None and found.status == "pass"


@pytest.mark.parametrize("side", ["baseline", "candidate"])
def test_a_setting_that_one_arm_has_changed_is_refused_and_named(side: str) -> None:
    own, other = ["threads=1"], [AS_GIVEN]
    found = concluded(*((own, other) if side == "baseline" else (other, own)))
    assert found is not None and found.status == "fail" and "threads: " in found.observed


def test_a_setting_that_is_changed_in_some_batches_is_refused() -> None:
    found = concluded([AS_GIVEN, "mkldnn=False", AS_GIVEN], [AS_GIVEN])
    assert found is not None and found.status == "fail"


def test_a_setting_that_was_changed_in_warm_up_and_put_back_passes() -> None:
    made = [
        batch("baseline", purpose="warm_up", told={ModeParity.id: "threads=1"}),
        *(batch(arm, told={ModeParity.id: AS_GIVEN}) for arm in ("baseline", "candidate")),
    ]
    found = ModeParity().judge_conclude(SimpleNamespace(batches=made))  # type: ignore[arg-type]
    assert found is not None and found.status == "pass"


def test_a_compiler_that_only_one_arm_has_loaded_is_no_difference_and_its_switches_are_where_both_have() -> None:
    off, on = "torch._dynamo.config.disable=True", "torch._dynamo.config.disable=False"
    assert differing(AS_GIVEN, on) == [] and differing(on, on) == []
    assert differing(off, on) == ["torch._dynamo.config.disable: True and False"]


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "TORCHINDUCTOR_FREEZING", "TORCH_COMPILE_DISABLE", "MKL_NUM_THREADS"])
def test_an_environment_variable_that_a_file_sets_is_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(name, raising=False)
    before = terms()
    monkeypatch.setenv(name, "1")
    assert changed(before, terms()) == {name: "1"}
    monkeypatch.delenv(name)
    assert changed(before, terms()) == {}


def test_a_switch_of_torch_that_a_file_sets_is_seen_and_one_that_a_call_puts_back_is_not() -> None:
    before = terms()
    torch.backends.mkldnn.enabled = False
    try:
        assert changed(before, terms()) == {"mkldnn": "False"}
    finally:
        torch.backends.mkldnn.enabled = True
    assert changed(before, terms()) == {}


def test_what_a_file_removes_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    before = terms()
    monkeypatch.delenv("OMP_WAIT_POLICY")
    assert changed(before, terms()) == {"OMP_WAIT_POLICY": "unset"}


def test_the_assembler_that_torch_compile_brings_is_no_difference_and_another_is(monkeypatch: pytest.MonkeyPatch) -> None:
    before = terms()
    monkeypatch.setenv("TRITON_PTXAS_PATH", str(Path(torch.__file__).parent / "bin" / "ptxas"))
    assert terms() == before
    monkeypatch.setenv("TRITON_PTXAS_PATH", "/somewhere/else/ptxas")
    assert changed(before, terms()) == {"TRITON_PTXAS_PATH": "/somewhere/else/ptxas"}
