"""Clocks that are locked are given back, whatever ends the run. No test touches a real card: a made-up NVML keeps a log."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bench import case
from records import valid_record
from test_machine import Nvml

from aisp_runner import clock_lock, state
from aisp_runner.case import Plan
from aisp_runner.clock_lock import LockedClocks, locked_clocks, sustainable
from aisp_runner.errors import ConfigError, DeviceError
from aisp_runner.execute import main, run_plan
from aisp_runner.plan_file import save_plan
from aisp_runner.report import Console

LOCKED = ["lock sm 1575", "lock memory 2619"]
RESET = ["reset memory", "reset sm"]


class Lockable(Nvml):
    """One kind of GPU with the clocks of an H200. What is asked of it is in `log`, and in a file where one is given.

    refuses: error codes by entry of the log. shows: a clock, MHz, that it shows instead of the one that was set.
    """

    NVML_CLOCK_GRAPHICS, NVML_CLOCK_MEM = 0, 2
    NVML_ERROR_NOT_SUPPORTED, NVML_ERROR_NO_PERMISSION, NVML_ERROR_FUNCTION_NOT_FOUND = 3, 4, 13

    class NVMLError(Exception):
        def __init__(self, value: int) -> None:
            super().__init__({3: "Not Supported", 4: "Insufficient Permissions"}.get(value, f"Error {value}"))
            self.value = value

    def __init__(self, file: Path | None = None) -> None:
        super().__init__()
        self.log: list[str] = []
        self.file = file
        self.refuses: dict[str, int] = {}
        self.default: int | None = 1980
        self.shows: int | None = None
        self.now = {1: 345, 2: 2619}

    def do(self, entry: str) -> None:
        assert self.open, "NVML is not started"
        self.log.append(entry)
        if self.file:
            with self.file.open("a") as log:
                log.write(f"{entry}\n")
        if entry in self.refuses:
            raise self.NVMLError(self.refuses[entry])

    def nvmlDeviceGetName(self, handle: int) -> str:
        return "Accelerator A"

    def nvmlDeviceGetSupportedMemoryClocks(self, handle: int) -> list[int]:
        return [2619, 1593]

    def nvmlDeviceGetSupportedGraphicsClocks(self, handle: int, memory_mhz: int) -> list[int]:
        return list(range(1980, 330, -15)) if memory_mhz == 2619 else []

    def nvmlDeviceGetDefaultApplicationsClock(self, handle: int, kind: int) -> int:
        if self.default is None:
            raise self.NVMLError(3)
        return self.default

    def nvmlDeviceGetClockInfo(self, handle: int, kind: int) -> int:
        return self.shows or self.now[kind]

    def nvmlDeviceSetGpuLockedClocks(self, handle: int, low_mhz: int, high_mhz: int) -> None:
        assert low_mhz == high_mhz
        self.do(f"lock sm {low_mhz}")
        self.now[1] = low_mhz

    def nvmlDeviceSetMemoryLockedClocks(self, handle: int, low_mhz: int, high_mhz: int) -> None:
        assert low_mhz == high_mhz
        self.do(f"lock memory {low_mhz}")

    def nvmlDeviceResetGpuLockedClocks(self, handle: int) -> None:
        self.do("reset sm")

    def nvmlDeviceResetMemoryLockedClocks(self, handle: int) -> None:
        self.do("reset memory")


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lockable]:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    before = [signal.getsignal(number) for number in clock_lock.SIGNALS]
    made = Lockable()
    monkeypatch.setitem(sys.modules, "pynvml", made)
    yield made
    assert made.open == 0, "NVML was shut down as often as it was started"
    assert [signal.getsignal(number) for number in clock_lock.SIGNALS] == before


# What is locked


def test_nothing_is_asked_of_the_card_unless_it_is_wanted(card: Lockable) -> None:
    with locked_clocks(False, card) as locked:
        assert locked is None
        assert card.open == 0
    assert card.log == []


def test_clocks_are_locked_inside_and_given_back_after(card: Lockable) -> None:
    with locked_clocks(True, card) as locked:
        assert locked == LockedClocks(1575, 1575, 2619, 2619, "80% of the highest")
        assert card.log == LOCKED
    assert card.log == LOCKED + RESET
    assert json.loads(json.dumps(dataclasses.asdict(locked)))["sm_clock_mhz"] == 1575
    assert "SM 1575 MHz, 80% of the highest (reads 1575), memory 2619 MHz (reads 2619)" in locked.line()


@pytest.mark.parametrize(
    ("default", "clock", "rule"),
    [
        pytest.param(1410, 1410, "the default application clock", id="a base clock below the highest is taken"),
        pytest.param(1400, 1395, "the default application clock", id="of the supported clocks"),
        pytest.param(1980, 1575, "80% of the highest", id="a default that is the highest clock is no base clock"),
        pytest.param(None, 1575, "80% of the highest", id="no default is told"),
        pytest.param(200, 1575, "80% of the highest", id="a default below all supported clocks"),
    ],
)
def test_the_clock_is_one_that_can_be_kept(default: int | None, clock: int, rule: str, card: Lockable) -> None:
    card.default = default
    with locked_clocks(True, card) as locked:
        assert locked is not None and (locked.sm_clock_mhz, locked.rule) == (clock, rule)


def test_a_card_with_one_clock_is_locked_to_it() -> None:
    assert sustainable([1000], 1000) == (1000, "80% of the highest")


def test_a_card_that_shows_another_clock_is_reported_and_not_refused(card: Lockable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock_lock, "SETTLE_SECONDS", 0.02)
    card.shows = 345
    with locked_clocks(True, card) as locked:
        assert locked is not None and (locked.sm_clock_mhz, locked.sm_clock_read_mhz) == (1575, 345)


def test_a_memory_clock_that_cannot_be_locked_is_said(card: Lockable) -> None:
    card.refuses["lock memory 2619"] = card.NVML_ERROR_NOT_SUPPORTED
    with locked_clocks(True, card) as locked:
        assert locked is not None
        assert (locked.memory_clock_mhz, locked.memory_clock_read_mhz, locked.memory_note) == (None, None, "Not Supported")
        assert "memory not locked (Not Supported)" in locked.line()
    assert card.log == [*LOCKED, "reset sm"]


# What cannot be locked


def refused(card: Lockable) -> str:
    """The message of a lock that is refused before the block is entered."""
    with pytest.raises(ConfigError) as said, locked_clocks(True, card):
        raise AssertionError("the block was entered")
    return str(said.value)


def test_without_permission_it_says_what_to_do(card: Lockable) -> None:
    card.refuses["lock sm 1575"] = card.NVML_ERROR_NO_PERMISSION
    text = refused(card)
    assert text.startswith("environment.lock_clocks: NVML: Insufficient Permissions: locking clocks needs root. Leave it off")
    assert "sudo nvidia-smi --lock-gpu-clocks=1575" in text and "run with sudo" in text
    assert card.log == ["lock sm 1575"], "nothing was set, so nothing is reset"


def test_an_unsupported_card_says_what_to_do(card: Lockable) -> None:
    card.refuses["lock sm 1575"] = card.NVML_ERROR_NOT_SUPPORTED
    assert "NVML: Not Supported: this GPU's clocks cannot be locked" in refused(card)


def test_an_old_nvml_without_the_function_is_unsupported(card: Lockable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Lockable, "nvmlDeviceSetGpuLockedClocks")
    assert "this GPU's clocks cannot be locked" in refused(card)


def test_a_card_that_lists_no_clocks_is_unsupported(card: Lockable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(card, "nvmlDeviceGetSupportedGraphicsClocks", lambda handle, memory: [], raising=False)
    assert "this GPU's clocks cannot be locked" in refused(card)
    assert card.log == []


@pytest.mark.parametrize("code", [4, 999])
def test_half_a_lock_is_undone(code: int, card: Lockable) -> None:
    card.refuses["lock memory 2619"] = code
    assert "environment.lock_clocks: NVML: " in refused(card)
    assert card.log == [*LOCKED, "reset sm"]


def test_no_gpu_is_a_config_error(card: Lockable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "leaves none of 2 visible. There is no GPU clock to lock: leave it off." in refused(card)


def test_a_card_that_may_be_the_wrong_one_is_not_locked(card: Lockable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(card, "nvmlDeviceGetName", lambda handle: f"Accelerator {handle}", raising=False)
    assert "export CUDA_DEVICE_ORDER=PCI_BUS_ID, so that no other card is locked" in refused(card)
    assert card.log == []


# What ends the block


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_clocks_are_given_back_when_an_exception_ends_the_block(error: type[BaseException], card: Lockable) -> None:
    with pytest.raises(error), locked_clocks(True, card):
        raise error
    assert card.log == LOCKED + RESET


def test_ctrl_c_right_after_the_change_gives_the_clock_back(card: Lockable, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = card.nvmlDeviceSetGpuLockedClocks

    def interrupted(handle: int, low: int, high: int) -> None:
        lock(handle, low, high)
        raise KeyboardInterrupt

    monkeypatch.setattr(card, "nvmlDeviceSetGpuLockedClocks", interrupted, raising=False)
    with pytest.raises(KeyboardInterrupt), locked_clocks(True, card):
        raise AssertionError("the block was entered")
    assert card.log == ["lock sm 1575", "reset sm"]


@pytest.mark.parametrize("number", clock_lock.SIGNALS)
def test_the_handler_that_was_there_is_put_back_and_called_after_the_clocks_are_given_back(
    number: signal.Signals, card: Lockable
) -> None:
    seen: list[tuple[int, list[str], bool]] = []

    def mine(signum: int, frame: object) -> None:
        seen.append((signum, list(card.log), signal.getsignal(number) is mine))

    before = signal.signal(number, mine)
    try:
        with locked_clocks(True, card):
            os.kill(os.getpid(), number)
            time.sleep(0.01)
            assert seen == [(number, LOCKED + RESET, True)]
        assert card.log == LOCKED + RESET, "once"
        assert signal.getsignal(number) is mine
    finally:
        signal.signal(number, before)


def test_a_signal_that_is_ignored_stays_ignored(card: Lockable) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with locked_clocks(True, card):
            os.kill(os.getpid(), signal.SIGHUP)
            assert card.log == LOCKED
    finally:
        signal.signal(signal.SIGHUP, before)
    assert card.log == LOCKED + RESET


def test_a_signal_just_before_the_change_leaves_nothing_locked(card: Lockable, monkeypatch: pytest.MonkeyPatch) -> None:
    change, before = card.nvmlDeviceSetGpuLockedClocks, signal.signal(signal.SIGTERM, lambda *_: None)

    def signalled(handle: int, low: int, high: int) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        change(handle, low, high)

    monkeypatch.setattr(card, "nvmlDeviceSetGpuLockedClocks", signalled, raising=False)
    try:
        with locked_clocks(True, card):
            assert card.log == ["reset sm", *LOCKED]
    finally:
        signal.signal(signal.SIGTERM, before)
    assert card.log == ["reset sm", *LOCKED, *RESET]


def test_outside_the_main_thread_clocks_are_locked_without_signal_handlers(card: Lockable) -> None:
    def work() -> None:
        with locked_clocks(True, card):
            assert card.log == LOCKED

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert card.log == LOCKED + RESET


def test_clocks_that_cannot_be_given_back_are_an_error_with_the_command(card: Lockable) -> None:
    card.refuses["reset sm"] = 999
    said = r"still locked \(NVML: Error 999\)\. Unlock them: sudo nvidia-smi --reset-gpu-clocks$"
    with pytest.raises(DeviceError, match=said), locked_clocks(True, card):
        assert card.log == LOCKED
    assert card.log == LOCKED + RESET, "the other one is tried all the same"


def test_an_exception_is_not_hidden_by_clocks_that_stay_locked(card: Lockable, capsys: pytest.CaptureFixture[str]) -> None:
    card.refuses |= {"reset sm": 999, "reset memory": 999}
    with pytest.raises(ValueError, match="first"), locked_clocks(True, card):
        raise ValueError("first")
    assert "sudo nvidia-smi --reset-memory-clocks --reset-gpu-clocks" in capsys.readouterr().err


# What ends the process

HOLDS = """
    import os, sys, time
    from pathlib import Path
    sys.path.insert(0, {tests!r})
    from test_clock_lock import Lockable
    from aisp_runner.clock_lock import locked_clocks
    card = Lockable(Path({log!r}))
    {before}
    with locked_clocks(True, card):
        {inside}
"""


def holding(tmp_path: Path, inside: str, before: str = "") -> tuple[subprocess.Popen[str], Path]:
    """A process that runs this inside the block, and the log of its card."""
    log = tmp_path / "log"
    code = textwrap.dedent(HOLDS).format(tests=str(Path(__file__).parent), log=str(log), inside=inside, before=before)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True), log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_process_that_is_ended_by_a_signal_gives_the_clocks_back_first(number: signal.Signals, tmp_path: Path) -> None:
    process, log = holding(tmp_path, "print('held', flush=True); time.sleep(30)")
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    assert log.read_text().splitlines() == LOCKED
    process.send_signal(number)
    process.communicate(timeout=10)
    assert process.returncode == -number, "it ended as that signal ends a process"
    assert log.read_text().splitlines() == LOCKED + RESET


def test_a_block_that_is_never_left_is_ended_by_the_last_resort(tmp_path: Path) -> None:
    held = "import ctypes; kept = locked_clocks(True, card); kept.__enter__(); "
    held += "ctypes.pythonapi.Py_IncRef(ctypes.py_object(kept.gen))"
    process, log = holding(tmp_path, "pass", before=f"{held}; sys.exit(3)")
    process.communicate(timeout=10)
    assert process.returncode == 3
    assert log.read_text().splitlines() == LOCKED + RESET


def test_ctrl_c_while_the_clocks_are_given_back_does_not_leave_them_locked(tmp_path: Path) -> None:
    again = "reset = card.nvmlDeviceResetMemoryLockedClocks; stop = iter([1]); card.nvmlDeviceResetMemoryLockedClocks = "
    again += "lambda gpu: reset(gpu) if not next(stop, 0) else signal.raise_signal(signal.SIGINT)"
    process, log = holding(tmp_path, "pass", before=f"import signal; {again}")
    _, err = process.communicate(timeout=10)
    assert process.returncode == -signal.SIGINT, err
    assert log.read_text().splitlines() == LOCKED + RESET


def test_a_child_of_the_process_gives_nothing_back(tmp_path: Path) -> None:
    process, log = holding(
        tmp_path,
        "child = os.fork(); os.waitpid(child, 0) if child else sys.exit(0); print(Path(card.file).read_text(), flush=True)",
    )
    out, err = process.communicate(timeout=10)
    assert out.splitlines()[: len(LOCKED) + 1] == [*LOCKED, ""], err
    assert log.read_text().splitlines() == LOCKED + RESET


# A run


def test_a_plan_for_the_cpu_alone_has_no_clock_to_lock(tmp_path: Path, card: Lockable) -> None:
    with pytest.raises(
        ConfigError, match=r"environment\.lock_clocks: every case of this plan runs on the CPU, so there is no GPU"
    ):
        run_plan(Plan((case(tmp_path),)), tmp_path / "run", lock_clocks=True)
    assert not (tmp_path / "run").exists()
    save_plan(Plan((case(tmp_path),)), tmp_path / "plan.json")
    assert main([str(tmp_path / "plan.json"), "--run-dir", str(tmp_path / "run"), "--lock-clocks"]) == 2
    assert card.log == []


def test_a_run_holds_the_clocks_until_its_last_case_and_says_so(
    tmp_path: Path, card: Lockable, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The case itself is left out: it would need a GPU."""
    from aisp_runner import execute

    during: list[list[str]] = []

    def stopped(given: Any, bench: Any) -> Any:
        during.append(list(card.log))
        raise KeyboardInterrupt

    monkeypatch.setattr(execute, "run_case", stopped)
    plan = Plan((case(tmp_path, device="cuda"),))
    with pytest.raises(KeyboardInterrupt):
        run_plan(plan, tmp_path / "run", lock_clocks=True)
    assert during == [LOCKED]
    assert card.log == LOCKED + RESET
    assert "clocks locked until the end of the run: SM 1575 MHz" in capsys.readouterr().out
    with pytest.raises(KeyboardInterrupt):
        run_plan(plan, tmp_path / "other")
    assert during[1] == LOCKED + RESET, "not locked unless asked for"


def test_a_record_says_which_clocks_were_locked(tmp_path: Path, card: Lockable, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cases themselves are left out: their records were made by hand."""
    from aisp_runner import execute

    monkeypatch.setenv("AISP_QUARANTINE", str(tmp_path / "quarantine.yaml"))
    facts, told = {"cpu": "Example CPU"}, []

    class Told(Console):
        def case_finished(self, record: dict[str, Any], progress: str = "") -> None:
            told.append(record["machine"])
            if len(told) == 2:
                raise KeyboardInterrupt

    monkeypatch.setattr(execute, "run_case", lambda given, bench: valid_record(machine=facts))
    monkeypatch.setattr(execute.quarantine, "update", lambda path, made, run_dir: False)
    monkeypatch.setattr(execute.record, "validate", lambda made: None)
    with pytest.raises(KeyboardInterrupt):
        plan = Plan((case(tmp_path, device="cuda"), case(tmp_path)))
        run_plan(plan, tmp_path / "run", Told(io.StringIO()), lock_clocks=True)
    assert told[0]["locked_clocks"]["sm_clock_mhz"] == 1575
    assert told[1] == facts == {"cpu": "Example CPU"}, "the facts are shared with runs that lock nothing"
    written = (tmp_path / "run" / "records.jsonl").read_text().splitlines()
    assert [json.loads(line)["machine"] for line in written] == told


def test_what_is_shown_is_held_against_the_limit_of_a_round() -> None:
    assert clock_lock.LIMIT == state.LIMIT == 0.01
