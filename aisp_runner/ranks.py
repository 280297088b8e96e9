"""A variant that runs as several ranks, as the judge sees it: an arm for each, let go together and done when the last one is.

Each rank maps its own tensors only, so what it needs of another one has to be communicated; on CUDA each has a GPU to itself.
The judge's clock starts before the first gate opens and stops when the last rank is done: a rank that waits outside its calls,
or does nothing, hides no time.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from aisp_runner.arm import ARM_SECONDS, Arm, ArmTimeout
from aisp_runner.build import Staging
from aisp_runner.case import Case, Variant
from aisp_runner.device.base import Device
from aisp_runner.errors import WorkerFault
from aisp_runner.forkserver import ForkServer

if TYPE_CHECKING:
    import torch


CAUSES = ("died", "limit", "protocol", "raised", "hung")
"""Kinds of faults of ranks that failed together, the likeliest cause first."""

BLAME_SECONDS = 0.05
"""How long the others may take to say that they failed as well, s."""


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
        """The last look that found any rank unfinished."""
        return self.members[0].looked_ns

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
            with self._blaming(member):
                member.await_ready()

    def arm(self, sequence: int, order: Sequence[int], mode: str) -> None:
        """Tells every rank to make a batch ready: all at once, since one that enqueues a collective may wait for the others to
        do the same. Raises ArmTimeout, CannotCapture and WorkerFault as `Arm.arm` does.

        All capture their graph before any replays it: one that is replayed by some would wait for the others for ever.
        """
        if mode == "wall":
            for member in self.members:
                with self._blaming(member):
                    member.arm(sequence, order, mode)
            return
        for step in ("capture", "replay") if mode == "graph" else (mode,):
            self._ready(sequence, order, step)

    def _ready(self, sequence: int, order: Sequence[int], step: str) -> None:
        for member in self.members:
            with self._blaming(member):
                member.tell(sequence, order, step)
        end = time.monotonic() + (self.case.limits.batch_seconds if step == "profiled" else ARM_SECONDS)
        said: list[dict[str, Any] | None] = []
        for member in self.members:
            with self._blaming(member):
                said.append(member.hear(sequence, max(0.001, end - time.monotonic())))
        if None in said:
            self._let_go(sequence, said, gated=step != "capture")
            raise ArmTimeout(self.members[said.index(None)].who())
        for member, message in zip(self.members, said, strict=True):
            if message is not None and "refused" in message:
                raise member.refusal(message)

    def _let_go(self, sequence: int, said: Sequence[dict[str, Any] | None], gated: bool) -> None:
        """Opens every gate, where calls wait behind one, and reads what the ranks still have to say of this batch."""
        if gated:
            self.open_gate(sequence)
        for member in (m for m, message in zip(self.members, said, strict=True) if message is None):
            with self._blaming(member):
                member.hear_late(sequence)
        for member in self.members if gated else ():
            with self._blaming(member):
                member.finish(sequence)

    def open_gate(self, sequence: int) -> None:
        """Lets the ranks start, one after the other, microseconds apart."""
        for member in self.members:
            member.signals.open_gate(sequence)

    def await_done(self, sequence: int, rest_ns: int = 0) -> int:
        """Waits for every rank's DONE; gives the judge's clock when it has seen the last, ns. Raises WorkerFault."""
        ends = [(member.signals, member.channel.end.fileno()) for member in self.members]
        patience = max(member.patience for member in self.members)
        failed = self.members[0].signals.wait_all(ends, sequence, patience, rest_ns)
        if failed is not None:
            with self._blaming(self.members[failed]):
                self.members[failed].lost(sequence)
        for member in self.members:
            member.patience = self.case.limits.batch_seconds
        return int(self.members[0].signals.seen_ns)

    def finish(self, sequence: int) -> dict[str, Any]:
        """What the ranks report of a batch: the longest time, everybody's evidence. Raises WorkerFault."""
        told = []
        for member in self.members:
            with self._blaming(member):
                told.append(member.finish(sequence))
        evidence: list[Any] = []
        for rank, each in enumerate(told):
            said = each.get("evidence", [])
            if not isinstance(said, list):
                raise WorkerFault(self.role, "protocol", f"rank {rank} of {self.variant.name} sent evidence that is no list")
            evidence += said
        return {"reported_ns": max(each["reported_ns"] for each in told), "evidence": evidence}

    @contextlib.contextmanager
    def _blaming(self, waited_for: Arm) -> Iterator[None]:
        """Where one rank fails, another one may be why: it waits for a rank that has died, or finds its connection closed. The
        fault then tells of all that failed, the likeliest cause first.
        """
        try:
            yield
        except WorkerFault as fault:
            others = [member.fell(BLAME_SECONDS) for member in self.members if member is not waited_for]
            found = sorted((fault, *(f for f in others if f is not None)), key=lambda f: CAUSES.index(f.kind))
            raise found[0].saying("; ".join(str(f) for f in found)) from fault

    def end(self) -> None:
        """Ends the ranks without waiting; `stop` does."""
        for member in self.members:
            member.end()

    def stop(self) -> None:
        """Ends the ranks and gives their memory back."""
        with contextlib.ExitStack() as stack:
            for member in self.members:
                stack.callback(member.stop)
