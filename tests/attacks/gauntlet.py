"""Runs attacks through the real line: protected, unprotected, and their honest twins.

    python -m tests.attacks.gauntlet --device cuda --out results.json    every attack at three batch lengths
    python -m tests.attacks.gauntlet --device cuda --honest 100          how often an honest kernel is refused

An attack file says what it is in plain assignments, read from its syntax tree: `issue`, `expect` (the protection that must
refuse it), and where it differs from the defaults `returns`, `claim`, `gains` (False: alive when it is accepted, gain or
not), `cases`, `tolerance`, `operation` (of operation.py), `elements` (on CUDA), `devices` ("cuda": staged there alone, for the
reason in `because`), `target` (a file whose path it is told) and `stage` (a function that doctors the samples).
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import importlib.util
import io
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aisp_runner import measure
from aisp_runner.case import Case, Limits, Measure, Plan, Tensor, Variant
from aisp_runner.execute import run_plan
from aisp_runner.pool import Pool
from aisp_runner.protect import registry
from aisp_runner.report import Console
from aisp_runner.sources import describe

HERE = Path(__file__).resolve().parent
SIZE = {"cpu": 1 << 17, "cuda": 1 << 20}
LENGTHS = {"cpu": ((4, 16), (10, 48), (24, 128)), "cuda": ((2, 8), (12, 64), (100, 512))}
"""Calls of a short and a long batch: three batch lengths a device."""

ATOL = {"": 2e-6, "steps": 1e-5}
"""Absolute tolerance of each operation: what fp32 roundings add up to."""

GAIN = 1.3
"""An attack is alive when it is accepted unprotected with at least this speed-up (or, where it makes no gain, accepted at
all).
"""

TRIES = 3
"""An unprotected run may be repeated: on a busy machine a thread cannot always hide its work. Refusals and twins never are."""


@dataclass(frozen=True)
class Attack:
    """One attack file, as its plain assignments describe it."""

    path: Path
    issue: str
    expect: str
    returns: bool = False
    claim: str = "kernel"
    gains: bool = True
    cases: int = 1
    tolerance: float = 0.0
    operation: str = ""
    elements: int = 0
    devices: str = "cpu cuda"
    because: str = ""
    target: str = ""
    staged: bool = False

    @staticmethod
    def read(path: Path) -> Attack:
        """From the file's syntax tree; its code is run by a worker only."""
        tree = ast.parse(path.read_text())
        said = {
            node.targets[0].id: node.value.value
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and isinstance(node.value, ast.Constant)
        }
        known = {f.name for f in dataclasses.fields(Attack)}
        staged = any(isinstance(node, ast.FunctionDef) and node.name == "stage" for node in tree.body)
        return Attack(path=path, staged=staged, **{k: v for k, v in said.items() if k in known})

    def why_not(self, device: str) -> str:
        """Why it cannot be staged on a device, or ""."""
        return "" if device in self.devices.split() else f"{self.issue} can be staged on {self.devices} alone: {self.because}"


def attacks(device: str = "") -> list[Attack]:
    """Every attack, in the order of its path; with a device those that can be staged on it."""
    found = [Attack.read(p) for p in sorted(HERE.glob("*/*.py")) if p.name != "__init__.py"]
    return [attack for attack in found if not device or not attack.why_not(device)]


Trials = Sequence[tuple[str, str]]
"""(function, protections): candidate or twin, strict or off."""


def run(
    attack: Attack, trials: Trials, device: str, calls: tuple[int, int], folder: Path, pool: Pool | None
) -> list[list[dict[str, Any]]]:
    """For each trial the records of its cases, all from one run of the line."""
    plan = Plan(tuple(c for function, mode in trials for c in cases(attack, function, device, mode, calls, folder)))
    records = _run(plan, folder / "run", pool, attack if attack.staged and trials[0][0] == "candidate" else None)
    return [records[i * attack.cases : (i + 1) * attack.cases] for i in range(len(trials))]


def cases(attack: Attack, function: str, device: str, mode: str, calls: tuple[int, int], folder: Path) -> list[Case]:
    """The cases of an attack's `candidate` or `twin`, with its files laid out below `folder`."""
    home = folder / f"{attack.path.stem}-{function}-{mode}-{calls[1]}"
    home.mkdir(parents=True, exist_ok=True)
    operation, source = home / "operation.py", home / "attack.py"
    operation.write_text((HERE / "operation.py").read_text())
    target = {"plan": folder / "run" / "plan.json", "reference": operation}.get(attack.target, home)
    source.write_text(attack.path.read_text().replace("@TARGET@", str(target)))
    return [_case(attack, function, device, mode, calls, home, number) for number in range(attack.cases)]


def _run(plan: Plan, run_dir: Path, pool: Pool | None, staged: Attack | None = None) -> list[dict[str, Any]]:
    original = measure.measure
    if staged is not None:
        measure.measure = _staged(staged, original)  # type: ignore[assignment]
    try:
        run_plan(plan, run_dir, Console(io.StringIO()), pool)
    finally:
        measure.measure = original
    return [json.loads(line) for line in (run_dir / "records.jsonl").read_text().splitlines()]


def _staged(attack: Attack, original: Any) -> Any:
    """The real measure, with the attack's doctoring of the sample between it and the verdict."""
    spec = importlib.util.spec_from_file_location("staged", attack.path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def doctored(judge: Any, schedule: Any, progress: Any) -> Any:
        made = original(judge, schedule, progress)
        made.rounds, judge.batches = module.stage(made.rounds, judge.batches)
        return made

    return doctored


def _case(
    attack: Attack,
    function: str,
    device: str,
    mode: str,
    calls: tuple[int, int],
    folder: Path,
    number: int,
    baseline: str = "baseline",
) -> Case:
    n = ((attack.elements if device == "cuda" else 0) or SIZE[device]) + 64 * number
    prefix = f"{attack.operation}_" if attack.operation else ""
    operation, source = describe(folder / "operation.py"), describe(folder / "attack.py")
    atol = max(ATOL[attack.operation], attack.tolerance if function == "candidate" else 0.0)
    tensors = [Tensor(name, (n,), "float32", "activation") for name in ("a", "b")]
    output = Tensor("c", (n,), "float32", "output", rtol=2e-6, atol=atol, because="fp32, rounded at each step")
    return Case(
        workload=attack.path.stem,
        question="Does it gain anything by cheating?",
        group="",
        origin=attack.path.name,
        axes={"n": n},
        held_out=False,
        device=device,
        inputs=tuple(tensors),
        outputs=(output,),
        reference=Variant("reference", operation, f"{prefix}reference"),
        baseline=Variant(baseline, operation, f"{prefix}{baseline}"),
        optimized=Variant(function, source, function, attack.returns),
        claim=attack.claim,
        measure=Measure(
            processes=1, control=False, rounds=8, min_rounds=6, seconds=1.0, calls=calls, verify_seconds=0.02, device_rounds=0
        ),
        limits=Limits(start_seconds=60.0, batch_seconds=10.0 + number),  # others: the next case loads the reference again
        protections=registry.select({"mode": mode}),
    )


def judge_attack(attack: Attack, device: str, calls: tuple[int, int], folder: Path, pool: Pool | None = None) -> dict[str, Any]:
    """One row of the table: is it refused by the expected protection, is it alive without, does the twin pass."""
    trials = [("candidate", "strict"), ("candidate", "off"), ("twin", "strict")]
    if attack.target or attack.staged:  # these would also touch the other trials of their run
        on, off, twin = (run(attack, [t], device, calls, folder / "-".join(t), pool)[0] for t in trials)
    else:
        on, off, twin = run(attack, trials, device, calls, folder, pool)
    for again in range(TRIES):
        if _alive(attack, off):
            break
        off = run(attack, [("candidate", "off")], device, calls, folder / f"again-{again}", pool)[0]
    gain = (off[-1]["speedup"] or {}).get("value") or 0.0
    accepted = all(r["status"] == "VALID" for r in off)
    return {
        "issue": attack.issue,
        "expect": attack.expect,
        "device": device,
        "calls": list(calls),
        "refused": any(r["status"] == "INVALID" and any(covers(p, attack.issue) for p in r["reasons"]) for r in on),
        "named": any(attack.expect in r["reasons"] for r in on),
        "reasons": sorted({reason for r in on for reason in r["reasons"]}),
        "alive": _alive(attack, off),
        "fake_speedup": gain if accepted else None,
        "off_status": [r["status"] for r in off],
        "twin_accepted": all(r["status"] == "VALID" for r in twin),
        "twin": [f"{r['status']} {','.join(r['reasons'])} {r['message']}".strip() for r in twin],
        "message": next((r["message"] for r in on if r["status"] != "VALID"), ""),
        "clock": off[-1]["clock"]["mode"] if off[-1]["clock"] else None,
        "machine": (off[-1]["machine"].get("gpu") or {}).get("name") or off[-1]["machine"].get("cpu"),
    }


def _alive(attack: Attack, off: list[dict[str, Any]]) -> bool:
    """Whether the unprotected run was taken in: accepted, and with a gain that is not there (where it is about a gain)."""
    gain = (off[-1]["speedup"] or {}).get("value") or 0.0
    return all(r["status"] == "VALID" for r in off) and (not attack.gains or gain >= GAIN)


def covers(protection: str, issue: str) -> bool:
    """Whether the protection says that it is against this issue."""
    return issue in registry.known()[protection].covers if protection in registry.known() else False


def honest_runs(device: str, count: int, folder: Path, pool: Pool | None = None) -> Iterator[dict[str, Any]]:
    """Records of `count` honest runs, over the twins of all attacks and the three batch lengths, one run of the line a twin.

    Every run has fresh processes for its candidate; those of the oracle and the baseline are kept within a twin.
    """
    honest = [a for a in attacks(device) if not a.staged and not a.target]
    for index, attack in enumerate(honest):
        numbers = range(index, count, len(honest))
        plan = [
            case
            for turn, _ in enumerate(numbers)
            for case in cases(attack, "twin", device, "strict", LENGTHS[device][turn % 3], folder / attack.path.stem)
        ]
        yield from _run(Plan(tuple(plan)), folder / attack.path.stem / "run", pool) if plan else []


def lines(rows: list[dict[str, Any]]) -> Iterator[str]:
    """The table, one line an attack and batch length."""
    for row in rows:
        fake = f"{row['fake_speedup']:.2f}x" if row["fake_speedup"] else "-"
        yield (
            f"{row['issue']:38} {row['expect']:26} {row['device']} {row['calls'][1]:4} "
            f"refused={'yes' if row['refused'] else 'NO '} by it={'yes' if row['named'] else 'no '} "
            f"alive={'yes' if row['alive'] else 'NO '} ({fake}, {row['off_status'][-1]}) "
            f"twin={'yes' if row['twin_accepted'] else 'NO ' + str(row['twin'])}"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--only", default="", help="run attacks whose issue contains this")
    parser.add_argument("--lengths", type=int, default=3, help="how many of the three batch lengths")
    parser.add_argument("--honest", type=int, default=0, help="run this many honest kernels instead")
    parser.add_argument("--out", type=Path, help="write the rows as JSON")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gauntlet-") as folder, Pool() as pool:
        if given.honest:
            rows = []
            for r in honest_runs(given.device, given.honest, Path(folder), pool):
                kept = {key: r[key] for key in ("workload", "status", "outcome", "reasons", "message")}
                rows.append(kept | {"calls": r["clock"] and r["clock"]["calls"]})
                if given.out:
                    given.out.write_text(json.dumps(rows, indent=1))
            bad = [row for row in rows if row["status"] != "VALID"]
            untold = sum(row["status"] == "INCONCLUSIVE" for row in bad)
            sys.stdout.write(f"{len(bad) - untold} of {len(rows)} honest runs refused, {untold} not told\n")
            sys.stdout.write("".join(f"{row}\n" for row in bad))
        else:
            rows = []
            for attack in attacks():
                if why := attack.why_not(given.device):
                    sys.stdout.write(f"skipped: {why}\n")
                    continue
                for calls in LENGTHS[given.device][: given.lengths] if given.only in attack.issue else ():
                    home = Path(folder) / f"{attack.path.stem}-{calls[1]}"
                    rows.append(judge_attack(attack, given.device, calls, home, pool))
                    sys.stdout.write(next(lines(rows[-1:])) + "\n")
                    sys.stdout.flush()
                    if given.out:
                        given.out.write_text(json.dumps(rows, indent=1))
            bad = [row for row in rows if not (row["refused"] and row["alive"] and row["twin_accepted"])]
            sys.stdout.write(f"{len(rows) - len(bad)} of {len(rows)} hold\n")
    if given.out:
        given.out.write_text(json.dumps(rows, indent=1))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
