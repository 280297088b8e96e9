"""What can be measured here: each check answers, and what is missing comes with the command that mends it."""

from __future__ import annotations

import py_compile
import sys
from pathlib import Path

import pytest
from test_clock_lock import Lockable
from test_machine import SERVER, Nvml, root_of
from test_state import Card

from aisp_runner import doctor

GOOD = SERVER | {
    "proc/cpuinfo": "model name : Example CPU\nflags : fpu\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "performance\n",
    "sys/fs/cgroup/cpu.max": "max 100000\n",
}


def checks(root: Path) -> dict[str, doctor.Check]:
    return {c.name: c for c in doctor.examine(root)}


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "gpus", lambda: ([], "NVML does not start: Library Not Found"))


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", Nvml())
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_a_machine_that_measures_badly_gets_a_command_for_each_reason(tmp_path: Path, no_gpu: None) -> None:
    found = checks(root_of(tmp_path, SERVER))
    assert "cpupower frequency-set -g performance" in found["CPU governor"].mend
    assert found["CPU governor"].found == "powersave"
    assert found["bare metal"].found == "a virtual machine"
    assert "measure=publication" in found["bare metal"].mend
    assert "quota of 1.5 cores" in found["cores"].found
    assert "a core each" in found["cores"].mend
    assert (found["GPU"].status, found["GPU"].found) == ("missing", "NVML does not start: Library Not Found")


def test_a_machine_that_measures_well_has_nothing_to_mend(tmp_path: Path, no_gpu: None) -> None:
    found = checks(root_of(tmp_path, GOOD))
    for name in ("CPU governor", "bare metal", "clock source", "timer", "torch", "hydra", "jsonschema", "shared memory"):
        assert found[name].status == "ok", found[name]


def test_a_file_system_that_tells_nothing_is_missing_and_not_an_error(tmp_path: Path, no_gpu: None) -> None:
    found = checks(tmp_path)
    for name in ("CPU governor", "bare metal", "clock source"):
        assert found[name].status == "missing"


def test_a_gpu_that_is_held_back_says_by_what(tmp_path: Path, two_gpus: None) -> None:
    found = checks(root_of(tmp_path, GOOD))
    assert found["GPU"].found == "2: Accelerator A (capability 9.0), Accelerator B (capability 9.1)"
    assert found["driver"].found == "570.1"
    clocks = found["GPU 0 clocks"]
    assert "SM clock 1500 of 1980 MHz, power limit 700.0 W" in clocks.found
    assert "held back by sw_power_cap, hw_thermal_slowdown" in clocks.found
    assert clocks.mend.startswith("nvidia-smi")


def test_hidden_gpus_are_mended_by_showing_them(tmp_path: Path, two_gpus: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert checks(root_of(tmp_path, GOOD))["GPU"].mend == "unset CUDA_VISIBLE_DEVICES"


def test_readings_that_all_work_are_ok(tmp_path: Path, two_gpus: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", Card())
    assert checks(root_of(tmp_path, GOOD))["GPU readings"].status == "ok"


def test_readings_that_are_missing_are_named_in_nvmls_words(
    tmp_path: Path, two_gpus: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = Card()
    card.refuses["power"] = card.NVMLError("Not Supported", 3)
    monkeypatch.setitem(sys.modules, "pynvml", card)
    found = checks(root_of(tmp_path, GOOD))["GPU readings"]
    assert (found.status, found.found) == ("missing", "incomplete: power_w (Not Supported)")
    assert card.open == 0


def test_locking_is_described_and_never_tried(tmp_path: Path, two_gpus: None, monkeypatch: pytest.MonkeyPatch) -> None:
    card = Lockable()
    monkeypatch.setitem(sys.modules, "pynvml", card)
    found = checks(root_of(tmp_path, GOOD))["clock locking"]
    assert found.found.startswith("SM 1575 MHz (80% of the highest), memory 2619 MHz; needs root")
    assert "not known without trying" in found.found
    assert (found.status, card.log, card.open) == ("ok", [], 0)


def test_a_card_that_lists_no_clocks_is_said(tmp_path: Path, two_gpus: None) -> None:
    assert checks(root_of(tmp_path, GOOD))["clock locking"].found.startswith("not known: the card lists no clocks")


def test_a_machine_without_a_gpu_has_no_lines_about_its_state(tmp_path: Path, no_gpu: None) -> None:
    assert not {"GPU readings", "clock locking"} & set(checks(root_of(tmp_path, GOOD)))


def test_the_timer_is_measured_and_not_looked_up() -> None:
    step, cost = doctor.timer_ns()
    assert step > 0
    assert 0 < cost < 1_000_000


@pytest.mark.parametrize(
    ("abi", "missing", "status", "found"),
    [
        (7, {}, "ok", "Landlock ABI 7, seccomp: workers on a CPU are wholly confined"),
        (
            5,
            {"landlock.signals": "needs ABI 6", "landlock.abstract_sockets": "needs ABI 6"},
            "missing",
            "Landlock ABI 5, seccomp. needs ABI 6: landlock.signals, landlock.abstract_sockets",
        ),
        (
            0,
            {"landlock.files": "this kernel has none", "seccomp.calls": "not built in"},
            "missing",
            "no Landlock, no seccomp. this kernel has none: landlock.files; not built in: seccomp.calls",
        ),
    ],
    ids=["all of it", "an older kernel", "nothing"],
)
def test_what_the_sandbox_can_do_here_is_said(
    abi: int, missing: dict[str, str], status: str, found: str, tmp_path: Path, no_gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor.sandbox, "facts", lambda: {"landlock_abi": abi, "machine": "x86_64", "missing": missing})
    check = checks(root_of(tmp_path, GOOD))["sandbox"]
    assert (check.status, check.found) == (status, found)


def test_every_missing_line_is_followed_by_its_command(tmp_path: Path, no_gpu: None) -> None:
    made = doctor.examine(root_of(tmp_path, SERVER))
    shown = [text for text, _ in doctor.lines(made)]
    for i, text in enumerate(shown):
        if text.startswith("missing"):
            assert shown[i + 1].lstrip().startswith("-> ")
    missing = sum(c.status == "missing" for c in made)
    assert shown[-1].startswith(f"{missing} of {len(made)} missing.")
    assert [c["name"] for c in doctor.as_json(made)] == [c.name for c in made]


def test_a_torch_without_bytecode_is_told_with_the_command_that_compiles_it(tmp_path: Path) -> None:
    folder = tmp_path / "torch"
    (folder / "nn").mkdir(parents=True)
    for name in ("__init__.py", "nn/functional.py"):
        (folder / name).write_text("")
    bare = doctor._bytecode(folder)
    assert bare.status == "missing" and bare.mend == f"python -m compileall -q {folder}"
    py_compile.compile(str(folder / "__init__.py"))
    assert doctor._bytecode(folder).status == "missing"
    py_compile.compile(str(folder / "nn/functional.py"))
    assert doctor._bytecode(folder) == doctor.Check("torch's bytecode", "compiled")
