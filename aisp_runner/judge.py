"""The judge of one case: owns every input and output, reveals content, opens the gate, holds the clock, takes the snapshot.

It imports nothing of a kernel file. Protections hang on its stages; what must be remembered between two of their hooks lives
here, for one batch.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from aisp_runner.arm import Arm
from aisp_runner.build import Staging
from aisp_runner.case import Case, Tensor
from aisp_runner.cast import ARMS, CONTROL, Cast
from aisp_runner.crew import AnyArm, Crew
from aisp_runner.device.base import Device, slot_bytes
from aisp_runner.forkserver import ForkServer
from aisp_runner.gpu_use import GpuUse
from aisp_runner.host import LeftRunning
from aisp_runner.inputs import Content
from aisp_runner.protect.base import FAIL, Evidence
from aisp_runner.protect.registry import Shields
from aisp_runner.state import CpuState, GpuState, Reading, summary
from aisp_runner.system import settled_cpu_ns, spare_cores
from aisp_runner.verify import Comparison, bits, compare, poison, poison_bits

if TYPE_CHECKING:
    from aisp_runner.measure import Measurement

MAX_SLOTS = 512
"""Slots a ring has at most. 1,020 launches fit the queue behind a gate, so 512 calls of one kernel do."""

LATE_SECONDS = 0.05
"""How long an unprotected run waits before it looks at the outputs, s."""

REST, AWAKE_NS = 0.8, 500_000
"""A judge sleeps for this share of the shortest such batch, less this time, ns, and then spins."""

State = GpuState | CpuState

FINGERPRINT = 256
"""Elements by which outputs of different calls are told apart."""


@dataclass
class Batch:
    """One batch of calls of one arm, and what the judge saw of it. Times are ns of the judge's monotonic clock."""

    sequence: int
    purpose: str
    """warm_up, round (its time counts), dropped, serial, device or gap."""
    round: int
    """Number within its purpose; -1 while warming up and calibrating."""
    arm: str
    order: tuple[int, ...]
    """Slot of each call."""
    mode: str
    """graph, gated, profiled or wall."""
    process: int = 0
    """Which set of processes the worker is of."""
    seed: int = 0
    """What the content was drawn from."""
    revealed_ns: int = 0
    """When the content began to be readable for the worker."""
    issued_ns: int = 0
    done_ns: int = 0
    unseen_ns: int | None = None
    """How far its time could be too long because the judge was not looking: between the two clock readings around opening
    the gate, and between the last look that found it unfinished and `done_ns`. None where the judge sleeps until it is woken.
    """
    snapped_ns: int = 0
    """When the outputs were out of the worker's reach."""
    drain_ns: int = 0
    """What was found still going on after DONE (see Device.drained)."""
    reported_ns: int = 0
    """The worker's own reading; recorded, not trusted."""
    tripwires: dict[str, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)
    """Per output: positions, and the true values that stood there before the wire was laid."""
    stale_calls: tuple[int, ...] = ()
    """Checked calls whose wrong output is one that the arm has written before."""
    device: dict[str, Any] | None = None
    """What the device's own time stamps said, of a profiled batch; the worker passed them on."""
    clock_mhz: int | None = None
    """The device's clock right after DONE."""
    told: dict[str, str] = field(default_factory=dict)
    """What the worker's side of each protection observed of this batch, by id: advice from an untrusted process."""
    cpu_from_ns: int | None = None
    """The worker's CPU clock before the gate of a batch on a GPU was opened, ns; None where it was not read."""
    idle_ns: int | None = None
    """What a small operation of the judge's took while the gate was shut, ns; None where that was not looked at."""
    cpu_used_ns: int = 0
    """CPU time that the worker used from then until it was read again after DONE, ns."""
    cpu_window_ns: int = 0
    """How long after opening the gate that was, ns: longer than the batch where the judge had to wait for a core."""

    @property
    def timed(self) -> bool:
        """Whether its time enters the speed-up."""
        return self.purpose == "round"

    @property
    def gated(self) -> bool:
        """Whether the calls waited behind the gate."""
        return self.mode != "wall"

    @property
    def calls(self) -> int:
        return len(self.order)

    @property
    def elapsed_ns(self) -> int:
        """From opening the gate to seeing DONE."""
        return self.done_ns - self.issued_ns


def _rest_ns(quickest_ns: int) -> int:
    """How long a judge need not look for the end of a batch that never took less than this. 0: too short to sleep."""
    rest = int(REST * quickest_ns) - AWAKE_NS
    return rest if rest > AWAKE_NS else 0


def device_report(said: Any) -> dict[str, Any] | None:
    """A worker's time stamps: data from an untrusted process, so only numbers in range are taken."""
    if not isinstance(said, dict):
        return None
    values = {key: said.get(key) for key in ("kernels", "busy_ns", "span_ns", "call_ns", "quarter_ns")}
    if all(isinstance(v, int | float) and not isinstance(v, bool) and 0 < v < 1 << 62 for v in values.values()):
        return values
    return {"error": str(said.get("error", "no time stamps"))[:200]}


class Judge:
    """Context manager: allocates, starts oracle and workers, and ends them all."""

    def __init__(
        self,
        case: Case,
        device: Device,
        server: ForkServer,
        shields: Shields,
        folder: Path,
        state: State | None = None,
        crew: Crew | None = None,
    ) -> None:
        """state: who tells the device's clock, power and temperature; None: nobody does. crew: trusted processes of the case
        before.
        """
        self.case, self.device, self.shields, self.state = case, device, shields, state
        device.use(case.ranks)
        if isinstance(state, GpuState):
            state.watch(case.ranks)
        if device.name == "cpu":  # threads that wait for a core of the worker's, or for each other, took 2 ms an operation
            torch.set_num_threads(len(spare_cores(case.threads * case.ranks)[0]))
        per_slot = max(1, slot_bytes((*case.inputs, *case.outputs)))
        rings = case.measure.processes * (2 + case.measure.control)
        self.slots = int(min(MAX_SLOTS, max(2, device.ring_bytes(rings) // per_slot)))
        if case.measure.calls:
            self.slots = min(self.slots, max(2, case.measure.calls[1]))
        self.cast = Cast(case, device, server, folder, self.slots, crew)
        self.process = 0
        """The set of processes whose turn it is."""
        self.batches: list[Batch] = []
        self.comparisons: list[Comparison] = []
        self.issued: Counter[tuple[int, str, int, str, int]] = Counter()
        """Batches whose gate was opened, by set, purpose, round, arm and calls."""
        self.clocked: dict[int, tuple[str, int, str, int, int]] = {}
        """Purpose, round, arm, start and end of each batch as the clock was read, by sequence number."""
        self.sequence = 0
        self.quickest_ns: dict[tuple[int, str, int, str], int] = {}
        """The shortest batch of each kind so far: set, role, calls, mode."""
        self.checked: dict[str, tuple[int, ...]] = dict.fromkeys((*ARMS, CONTROL), ())
        """Calls of each arm's batch, by their place in it, whose outputs are compared."""
        self.check_seconds = 0.0
        """What checking one call of both arms took last, s: the oracle's answer and the comparisons."""
        self.fingerprints: dict[str, set[bytes]] = {arm: set() for arm in (*ARMS, CONTROL)}
        self.measured: Measurement | None = None
        """What was sampled, once it was."""
        self.floor_s: float | None = None
        """The least time a call can take on this machine, where that is known."""
        self.readings: list[Reading] = []
        """The machine's state, once a round."""
        self.left_running: dict[int, LeftRunning] = {}
        """What each set's candidate had running beside its worker, and what of it ran while another arm was to run."""
        self.gpus_before: dict[int, GpuUse] = {}
        """What the GPUs that the case does not name were used for before it began, by NVML's index."""

    def __enter__(self) -> Judge:
        return self

    def __exit__(self, kind: object = None, *_: object) -> None:
        """Ends the candidate's processes, and all others unless all went well, whatever happened before."""
        self.cast.stop(sound=kind is None and not self.refused())

    # Starting

    @property
    def arms(self) -> dict[str, AnyArm]:
        """The workers of the set whose turn it is, by role."""
        return self.cast.sets[self.process]

    @property
    def staged(self) -> dict[str, Staging]:
        """What each role was given to load."""
        return self.cast.staged

    @property
    def oracle(self) -> Arm:
        """The process that knows the answers."""
        assert isinstance(self.cast.oracle, Arm), "start_oracle comes first"
        return self.cast.oracle

    def start_oracle(self) -> None:
        """Starts oracle, baselines and controls, and has the oracle answer once, before any of the candidate's processes
        exists.

        Raises BuildError or WorkerFault.
        """
        per_slot = slot_bytes((*self.case.inputs, *self.case.outputs))
        rings = self.case.measure.processes * (2 + self.case.measure.control)
        room = max(4, min(2 * self.slots, self.device.ring_bytes(rings) // max(1, 2 * per_slot)))
        self.content = Content(self.case.inputs, self.slots, self.device)
        self.snapshots = {
            role: {t.name: self.device.empty((room, *t.shape), t.dtype, t.rank) for t in self.case.outputs}
            for role in self.cast.roles
        }
        self.cast.start_oracle(room)
        trusted = [arm for role in self.cast.roles if role != "candidate" for arm in self.cast.start(role)]
        self._give_weights([self.oracle, *trusted])
        self.oracle.await_ready()
        self.seed = self.content.draw(2 if self.shields.on("output.fresh_inputs") else self.slots)
        self.answers((0, 1))
        self.shields.run("calibrate", self)
        for arm in trusted:
            arm.await_ready()

    def start_candidate(self) -> None:
        """Starts the candidate's processes and waits until they are loaded; the others are by now. Raises BuildError or
        WorkerFault.
        """
        arms = self.cast.start("candidate")
        self._give_weights(arms)
        for arm in arms:
            arm.await_ready()

    def _give_weights(self, arms: Sequence[AnyArm]) -> None:
        for t in self.case.inputs:
            if t.role == "weight":
                for arm in arms:
                    arm.views[t.name].copy_(self.content.store[t.name])
        self.device.synchronize()

    def rehearse(self, arms: Sequence[AnyArm]) -> None:
        """One ungated call of each of these workers, all at the same time: what loads or compiles lazily does it here."""
        self.cast.wake(arms)
        self.draw(dict.fromkeys(ARMS, 1))
        numbers = {}
        for arm in arms:
            self.sequence += 1
            numbers[arm] = self.sequence
            arm.arm(self.sequence, (0,), "wall")
            for t in self.case.inputs:
                if t.role != "weight":
                    arm.views[t.name][0].copy_(self.content.store[t.name][0])
        self.device.synchronize()
        for arm, number in numbers.items():
            arm.open_gate(number)
        for arm, number in numbers.items():
            arm.await_done(number)
            arm.finish(number)

    # One draw: content, and which of its calls will be checked

    def draw(self, calls: dict[str, int]) -> None:
        """New secret content for the next batch of each arm, and a secret choice of the calls that are checked."""
        self.shields.run("draw", self, max(calls.values()))
        affordable = int(self.case.measure.verify_seconds / self.check_seconds) if self.check_seconds else 2
        most = min(self.oracle.slots // 2, max(2, affordable))
        for arm, n in calls.items():
            self.checked[arm] = tuple(sorted(secrets.SystemRandom().sample(range(n), min(n, most))))
        if len(set(calls.values())) == 1:
            self.checked["candidate"] = self.checked["baseline"]
        self.checked[CONTROL] = self.checked["baseline"]

    def answers(self, wanted: Sequence[int]) -> dict[str, torch.Tensor]:
        """The oracle's answers for these calls of the present content: [calls, *shape] by output, where its rank has memory."""
        for t in self.case.inputs:
            store = self.content.store[t.name]
            if t.role == "weight":
                self.oracle.views[t.name].copy_(store)
            else:
                self.oracle.views[t.name][: len(wanted)].copy_(store[self.index(wanted, t.rank)])
        self.device.synchronize()
        self.sequence += 1
        self.oracle.answer(self.sequence, len(wanted))
        return {t.name: self.oracle.views[t.name][: len(wanted)].to(self.device.place(t.rank)) for t in self.case.outputs}

    # One batch

    def run(self, role: str, calls: int, window: int, mode: str, purpose: str = "warm_up", round_: int = -1) -> Batch:
        """Runs `calls` calls on the present content, over slots chosen at random among the first `window`.

        Raises WorkerFault, and where a gated batch cannot be made ready ArmTimeout or CannotCapture.
        """
        arm = self.arms[role]
        self.cast.wake([arm])
        self.sequence += 1
        fresh = self.shields.on("output.fresh_inputs")
        order = tuple(secrets.SystemRandom().sample(range(window), calls) if fresh else range(calls))
        batch = Batch(self.sequence, purpose, round_, role, order, mode, self.process, seed=self.seed)
        if calls:
            self.shields.run("before_batch", self, batch)
        self.device.synchronize()
        arm.arm(batch.sequence, order, mode)
        if calls:
            self.shields.run("armed", self, batch)
        for pid in arm.pids:
            self.device.before_reveal(pid)
        batch.revealed_ns = time.perf_counter_ns()
        self._reveal(arm, batch)
        self.issued[self.process, purpose, round_, role, calls] += 1
        key = (self.process, role, calls, mode)
        batch.cpu_from_ns = settled_cpu_ns(arm.pids) if calls and batch.gated else None
        batch.issued_ns = time.perf_counter_ns()
        arm.open_gate(batch.sequence)
        opened_ns = time.perf_counter_ns()
        for pid in arm.pids:
            self.device.after_gate(pid)
        batch.done_ns = arm.await_done(batch.sequence, _rest_ns(self.quickest_ns.get(key, 0)))
        self.clocked[batch.sequence] = purpose, round_, role, batch.issued_ns, batch.done_ns
        self.quickest_ns[key] = min(batch.elapsed_ns, self.quickest_ns.get(key, batch.elapsed_ns))
        if arm.looked_ns is not None:
            looked_ns = max(opened_ns, arm.looked_ns)
            batch.unseen_ns = opened_ns - batch.issued_ns + batch.done_ns - looked_ns
        if calls:
            marks = self.device.after_done(arm.pids)
            self.shields.run("at_done", self, batch)
            self._snapshot(arm, batch)
            batch.snapped_ns = time.perf_counter_ns()
            batch.drain_ns = self.device.drained(arm.pids, marks)
            if isinstance(self.state, GpuState) and purpose in ("round", "device"):
                batch.clock_mhz = self.state.clock_mhz()
            self.shields.run("after_batch", self, batch)
        done = arm.finish(batch.sequence)
        batch.reported_ns, batch.device = done["reported_ns"], device_report(done.get("device"))
        self._keep_worker_evidence(batch, done.get("evidence", []))
        self.batches.append(batch)
        return batch

    def _reveal(self, arm: AnyArm, batch: Batch) -> None:
        """Puts the content where the worker can read it."""
        slots = self.indexes(batch.order)
        for t in self.case.inputs if batch.calls else ():
            if t.role != "weight":
                arm.views[t.name].index_copy_(0, slots[t.rank], self.content.store[t.name][: batch.calls])
        if self.case.cache == "cold":
            self.device.flush()
        self.device.synchronize()

    def _snapshot(self, arm: AnyArm, batch: Batch) -> None:
        """Copies the outputs of the checked calls out of the worker's reach, with the values that stood under the tripwires."""
        checked = self.checked[batch.arm] if batch.calls else ()
        slots = self.indexes([batch.order[c] for c in checked])
        for t in self.case.outputs:
            kept = self.snapshots[batch.arm][t.name][: len(checked)]
            torch.index_select(arm.views[t.name], 0, slots[t.rank], out=kept)
            if t.name in batch.tripwires:
                positions, values = batch.tripwires[t.name]
                flat = bits(kept).view(len(checked), -1)
                flat[:, positions] = values[self.index(checked, t.rank)]
        self.device.synchronize()

    def verify(self, batches: Sequence[Batch]) -> None:
        """Compares the latest snapshots of these batches, one an arm, with the oracle's answers."""
        start = time.perf_counter()
        wanted = sorted({call for batch in batches for call in self.checked[batch.arm]})
        answers = self.answers(wanted)
        keep_nan = not self.shields.on("output.finite_values")
        for batch in batches:
            found, checked = [], self.checked[batch.arm]
            rows = self.indexes([wanted.index(call) for call in checked])
            for t in self.case.outputs:
                actual = self.snapshots[batch.arm][t.name][: len(checked)]
                answer = answers[t.name] if len(checked) == len(wanted) else answers[t.name][rows[t.rank]]
                comparison = compare(batch.arm, t, actual, answer, equal_nan=keep_nan)
                found.append(comparison)
                self._recognise(batch, t, actual, comparison)
            self.comparisons += found
            self.check_seconds = (time.perf_counter() - start) / len(wanted)
            self.shields.run("verify", self, batch, found)

    def check_once(self, batches: Sequence[Batch]) -> None:
        """What most harnesses do instead: one look, some time after the last batches, at whatever the outputs hold by then."""
        self.cast.wake([self.arms[batch.arm] for batch in batches])  # nobody is frozen with work left to do
        time.sleep(LATE_SECONDS)
        for batch in batches:  # the last draw may have been for longer batches, of another set
            self.checked[batch.arm] = tuple(call for call in self.checked[batch.arm] if call < batch.calls) or (0,)
            self._snapshot(self.arms[batch.arm], batch)
        self.verify(batches)

    def _recognise(self, batch: Batch, spec: Tensor, actual: torch.Tensor, comparison: Comparison) -> None:
        """Notes wrong outputs that the arm has written before, and remembers the new ones."""
        flat = bits(actual).reshape(actual.shape[0], -1)
        step = max(1, flat.shape[1] // FINGERPRINT)
        prints = [bytes(row.tobytes()) for row in flat[:, ::step][:, :FINGERPRINT].cpu().numpy()]
        known = self.fingerprints[batch.arm]
        batch.stale_calls += tuple(c for c in comparison.wrong_calls if spec.name.encode() + prints[c] in known)
        known.update(spec.name.encode() + p for p in prints)

    def _keep_worker_evidence(self, batch: Batch, findings: Any) -> None:
        """Worker evidence is data from an untrusted process: shapes are checked, lengths are cut."""
        role = batch.arm
        for finding in findings if isinstance(findings, list) else []:
            if isinstance(finding, list) and len(finding) == 4 and all(isinstance(part, str) for part in finding):
                protection, status, observed, limit = (part[:400] for part in finding)
                if self.shields.on(protection) and status in ("pass", "fail", "unavailable", "error"):
                    batch.told[protection] = observed
                    self.shields.evidence.append(Evidence(protection, "after_batch", "worker", status, observed, limit, role))

    def refused(self) -> bool:
        """Whether a protection has refused something already: more rounds would change nothing."""
        return any(e.status == FAIL for e in self.shields.evidence)

    def note_state(self, keep: bool = True) -> None:
        """Reads the machine's state, for the record. keep: False for a look that later ones count from."""
        if self.state is not None:
            reading = self.state.read()
            self.readings += [reading] if keep else []

    def state_summary(self) -> dict[str, Any] | None:
        """Clocks, power, temperature and neighbours over the rounds, and what could not be read."""
        if self.state is None or not self.readings:
            return None
        return summary(self.readings) | {"missing": dict(self.state.missing)}

    def time_ns(self, batch: Batch) -> int:
        """What a batch took, by the judge's clock; by the worker's own where nothing bounds that, as in most harnesses."""
        sealed = batch.gated or not batch.calls or self.shields.on("timing.wall_clock_bound")
        return batch.elapsed_ns if sealed else batch.reported_ns

    def agrees(self, batches: Sequence[Batch]) -> bool:
        """Whether the latest snapshots of these batches are right; leaves no evidence."""
        wanted = sorted({call for batch in batches for call in self.checked[batch.arm]})
        answers = self.answers(wanted)
        for batch in batches:
            rows = self.indexes([wanted.index(call) for call in self.checked[batch.arm]])
            for t in self.case.outputs:
                actual = self.snapshots[batch.arm][t.name][: len(self.checked[batch.arm])]
                if compare(batch.arm, t, actual, answers[t.name][rows[t.rank]], equal_nan=True).wrong:
                    return False
        return True

    # What protections ask for

    def index(self, positions: Sequence[int], rank: int = 0) -> torch.Tensor:
        """Positions as an index tensor, where a rank's memory is."""
        return torch.tensor(list(positions), dtype=torch.int64, device=self.device.place(rank))

    def indexes(self, positions: Sequence[int]) -> list[torch.Tensor]:
        """The same for every rank."""
        return [self.index(positions, rank) for rank in range(self.case.ranks)]

    def poison_outputs(self, batch: Batch) -> None:
        """Overwrites all outputs of the worker's ring."""
        for t in self.case.outputs:
            poison(self.arms[batch.arm].views[t.name][: max(batch.order) + 1])

    def hide_inputs(self, batch: Batch) -> None:
        """Overwrites the inputs that the batch will use, until they are revealed."""
        for t in self.case.inputs:
            if t.role != "weight":
                poison(self.arms[batch.arm].views[t.name][: max(batch.order) + 1])

    def lay_tripwires(self, batch: Batch, elements: int) -> None:
        """Poisons a few secret elements of each output of the batch, keeping what stood there."""
        slots = self.indexes(batch.order)
        for t in self.case.outputs:
            view = self.arms[batch.arm].views[t.name]
            flat = bits(view).view(view.shape[0], -1)
            positions = torch.randint(flat.shape[1], (min(elements, flat.shape[1]),), device=flat.device)
            there = slots[t.rank][:, None], positions[None, :]
            batch.tripwires[t.name] = positions, flat[there]
            flat[there] = poison_bits(view.dtype)

    def lost_tripwires(self, batch: Batch) -> int:
        """Slots in which a tripwire no longer holds its poison."""
        slots = self.indexes(batch.order)
        lost = [torch.zeros(batch.calls, dtype=torch.bool, device=held.device) for held in slots]
        for t in (t for t in self.case.outputs if t.name in batch.tripwires):
            view, positions = self.arms[batch.arm].views[t.name], batch.tripwires[t.name][0]
            flat = bits(view).view(view.shape[0], -1)
            lost[t.rank] |= (flat[slots[t.rank][:, None], positions[None, :]] != poison_bits(view.dtype)).any(dim=1)
        return int(torch.stack([each.cpu() for each in lost]).any(dim=0).sum())
