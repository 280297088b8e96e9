"""Which protections a run uses, and how their hooks are run."""

from __future__ import annotations

from typing import Any

import pytest

from aisp_runner.errors import ConfigError
from aisp_runner.protect.registry import Shields, known, make, select, worker_shields

ESSENTIAL = [name for name, kind in known().items() if kind.essential]


def test_protections_are_found_by_their_ids_in_order() -> None:
    assert list(known()) == sorted(known())
    assert {"memory.late_writes", "output.tolerance_bound", "evaluation.frozen_plan"} <= set(known())
    assert "output.tolerance_bound" in ESSENTIAL and "evaluation.frozen_plan" in ESSENTIAL


def test_strict_is_the_default_and_takes_all_with_their_knobs() -> None:
    assert select({}) == select({"mode": "strict"})
    assert list(select({})) == list(known())
    assert select({})["memory.late_writes"] == {"elements": 64, "settle_ms": 3.0}


def test_off_leaves_what_any_harness_does() -> None:
    assert list(select({"mode": "off"})) == ["output.tolerance_bound"]


def test_a_protection_that_is_not_essential_can_be_left_out() -> None:
    chosen = select({"disable": ["output.finite_values"]})
    assert set(known()) - set(chosen) == {"output.finite_values"}


@pytest.mark.parametrize("name", ESSENTIAL)
def test_an_essential_protection_cannot_be_left_out(name: str) -> None:
    with pytest.raises(ConfigError, match=f"protect.disable: {name} cannot be left out: .*protect=off"):
        select({"disable": [name]})


@pytest.mark.parametrize("knobs", [{"memory.late_writes": {"settle_ms": 5}}, {"memory": {"late_writes": {"settle_ms": 5}}}])
def test_a_knob_may_be_given_flat_or_nested(knobs: dict[str, Any]) -> None:
    assert select({"knobs": knobs})["memory.late_writes"] == {"elements": 64, "settle_ms": 5}


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"mode": "strikt"}, "protect.mode: 'strikt' is not a mode. Did you mean 'strict'? Modes: strict, off."),
        (
            {"disable": ["output.finite_value"]},
            "protect: 'output.finite_value' is not a protection. Did you mean 'output.finite_values'?",
        ),
        ({"knobs": {"memory.late_write": {"x": 1}}}, "protect: 'memory.late_write' is not a protection. Did you mean"),
        (
            {"knobs": {"memory.late_writes": {"settle": 1}}},
            "protect.knobs.memory.late_writes.settle: unknown knob. Did you mean 'settle_ms'? Knobs: elements, settle_ms.",
        ),
        ({"knobs": {"output.finite_values": {"a": 1}}}, "protect.knobs.output.finite_values.a: unknown knob. Knobs: none."),
        (
            {"knobs": {"memory.late_writes": {"settle_ms": "5"}}},
            "protect.knobs.memory.late_writes.settle_ms: '5' is not a number.",
        ),
        (
            {"knobs": {"memory.late_writes": {"settle_ms": True}}},
            "protect.knobs.memory.late_writes.settle_ms: True is not a number.",
        ),
    ],
    ids=["mode", "disable", "knobs", "knob", "no knobs", "text", "boolean"],
)
def test_what_is_misspelt_is_named(config: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        select(config)
    assert str(refused.value).startswith(said)


def test_a_protection_is_made_again_from_what_was_selected() -> None:
    for name, knobs in select({}).items():
        assert make(name, knobs) == make(name, {})


def test_hooks_run_in_the_order_of_ids_and_their_evidence_is_kept() -> None:
    shields = Shields({"output.tolerance_bound": {}, "output.finite_values": {}})
    assert shields.on("output.finite_values") and not shields.on("memory.late_writes")
    found = shields.run("verify", None, None, [])
    assert [e.protection for e in found] == ["output.finite_values", "output.tolerance_bound"]
    assert shields.evidence[-2:] == found
    assert shields.run("conclude", None) == []


def test_a_hook_that_raises_leaves_evidence_of_it() -> None:
    (only,) = Shields({"statistical.whole_sample": {}}).run("conclude", object())
    assert (only.status, only.stage, only.witness) == ("error", "conclude", "judge")
    assert only.observed.startswith("AttributeError: 'object' object has no attribute 'case'")


def test_a_protection_that_is_left_out_leaves_evidence_that_it_could_not_work() -> None:
    shields = Shields(select({"disable": ["output.finite_values"]}))
    assert [(e.protection, e.status) for e in shields.evidence] == [("output.finite_values", "unavailable")]
    assert "output.finite_values is switched off" in shields.evidence[0].observed
    assert worker_shields({}).evidence == []


def test_a_worker_runs_its_own_stages_alone() -> None:
    shields = worker_shields(select({}))
    assert set(shields.hooks) == {"boot", "after_batch"}
    assert all(hook.__name__.startswith("worker_") for hooks in shields.hooks.values() for _, hook in hooks)


def test_protections_of_another_device_are_silent() -> None:
    chosen = select({})
    of_gpus = {name for name, kind in known().items() if kind.needs == "cuda"}
    assert {"cuda.single_context", "cuda.device_census", "location.device_residency"} <= of_gpus
    on = {device: {p.id for p in Shields(chosen, device=device).protections} for device in ("cpu", "cuda")}
    assert on["cuda"] == set(chosen) and on["cpu"] == set(chosen) - of_gpus
    assert {p.id for p in worker_shields(chosen).protections} == on["cpu"]
