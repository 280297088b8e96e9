"""The key of a case: what must be the same for its record to stand."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from bench import HONEST, case

from aisp_runner import __version__, machine
from aisp_runner.keys import NO_KEY, Keys, changed, digest

H200 = {"name": "NVIDIA H200", "driver": "570.1"}
A100 = {"name": "NVIDIA A100", "driver": "570.1"}


@pytest.fixture(autouse=True)
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "gpus", lambda: ([H200, A100], ""))
    monkeypatch.setattr(machine, "cpu_facts", lambda: {"cpu": "a CPU"})


def test_it_names_the_runner_and_the_device(tmp_path: Path) -> None:
    key = Keys("ab" * 32).of(case(tmp_path))
    assert (key.runner, key.device, key.driver) == (f"{__version__}+abababababab", "a CPU", None)
    key = Keys("ab" * 32).of(case(tmp_path, device="cuda"))
    assert (key.device, key.driver) == ("NVIDIA H200", "570.1")


def test_ranks_name_every_model_that_they_run_on(tmp_path: Path) -> None:
    assert Keys("").of(case(tmp_path, device="cuda", ranks=2)).device == "NVIDIA H200, NVIDIA A100"


def test_without_a_gpu_the_device_is_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "gpus", lambda: ([], "NVML counts no GPU"))
    key = Keys("").of(case(tmp_path, device="cuda"))
    assert (key.device, key.driver) == (None, None)


def test_the_same_case_has_the_same_key(tmp_path: Path) -> None:
    assert Keys("x").of(case(tmp_path)) == Keys("x").of(case(tmp_path))
    assert digest(Keys("x").of(case(tmp_path)).to_json()) == Keys("x").of(case(tmp_path)).sha256


def test_every_part_changes_it_and_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = case(tmp_path / "one")
    old = Keys("x" * 12).of(given).to_json()

    def named(new: dict[str, object]) -> str:
        assert new["sha256"] != old["sha256"]
        return changed(old, new).partition(":")[0]

    assert named(Keys("y" * 12).of(given).to_json()) == "the runner"
    assert named(Keys("x" * 12).of(dataclasses.replace(given, require="faster")).to_json()) == "the case"
    assert named(Keys("x" * 12).of(case(tmp_path / "one", HONEST + "\n# more\n")).to_json()) == "the sources"
    monkeypatch.setattr(machine, "cpu_facts", lambda: {"cpu": "another CPU"})
    again = Keys("x" * 12).of(given).to_json()
    assert changed(old, again) == "the device: a CPU before, another CPU now"


def test_a_record_without_a_key_fits_nothing(tmp_path: Path) -> None:
    assert changed(None, Keys("").of(case(tmp_path)).to_json()) == NO_KEY
