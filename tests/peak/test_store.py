"""Ceilings in a file and back; what the file is named after; its schema."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from aisp_runner import machine, schema
from aisp_runner.content import content_root
from aisp_runner.errors import ConfigError
from aisp_runner.peak import store
from peak.made import cpu_peak, gpu_peak

GPU_FACTS = {"gpu": {"name": "NVIDIA H200", "driver": "580.1"}}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AISP_PEAK_DIR", str(tmp_path / "peak"))
    return tmp_path / "peak"


def test_what_was_stored_is_loaded_on_the_same_machine(folder: Path) -> None:
    assert store.load("cuda", GPU_FACTS) is None
    assert store.save(gpu_peak()) == folder / "nvidia-h200-580.1.json"
    assert store.load("cuda", GPU_FACTS) == gpu_peak()
    assert [path.name for path in folder.iterdir()] == ["nvidia-h200-580.1.json"]


@pytest.mark.parametrize(
    "facts",
    [{"gpu": {"name": "NVIDIA H200", "driver": "580.2"}}, {"gpu": {"name": "NVIDIA H100"}}, {"gpu": None}, {}],
    ids=["another driver", "another GPU", "no GPU", "no facts"],
)
def test_another_machine_has_no_ceilings_yet(facts: dict[str, Any]) -> None:
    store.save(gpu_peak())
    assert store.load("cuda", facts) is None


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 2}', '{"format": 1}', '{"format": 1, "values": {}, "colour": 1}'])
def test_a_file_of_another_version_counts_as_none(text: str, folder: Path) -> None:
    path = store.save(gpu_peak())
    path.write_text(text)
    assert store.load("cuda", GPU_FACTS) is None


def test_a_rate_that_is_no_number_is_refused() -> None:
    value = store.to_json(gpu_peak())
    value["values"]["copy"]["value"] = "fast"
    with pytest.raises(
        ConfigError, match=r"no ceilings of format 1 \(TypeError: 'fast' is no number\). Measure again: aisp peak"
    ):
        store.from_json(value)


def test_the_key_names_the_device_and_nothing_of_its_owner() -> None:
    facts = {"cpu": "AMD EPYC 9654 (96-Core)", "cores": 192, "cores_usable": 16}
    assert store.key("cpu", facts) == "amd-epyc-9654-96-core-16-cores"
    assert store.key("cuda", GPU_FACTS) == "nvidia-h200-580.1"
    assert store.key("cuda", {"gpu": {"name": "NVIDIA H200", "driver": None}}) == "nvidia-h200-unknown-driver"
    assert store.key("cpu", {"cpu": None, "cores": 4}) == "unknown-cpu-4-cores"
    here = store.key("cpu", machine.facts("cpu"))
    assert here is not None and platform.node() not in here


def test_without_the_variable_files_are_kept_in_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AISP_PEAK_DIR")
    monkeypatch.setenv("HOME", "/somewhere")
    assert store.folder() == Path("/somewhere/.cache/aisp-run/peak")


@pytest.mark.parametrize("peak", [gpu_peak(), cpu_peak()], ids=["gpu", "cpu"])
def test_what_is_written_keeps_to_the_schema(peak: store.Peak) -> None:
    assert schema.problems(json.loads(store.save(peak).read_text()), "peak") == []


def test_the_schema_refuses_what_is_not_described() -> None:
    value = store.to_json(gpu_peak())
    value["values"]["copy"] |= {"value": -1.0, "host": "x"}
    value["hardware"]["serial"] = "123"
    assert len(schema.problems(value, "peak")) == 3


def test_every_property_of_the_schema_is_described_and_it_is_draft_07() -> None:
    text = (content_root() / "schemas" / "peak.schema.json").read_text("utf-8")
    loaded = json.loads(text)
    jsonschema.Draft7Validator.check_schema(loaded)
    assert loaded["$schema"] == "http://json-schema.org/draft-07/schema#"

    def undescribed(node: Any, place: str) -> list[str]:
        if not isinstance(node, dict):
            return []
        found = [f"{place}.{key}" for key, child in node.get("properties", {}).items() if "description" not in child]
        return found + [name for key, child in node.items() for name in undescribed(child, f"{place}.{key}")]

    assert undescribed(loaded, "peak") == []


def test_what_the_judge_uses_imports_no_torch() -> None:
    code = (
        "import sys; from aisp_runner.peak import datasheet, measure, roofline, store, table;"
        "datasheet.known(); sys.exit('torch' in sys.modules or 'triton' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=content_root(), check=False).returncode == 0
