"""Oracle, baselines and controls of a workload, kept from one case to the next.

Creating a CUDA context takes 0.17 s, one after the other, so the trusted processes of a workload are started once and given
new memory for each case. The candidate's processes are never kept. A crew is ended when the next case is of another workload,
or when anything went wrong in a case.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from aisp_runner.arm import Arm
from aisp_runner.build import Staging, stage
from aisp_runner.case import Case, Variant, to_json
from aisp_runner.device.base import Device
from aisp_runner.forkserver import ForkServer
from aisp_runner.ranks import RankedArm
from aisp_runner.system import thaw

AnyArm = Arm | RankedArm


class Crew:
    """The trusted processes. Context manager: leaving it ends them."""

    def __init__(self) -> None:
        self.staged: dict[str, Staging] = {}
        self.arms: dict[tuple[str, int], AnyArm] = {}
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._purpose: tuple[str, int] | None = None

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        self.dismiss()

    def prepare(self, case: Case, server: ForkServer) -> None:
        """Ends processes that are of no use for this case."""
        purpose = _purpose(case), id(server)
        if purpose != self._purpose or not all(server.lives(pid) for arm in self.arms.values() for pid in arm.pids):
            self.dismiss()
            self._purpose = purpose
            self._folder = tempfile.TemporaryDirectory(prefix="aisp-crew-")

    def hire(self, role: str, number: int, case: Case, device: Device, server: ForkServer, slots: int) -> AnyArm:
        """A process for a role, kept or new; it has its job and is not loaded yet. Raises BuildError or WorkerFault."""
        assert self._folder is not None, "prepare comes first"
        variant = case.reference if role == "oracle" else case.baseline
        kept = self.arms.get((role, number))
        if kept is not None:
            for pid in kept.pids:
                thaw(pid)
            kept.assign(case, slots, _protections(role, case))
            return kept
        if role not in self.staged:
            # A control gets the baseline's files, and what was compiled from them.
            shared = self.staged.get("baseline") if role == "control" else None
            self.staged[role] = shared or stage(Path(self._folder.name), role, variant.source, case.device)
        self.arms[role, number] = arm = start(role, variant, case, device, server, self.staged[role], slots)
        return arm

    def dismiss(self) -> None:
        """Ends the processes and removes their files."""
        arms, folder = list(self.arms.values()), self._folder
        self.arms, self.staged, self._folder, self._purpose = {}, {}, None, None
        with contextlib.ExitStack() as stack:
            if folder is not None:
                stack.callback(folder.cleanup)
            end_all(arms, stack)


def start(role: str, variant: Variant, case: Case, device: Device, server: ForkServer, staging: Staging, slots: int) -> AnyArm:
    """A new process with its job, or one a rank. Raises WorkerFault; its memory is given back then."""
    arm = (
        RankedArm(role, variant, case, device, slots)
        if case.ranks > 1 and role != "oracle"
        else Arm(role, variant, case, device, slots)
    )
    try:
        arm.start(server, staging, _protections(role, case))
    except BaseException:
        arm.stop()
        raise
    return arm


def end_all(arms: Sequence[AnyArm], stack: contextlib.ExitStack) -> None:
    """Ends processes all at once (each takes tens of milliseconds to leave the device); the stack waits for them."""
    for arm in arms:
        stack.callback(arm.stop)
    for arm in arms:
        arm.end()


def _protections(role: str, case: Case) -> dict[str, dict[str, object]]:
    return {} if role == "oracle" else case.protections


def _purpose(case: Case) -> str:
    """What must be the same for a process to be kept."""
    same = (
        case.device,
        case.ranks,
        case.threads,
        case.reference,
        case.baseline,
        case.limits,
        case.protections,
        case.measure.processes,
    )
    names = [t.name for t in (*case.inputs, *case.outputs)]
    return json.dumps([to_json(part) for part in (*same, names, case.measure.control)], sort_keys=True)
