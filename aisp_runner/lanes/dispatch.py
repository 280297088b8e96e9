"""Hands out cases to lanes, takes their records, and goes on when a lane dies. The only process that writes the run's folder.

A lane gets one case at a time, so a lane that dies takes one case with it: that becomes an ERROR record and is not tried
again. The others go to whichever lane may run them.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aisp_runner import machine
from aisp_runner.errors import LaneError, ProtocolError
from aisp_runner.gpu_use import BESIDE
from aisp_runner.lanes.lane import TELLS
from aisp_runner.lanes.layout import Lane, Layout, Phase
from aisp_runner.resume import Slot
from aisp_runner.trial import Trial
from aisp_runner.wire import Channel, ChannelClosed

if TYPE_CHECKING:
    from aisp_runner.execute import Bench
    from aisp_runner.progress import Progress

PROGRAM = ("-m", "aisp_runner.execute", "--lane")
"""What a lane's process is started as; the number of its socket follows."""

DEATHS = 3
"""A lane that has died so often without finishing a case in between is not started again."""

END_SECONDS = 10.0
"""How long a lane gets to end its processes, s."""


@dataclass(frozen=True)
class Done:
    """A case that has its record."""

    slot: Slot
    made: dict[str, Any]
    seconds: float
    lane: int | None = None


@dataclass(frozen=True)
class Terms:
    """What holds for all lanes of a run."""

    lock_clocks: bool = False
    wait_seconds: float = 60.0
    tell: Callable[[Slot, int], None] = lambda slot, lane: None
    """Called with (slot, lane's number) when a case begins."""


class _Running:
    """A lane with its process."""

    def __init__(self, lane: Lane, phase: Phase) -> None:
        self.lane, self.phase = lane, phase
        self.process: subprocess.Popen[bytes] | None = None
        self.channel: Channel | None = None
        self.facts: dict[str, Any] = {}
        self.slot: Slot | None = None
        self.workload = ""
        self.since_ns = 0
        self.deaths = 0
        self.closed = ""
        """Why it takes no case any more."""
        self.stage = "start"

    def start(self, bench: Bench, terms: Terms, beside: Sequence[str], live: bool) -> None:
        """Starts the process and tells it what it has."""
        mine, theirs = Channel.pair()
        self.channel = Channel(mine, TELLS, takes_fds=True)
        env = dict(os.environ)
        uuids = [gpu.uuid for gpu in self.lane.gpus]
        env |= {"CUDA_VISIBLE_DEVICES": ",".join(uuids), BESIDE: ",".join(beside)} if uuids else {}
        command = [sys.executable, *PROGRAM, str(theirs.fileno())]
        self.process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=env, stdin=subprocess.DEVNULL)
        theirs.close()
        self.stage = "start"
        self.channel.send(
            "open",
            run_dir=str(bench.run_dir),
            plan_sha256=bench.plan_sha256,
            cores=list(self.lane.cores),
            uuids=uuids,
            wait_seconds=terms.wait_seconds,
            lock_clocks=terms.lock_clocks and bool(uuids),
            live=live,
        )

    def give(self, slot: Slot) -> None:
        """Has a case run."""
        assert self.channel is not None
        self.slot, self.workload, self.since_ns = slot, slot.case.workload, time.perf_counter_ns()
        with contextlib.suppress(ChannelClosed):  # it has died: that is told when its channel is read
            self.channel.send("case", number=slot.number)

    def take(self, message: dict[str, Any], fds: list[int]) -> Done:
        """The record that came, as its case's."""
        with os.fdopen(fds[0], "rb") as file:
            file.seek(0)
            made = json.load(file)
        assert self.slot is not None
        slot, self.slot, self.deaths = self.slot, None, 0
        return Done(slot, made | {"lane": self.lane.to_json()}, message["seconds"], self.lane.number)

    def end(self, ask: bool) -> None:
        """Lets the process go. ask: it runs a case, and is told to stop."""
        if self.channel is not None:
            self.channel.close()
            self.channel = None
        if ask and self.process is not None and self.process.poll() is None:
            self.process.terminate()

    def reap(self, seconds: float = END_SECONDS) -> int:
        """Waits for the process, kills it when it takes too long, and gives how it ended."""
        assert self.process is not None
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


class Dispatch:
    """Goes through what is left on the lanes of a layout."""

    def __init__(self, layout: Layout, left: Sequence[Slot], bench: Bench, progress: Progress, terms: Terms) -> None:
        self.layout, self.bench, self.progress, self.terms = layout, bench, progress, terms
        self.left = list(left)
        """Cases that no lane has taken yet, in the plan's order."""
        self.lanes: list[_Running] = []
        self.selector = selectors.DefaultSelector()
        self.usable = os.sched_getaffinity(0)

    def done(self) -> Iterator[Done]:
        """The cases as they end, in whatever order.

        Raises LaneError where cases are left that no lane runs, and on Ctrl-C KeyboardInterrupt, after what had ended by then.
        """
        try:
            for phase in self.layout.phases:
                yield from self._phase(phase)
        except KeyboardInterrupt:
            yield from self._drained()
            raise
        finally:
            os.sched_setaffinity(0, self.usable)
            self._end_all()
            self.selector.close()
        if self.left:
            why = "; ".join(f"{one.lane}: {one.closed}" for one in self.lanes if one.closed)
            raise LaneError(
                f"{len(self.left)} cases have no record, because no lane is left that may run them ({why}). "
                f"To go on: aisp-run resume={self.bench.run_dir}"
            )

    # One phase

    def _phase(self, phase: Phase) -> Iterator[Done]:
        mine = [_Running(lane, phase) for lane in phase.lanes]
        wanted = [slot for slot in self.left if phase.takes(slot.case)]
        if not wanted:
            return
        self.lanes += mine
        self._stand_aside(phase.lanes)
        for one in mine:
            may = [slot for slot in wanted if self._suits(one, slot)]
            if any(slot.case.gpu for slot in may) or len(may) > sum(other.channel is not None for other in mine):
                self._start(one)
        while any(one.channel is not None for one in mine):
            for key, _ in self.selector.select():
                one = key.data
                if one.channel is not None:
                    yield from self._heard(one)
            for one in mine:  # one that still waits for its GPU has nothing to wait for
                if one.channel is not None and one.slot is None and self._next(one) is None:
                    self._let_go(one, ask=True)
                    self.progress.lane(one.lane.number, state="ended")
        for one in mine:
            if one.process is not None:
                one.reap()

    def _start(self, one: _Running) -> None:
        beside = [gpu.uuid for lane in one.phase.lanes for gpu in lane.gpus if gpu not in one.lane.gpus]
        one.start(self.bench, self.terms, beside, self.bench.console.is_terminal)
        assert one.channel is not None
        self.selector.register(one.channel.end, selectors.EVENT_READ, one)
        self.progress.lane(one.lane.number, one.lane.to_json(), "starting")

    def _heard(self, one: _Running) -> Iterator[Done]:
        """What a lane told, or that it has gone."""
        assert one.channel is not None
        try:
            message, fds = one.channel.receive(0.0)
        except (TimeoutError, BlockingIOError):
            return
        except (ProtocolError, OSError):
            yield from self._gone(one)
            return
        kind = message["kind"]
        if kind == "said":
            self._say(f"{one.lane}: {message['text']}")
            self.progress.lane(one.lane.number, state="waiting")
        elif kind == "stage":
            one.stage = message["name"]
            self._show()
        elif kind == "ready":
            one.facts = message["facts"]
            self._go_on(one)
        elif kind == "record":
            yield one.take(message, fds)
            if message["lost"]:
                self._close(one, f"the GPU is lost: {message['lost']}")
            elif message["last"]:
                self._again(one)
            elif one.channel is not None:
                self._go_on(one)
        else:
            self._close(one, message["why"])

    def _go_on(self, one: _Running) -> None:
        slot = self._next(one)
        if slot is None:
            self._let_go(one)
            self.progress.lane(one.lane.number, state="ended")
            return
        self.left.remove(slot)
        one.give(slot)
        self.progress.lane(one.lane.number, state="running", title=slot.case.title)
        self.terms.tell(slot, one.lane.number)
        self._show()

    def _suits(self, one: _Running, slot: Slot) -> bool:
        return one.phase.takes(slot.case) and self.layout.fits(one.lane, slot.case)

    def _next(self, one: _Running) -> Slot | None:
        """A case for a lane: one of the workload it has processes of, else of one that no other lane is at, else any."""
        may = [s for s in self.left if self._suits(one, s)]
        elsewhere = {other.workload for other in self.lanes if other is not one and other.slot is not None}
        same = (s for s in may if s.case.workload == one.workload)
        fresh = (s for s in may if s.case.workload not in elsewhere)
        return next(same, None) or next(fresh, None) or next(iter(may), None)

    # Faults

    def _gone(self, one: _Running) -> Iterator[Done]:
        """A lane's process has ended by itself."""
        self._let_go(one)
        how = _how(one.reap())
        slot, one.slot = one.slot, None
        one.deaths += 1
        self._say(f"{one.lane}: its process ended ({how})")
        if slot is not None:
            yield Done(slot, self._fault(one, slot, how), (time.perf_counter_ns() - one.since_ns) / 1e9, one.lane.number)
        if slot is None or one.deaths >= DEATHS:
            self._close(one, f"its process ended ({how})" + (f", {DEATHS} times in a row" if slot is not None else ""))
        else:
            self._again(one)

    def _again(self, one: _Running) -> None:
        """Another process for a lane, where there is a case for it."""
        self._let_go(one)
        one.reap()
        if self._next(one) is not None:
            self._start(one)
        else:
            self.progress.lane(one.lane.number, state="ended")

    def _fault(self, one: _Running, slot: Slot, how: str) -> dict[str, Any]:
        """The ERROR record of the case that a lane was running when it ended."""
        trial, device = Trial(slot.case), slot.case.device
        trial.fault = LaneError(f"{one.lane} ended while it ran this case ({how}); nothing is said of the candidate")
        self.bench.pool.facts[device] = one.facts or machine.facts(device)
        return trial.record(self.bench) | {"lane": one.lane.to_json()}

    def _close(self, one: _Running, why: str) -> None:
        """A lane takes no case any more."""
        self._let_go(one)
        one.closed = why
        self.progress.lane(one.lane.number, state="closed")
        self._say(f"{one.lane} is closed: {why}. Cases that are left go to other lanes where they may.")

    def _let_go(self, one: _Running, ask: bool = False) -> None:
        if one.channel is not None:
            self.selector.unregister(one.channel.end)
            one.end(ask)

    def _drained(self) -> Iterator[Done]:
        """Records that had been sent when Ctrl-C came."""
        for one in self.lanes:
            with contextlib.suppress(TimeoutError, BlockingIOError, ProtocolError, OSError):
                while one.channel is not None and one.slot is not None:
                    message, fds = one.channel.receive(0.0)
                    if message["kind"] == "record":
                        yield one.take(message, fds)

    def _end_all(self) -> None:
        for one in self.lanes:
            one.end(ask=one.slot is not None)
        until = time.monotonic() + END_SECONDS
        for one in self.lanes:
            if one.process is not None:
                one.reap(max(0.0, until - time.monotonic()))

    def _stand_aside(self, lanes: Sequence[Lane]) -> None:
        """This process goes to the cores that no lane has, where there are any."""
        rest = self.usable - {core for lane in lanes for core in lane.cores}
        os.sched_setaffinity(0, rest or self.usable)

    # Telling

    def _say(self, text: str) -> None:
        self.bench.console.close()
        self.bench.console.write(text, "yellow")

    def _show(self) -> None:
        open_lanes = [one for one in self.lanes if one.channel is not None]
        may = {one.lane.number: [s for s in self.left if self._suits(one, s)] for one in open_lanes}
        for one in open_lanes:
            tally, bound = self.progress.lane(one.lane.number), any(s.case.gpu for s in may[one.lane.number])
            tally.left = len(may[one.lane.number]) + (one.slot is not None)
            tally.sharers = 1 if bound else max(1, len(open_lanes))
        lines = [f"{one.lane}: {one.slot.case.title}: {one.stage}" for one in self.lanes if one.slot is not None]
        self.bench.console.lanes(lines, self.progress.words())


def _how(code: int) -> str:
    try:
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"
    except ValueError:
        return f"signal {-code}"
