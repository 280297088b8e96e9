"""How often the printed interval holds the truth, on simulated noise that goes through the real estimate and verdict.

One row is a kind of noise and a number of processes. A trial is a run: rounds are added until `Estimate.enough`, as measuring
does it.
"""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aisp_runner import verdict
from aisp_runner.case import Measure
from aisp_runner.dev.noise import CALLS, REGIMES, Regime, simulate
from aisp_runner.dev.rows import Column, Rows
from aisp_runner.dev.settings import measure
from aisp_runner.report import Console
from aisp_runner.statistics import Estimate, Interval, Round, estimate, median

SETUPS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("quick", {"processes": 1}),
    ("standard", {"processes": 3}),
    ("standard", {"processes": 5}),
    ("publication", {"processes": 10}),
)
"""Settings and processes that are simulated."""
MARGIN = 0.01
EFFECTS = (0.005, 0.01, 0.02, 0.05)
TRIALS, EFFECT_TRIALS = 2000, 150
"""Trials without a true effect, and with each of `EFFECTS`."""
MOST_ROUNDS = 12
"""Rounds a process at most, also where the setting allows more."""

COLUMNS = (
    Column("regime", "noise"),
    Column("processes"),
    Column("rounds", digits=1),
    Column("nominal", "nominal %", 1, 100),
    Column("coverage", "coverage %", 1, 100),
    Column("bias", "bias %", 3, 100),
    Column("sd", "sd %", 3, 100),
    Column("false", "false FASTER/SLOWER"),
    Column("mde", "MDE %", 2, 100),
    Column("found_text", "found 0.5/1/2/5 %"),
    Column("faster_text", "FASTER, no floor"),
    Column("floored_text", "FASTER, floor"),
)


@dataclass(frozen=True)
class Cell:
    """One row to be: a kind of noise at one setting of measure."""

    regime: Regime
    setting: str
    measure: Measure
    trials: int = TRIALS
    effect_trials: int = EFFECT_TRIALS


def cells(trials: int, effect_trials: int, regimes: Sequence[Regime] = REGIMES) -> list[Cell]:
    """Every kind of noise at every setting."""
    return [
        Cell(regime, name, measure(name, **changes), trials, effect_trials) for regime in regimes for name, changes in SETUPS
    ]


def run(
    console: Console, out: Path | None = None, trials: int = TRIALS, effect_trials: int = EFFECT_TRIALS, jobs: int = 1
) -> Rows:
    """All rows, in `jobs` processes."""
    given = cells(trials, effect_trials)
    settings = {"margin": MARGIN, "effects": EFFECTS, "trials": trials, "effect_trials": effect_trials}
    settings["regimes"] = {regime.name: regime.means for regime in REGIMES}
    settings["stopped_on_width"] = {str(processes): stopped_on_width(processes, trials) for processes in (3, 5)}
    rows = Rows("coverage", COLUMNS, console, out=out, settings=settings)
    for row in _in_processes(given, jobs) if jobs > 1 else map(simulated, given):
        rows.add(row)
    return rows


def _in_processes(given: Sequence[Cell], jobs: int) -> Iterator[dict[str, Any]]:
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(simulated, given)


def simulated(cell: Cell) -> dict[str, Any]:
    """The row of a cell. coverage is over all trials, everything else but what is found over those without a true effect."""
    wanted = cell.measure
    counted, null = _estimates(cell, 0.0, cell.trials, seed=1)
    effects = {effect: _estimates(cell, effect, cell.effect_trials, seed=2 + i)[1] for i, effect in enumerate(EFFECTS)}
    speedups = [(0.0, e) for e in null] + [(effect, e) for effect, found in effects.items() for e in found]
    logs = [math.log(_told(e).value) for e in null]
    mean = sum(logs) / len(logs)
    outcomes = [(_outcome(e), _outcome(e, e.floor)) for e in null]
    wrong = [sum(pair[k] in ("FASTER", "SLOWER") for pair in outcomes) for k in (0, 1)]
    found = {effect: _share(_told(e).low > 1 for e in some) for effect, some in effects.items()}
    faster = {effect: _share(_outcome(e) == "FASTER" for e in some) for effect, some in effects.items()}
    floored = {effect: _share(_outcome(e, e.floor) == "FASTER" for e in some) for effect, some in effects.items()}
    return {
        "regime": cell.regime.name,
        "setting": cell.setting,
        "processes": wanted.processes,
        "rounds": counted / len(null),
        "used": sum(e.used for e in null) / len(null),
        "nominal": sum(_told(e).confidence for e in null) / len(null),
        "coverage": _share(_told(e).low <= 1 + effect <= _told(e).high for effect, e in speedups),
        "control_coverage": _share(e.control is not None and e.control.low <= 1 <= e.control.high for e in null),
        "trials": len(speedups),
        "bias": mean,
        "sd": math.sqrt(sum((v - mean) ** 2 for v in logs) / len(logs)),
        "half_width": median([e.half_width for e in null]),
        "mde": median([e.mde for e in null if e.mde is not None]) if wanted.processes > 1 else None,
        "floor": median([e.floor for e in null]),
        "false_no_floor": wrong[0] / len(null),
        "false_floor": wrong[1] / len(null),
        "false": f"{wrong[0]}, {wrong[1]} of {len(null)}",
        "same": _share(pair[1] == "SAME" for pair in outcomes),
        "found": found,
        "faster_no_floor": faster,
        "faster_floor": floored,
        "found_text": _percents(found),
        "faster_text": _percents(faster),
        "floored_text": _percents(floored),
    }


def _estimates(cell: Cell, effect: float, trials: int, seed: int) -> tuple[int, list[Estimate]]:
    """Rounds that all trials took together, and what each found."""
    wanted = cell.measure
    most = max(wanted.min_rounds, min(wanted.rounds, MOST_ROUNDS))
    stopped = [_stopped(rounds, wanted) for rounds in simulate(cell.regime, trials, wanted.processes, most, 1 + effect, seed)]
    return sum(done for done, _ in stopped), [e for _, e in stopped]


def _stopped(rounds: Sequence[Round], wanted: Measure) -> tuple[int, Estimate]:
    """The rounds after which measuring would have stopped, and the estimate then: it looks after every second round."""
    done = wanted.min_rounds
    while True:
        now = estimate(rounds[: done * wanted.processes], CALLS)
        if now.enough(wanted.half_width) or done * wanted.processes >= len(rounds):
            return done, now
        done += 2


def stopped_on_width(processes: int, trials: int, half_width: float = 0.002) -> float:
    """Coverage in the quiet if rounds stopped once the printed interval is this narrow: what `Estimate.enough` avoids."""
    held = 0
    for rounds in simulate(REGIMES[0], trials, processes, MOST_ROUNDS, seed=9):
        steps = (estimate(rounds[: done * processes], CALLS) for done in range(2, MOST_ROUNDS + 1, 2))
        last = next((e for e in steps if e.half_width <= half_width), None) or estimate(rounds, CALLS)
        held += _told(last).low <= 1 <= _told(last).high
    return held / trials


def _told(e: Estimate) -> Interval:
    assert e.speedup is not None, "simulated batches are longer than their handshake"
    return e.speedup


def _outcome(e: Estimate, floor: float = 0.0) -> str:
    return verdict.outcome(e.speedup, MARGIN, floor)


def _share(hits: Iterator[bool] | Any) -> float:
    seen = [bool(hit) for hit in hits]
    return sum(seen) / len(seen)


def _percents(shares: dict[float, float]) -> str:
    return "/".join(f"{100 * share:.0f}" for share in shares.values())


def tables(rows: Sequence[dict[str, Any]]) -> str:
    """Coverage by processes, and what `standard` finds, as docs/measurement.md shows them."""
    names = list(dict.fromkeys(row["regime"] for row in rows))
    setups = list(dict.fromkeys((row["setting"], row["processes"]) for row in rows))
    cell = {(row["regime"], row["setting"], row["processes"]): row for row in rows}
    lines = [["noise", *(f"{s}, {p} process{'es' * (p > 1)}" for s, p in setups), "false FASTER or SLOWER of 10,000"]]
    lines.append(["---", *["---:"] * (len(setups) + 1)])
    for name in names:
        own = [cell[name, *setup] for setup in setups]
        shown = [f"{100 * r['coverage']:.1f}" + ("" if r["processes"] > 1 else f" ({100 * r['nominal']:.1f})") for r in own]
        wrong = [sum(r[key] for r in own if r["processes"] > 1) / (len(own) - 1) for key in ("false_no_floor", "false_floor")]
        lines.append([name, *shown, f"{1e4 * wrong[0]:.1f}, with floor {1e4 * wrong[1]:.1f}"])
    found = [["noise", "rounds", "sd %", "MDE %", "found 0.5/1/2/5 %", "FASTER", "FASTER, floor", "SAME at 0, floor"]]
    found.append(["---", *["---:"] * 7])
    for row in (cell[name, "standard", 5] for name in names):
        numbers = [f"{row['rounds']:.1f}", f"{100 * row['sd']:.2f}", f"{100 * row['mde']:.2f}"]
        found.append(
            [row["regime"], *numbers, row["found_text"], row["faster_text"], row["floored_text"], f"{100 * row['same']:.0f}"]
        )
    return "\n\n".join("\n".join("| " + " | ".join(line) + " |" for line in table) for table in (lines, found))
