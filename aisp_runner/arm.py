"""A worker as the judge sees it: memory it was lent, a gate, a channel, a process id, deadlines.

Everything that can go wrong with the process comes out as one WorkerFault that names the arm and says what happened.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from aisp_runner.build import Staging
from aisp_runner.case import Case, Tensor, Variant, to_json
from aisp_runner.device.base import Device, Layout, Memory
from aisp_runner.errors import ProtocolError, WorkerFault
from aisp_runner.forkserver import ForkServer
from aisp_runner.host import oom_kills
from aisp_runner.wire import WORKER_WORDS, Channel, ChannelClosed

ARM_SECONDS = 1.0
"""How long calls may take to be enqueued behind a shut gate. A call that waits for the device never returns there."""


class NotReady(Exception):
    """A gated batch could not be made ready. What is timed otherwise then is for `calibrate` and `measure` to say."""


class ArmTimeout(NotReady):
    """Calls could not be enqueued behind the gate: the variant waits for the device, or launches more than the queue holds.
    Says whose.
    """


class CannotCapture(NotReady):
    """The calls of a variant cannot be captured into a graph. Says whose, and why."""


class Arm:
    """One worker process: the baseline, the candidate or the oracle."""

    def __init__(self, role: str, variant: Variant, case: Case, device: Device, slots: int, rank: int | None = None) -> None:
        """rank: which of the variant's ranks this is; None where it has all tensors."""
        self.rank = rank
        self._sees, self._gpu = device.seat(rank) if rank is not None else ({}, 0)
        self.role, self.variant, self.device = role, variant, device
        self.signals = device.signals()
        self.pid = 0
        self._outgrown: Memory | None = None
        """Memory of the case before, until the worker has let go of it."""
        self._lay_out(case, slots)

    def _lay_out(self, case: Case, slots: int) -> None:
        self.case, self.slots = case, slots
        inputs, outputs = self._own(case.inputs), self._own(case.outputs)
        if self.role == "oracle":
            outputs = [replace(t, dtype=_exact(t.dtype)) for t in outputs]
        self.layout = Layout.of((*inputs, *outputs), slots)
        self.memory = self.device.allocate(self.layout.nbytes, self.rank or 0)
        self.views = self.layout.views(self.memory.bytes)
        self.patience = case.limits.start_seconds
        """How long the next batch may take, s: the first one may compile."""

    def _own(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        return [t for t in tensors if self.rank is None or t.rank == self.rank]

    @property
    def pids(self) -> tuple[int, ...]:
        """Its processes."""
        return (self.pid,)

    @property
    def looked_ns(self) -> int | None:
        """See Signals.looked_ns."""
        return self.signals.looked_ns

    def start(self, server: ForkServer, staging: Staging, protections: dict[str, dict[str, Any]], meeting: str = "") -> None:
        """Forks the process and gives it its job; `await_ready` says when it is loaded. meeting: a file by which ranks find
        one another.
        """
        self.meeting, self._oom_kills = meeting, oom_kills()
        limits = self.case.limits
        mine, theirs = Channel.pair()
        self.server, self.channel = server, Channel(mine, WORKER_WORDS)
        memory, output = int(limits.memory_gib * 2**30), int(limits.output_mib * 2**20)
        confined, network = "evaluation.sandbox" in self.case.protections, self.rank is not None
        environment = staging.environment | self._sees
        if staging.compiles():
            server.load_compiler()
        self.pid = server.fork(theirs, environment, staging.folder, memory, output, confined, network)
        theirs.close()
        self._give_job(staging, protections, (self.signals.fd, self.memory.fd))

    def assign(self, case: Case, slots: int, protections: dict[str, dict[str, Any]]) -> None:
        """Gives the running process another case of the same variant; `await_ready` says when it has let go of the last one.

        Raises WorkerFault.
        """
        self._outgrown = self.memory
        self.signals.reset()
        self._lay_out(case, slots)
        self._give_job(self._staging, protections, (self.memory.fd,))

    def _give_job(self, staging: Staging, protections: dict[str, dict[str, Any]], fds: tuple[int | None, ...]) -> None:
        self._staging = staging
        self._send(
            "job",
            fds=tuple(fd for fd in fds if fd is not None),
            role=self.role,
            device=self.case.device,
            gpu=self._gpu,
            threads=self.case.threads,
            source=str(staging.source),
            function=self.variant.function,
            returns=self.variant.returns,
            inputs=[t.name for t in self._own(self.case.inputs)],
            outputs=[t.name for t in self._own(self.case.outputs)],
            ranks=self.case.ranks,
            rank=self.rank,
            meeting=self.meeting,
            layout=to_json(self.layout),
            memory=self.memory.handle,
            protections=protections,
            stamps=self.case.measure.device_clock,
        )

    def await_ready(self) -> None:
        """Waits until the file is loaded. Raises WorkerFault."""
        self._expect("ready", 0, self.case.limits.start_seconds, "load its file")
        if self._outgrown is not None:
            self.device.release(self._outgrown)
            self._outgrown = None

    def arm(self, sequence: int, order: Sequence[int], mode: str) -> None:
        """Tells the worker to make a batch ready. Raises ArmTimeout when the calls cannot be enqueued behind the gate,
        CannotCapture when they cannot be captured, and WorkerFault.
        """
        self.tell(sequence, order, mode)
        if mode == "wall":
            self._expect("ready", sequence, self.case.limits.batch_seconds, "start a batch")
            return
        message = self.hear(sequence, self.case.limits.batch_seconds if mode == "profiled" else ARM_SECONDS)
        if message is None:
            self.signals.open_gate(sequence)
            if "refused" not in self.hear_late(sequence):
                self.finish(sequence)
            raise ArmTimeout(self.who())
        if "refused" in message:
            raise self.refusal(message)

    def tell(self, sequence: int, order: Sequence[int], mode: str) -> None:
        """The first half of `arm`: sends the batch. Raises WorkerFault."""
        self._send("batch", sequence=sequence, order=list(order), mode=mode)

    def hear(self, sequence: int, seconds: float) -> dict[str, Any] | None:
        """The second half of `arm`: the worker's answer, or None where there is none yet. Raises WorkerFault."""
        try:
            message, _ = self.channel.receive(seconds)
        except TimeoutError:
            return None
        except ProtocolError as bad:
            raise self._fault(bad) from bad
        self._check(message, "ready", sequence)
        return message

    def hear_late(self, sequence: int) -> dict[str, Any]:
        """The answer that did not come in time, now that nothing holds it up. Raises WorkerFault."""
        return self._expect("ready", sequence, self.case.limits.batch_seconds, "enqueue a batch")

    def refusal(self, message: dict[str, Any]) -> CannotCapture:
        """What an answer with `refused` means."""
        return CannotCapture(f"{self.who()}: {str(message['refused'])[:200]}")

    def fell(self, seconds: float) -> WorkerFault | None:
        """What has become of this process, if within so long it has told of an error or has ended; None where it has not."""
        try:
            message, _ = self.channel.receive(seconds)
        except TimeoutError:
            return None
        except ProtocolError as bad:
            return self._fault(bad)
        return self._raised(message) if message["kind"] == "fault" else None

    def open_gate(self, sequence: int) -> None:
        """Lets batch `sequence` start."""
        self.signals.open_gate(sequence)

    def await_done(self, sequence: int, rest_ns: int = 0) -> int:
        """Waits for DONE; gives the judge's clock at that moment, ns. rest_ns: how long nobody need look. Raises
        WorkerFault.
        """
        if not self.signals.wait_done(sequence, self.patience, self.channel.end.fileno(), rest_ns):
            self.lost(sequence)
        self.patience = self.case.limits.batch_seconds
        return self.signals.seen_ns

    def finish(self, sequence: int) -> dict[str, Any]:
        """What the worker reports of a batch. Raises WorkerFault, also where its reading of the clock is not a number."""
        done = self._expect("done", sequence, self.case.limits.batch_seconds, "report a batch")
        said = done.get("reported_ns")
        if not isinstance(said, int) or not 0 <= said < 1 << 62:
            raise WorkerFault(self.role, "protocol", f"{self.who()} reported {str(said)[:40]!r} where nanoseconds were due")
        return done

    def answer(self, sequence: int, calls: int) -> float:
        """The oracle's turn: slots 0 to calls - 1; gives the seconds it took. Raises WorkerFault."""
        self._send("batch", sequence=sequence, order=list(range(calls)), gated=False)
        done = self._expect("done", sequence, self.case.limits.batch_seconds + self.case.limits.start_seconds, "answer")
        return float(done["reported_ns"]) / 1e9

    def end(self) -> None:
        """Ends the process without waiting for it; `stop` does."""
        if self.pid:
            self.server.end(self.pid)

    def stop(self) -> None:
        """Ends the process and gives its memory back."""
        if self.pid:
            self.channel.close()
            self.server.kill(self.pid)
        self.signals.close()
        self.views = {}
        self.device.release(self.memory)
        if self._outgrown is not None:
            self.device.release(self._outgrown)

    def lost(self, sequence: int) -> None:
        """DONE did not come: says why, by a WorkerFault. A fault or an end of the process explains it better than the clock."""
        try:
            message, _ = self.channel.receive(0.001)
        except TimeoutError as silent:
            raise self._hung("finish a batch", self.patience) from silent
        except ProtocolError as bad:
            raise self._fault(bad) from bad
        self._check(message, "done", sequence)
        raise WorkerFault(self.role, "protocol", f"{self.who()} reported a batch as done without signalling it")

    def _send(self, kind: str, **fields: Any) -> None:
        try:
            self.channel.send(kind, **fields)
        except ChannelClosed as gone:
            raise self._fault(gone) from gone

    def _expect(self, kind: str, sequence: int, seconds: float, doing: str) -> dict[str, Any]:
        try:
            message, _ = self.channel.receive(seconds)
        except TimeoutError as slow:
            raise self._hung(doing, seconds) from slow
        except ProtocolError as bad:
            raise self._fault(bad) from bad
        self._check(message, kind, sequence)
        return message

    def _check(self, message: dict[str, Any], kind: str, sequence: int) -> None:
        if message["kind"] == "fault":
            raise self._raised(message)
        if message["kind"] != kind or message.get("sequence") != sequence:
            odd = {k: message.get(k) for k in ("kind", "sequence")}
            wanted = f"'{kind}' of batch {sequence}"
            raise WorkerFault(
                self.role, "protocol", f"{self.who()} sent {str(odd)[:100]} on its channel where {wanted} was due"
            )

    def _raised(self, message: dict[str, Any]) -> WorkerFault:
        return WorkerFault(self.role, "raised", f"{self.who()} raised {str(message.get('message', ''))[:2100]}")

    def _hung(self, doing: str, seconds: float) -> WorkerFault:
        return WorkerFault(
            self.role, "hung", f"{self.who()} did not {doing} within {seconds:g} s and was stopped (limits.*_seconds)"
        )

    def _fault(self, error: ProtocolError) -> WorkerFault:
        """What a broken channel means: the process ended (how?), or it wrote something that is no message."""
        if not isinstance(error, ChannelClosed):
            return WorkerFault(self.role, "protocol", f"{self.who()} wrote to its channel: {error}")
        try:
            ended = self.server.wait(self.pid, 3.0)
        except ChannelClosed:
            return WorkerFault(self.role, "died", f"{self.who()} was running when the fork server was killed")
        except TimeoutError:
            return WorkerFault(self.role, "protocol", f"{self.who()} closed its channel")
        if ended.cause:
            return WorkerFault(self.role, "limit", f"{self.who()} {ended.cause}")
        how = signal.Signals(-ended.status).name if ended.status < 0 else f"exit status {ended.status}"
        if ended.status == -signal.SIGKILL and oom_kills() != self._oom_kills:
            how += ": the kernel had no memory left and killed a process; use smaller sizes, or give the control group more"
        last = f"; it last printed: {ended.tail.strip()[-300:]}" if ended.tail.strip() else ""
        return WorkerFault(self.role, "died", f"{self.who()} ended its process ({how}){last}")

    def who(self) -> str:
        """How messages name this process."""
        rank = "" if self.rank is None else f", rank {self.rank}"
        return f"{self.role} {self.variant.name}{rank}" if self.role != "oracle" else f"{self.case.workload}'s reference"


def _exact(dtype: str) -> str:
    """The dtype the oracle answers in: float64 for floating outputs, the declared one otherwise."""
    return "float64" if "float" in dtype else dtype


def oracle_tensors(case: Case) -> tuple[Tensor, ...]:
    """Inputs and outputs as the oracle holds them."""
    return (*case.inputs, *(replace(t, dtype=_exact(t.dtype)) for t in case.outputs))
