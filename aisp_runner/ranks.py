"""A variant that runs as several ranks, as the judge sees it: an arm for each, let go together and done when the last one is.

Each rank maps its own tensors only, so what it needs of another one has to be communicated. The judge's clock starts before
the first gate opens and stops when the last rank is done: a rank that waits outside its calls, or does nothing, hides no
time.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from aisp_runner.arm import Arm
from aisp_runner.build import Staging
from aisp_runner.case import Case, Variant
from aisp_runner.device.base import Device
from aisp_runner.errors import WorkerFault
from aisp_runner.forkserver import ForkServer

if TYPE_CHECKING:
    import torch


class RankedArm:
    """What `Arm` is for one process, for all ranks of a variant."""

    def __init__(self, role: str, variant: Variant, case: Case, device: Device, slots: int) -> None:
        self.role, self.variant, self.device, self.case, self.slots = role, variant, device, case, slots
        self.members: list[Arm] = []
        with contextlib.ExitStack() as undo:
            for rank in range(case.ranks):
                self.members.append(Arm(role, variant, case, device, slots, rank))
                undo.callback(self.members[-1].stop)
            undo.pop_all()

    @property
    def pid(self) -> int:
        """Of the first rank."""
        return self.members[0].pid

    @property
    def pids(self) -> tuple[int, ...]:
        """Of every rank."""
        return tuple(member.pid for member in self.members)

    @property
    def views(self) -> dict[str, torch.Tensor]:
        """[slots, *shape] by tensor name, of all ranks."""
        return {name: view for member in self.members for name, view in member.views.items()}

    @property
    def looked_ns(self) -> int | None:
        """Of the rank that was waited for last."""
        return self.members[-1].looked_ns

    def start(self, server: ForkServer, staging: Staging, protections: dict[str, dict[str, Any]]) -> None:
        """Forks every rank and gives it its job."""
        meeting = str(staging.folder / "tmp" / f"meeting-{secrets.token_hex(8)}")
        for member in self.members:
            member.start(server, staging, protections, meeting)

    def assign(self, case: Case, slots: int, protections: dict[str, dict[str, Any]]) -> None:
        """Gives the running ranks another case of the same variant. Raises WorkerFault."""
        self.case, self.slots = case, slots
        for member in self.members:
            member.assign(case, slots, protections)

    def await_ready(self) -> None:
        """Waits until every rank is loaded. Raises WorkerFault."""
        for member in self.members:
            member.await_ready()

    def arm(self, sequence: int, order: Sequence[int], mode: str) -> None:
        """Tells every rank to make a batch ready. Raises WorkerFault."""
        for member in self.members:
            member.arm(sequence, order, mode)

    def open_gate(self, sequence: int) -> None:
        """Lets the ranks start, one after the other, microseconds apart."""
        for member in self.members:
            member.open_gate(sequence)

    def await_done(self, sequence: int, rest_ns: int = 0) -> int:
        """Waits for every rank's DONE; gives the judge's clock when it has seen the last, ns. Raises WorkerFault."""
        seen = [member.await_done(sequence, rest_ns) for member in self.members]
        return max(seen)

    def finish(self, sequence: int) -> dict[str, Any]:
        """What the ranks report of a batch: the longest time, everybody's evidence. Raises WorkerFault."""
        told = [member.finish(sequence) for member in self.members]
        evidence: list[Any] = []
        for rank, each in enumerate(told):
            said = each.get("evidence", [])
            if not isinstance(said, list):
                raise WorkerFault(self.role, "protocol", f"rank {rank} of {self.variant.name} sent evidence that is no list")
            evidence += said
        return {"reported_ns": max(each["reported_ns"] for each in told), "evidence": evidence}

    def end(self) -> None:
        """Ends the ranks without waiting; `stop` does."""
        for member in self.members:
            member.end()

    def stop(self) -> None:
        """Ends the ranks and gives their memory back."""
        with contextlib.ExitStack() as stack:
            for member in self.members:
                stack.callback(member.stop)
