"""The GPU's clocks held still for a run, and given back whatever ends it. Used only where the user asks for it
(`environment.lock_clocks=true`); otherwise clocks are watched (state.py) and never set.

Nothing else of the card is touched: no persistence mode, power limit, compute mode or application clock. NVML does not tell
whether clocks were locked before, so giving them back means unlocked.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any

from aisp_runner.errors import ConfigError, DeviceError
from aisp_runner.state import LIMIT, ambiguity, first_gpu

SHARE = 0.8
"""Share of the highest clock that is locked where no base clock is known."""

SETTLE_SECONDS = 0.5
"""How long the clocks get to show what was set, s."""

SIGNALS = (signal.SIGTERM, signal.SIGHUP)
"""Signals that end a process and that Python does not turn into an exception, as it does SIGINT."""

SETTING = "environment.lock_clocks"


@dataclass(frozen=True)
class LockedClocks:
    """What was locked, and what the card said of it at once."""

    sm_clock_mhz: int
    sm_clock_read_mhz: int | None
    """Read back. An idle or a throttled card may show another clock; the readings of each round tell what it ran at."""
    memory_clock_mhz: int | None
    """None where this card's memory clock cannot be locked."""
    memory_clock_read_mhz: int | None
    rule: str
    """How the SM clock was chosen."""
    memory_note: str = ""
    """Why the memory clock is not locked, in NVML's words."""

    def line(self) -> str:
        """One line for people."""
        memory = f"memory {self.memory_clock_mhz} MHz (reads {self.memory_clock_read_mhz})"
        if self.memory_clock_mhz is None:
            memory = f"memory not locked ({self.memory_note})"
        sm = f"SM {self.sm_clock_mhz} MHz, {self.rule} (reads {self.sm_clock_read_mhz})"
        return f"clocks locked until the end of the run: {sm}, {memory}"


@contextmanager
def locked_clocks(wanted: bool, nvml: Any = None) -> Iterator[LockedClocks | None]:
    """Clocks locked inside the with block where `wanted`, else None and NVML is not touched.

    They are given back once: when the block ends, by an exception or Ctrl-C too, on SIGTERM and SIGHUP, and when Python exits.
    SIGKILL alone leaves them locked. nvml: what takes the place of the module pynvml.
    Raises ConfigError where they cannot be locked, after what was set is given back, and DeviceError where they cannot be
    given back.
    """
    if not wanted:
        yield None
        return
    try:
        api, gpu = first_gpu(nvml)
    except DeviceError as error:
        raise ConfigError(f"{SETTING}: {error}. There is no GPU clock to lock: leave it off.") from None
    lock = _Lock(api, gpu)
    try:
        if unsure := ambiguity(api):
            raise ConfigError(f"{SETTING}: {unsure}, so that no other card is locked, or leave it off.")
        with lock:
            yield lock.lock()
    finally:
        if not lock.undo:  # else a second Ctrl-C came while clocks were given back: the last resort still needs NVML
            api.nvmlShutdown()


def sustainable(graphics_mhz: Sequence[int], default_mhz: int | None) -> tuple[int, str]:
    """(the supported clock to lock, why that one): one that power and heat let most kernels keep.

    The highest that is not above the default application clock: the base clock, above which a card boosts as power and heat
    allow (NVML, nvmlDeviceResetApplicationsClocks). Where that is not told, or is the highest clock itself, it is no base:
    then the highest that is not above SHARE of the highest. An H200 is such a card: its default is its maximum, 1980 MHz
    (awslabs/amazon-eks-ami, pull request 1985), while a large bf16 matrix product ran at 1275 to 1725 MHz under its 700 W.
    SHARE gives 1575 there. NVML_CLOCK_LIMIT_ID_TDP, which nvbench locks, is not used: NVML does not tell which clock it
    stands for, so it could not be held against what is read back.
    """
    most = max(graphics_mhz)
    if default_mhz is not None and min(graphics_mhz) <= default_mhz < most:
        return max(clock for clock in graphics_mhz if clock <= default_mhz), "the default application clock"
    below = [clock for clock in graphics_mhz if clock <= SHARE * most]
    return max(below, default=min(graphics_mhz)), f"{SHARE:.0%} of the highest"


def choose(api: Any, gpu: Any) -> tuple[int, int, str]:
    """(SM clock, memory clock, why that SM clock), MHz, of what this card supports; the memory clock is its highest.

    Raises NVMLError where the card does not list its clocks.
    """
    memory = max(api.nvmlDeviceGetSupportedMemoryClocks(gpu), default=0)
    graphics = api.nvmlDeviceGetSupportedGraphicsClocks(gpu, memory)
    if not graphics:
        raise api.NVMLError(api.NVML_ERROR_NOT_SUPPORTED)
    try:
        default = api.nvmlDeviceGetDefaultApplicationsClock(gpu, api.NVML_CLOCK_GRAPHICS)
    except (api.NVMLError, AttributeError):  # deprecated in CUDA 13
        default = None
    clock, rule = sustainable(graphics, default)
    return clock, memory, rule


class _Lock:
    """Sets clocks and remembers how to reset each, through every way in which a process of Python may end."""

    def __init__(self, api: Any, gpu: Any) -> None:
        self.api, self.gpu = api, gpu
        self.pid = os.getpid()
        self.undo: list[tuple[str, Callable[[], None]]] = []
        """What has been set: nvidia-smi's flag for its reset, and the reset."""
        self.previous: dict[int, Any] = {}

    def __enter__(self) -> _Lock:
        atexit.register(self._last_resort)
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):  # ignored (nohup), or not Python's to change
                    self.previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        failed = self.restore()
        self._give_signals_back()
        atexit.unregister(self._last_resort)
        if failed and error is None:
            raise DeviceError(failed)
        if failed:
            sys.stderr.write(f"aisp-run: {failed}\n")

    def lock(self) -> LockedClocks:
        """Locks both clocks. Raises ConfigError; what was set by then is given back when the block is left."""
        api, gpu, sm = self.api, self.gpu, None
        try:
            sm, memory, rule = choose(api, gpu)
            self._set(
                "--reset-gpu-clocks",
                lambda: api.nvmlDeviceSetGpuLockedClocks(gpu, sm, sm),
                lambda: api.nvmlDeviceResetGpuLockedClocks(gpu),
            )
        except (api.NVMLError, AttributeError) as error:
            raise ConfigError(self._refusal(error, sm)) from None
        note = ""
        try:
            self._set(
                "--reset-memory-clocks",
                lambda: api.nvmlDeviceSetMemoryLockedClocks(gpu, memory, memory),
                lambda: api.nvmlDeviceResetMemoryLockedClocks(gpu),
            )
        except (api.NVMLError, AttributeError) as error:
            unsupported = (api.NVML_ERROR_NOT_SUPPORTED, api.NVML_ERROR_FUNCTION_NOT_FOUND)
            if isinstance(error, api.NVMLError) and error.value not in unsupported:
                raise ConfigError(self._refusal(error, sm)) from None
            note = str(error)
        return LockedClocks(
            sm_clock_mhz=sm,
            sm_clock_read_mhz=self._read_back(api.NVML_CLOCK_SM, sm),
            memory_clock_mhz=None if note else memory,
            memory_clock_read_mhz=None if note else self._read_back(api.NVML_CLOCK_MEM, memory),
            rule=rule,
            memory_note=note,
        )

    def restore(self) -> str:
        """Resets what was set, the latest first, and says what could not be, or "". Nothing a second time, nor in a child."""
        failed: dict[str, str] = {}
        while self.undo and os.getpid() == self.pid:
            entry = self.undo[-1]
            try:
                entry[1]()
            except self.api.NVMLError as error:
                failed[entry[0]] = str(error)
            if entry in self.undo:  # a signal may have come in between
                self.undo.remove(entry)
        if not failed:
            return ""
        why = ", ".join(dict.fromkeys(failed.values()))
        return f"the GPU's clocks are still locked (NVML: {why}). Unlock them: sudo nvidia-smi {' '.join(failed)}"

    def _set(self, flag: str, change: Callable[[], None], reset: Callable[[], None]) -> None:
        entry = flag, reset
        self.undo.append(entry)  # before the change: Ctrl-C may come right after it
        try:
            change()
        except (self.api.NVMLError, AttributeError):
            self.undo = [each for each in self.undo if each is not entry]
            raise
        if entry not in self.undo:  # a signal came just before the change, and its handler let the run go on
            self.undo.append(entry)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        """Gives the clocks back, then does what the signal would have done."""
        self._last_resort()
        previous = self.previous.get(number, signal.SIG_DFL)
        self._give_signals_back()
        if callable(previous):
            previous(number, frame)
        else:
            os.kill(os.getpid(), number)

    def _give_signals_back(self) -> None:
        while self.previous:
            signal.signal(*self.previous.popitem())

    def _last_resort(self) -> None:
        if failed := self.restore():
            sys.stderr.write(f"aisp-run: {failed}\n")

    def _read_back(self, kind: int, wanted: int) -> int | None:
        """The clock now, MHz, once it shows what was set, or after SETTLE_SECONDS."""
        end = time.monotonic() + SETTLE_SECONDS
        while True:
            try:
                shown: int = self.api.nvmlDeviceGetClockInfo(self.gpu, kind)
            except self.api.NVMLError:
                return None
            if abs(shown - wanted) <= LIMIT * wanted or time.monotonic() > end:
                return shown
            time.sleep(0.01)

    def _refusal(self, error: Exception, sm: int | None) -> str:
        code, said = getattr(error, "value", None), f"{SETTING}: NVML: {error}: "
        if code == self.api.NVML_ERROR_NO_PERMISSION:
            return (
                f"{said}locking clocks needs root. Leave it off, since clocks are watched anyway; or lock them around the run "
                f"yourself: sudo nvidia-smi --lock-gpu-clocks={sm}; or run with sudo, for kernels you trust only: workers are "
                "root then, too."
            )
        if code in (self.api.NVML_ERROR_NOT_SUPPORTED, self.api.NVML_ERROR_FUNCTION_NOT_FOUND, None):
            return f"{said}this GPU's clocks cannot be locked (it takes Volta or later, and a whole GPU). Leave it off."
        return f"{said}the clocks were not locked. Leave it off."
