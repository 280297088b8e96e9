"""The process that workers are forked from: it has imported torch, and it runs nothing on a GPU.

A fork costs milliseconds where a fresh Python with torch and triton costs three seconds. The server is also the workers'
nurse: it drains what they print, watches the memory they use, ends them when they go over a limit, and tells the judge how
each one ended. It runs no candidate code itself. `ForkServer` is the judge's side; `main` is the server.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import resource
import select
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from aisp_runner.build import INDUCTOR, PASSED_ON
from aisp_runner.errors import DeviceError
from aisp_runner.sandbox import PARTS, Sandbox, confine
from aisp_runner.sandbox.policy import gpu_devices, mode_asked
from aisp_runner.system import (
    die_with_parent,
    forbid_new_privileges,
    keep_freed_memory,
    keep_orphans,
)
from aisp_runner.wire import Channel, ChannelClosed

WATCH_SECONDS = 0.1
"""How often the memory of the workers is read."""

TAIL_BYTES = 4096
"""How much of what a worker printed is kept for its record: the end of it."""

CONFINE_SECONDS = 5.0
"""How long a forked process may take to confine itself and to report. It takes about a millisecond."""

COMPILER = ("torch._dynamo", "torch._inductor.compile_fx")
"""Most of what torch.compile imports when it is first called: 1,400 modules, 4 s on two cores."""

COMPILER_SECONDS = 120.0
"""How long that may take, from a disk that holds none of it in memory."""

ANSWERS = ("up", "forked", "loaded", "exited")
REQUESTS = ("fork", "load", "kill")


@dataclass(frozen=True)
class Ended:
    """How a worker ended. cause: "" when it ended by itself, else the limit that ended it."""

    pid: int
    status: int
    """As `os.waitstatus_to_exitcode` gives it: negative for a signal."""
    cause: str
    tail: str


class ForkServer:
    """Starts the server; forks workers from it; knows how they ended."""

    def __init__(self, cuda: bool, sandbox: str | None = None) -> None:
        """sandbox: the mode of its workers' sandbox (docs/sandbox.md), by default that of AISP_SANDBOX. Raises ConfigError."""
        self.sandbox, self.device = mode_asked(sandbox), "cuda" if cuda else "cpu"
        self.sandboxed: dict[int, dict[str, Any]] = {}
        """By process id: what each worker was confined to (`sandbox.confine`), told before it loaded candidate code."""
        mine, theirs = Channel.pair()
        self.channel = Channel(mine, ANSWERS)
        command = [sys.executable, "-m", "aisp_runner.forkserver", str(theirs.fileno()), self.device]
        env = {name: os.environ[name] for name in PASSED_ON if name in os.environ}  # workers can read what it was started with
        env |= {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": _import_path()}
        env |= INDUCTOR
        self.process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=env, stdin=subprocess.DEVNULL)
        theirs.close()
        self.ended: dict[int, Ended] = {}
        self._ending: set[int] = set()
        self.up = self._compiles = False

    def fork(
        self,
        worker_end: socket.socket,
        environment: dict[str, str],
        folder: Path,
        memory_bytes: int,
        output_bytes: int,
        confined: bool = True,
        network: bool = False,
    ) -> int:
        """A new worker's process id. The worker owns `worker_end` and starts in `folder` with just `environment`; it can write
        nowhere else, as far as `sandboxed` says. confined: False for one without a sandbox. network: it may open sockets.
        """
        self._come_up()
        devices = gpu_devices(None if network else 1) if self.device == "cuda" else ()
        policy = Sandbox(self.sandbox if confined else "off", self.device, (str(folder),), network, devices)
        self.channel.send(
            "fork",
            fds=(worker_end.fileno(),),
            environment=environment,
            folder=str(folder),
            memory_bytes=memory_bytes,
            output_bytes=output_bytes,
            sandbox=asdict(policy),
        )
        answer = self._answer("forked", 5.0 + CONFINE_SECONDS)
        self.sandboxed[answer["pid"]] = answer["sandbox"]
        return int(answer["pid"])

    def load_compiler(self) -> None:
        """Has the server import what torch.compile needs, once, so that no worker that is forked from now on has to."""
        self._come_up()
        if not self._compiles:
            self.channel.send("load")
            self._answer("loaded", COMPILER_SECONDS)
            self._compiles = True

    def _come_up(self) -> None:
        if not self.up:
            self._answer("up", 60.0)
            self.up = True

    def end(self, pid: int) -> None:
        """Begins to end the worker and all of its session."""
        if pid not in self.ended and pid not in self._ending:
            self._ending.add(pid)
            with contextlib.suppress(ChannelClosed):  # the server was killed; its workers die with it
                self.channel.send("kill", pid=pid)

    def kill(self, pid: int) -> Ended:
        """Ends the worker and all of its session, and waits until it is gone."""
        try:
            self.end(pid)
            return self.wait(pid, 10.0)
        except ChannelClosed:  # the server was killed; its workers die with it
            return Ended(pid, -signal.SIGKILL, "ended with the fork server", "")

    def lives(self, pid: int) -> bool:
        """Whether worker `pid` still runs, as far as the server has told by now."""
        while self.alive():
            try:
                self._keep(self.channel.receive(0.0)[0])
            except (TimeoutError, BlockingIOError):
                break
            except ChannelClosed:
                return False
        return self.alive() and pid not in self.ended

    def alive(self) -> bool:
        """Whether the server still runs. One that a candidate has killed is replaced before the next case."""
        return self.process.poll() is None

    def wait(self, pid: int, seconds: float) -> Ended:
        """How worker `pid` ended. Raises TimeoutError when it lives on."""
        end = time.monotonic() + seconds
        while pid not in self.ended:
            self._keep(self.channel.receive(max(0.001, end - time.monotonic()))[0])
        return self.ended[pid]

    def close(self) -> None:
        """Ends the server and with it every worker. One that still imports torch is not waited for."""
        self.channel.close()
        if not self.up:
            self.process.kill()
        try:
            self.process.wait(5.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self) -> ForkServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answer(self, kind: str, seconds: float) -> dict[str, Any]:
        while True:
            try:
                message, _ = self.channel.receive(seconds)
            except ChannelClosed as gone:
                raise DeviceError("the fork server has died; run `aisp doctor` and see its output above") from gone
            if message["kind"] == kind:
                return message
            self._keep(message)

    def _keep(self, message: dict[str, Any]) -> None:
        if message["kind"] == "exited":
            ended = Ended(message["pid"], message["status"], message["cause"], message["tail"])
            self.ended[ended.pid] = ended


def _import_path() -> str:
    """The server finds this package where the judge found it."""
    here = str(Path(__file__).resolve().parent.parent)
    return os.pathsep.join(p for p in (here, os.environ.get("PYTHONPATH", "")) if p)


# The server's side.


@dataclass
class Child:
    """A living worker, as the server sees it."""

    pid: int
    pidfd: int
    pipe: int
    memory_bytes: int
    output_bytes: int
    printed: int = 0
    tail: bytes = b""
    cause: str = ""


@dataclass
class Nursery:
    """The server's state: its channel and the workers it looks after."""

    channel: Channel
    selector: selectors.BaseSelector
    children: dict[int, Child] = field(default_factory=dict)

    def fork(self, request: dict[str, Any], worker_end: int) -> None:
        read, write = os.pipe()
        told, tell = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(read)
            os.close(told)
            self._become_worker(request, worker_end, write, tell)
        for theirs in (write, tell, worker_end):
            os.close(theirs)
        os.set_blocking(read, False)
        child = Child(pid, os.pidfd_open(pid), read, request["memory_bytes"], request["output_bytes"])
        self.children[pid] = child
        self.selector.register(child.pidfd, selectors.EVENT_READ, (self.bury, child))
        self.selector.register(child.pipe, selectors.EVENT_READ, (self.drain, child))
        self.channel.send("forked", pid=pid, sandbox=_report(told))

    def _become_worker(self, request: dict[str, Any], worker_end: int, pipe: int, tell: int) -> None:
        """In the forked child: never returns. It confines itself, says so on `tell`, and closes that before it is a worker."""
        status = 1
        try:
            os.setsid()
            die_with_parent()
            forbid_new_privileges()
            for stale in [self.channel.end.fileno(), *(fd for c in self.children.values() for fd in (c.pidfd, c.pipe))]:
                os.close(stale)
            self.selector.close()
            null = os.open(os.devnull, os.O_RDONLY)
            os.dup2(null, 0)
            os.dup2(pipe, 1)
            os.dup2(pipe, 2)
            os.environ.clear()
            os.environ.update(request["environment"])
            os.chdir(request["folder"])
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            with os.fdopen(tell, "wb") as report:
                report.write(json.dumps(confine(Sandbox(**request["sandbox"]), request["memory_bytes"])).encode())
            from aisp_runner.worker import main as work

            status = work(socket.socket(fileno=worker_end))
        finally:
            with contextlib.suppress(OSError, ValueError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    def drain(self, child: Child) -> None:
        """Takes what the child has printed; too much of it ends the child."""
        try:
            printed = os.read(child.pipe, 1 << 16)
        except BlockingIOError:
            return
        if not printed:
            self.selector.unregister(child.pipe)
            return
        child.printed += len(printed)
        child.tail = (child.tail + printed)[-TAIL_BYTES:]
        if child.printed > child.output_bytes and not child.cause:
            self.end(child, f"printed more than {child.output_bytes / 2**20:.0f} MiB (limit: limits.output_mib)")

    def watch(self, child: Child) -> None:
        """Ends the child when the memory it holds by itself is over its limit."""
        used = _private_bytes(child.pid)
        if used > child.memory_bytes and not child.cause:
            limit = f"{child.memory_bytes / 2**30:.2f} GiB"
            self.end(child, f"used {used / 2**30:.2f} GiB of host memory (limit: {limit}, limits.memory_gib)")

    def end(self, child: Child, cause: str) -> None:
        child.cause = cause
        _kill(child.pid)

    def bury(self, child: Child) -> None:
        """Reaps a child that has ended, ends what it left running, and tells the judge."""
        _, status = os.waitpid(child.pid, 0)
        _kill(child.pid)
        self.end_strays()
        if child.pipe in self.selector.get_map():
            self.drain(child)
        for fd in (child.pipe, child.pidfd):
            if fd in self.selector.get_map():
                self.selector.unregister(fd)
            os.close(fd)
        del self.children[child.pid]
        self.channel.send(
            "exited",
            pid=child.pid,
            status=os.waitstatus_to_exitcode(status),
            cause=child.cause,
            tail=child.tail.decode(errors="replace"),
        )

    def end_strays(self) -> None:
        """Ends processes that left their worker's session: with their parent gone they have become this server's children."""
        own = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        for pid in (int(word) for word in own):
            if pid not in self.children:
                _kill(pid)
                os.waitpid(pid, 0)

    def request(self) -> bool:
        """Answers one request of the judge; False when the judge has gone."""
        try:
            message, fds = self.channel.receive(None)
        except ChannelClosed:
            return False
        if message["kind"] == "fork":
            self.fork(message, fds[0])
        elif message["kind"] == "load":
            self.load_compiler()
        elif message["pid"] in self.children:
            self.end(self.children[message["pid"]], "stopped by the judge")
        return True

    def load_compiler(self) -> None:
        gc.disable()
        os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # asked by the CUDA runtime, no fork could use the GPU
        with contextlib.suppress(Exception):  # a worker that compiles meets the same error, and its record tells it
            for name in COMPILER:
                importlib.import_module(name)
        gc.freeze()
        gc.enable()
        del os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"]
        tempfile.tempdir = None  # looked up by one of them, and another folder in each worker
        self.channel.send("loaded")

    def serve(self) -> None:
        self.selector.register(self.channel.end, selectors.EVENT_READ, None)
        last = time.monotonic()
        while True:
            for key, _ in self.selector.select(WATCH_SECONDS):
                if key.data is None:
                    if not self.request():
                        return
                else:
                    act, child = key.data
                    if child.pid in self.children:
                        act(child)
            if time.monotonic() - last >= WATCH_SECONDS:
                last = time.monotonic()
                for child in list(self.children.values()):
                    self.watch(child)
                self.end_strays()


def _kill(pid: int) -> None:
    """Ends a process and its session; one that has not made its session yet is ended alone."""
    for end in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError):
            end(pid, signal.SIGKILL)


def _report(told: int) -> dict[str, Any]:
    """What a forked process says of its sandbox; waits until it has said it, or has ended."""
    with os.fdopen(told, "rb") as pipe:
        ready, _, _ = select.select([pipe], [], [], CONFINE_SECONDS)
        said = pipe.read() if ready else b""
    if said:
        report: dict[str, Any] = json.loads(said)
        return report
    why = "the process ended before" if ready else f"the process took over {CONFINE_SECONDS:g} s"
    return {"mode": "", "applied": [], "missing": dict.fromkeys(PARTS, f"{why} it was confined"), "us": None}


def _private_bytes(pid: int) -> int:
    """Resident memory that is the process's own, bytes; 0 when it has just ended. Shared slots are not counted."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    found = [line.split() for line in status.splitlines() if line.startswith(("RssAnon:", "VmSwap:"))]
    return sum(int(words[1]) * 1024 for words in found)


def main(arguments: list[str]) -> int:
    """Serves forks on the socket whose number is the first argument, until the judge closes it."""
    die_with_parent()
    keep_orphans()
    keep_freed_memory()
    sys.dont_write_bytecode = True  # in all workers: what lies beside a staged source is part of what is checked
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.disable()  # importing torch takes an eighth less without
    import torch  # noqa: F401  the point of this process

    import aisp_runner.worker  # noqa: F401

    if arguments[1] == "cuda":
        import cuda.bindings.driver
        import cuda.bindings.runtime  # noqa: F401

        with contextlib.suppress(ImportError):
            import triton  # noqa: F401
    nursery = Nursery(Channel(socket.socket(fileno=int(arguments[0])), REQUESTS, takes_fds=True), selectors.DefaultSelector())
    gc.freeze()
    gc.enable()
    nursery.channel.send("up")
    nursery.serve()
    for child in nursery.children.values():
        nursery.end(child, "the judge has gone")
        os.waitpid(child.pid, 0)
    nursery.children.clear()
    nursery.end_strays()
    return 0


if __name__ == "__main__":
    os._exit(main(sys.argv[1:]))  # nothing is left to tidy up, and taking torch down takes a third of a second
