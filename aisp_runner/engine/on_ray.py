"""Tasks on Ray: one a shard, never tried again by itself. Ray Core alone is used.

A node that dies takes its tasks along: they end as lost, and the run goes on with the others.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from aisp_runner.engine.choice import Engine
from aisp_runner.engine.node import run_shard
from aisp_runner.engine.task import Ended, Task
from aisp_runner.errors import ConfigError

WAIT_S = 1.0
"""How long one look waits for a task to end."""

WAITING_S = 60.0
"""So long without a task that ends, and it is said what no node of the cluster has."""

MAX_CAUSE = 300
"""Characters of Ray's own words in a message."""


class OnRay:
    """One run's tasks on Ray."""

    def __init__(self, engine: Engine, lock_clocks: bool, say: Callable[[str], None]) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a run tells nobody else about itself
        import ray

        self.ray, self.engine, self.say = ray, engine, say
        self.options = ["--lock-clocks"] if lock_clocks else []
        self._out: dict[Any, Task] = {}
        """What comes of a task, by the handle that Ray waits for."""
        self._nodes: dict[int, str] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="aisp-ray-")
        self._quiet_s = 0.0
        self._connect()

    def _connect(self) -> None:
        """Attaches to the cluster, or starts a Ray here. Raises ConfigError."""
        address = self.engine.address
        _refuse_silent(address)
        more = {} if address else {"include_dashboard": False}
        try:
            self.ray.init(address=address or "local", log_to_driver=False, logging_level="ERROR", **more)
        except (ConnectionError, OSError, RuntimeError, ValueError) as error:
            where = f"engine.address={address}" if address else "a Ray on this machine"
            raise ConfigError(f"engine=ray: {where} cannot be reached: {_first(error)}. See ray status.") from None

    def start(self, tasks: Sequence[Task], plan: bytes) -> None:
        """Hands all tasks over."""
        kept, step = self.ray.put(plan), self.ray.remote(on_its_node)
        for task in tasks:
            cpus, gpus = task.cpus(self.engine), task.gpus
            need = {"num_gpus": gpus, "num_cpus": 0} if gpus else {"num_cpus": cpus}
            wanted = step.options(max_retries=0, num_returns="streaming", name=f"aisp-{task.number}", **need)
            self._out[wanted.remote(json.dumps(task.head).encode(), kept, self.options)] = task
        self._say_unmet()

    def ended(self) -> list[Ended]:
        """Waits a second at most; gives the tasks that ended."""
        ready, _ = self.ray.wait(list(self._out), num_returns=1, timeout=WAIT_S, fetch_local=False)
        over = [ended for stream in ready if (ended := self._look(stream)) is not None]
        self._quiet_s = 0.0 if over else self._quiet_s + WAIT_S
        if self._quiet_s >= WAITING_S:
            self._quiet_s = 0.0
            self._say_unmet()
        return over

    def _look(self, stream: Any) -> Ended | None:
        """What a task that has something to say says: its node first, its end then."""
        task = self._out[stream]
        try:
            if task.number not in self._nodes:
                self._nodes[task.number] = self.ray.get(next(stream)).decode()
                return None
            records, told = self.ray.get(next(stream)), json.loads(self.ray.get(next(stream)))
        except StopIteration:
            return self._over(stream, Ended(task, None, "failed", f"{self._where(task)} sent no records."))
        except self.ray.exceptions.RayTaskError as error:
            why = f"{self._where(task)}: the task raised {_first(error.cause or error)}"
            return self._over(stream, Ended(task, None, "failed", why))
        except self.ray.exceptions.RayError as error:
            why = f"{self._where(task)} was lost ({type(error).__name__}: {_first(error)})"
            return self._over(stream, Ended(task, None, "lost", why))
        file = Path(self._folder.name) / f"{task.number}.jsonl"
        file.write_bytes(records)
        why = f"{self._where(task)}: its runner ended with code {told['code']}: {str(told['said'])[-MAX_CAUSE:].strip()}"
        return self._over(stream, Ended(task, file, "failed", why))

    def _over(self, stream: Any, ended: Ended) -> Ended:
        del self._out[stream]
        return ended

    def _where(self, task: Task) -> str:
        node = self._nodes.get(task.number)
        return f"node {node}" if node else "a node that had not said its name"

    def _say_unmet(self) -> None:
        """Says what tasks wait for that no living node has: they start when one joins."""
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        gpus, cpus = (max((n.get(kind, 0.0) for n in nodes), default=0.0) for kind in ("GPU", "CPU"))
        most_gpus = max((task.gpus for task in self._out.values()), default=0)
        most_cpus = max((task.cpus(self.engine) for task in self._out.values() if not task.gpus), default=0)
        for most, there, kind in ((most_gpus, gpus, "GPUs"), (most_cpus, cpus, "CPUs")):
            if most > there:
                cure = "; engine.cpus_per_task, threads= and --num-cpus of ray start change that" if kind == "CPUs" else ""
                self.say(f"engine=ray: a task needs {most} {kind}, and no node of the cluster has more than {there:g}{cure}.")

    def cancel(self) -> None:
        """Interrupts what runs and forgets what waits."""
        for stream in self._out:
            with contextlib.suppress(self.ray.exceptions.RayError, ValueError):
                self.ray.cancel(stream, force=False)
        self.ray.wait(list(self._out), num_returns=len(self._out), timeout=5.0, fetch_local=False) if self._out else None

    def merged(self, task: Task) -> None:
        """The copy of its records here goes."""
        (Path(self._folder.name) / f"{task.number}.jsonl").unlink(missing_ok=True)

    def close(self) -> None:
        """Leaves the cluster; a Ray of this run alone ends."""
        self.ray.shutdown()
        self._folder.cleanup()


def on_its_node(head: bytes, plan: bytes, options: list[str]) -> Iterator[bytes]:
    """`run_shard`, with Ray's own name of the node behind the machine's."""
    import ray

    said = run_shard(head, plan, options)
    yield next(said) + f" (Ray's node {ray.get_runtime_context().get_node_id()[:12]})".encode()
    yield from said


def _refuse_silent(address: str | None) -> None:
    """Raises ConfigError where nothing listens at HOST:PORT: Ray itself tries for many minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=10.0).close()
    except OSError as error:
        raise ConfigError(
            f"engine.address={address}: nothing answers there ({error}). Name the address that ray start --head printed."
        ) from None


def _first(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:MAX_CAUSE] if lines else type(error).__name__
