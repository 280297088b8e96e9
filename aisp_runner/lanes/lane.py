"""A lane's own process: it takes its cores and its GPU, and judges the cases that it is told, one at a time.

It writes to no file of the run: each record goes to the process that holds the run's folder (dispatch.py).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from aisp_runner import machine
from aisp_runner.clock_lock import LockedClocks, locked_clocks
from aisp_runner.errors import AispError, ConfigError
from aisp_runner.lanes import gpu_lock, gpus
from aisp_runner.system import die_with_parent, refuse_inspection
from aisp_runner.wire import Channel, ChannelClosed

TOLD = ("open", "case")
TELLS = ("said", "refused", "ready", "stage", "record")
"""What a lane is told, and what it tells."""


class _Teller:
    """In a console's place: the stage of a case goes to the run's own console."""

    def __init__(self, channel: Channel, live: bool) -> None:
        self.channel, self.live, self._last = channel, live, ""

    def stage(self, name: str) -> None:
        """Told where somebody looks, and only when the word is another: each message takes CPU time beside the lanes."""
        word = name.partition(" ")[0]
        if self.live and word != self._last:
            self._last = word
            self.channel.send("stage", name=word)


def serve(descriptor: int) -> int:
    """Runs cases as told on the socket, until it is closed. Ctrl-C is for the run's own process, which then ends this one."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    channel = Channel(socket.socket(fileno=descriptor), TOLD)
    try:
        told, _ = channel.receive(None)
        os.sched_setaffinity(0, told["cores"])  # before torch starts a thread
        refuse_inspection()
        with _opened(channel, told) as locked:
            _serve(channel, told, locked)
    except ChannelClosed:
        return 0
    except (AispError, OSError) as why:
        with contextlib.suppress(ChannelClosed):
            channel.send("refused", why=str(why))
        return 0 if isinstance(why, AispError) else 1
    except KeyboardInterrupt:
        return 130
    return 0


@contextlib.contextmanager
def _opened(channel: Channel, told: dict[str, Any]) -> Iterator[LockedClocks | None]:
    """The GPUs are this lane's alone, as far as runs ask, and their clocks are held still where that was asked for."""
    with (
        gpu_lock.held(told["uuids"], told["wait_seconds"], lambda text: channel.send("said", text=text)),
        locked_clocks(told["lock_clocks"]) as locked,
    ):
        if locked:
            channel.send("said", text=locked.line())
        yield locked


def _serve(channel: Channel, told: dict[str, Any], locked: LockedClocks | None) -> None:
    from aisp_runner.execute import Bench, run_case
    from aisp_runner.plan_file import load_plan, load_shard
    from aisp_runner.pool import Pool

    run_dir = Path(told["run_dir"])
    plan, shard = load_plan(run_dir / "plan.json"), load_shard(run_dir / "plan.json")
    if plan.sha256() != told["plan_sha256"]:
        raise ConfigError(f"{run_dir / 'plan.json'}: it is not the plan of this run any more.")
    cases = shard.cases(plan)
    with Pool() as pool:
        teller = _Teller(channel, told["live"])
        bench = Bench(plan, run_dir, teller, pool)  # type: ignore[arg-type]
        device = "cuda" if told["uuids"] else "cpu"
        pool.open(device) if told["uuids"] else pool.start_server(device)
        channel.send("ready", facts=pool.facts.get(device) or machine.facts(device))
        while True:
            message, _ = channel.receive(None)
            case, start_ns = cases[message["number"] - 1], time.perf_counter_ns()
            made = run_case(case, bench)
            if locked:
                made["machine"] = {**made["machine"], "locked_clocks": asdict(locked)}
            broken = made["status"] == "ERROR" and "DeviceError" in made["reasons"]
            lost = next(filter(None, map(gpus.lost, told["uuids"])), "") if made["status"] == "ERROR" else ""
            _tell(channel, made, (time.perf_counter_ns() - start_ns) / 1e9, lost, bool(broken and told["uuids"]))
            if lost or (broken and told["uuids"]):
                return  # this process's own context on the GPU may be broken for good: the next case gets another


def _tell(channel: Channel, made: dict[str, Any], seconds: float, lost: str, last: bool) -> None:
    """A record is larger than a message: it travels as a file that has no name.

    lost: why the GPU is gone, or "". last: this process takes no further case.
    """
    from aisp_runner import record

    descriptor = os.memfd_create("record", os.MFD_CLOEXEC)
    with os.fdopen(descriptor, "wb") as file:
        file.write(json.dumps(record.finite(made)).encode())
        file.flush()
        channel.send("record", fds=(descriptor,), seconds=seconds, lost=lost, last=last)
