"""What is started once and used by all cases: fork servers, devices, trusted processes, facts of the machine.

Nothing here imports torch before a device is opened.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from aisp_runner import machine
from aisp_runner.case import Case
from aisp_runner.crew import Crew
from aisp_runner.forkserver import ForkServer
from aisp_runner.peak import roofline, store
from aisp_runner.state import open_state


class Pool:
    """What is started once for all cases, of one run or of several: fork servers, devices, facts, by device name."""

    def __init__(self) -> None:
        self.servers: dict[str, Any] = {}
        self.devices: dict[str, Any] = {}
        self.facts: dict[str, dict[str, Any]] = {}
        self.peaks: dict[str, store.Peak | None] = {}
        self.states: dict[str, Any] = {}
        self.crews: dict[str, Any] = {}
        self.own_pids: Callable[[], set[int]] = set
        """Processes of the case that is being run."""

    def open(self, name: str) -> tuple[Any, Any]:
        """The fork server and the device for cases on `name`; a server that a candidate has killed is started again."""
        from aisp_runner.device import open_device

        self.start_server(name)
        if name not in self.devices:
            self.devices[name] = open_device(name)
        if name not in self.facts:
            self.facts[name] = machine.facts(name)
        return self.servers[name], self.devices[name]

    def start_server(self, name: str) -> None:
        """Starts the fork server of a device, which then imports torch, and waits for nothing."""
        if name not in self.servers or not self.servers[name].alive():
            self.servers[name] = ForkServer(cuda=name == "cuda")

    def crew(self, name: str) -> Any:
        """The trusted processes of the case before on device `name`."""
        return self.crews.setdefault(name, Crew())

    def state(self, name: str) -> Any:
        """Who tells the state of device `name`."""
        if name not in self.states:
            self.states[name] = open_state(name, lambda: self.own_pids())
        return self.states[name]

    def share(self, case: Case, seconds: float) -> dict[str, Any]:
        """Shares of this machine's ceilings that a call of so many seconds reaches; empty where they were not measured."""
        peak = self._peak(case.device)
        return (roofline.share(case, seconds, peak) or {}) if peak else {}

    def floor_s(self, case: Case) -> float | None:
        """The least time a call can take on this machine, s; None where that is not known."""
        peak = self._peak(case.device)
        return roofline.floor_s(case, peak) if peak else None

    def _peak(self, name: str) -> store.Peak | None:
        """What `aisp peak` stored of this machine."""
        if name not in self.peaks:
            self.peaks[name] = store.load(name, self.facts.get(name, {}))
        return self.peaks[name]

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.ExitStack() as stack:
            for opened in (*self.servers.values(), *self.states.values()):
                stack.callback(opened.close)
            for crew in self.crews.values():
                stack.callback(crew.dismiss)
