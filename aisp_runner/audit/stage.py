"""What a staged attack may change of the world around a run: the plan, the machine as it is told, the sample, the record.

An environment, a statistic or a record has no kernel to write. The attack's `stage(world)` sets the condition up in the judge's
process, before the run; everything else is the real line.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from aisp_runner import measure
from aisp_runner.audit.attack import Attack
from aisp_runner.case import Case
from aisp_runner.pool import Pool
from aisp_runner.state import CpuReading, GpuReading, Reading

QUIET_CPU = CpuReading(clock_mhz=2000, load=1, steal_ms=0.0, others_busy=0.0, thermal_throttles=0)
QUIET_GPU = GpuReading(1500, 2619, 300.0, 60, (), 0, 700.0)
"""A machine on which nothing is odd."""

Odd = Callable[[int, float], dict[str, Any]]
"""(number of the look, ms since the look before) to the fields of the reading that are odd."""


class Told:
    """The machine as it is told to be: one reading, but for what is odd at each look."""

    def __init__(self, reading: Reading, odd: Odd) -> None:
        self.missing: dict[str, str] = {}
        self._reading, self._odd, self._looks, self._before = reading, odd, 0, time.perf_counter()

    def read(self) -> Reading:
        """What is told at this look."""
        passed_ms, self._before = (time.perf_counter() - self._before) * 1e3, time.perf_counter()
        self._looks += 1
        return dataclasses.replace(self._reading, **self._odd(self._looks, passed_ms))

    def clock_mhz(self) -> int | None:
        """Not told."""
        return None

    def close(self) -> None:
        """Nothing is open."""


Doctor = Callable[[list[Any], list[Any]], tuple[list[Any], list[Any]]]
"""(rounds, batches) as measured to (rounds, batches) as the verdict will find them."""


@dataclass
class World:
    """Everything around a run that a condition may change, with what it would be."""

    device: str
    cases: list[Case]
    facts: dict[str, Any] = field(default_factory=dict)
    """Facts of the machine that are told instead of the real ones, by key of machine.facts."""
    state: Any = None
    """Who tells the machine's state instead of the real one: `read()`, and on CUDA `clock_mhz()`; see state.py."""
    sample: Doctor | None = None
    """What happens to the sample between measuring and concluding."""
    sandbox: str = ""
    """Mode of the sandbox of workers that are started meanwhile, instead of the fork server's: what another machine offers."""
    made: Callable[[dict[str, Any]], None] | None = None
    """What happens to a record once it is written: changes it in place."""

    def tell(self, reading: Reading, odd: Odd = lambda look, passed_ms: {}) -> None:
        """Tells this of the machine's state, but for what is odd."""
        self.state = Told(reading, odd)

    def quiet(self) -> None:
        """Tells of a CPU that nobody else uses: a busy one would make a gate INCONCLUSIVE by itself."""
        if self.device == "cpu":
            self.tell(QUIET_CPU)

    def gate(self, require: str = "not_slower") -> None:
        """Makes the cases gates, but for those whose protections are off: there it would be a mistake of the settings."""
        self.cases[:] = [
            dataclasses.replace(c, phase="gate", require=require) if len(c.protections) > 1 else c for c in self.cases
        ]


def build(attack: Attack, function: str, device: str, cases: list[Case]) -> World:
    """The world of an attack's `candidate`, as its `stage` makes it, or of its twin (`twin_stage`, if it has one)."""
    world = World(device, cases)
    name = "stage" if function == "candidate" else "twin_stage"
    if name in attack.functions:
        spec = importlib.util.spec_from_file_location(f"staged_{attack.path.stem}", attack.path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        getattr(module, name)(world)
    return world


@contextlib.contextmanager
def in_place(world: World, pool: Pool) -> Iterator[None]:
    """The world as it is wanted while the block runs, and as it was afterwards."""
    device, original = world.device, measure.measure
    facts, state = pool.facts.get(device), pool.states.get(device)
    if world.facts:
        pool.open(device)
        pool.facts[device] = {**pool.facts[device], **world.facts}
    if world.state is not None:
        pool.states[device] = world.state
    if world.sample is not None:
        measure.measure = _doctored(original, world.sample)  # type: ignore[assignment]
    pool.start_server(device)
    server, sandbox = pool.servers[device], pool.servers[device].sandbox
    server.sandbox = world.sandbox or sandbox
    try:
        yield
    finally:
        measure.measure, server.sandbox = original, sandbox
        for kept, before in ((pool.facts, facts), (pool.states, state)):
            if before is None:
                kept.pop(device, None)
            else:
                kept[device] = before


def _doctored(original: Any, doctor: Doctor) -> Any:
    def measured(judge: Any, schedule: Any, progress: Any) -> Any:
        made = original(judge, schedule, progress)
        made.rounds, judge.batches = doctor(made.rounds, judge.batches)
        return made

    return measured
