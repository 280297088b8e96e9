"""An attack through the real line: protected, unprotected, and its honest twin."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aisp_runner import record
from aisp_runner.audit.attack import PREVENTED, VERIFIER, Attack, folder
from aisp_runner.audit.plain import GAIN, naive
from aisp_runner.audit.stage import build, in_place
from aisp_runner.case import Case, Limits, Plan, Variant
from aisp_runner.execute import run_plan
from aisp_runner.plan import Planner, this_machine
from aisp_runner.pool import Pool
from aisp_runner.protect import registry
from aisp_runner.report import Console
from aisp_runner.sources import describe
from aisp_runner.spec import load_workload

LENGTHS = {"cpu": ((4, 16), (10, 48), (24, 128)), "cuda": ((2, 8), (12, 64), (100, 512))}
"""Calls of a short and a long batch: three batch lengths a device."""

SHORT, MIDDLE = 0, 1
"""Which batch length is used where no time is wanted, and where one is enough."""

TRIES = 3
"""An unprotected run may be repeated: on a busy machine a thread cannot always hide its work. Refusals and twins never are."""

MEASURE = {
    "processes": 1,
    "control": False,
    "rounds": 6,
    "min_rounds": 6,
    "seconds": 0.5,
    "verify_seconds": 0.02,
    "device_rounds": 0,
    "device_clock": "off",  # an attack is an outsider's, for whom time stamps decide nothing
}

REFUSED = ("INVALID", "INCONCLUSIVE")
"""A gate stops both."""

Trials = Sequence[tuple[str, str]]
"""(function, protections): candidate or twin; strict, off or the id of the one protection that is left out."""

Record = dict[str, Any]


def trial(attack: Attack, trials: Trials, device: str, calls: tuple[int, int], home: Path, pool: Pool) -> list[list[Record]]:
    """For each trial the records of its cases, all from one run of the line; of one trial only where the world is changed."""
    laid = [cases(attack, function, device, mode, calls, home) for function, mode in trials]
    plan = [case for own in laid for case in own]
    world = build(attack, trials[0][0], device, plan)
    with in_place(world, pool):
        run_plan(Plan(tuple(world.cases)), home / "run", Console(io.StringIO()), pool)
    made = [json.loads(line) for line in (home / "run" / record.FILE).read_text().splitlines()]
    for each in made if world.made else ():
        world.made(each)  # type: ignore[misc]
    split, start = [], 0
    for own in laid if len(laid) > 1 else [made]:
        split.append(made[start : start + len(own)])
        start += len(own)
    return split


def cases(attack: Attack, function: str, device: str, mode: str, calls: tuple[int, int], home: Path) -> list[Case]:
    """The cases of an attack's `candidate` or `twin`, with its files laid out below `home`."""
    own = home / f"{attack.path.stem}-{function}-{mode}-{calls[1]}"
    own.mkdir(parents=True, exist_ok=True)
    for file in (folder() / "workloads").glob(f"{attack.workload}.*"):
        shutil.copyfile(file, own / file.name)
    target = {"plan": home / "run" / "plan.json", "reference": own / f"{attack.workload}.py"}.get(attack.target, own)
    source = own / "attack.py"
    source.write_text(attack.path.read_text("utf-8").replace("@TARGET@", str(target)), "utf-8")
    asked = function if function in attack.functions else ""
    settings = {
        "device": device,
        "candidate": f"{source}::{function}" if asked else None,
        "candidate_returns": attack.returns,
        "measure": {**MEASURE, "calls": calls, **attack.measure},
        "verify": {"phase": "detect"},
    }
    planner = Planner(settings, this_machine())
    planner.protections = _protections(mode, attack.without)
    spec = load_workload(own / f"{attack.workload}.yaml")
    axes = attack.sizes.get(device) or {axis: sizes[0] for axis, sizes in spec.axes[device].items()}
    spec = dataclasses.replace(
        spec, axes={device: {axis: (size,) for axis, size in axes.items()}}, claim=attack.claim or spec.claim,
        held_out=spec.held_out if attack.held_out else {},
    )  # fmt: skip
    first = next(iter(axes))
    for number in range(attack.cases):
        grown: dict[str, tuple[int, ...]] = {a: (size + (64 * number if a == first else 0),) for a, size in axes.items()}
        planner.add(dataclasses.replace(spec, axes={device: grown}, held_out=spec.held_out if not number else {}))
    loose = attack.tolerance if function == "candidate" else 0.0
    return [_case(case, attack, source, number, loose) for number, case in enumerate(planner.cases)]


def _case(case: Case, attack: Attack, source: Path, number: int, loose: float) -> Case:
    """With the attack's own baseline, a looser tolerance, and limits that differ: the next case loads the reference again."""
    changes: dict[str, Any] = {"limits": Limits(start_seconds=60.0, batch_seconds=10.0 + number)}
    changes["candidate"] = None  # not told as code from outside: a gate asks for a held-out size of that
    if loose:
        changes["outputs"] = tuple(dataclasses.replace(t, atol=t.atol + loose) for t in case.outputs)
    if "baseline" in attack.functions:
        changes["baseline"] = Variant("baseline", describe(source), "baseline", attack.returns)
    return dataclasses.replace(case, **changes)


def _protections(mode: str, without: Sequence[str]) -> dict[str, dict[str, Any]]:
    """mode: strict, off, or the id of the one that is left out of strict, essential or not. without: left out in any case."""
    if mode == "off":
        return registry.select({"mode": mode})
    return {name: knobs for name, knobs in registry.select({"mode": "strict"}).items() if name not in (mode, *without)}


def judge_attack(attack: Attack, device: str, calls: tuple[int, int], home: Path, pool: Pool) -> dict[str, Any]:
    """One row of the table: is it refused by a protection that covers its issue, is it alive without, does the twin pass."""
    wanted = [("candidate", "strict"), ("candidate", "off"), ("twin", "strict")]
    if attack.unprotected != "off":
        wanted.pop(1)
    if attack.target or attack.staged:  # these would also touch the other trials of their run
        made = {t: trial(attack, [t], device, calls, home / "-".join(t), pool)[0] for t in wanted}
    else:
        made = dict(zip(wanted, trial(attack, wanted, device, calls, home, pool), strict=True))
    on, twin = made["candidate", "strict"], made["twin", "strict"]
    off: list[Record] = made.get(("candidate", "off"), [])
    alive = _alive(attack, off) if off else _plainly(attack, device, home)
    for again in range(TRIES):
        if alive["alive"]:
            break
        if off:
            off = trial(attack, [("candidate", "off")], device, calls, home / f"again-{again}", pool)[0]
        alive = _alive(attack, off) if off else _plainly(attack, device, home)
    last = on[-1]
    return {
        "attack": attack.name,
        "issue": attack.issue,
        "expect": attack.expect,
        "device": device,
        "calls": list(calls),
        **_refusal(attack, on),
        **alive,
        "twin_accepted": all(r["status"] == "VALID" for r in twin) and not (attack.expect == VERIFIER and _doubts(twin)),
        "twin": [f"{r['status']} {','.join(r['reasons'])} {r['message']}".strip() for r in twin],
        "clock": last["clock"]["mode"] if last["clock"] else None,
        "machine": (last["machine"].get("gpu") or {}).get("name") or last["machine"].get("cpu"),
    }


def missed(attack: Attack, device: str, calls: tuple[int, int], home: Path, pool: Pool) -> dict[str, Any]:
    """A row that says whether the attack is accepted once the protection that it expects is left out, all others being there.

    One that is refused all the same is stopped twice over. A gate that is INCONCLUSIVE for nothing but the protection that is
    left out counts as accepted: nobody else has seen anything.
    """
    row = {"attack": attack.name, "issue": attack.issue, "expect": attack.expect, "device": device, "calls": list(calls)}
    if attack.expect in (PREVENTED, VERIFIER):
        return row | {"missed": True, "reasons": []}
    for again in range(TRIES):
        made = trial(attack, [("candidate", attack.expect)], device, calls, home / str(again), pool)[0]
        accepted = all(r["status"] == "VALID" or r["reasons"] == [attack.expect] for r in made)
        if accepted and not (attack.prevented and attack.gains and ((made[-1]["speedup"] or {}).get("value") or 0.0) < GAIN):
            return row | {"missed": True, "reasons": []}
    return row | {"missed": False, "reasons": sorted({reason for r in made for reason in r["reasons"]})}


def _refusal(attack: Attack, on: list[Record]) -> dict[str, Any]:
    reasons = sorted({reason for r in on for reason in r["reasons"]})
    told = ", ".join(f"{(r['speedup'] or {}).get('value') or 0.0:.2f}x" for r in on)
    message = next((r["message"] for r in on if r["status"] != "VALID"), f"accepted at {told}")
    witness = sorted({e["witness"] for r in on for e in r["evidence"] if e["status"] == "fail" and e["protection"] in reasons})
    if attack.expect == VERIFIER:
        doubts = _doubts(on)
        return {"refused": bool(doubts), "named": bool(doubts), "reasons": [VERIFIER] if doubts else [], "witness": ["reader"],
                "message": "; ".join(doubts)[:300]}  # fmt: skip
    caught = attack.prevented and attack.expect in reasons
    if (attack.prevented or attack.expect == PREVENTED) and not caught:
        gained = [(r["speedup"] or {}).get("low") or 0.0 for r in on] if attack.gains else [0.0]
        refused = all(r["status"] == "VALID" for r in on) and max(gained) < GAIN
        if refused:
            message = f"accepted, and gains nothing: {told}"
        elif all(r["status"] == "VALID" for r in on):
            message = f"gains {told}"
        return {"refused": refused, "named": refused, "reasons": reasons, "witness": ["construction"], "message": message}
    refused = any(r["status"] in REFUSED and any(covers(p, attack.issue) for p in r["reasons"]) for r in on)
    return {"refused": refused, "named": attack.expect in reasons, "reasons": reasons, "witness": witness, "message": message}


def _doubts(records: list[Record]) -> list[str]:
    return [doubt for r in records for doubt in record.recompute(r)]


def _alive(attack: Attack, off: list[Record]) -> dict[str, Any]:
    """Whether the unprotected run was taken in: accepted, and with a gain that is not there (where it is about a gain)."""
    gain = (off[-1]["speedup"] or {}).get("value") or 0.0
    accepted = all(r["status"] == "VALID" for r in off)
    return {
        "alive": accepted and (not attack.gains or gain >= GAIN),
        "fake_speedup": gain if accepted else None,
        "unprotected": "off",
        "off_status": [f"{r['status']} {','.join(r['reasons'])}".strip() for r in off],
    }


def _plainly(attack: Attack, device: str, home: Path) -> dict[str, Any]:
    """The same of what a plain harness says."""
    return naive(attack, cases(attack, "candidate", device, "off", LENGTHS[device][MIDDLE], home)[0])


def covers(protection: str, issue: str) -> bool:
    """Whether the protection says that it is against this issue."""
    return issue in registry.known()[protection].covers if protection in registry.known() else False
