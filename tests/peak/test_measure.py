"""`aisp peak` from the command line to the stored file, on the CPU."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from aisp_runner import aisp, machine, schema
from aisp_runner.errors import ConfigError
from aisp_runner.peak import cpu, measure, store

TINY = cpu.Sizes(array_bytes=4 << 20, products=(64,), cache_steps=((64 << 10, 192 << 10),))
Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AISP_PEAK_DIR", str(tmp_path))
    monkeypatch.setattr(cpu, "fitting", lambda cache_bytes, cores: TINY)
    return tmp_path


def test_the_cpu_is_measured_stored_and_shown(folder: Path, capsys: Captured) -> None:
    assert aisp.main(["peak", "--device", "cpu", "--seconds", "0.5"]) == 0
    out = capsys.readouterr().out
    peak = store.load("cpu", machine.facts("cpu"))
    assert peak is not None and peak.rate("copy_one_thread")
    assert f"stored in {folder / peak.key}.json" in out.replace("\n", " ")
    assert "memory copy, 1 thread" in out and "GB/s" in out
    assert schema.problems(json.loads((folder / f"{peak.key}.json").read_text()), "peak") == []


def test_as_json_it_prints_the_file_and_nothing_else(folder: Path, capsys: Captured) -> None:
    assert aisp.main(["peak", "--device", "cpu", "--seconds", "0.5", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [printed] == [json.loads(path.read_text()) for path in folder.iterdir()]


def test_a_datasheet_is_shown_and_nothing_is_measured(folder: Path, capsys: Captured) -> None:
    assert aisp.main(["peak", "--gpu", "h100"]) == 0
    assert "H100 SXM, dense figures of the vendor" in capsys.readouterr().out
    assert aisp.main(["peak", "--gpu", "h100", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["figures"]["bf16_tflops"] == 989.5
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--gpu", "H20"], "no datasheet of that GPU is here. Did you mean 'H200 SXM'? Known: "),
        (["--seconds", "0", "--device", "cpu"], "--seconds 0: more than 0 and at most 600 is allowed."),
        (["--device", "gpu"], "argument --device: invalid choice: 'gpu'"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(arguments: list[str], said: str, capsys: Captured) -> None:
    assert aisp.main(["peak", *arguments]) == 2
    captured = capsys.readouterr()
    assert said in captured.err and captured.err.count("\n") == 1 and captured.out == ""


def test_a_gpu_is_taken_where_there_is_one() -> None:
    with_gpu, without = {"gpu": {"name": "NVIDIA H200"}}, {"gpu": None, "missing": {"gpu": "NVML counts no GPU"}}
    assert measure.choose(None, with_gpu) == measure.choose("cuda", with_gpu) == "cuda"
    assert measure.choose(None, without) == measure.choose("cpu", with_gpu) == "cpu"
    with pytest.raises(ConfigError, match=r"--device cuda: NVML counts no GPU\. See what is missing: aisp doctor"):
        measure.choose("cuda", without)


def test_a_machine_that_does_not_tell_what_it_is_cannot_be_stored() -> None:
    with pytest.raises(ConfigError, match="the machine does not tell what it is"):
        measure.measure("cpu", {"cores": None}, 1.0)
