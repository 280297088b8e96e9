"""Every process of a case: the oracle, and sets of processes with a baseline, a candidate and, for A/A, a control.

All of them live at once and one runs at a time: the others are frozen. A set is what is replicated, because two processes that
run the same code differ by more than two batches of one process do.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from aisp_runner.build import Staging, stage
from aisp_runner.case import Case
from aisp_runner.crew import AnyArm, Crew, end_all, start
from aisp_runner.device.base import Device
from aisp_runner.forkserver import ForkServer
from aisp_runner.system import freeze, pin, spare_cores, thaw

ARMS = ("baseline", "candidate")
CONTROL = "control"
"""A second process of the baseline's variant."""


class Cast:
    """Starts the processes, keeps all but one of them frozen, and ends the candidate's."""

    def __init__(
        self, case: Case, device: Device, server: ForkServer, folder: Path, slots: int, crew: Crew | None = None
    ) -> None:
        """crew: trusted processes to use and leave running; by default they are this case's own."""
        self.case, self.device, self.server, self.folder, self.slots = case, device, server, folder, slots
        self.roles = (*ARMS, CONTROL) if case.measure.control else ARMS
        self.sets: list[dict[str, AnyArm]] = [{} for _ in range(case.measure.processes)]
        self.crew, self._own_crew = crew or Crew(), crew is None
        self.crew.prepare(case, server)
        self.candidate: Staging | None = None
        self.oracle: AnyArm | None = None
        self._awake: set[int] = set()
        """Process ids of the workers that are not frozen."""

    @property
    def staged(self) -> dict[str, Staging]:
        """What each role was given to load."""
        return self.crew.staged | ({"candidate": self.candidate} if self.candidate else {})

    def start_oracle(self, room: int) -> AnyArm:
        """Forks the oracle, or gives the one that is there a ring of `room` slots. Raises BuildError or WorkerFault."""
        self.oracle = self.crew.hire("oracle", 0, self.case, self.device, self.server, room)
        return self.oracle

    def start(self, role: str) -> list[AnyArm]:
        """The processes of a role, one a set; they are not loaded yet. Raises BuildError or WorkerFault."""
        case, device, server = self.case, self.device, self.server
        if role == "candidate":
            self.candidate = stage(self.folder, role, case.optimized.source, case.device)
        for number, arms in enumerate(self.sets):
            if role == "candidate" and self.candidate is not None:
                arm = start(role, case.optimized, case, device, server, self.candidate, self.slots)
            else:
                arm = self.crew.hire(role, number, case, device, server, self.slots)
            arms[role] = arm
            for pid in arm.pids:
                self._awake.add(pid)
                if device.name == "cpu":
                    pin(pid, spare_cores(case.threads * case.ranks)[1])
        return [arms[role] for arms in self.sets]

    def wake(self, arms: Sequence[AnyArm]) -> None:
        """Freezes every worker but these: an idle one cannot slow the others' batches. The oracle is not asked meanwhile."""
        wanted = {pid for arm in arms for pid in arm.pids}
        for pid in self._awake - wanted:
            freeze(pid)
        for pid in wanted - self._awake:
            thaw(pid)
        self._awake = wanted

    def all(self) -> list[AnyArm]:
        """Every worker but the oracle."""
        return [arm for arms in self.sets for arm in arms.values()]

    def pids(self) -> set[int]:
        """This process and those of the case."""
        return {os.getpid(), *(pid for arm in self.all() for pid in arm.pids), *([self.oracle.pid] if self.oracle else [])}

    def stop(self, sound: bool) -> None:
        """Ends the candidate's processes, and unless the case was sound the others as well, whatever happened before."""
        with contextlib.ExitStack() as stack:
            if self._own_crew or not sound:
                stack.callback(self.crew.dismiss)
            end_all([arms["candidate"] for arms in self.sets if "candidate" in arms], stack)
