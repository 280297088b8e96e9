"""What a staged attack may change of the world around a run: the plan, the machine as it is told, the sample, the record.

An environment, a statistic or a record has no kernel to write. The attack's `stage(world)` sets the condition up in the judge's
process, before the run; everything else is the real line.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from aisp_runner import measure
from aisp_runner.audit.attack import Attack
from aisp_runner.case import Case
from aisp_runner.pool import Pool

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
