"""The process that runs a variant, or the oracle that runs the reference: forked from the fork server, told what to do by the
judge.

It maps the judge's memory, loads one file, and answers batches. Nothing it says decides a verdict: the judge's clock runs in
the judge, and the outputs lie in the judge's memory. This is the only module that loads a kernel file.
"""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from aisp_runner.device import attach
from aisp_runner.device.base import Layout, Replay, Worksite
from aisp_runner.group import join
from aisp_runner.protect.registry import worker_shields
from aisp_runner.wire import JUDGE_WORDS, Channel, ChannelClosed

MESSAGE_CHARS = 2000


def main(end: socket.socket) -> int:
    """Serves one job until the judge closes the channel. Gives the process's exit status."""
    channel = Channel(end, JUDGE_WORDS, takes_fds=True)
    worker: Worker | None = None
    try:
        while True:
            message, fds = channel.receive(None if worker else 60.0)
            if message["kind"] == "job":
                torch.set_num_threads(message["threads"])
                worker = (Oracle if message["role"] == "oracle" else Worker)(channel, message, fds, worker)
                channel.send("ready", sequence=0)
            elif worker is not None:
                worker.batch(message)
    except ChannelClosed:
        return 0
    except BaseException as error:
        channel.send("fault", message=describe(error))
        return 1


def describe(error: BaseException) -> str:
    """`ValueError: text (file.py:12 in function)`: the innermost place in candidate code, then the error, in at most 2000
    characters.
    """
    frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).parent != Path(__file__).parent]
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno} in {frames[-1].name})" if frames else ""
    own = [f for f in frames if f.filename.startswith(os.getcwd())]
    if own:
        place = f" ({Path(own[-1].filename).name}:{own[-1].lineno} in {own[-1].name})"
    return f"{type(error).__name__}: {error}"[:MESSAGE_CHARS] + place


def load_function(path: str, name: str) -> Callable[..., Any]:
    """The function `name` of the file at `path`; its siblings can be imported by name."""
    sys.path.insert(0, str(Path(path).parent))
    spec = importlib.util.spec_from_file_location(f"candidate_{Path(path).stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    function = getattr(module, name)
    if not callable(function):
        raise TypeError(f"{name} in {Path(path).name} is not a function")
    return function  # type: ignore[no-any-return]


Slots = Sequence[tuple[list[torch.Tensor], list[torch.Tensor]]]
"""Inputs and outputs of each call."""


Form = tuple[int, torch.dtype, torch.Size]
"""Address, dtype and shape of an output."""


class Worker:
    """Runs a variant over slots."""

    def __init__(self, channel: Channel, job: dict[str, Any], fds: list[int], before: Worker | None = None) -> None:
        """before: this process's worker of the case before, whose device and function are used again."""
        self.channel = channel
        self.job = job
        self.site: Worksite = before.leave() if before else attach(job["device"], fds.pop(0), job["gpu"])
        self.memory = self.site.map(job["memory"], fds[0] if fds else None)
        self.views = Layout.from_json(job["layout"]).views(self.memory)
        ranked = job["rank"] is not None
        self.group: Any = (before.group if before else join(job)) if ranked else None
        """torch.distributed's default group, where this is one rank of several."""
        self.shields = worker_shields(job["protections"], job["device"])
        self.finish: Callable[[], None] = self._late_bound_synchronize
        self.shields.run("boot", self)
        self.graph: Replay | None = None
        """What one rank of several has captured, until all of them have."""
        self.signature: set[str] = set()
        self.collected = 0
        """Garbage collections that ran in the last batch, where host time counts."""
        self.arguments: dict[int, tuple[list[torch.Tensor], list[torch.Tensor]]] = {}
        self.wanted: dict[int, list[Form]] = {}
        self.function: Callable[..., Any] = before.function if before else load_function(job["source"], job["function"])
        gc.collect()
        gc.freeze()  # torch's 190,000 objects are not walked again: a collection took 68 ms on a CPU, and 4 us after this

    def leave(self) -> Worksite:
        """Lets go of the judge's memory; gives the device for the next case."""
        self.views, self.arguments, self.graph = {}, {}, None
        self.site.unmap(self.memory)
        del self.memory  # this object lives on, in a cycle with its own methods that is no longer collected
        return self.site

    def slot(self, index: int) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Inputs and outputs of a slot; the same objects every time."""
        if index not in self.arguments:
            inputs, outputs = (
                [self.views[n][min(index, self.views[n].shape[0] - 1)] for n in self.job[kind]]
                for kind in ("inputs", "outputs")
            )
            self.arguments[index] = inputs, outputs
            self.wanted[index] = [(t.data_ptr(), t.dtype, t.shape) for t in outputs]
        return self.arguments[index]

    def batch(self, message: dict[str, Any]) -> None:
        """Runs the calls of one batch as `mode` says, and answers `done`."""
        sequence, order = message["sequence"], message["order"]
        slots = [self.slot(i) for i in order]
        gc.collect()  # before the batch, not after it: a worker that has said DONE is expected to be idle
        gc.disable()
        before = _collections()
        how = {"wall": self._released, "gated": self._gated, "graph": self._captured, "profiled": self._profiled}
        how |= {"capture": self._kept, "replay": self._replayed}
        reported = how[message["mode"]](sequence, slots)
        self.collected = _collections() - before if message["mode"] == "wall" else 0  # capturing a graph collects by itself
        gc.enable()
        if reported is None:
            return
        for index, (_, outputs) in zip(order, slots, strict=True):
            self._census(index, outputs)
        findings = [[e.protection, e.status, e.observed, e.limit] for e in self.shields.run("after_batch", self)]
        self.channel.send("done", sequence=sequence, evidence=findings, **reported)

    def _calls(self, slots: Slots) -> None:
        call = self.call_returning if self.job["returns"] else self.call_writing
        self.site.touch()
        for inputs, outputs in slots:
            call(inputs, outputs)

    def _released(self, sequence: int, slots: Slots) -> dict[str, Any]:
        """Starts when the judge says so; host dispatch is inside the time."""
        self.channel.send("ready", sequence=sequence)
        self.site.wait_gate(sequence)
        start = time.perf_counter_ns()
        self._calls(slots)
        self.finish()
        self.site.signal_done(sequence)
        return {"reported_ns": time.perf_counter_ns() - start}

    def _gated(self, sequence: int, slots: Slots) -> dict[str, Any]:
        """All calls wait on the device, behind the gate."""
        self.site.arm_gate(sequence)
        self._calls(slots)
        self.site.enqueue_done(sequence)
        self.channel.send("ready", sequence=sequence)
        start = time.perf_counter_ns()
        self.finish()
        return {"reported_ns": time.perf_counter_ns() - start}

    def _captured(self, sequence: int, slots: Slots) -> dict[str, Any] | None:
        """As `_gated`, with the calls captured into one graph: no launch gap lies between them."""
        graph = self._capture(sequence, slots)
        return None if graph is None else self._replay(sequence, graph)

    def _kept(self, sequence: int, slots: Slots) -> None:
        """The first half of `_captured`, for one rank of several: the graph is kept until all have captured theirs."""
        self.graph = self._capture(sequence, slots)
        if self.graph is not None:
            self.channel.send("ready", sequence=sequence)

    def _replayed(self, sequence: int, slots: Slots) -> dict[str, Any]:
        """The second half."""
        graph, self.graph = self.graph, None
        assert graph is not None, "capture comes first"
        return self._replay(sequence, graph)

    def _capture(self, sequence: int, slots: Slots) -> Replay | None:
        """None where the calls cannot be captured, which the judge has been told then."""
        try:
            return self.site.capture(lambda: self._calls(slots))
        except RuntimeError as refused:
            self.channel.send("ready", sequence=sequence, refused=f"{type(refused).__name__}: {refused}"[:MESSAGE_CHARS])
            return None

    def _replay(self, sequence: int, graph: Replay) -> dict[str, Any]:
        self.site.arm_gate(sequence)
        graph.replay()
        self.site.enqueue_done(sequence)
        self.channel.send("ready", sequence=sequence)
        start = time.perf_counter_ns()
        self.finish()
        return {"reported_ns": time.perf_counter_ns() - start}

    def _profiled(self, sequence: int, slots: Slots) -> dict[str, Any]:
        """As `_gated`, with the device's own time stamps of every kernel."""
        with self.site.profiled(self.job["stamps"]) as stamps:
            reported = self._gated(sequence, slots)
        return reported | {"device": stamps.summary(len(slots))}

    def call_writing(self, inputs: list[torch.Tensor], outputs: list[torch.Tensor]) -> None:
        self.function(*inputs, *outputs)

    def call_returning(self, inputs: list[torch.Tensor], outputs: list[torch.Tensor]) -> None:
        """Calls a function that returns its outputs and copies them into the judge's memory."""
        result = self.function(*inputs)
        results: Sequence[torch.Tensor] = result if isinstance(result, tuple | list) else (result,)
        if len(results) != len(outputs):
            raise TypeError(f"{self.job['function']} returned {len(results)} values; the workload has {len(outputs)} outputs")
        for name, given, wanted in zip(self.job["outputs"], results, outputs, strict=True):
            if type(given) is not torch.Tensor or given.dtype != wanted.dtype or given.shape != wanted.shape:
                self.signature.add(f"{name} is {_form(given)} instead of {_form(wanted)}")
            wanted.copy_(given)

    def _census(self, index: int, outputs: list[torch.Tensor]) -> None:
        """Notes an output whose tensor no longer is the judge's memory: resized, rebound or retyped."""
        for name, held, wanted in zip(self.job["outputs"], outputs, self.wanted[index], strict=True):
            if (held.data_ptr(), held.dtype, held.shape) != wanted:
                self.signature.add(f"{name} became {_form(held)} instead of {_form(self.views[name][index])}")

    def _late_bound_synchronize(self) -> None:
        """How a harness without `timing.trusted_sync` waits: by whatever torch.cuda.synchronize is by now."""
        if self.job["device"] == "cuda":
            torch.cuda.synchronize()


class Oracle(Worker):
    """Runs the reference in float64 into memory that no candidate's process maps."""

    def batch(self, message: dict[str, Any]) -> None:
        """Answers slots 0 to n - 1."""
        start = time.perf_counter_ns()
        for index in message["order"]:
            inputs, outputs = self.slot(index)
            with torch.no_grad():
                result = self.function(*self._by_rank([t.double() if t.is_floating_point() else t for t in inputs]))
            results = result if isinstance(result, tuple | list) else (result,)
            if self.job["ranks"] > 1 and results and not isinstance(results[0], torch.Tensor):
                results = [given for each in results for given in each]
            if len(results) != len(outputs):
                raise TypeError(f"reference returned {len(results)} values; the workload has {len(outputs)} outputs")
            for name, given, wanted in zip(self.job["outputs"], results, outputs, strict=True):
                if given.shape != wanted.shape:
                    raise TypeError(f"reference: {name} is {_form(given)}, the workload declares {_form(wanted)}")
                wanted.copy_(given)
        self.finish()
        elapsed = time.perf_counter_ns() - start
        self.channel.send("done", sequence=message["sequence"], reported_ns=elapsed, evidence=[])

    def _by_rank(self, inputs: list[torch.Tensor]) -> list[Any]:
        """What the reference is given: of several ranks, a list of all ranks' tensors for each input."""
        ranks = self.job["ranks"]
        return inputs if ranks == 1 else [inputs[i : i + ranks] for i in range(0, len(inputs), ranks)]


def _collections() -> int:
    return sum(generation["collections"] for generation in gc.get_stats())


def _form(value: object) -> str:
    if isinstance(value, torch.Tensor):
        subclass = "" if type(value) is torch.Tensor else f" ({type(value).__name__})"
        return f"{str(value.dtype).removeprefix('torch.')} {json.dumps(list(value.shape))}{subclass}"
    return f"a {type(value).__name__}"
