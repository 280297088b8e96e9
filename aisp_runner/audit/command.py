"""`aisp audit`: the attacks on this machine: refused, alive without protection, twin accepted; and what honest kernels meet."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from aisp_runner.audit import jobs, wrong
from aisp_runner.audit.attack import Attack, attacks
from aisp_runner.audit.line import LENGTHS, MIDDLE, judge_attack, missed, trial
from aisp_runner.audit.table import by_protection, holds, line, markdown, mutation_markdown, unmissed
from aisp_runner.errors import ConfigError
from aisp_runner.pool import Pool
from aisp_runner.report import Console
from aisp_runner.system import die_with_parent

SEVERAL = "distributed"
"""Attacks on several ranks need all cores to themselves: on one core the ranks would take turns."""

Row = dict[str, Any]


def run(given: argparse.Namespace) -> int:
    """0 when all attacks hold (no honest kernel was refused; every protection is missed; every wrong variant refused), 3
    otherwise. Raises ConfigError.
    """
    if given.wrong:
        return _wrong(given)
    if given.claims:
        die_with_parent()
    console, rows = Console(width=220), list[Row]()
    chosen = _chosen(given)
    plain = not given.json and not given.markdown
    for row in _rows(given, chosen):
        rows.append(row)
        if plain and not given.honest:
            console.write(line(row))
        if given.out:
            given.out.write_text(json.dumps(rows, indent=1) + "\n")
    bad = [row for row in rows if not holds(row)]
    if given.json:
        console.write(json.dumps(rows, indent=1))
    elif given.markdown:
        console.write(mutation_markdown(rows) if given.mutate else markdown(rows))
    elif given.honest:
        untold = sum(row["status"] == "INCONCLUSIVE" for row in bad)
        console.write(f"{len(bad) - untold} of {len(rows)} honest runs refused, {untold} not told")
        for row in bad:
            console.write(json.dumps(row))
    else:
        for attack in chosen:
            if why := attack.why_not(given.device):
                console.write(f"skipped: {why}")
        console.write(_summary(given, rows, len(bad)))
    return 3 if (unmissed(rows) if given.mutate else bad) else 0


def _wrong(given: argparse.Namespace) -> int:
    console, rows = Console(width=220), list[Row]()
    with tempfile.TemporaryDirectory(prefix="aisp-audit-") as folder, Pool() as pool:
        for row in wrong.rows(wrong.chosen(given.wrong), given.device, Path(folder), pool):
            rows.append(row)
            if not given.json:
                console.write(wrong.line(row))
            if given.out:
                given.out.write_text(json.dumps(rows, indent=1) + "\n")
    made, bad = [row for row in rows if "why_not" not in row], [row for row in rows if not wrong.holds(row)]
    if given.json:
        console.write(json.dumps(rows, indent=1))
    else:
        told = len({row["workload"] for row in made})
        console.write(f"{len(made) - len(bad)} of {len(made)} wrong variants of {told} workloads refused")
    return 3 if bad else 0


def _summary(given: argparse.Namespace, rows: Sequence[Row], bad: int) -> str:
    if not given.mutate:
        return f"{len(rows) - bad} of {len(rows)} hold"
    known, none = by_protection(rows), unmissed(rows)
    left = f"; nobody misses {', '.join(none)}" if none else ""
    return f"{len(known) - len(none)} of {len(known)} protections are missed by an attack{left}"


def _chosen(given: argparse.Namespace) -> list[Attack]:
    found = attacks("", given.category, given.issue)
    names = [name for name in given.names.split(",") if name]
    unknown = set(names) - {attack.name for attack in found}
    if unknown:
        raise ConfigError(f"--names: there is no attack {sorted(unknown)[0]!r}. Attacks: {', '.join(a.name for a in found)}.")
    return [attack for attack in found if not names or attack.name in names]


def _rows(given: argparse.Namespace, chosen: Sequence[Attack]) -> Iterator[Row]:
    count = given.jobs or (max(1, len(os.sched_getaffinity(0)) // 2) if given.device == "cpu" else 1)
    there = [attack for attack in chosen if not attack.why_not(given.device)]
    shared = [attack for attack in there if attack.path.parent.name != SEVERAL]
    if count > 1 and len(shared) > 1 and not given.honest:
        yield from jobs.rows(given, shared, min(count, len(shared)))
        there = [attack for attack in there if attack not in shared]
    every = LENGTHS[given.device]
    with tempfile.TemporaryDirectory(prefix="aisp-audit-") as folder, Pool() as pool:
        if given.honest:
            yield from honest_runs(chosen, given.device, given.honest, Path(folder), pool)
            return
        for attack in there:
            if given.claims and not jobs.take(attack, given.claims):
                continue
            for calls in every if given.all_lengths and "calls" not in attack.measure else (every[MIDDLE],):
                home = Path(folder) / f"{attack.name.replace('/', '-')}-{calls[1]}"
                yield (missed if given.mutate else judge_attack)(attack, given.device, calls, home, pool)


def honest_runs(chosen: Sequence[Attack], device: str, count: int, folder: Path, pool: Pool) -> Iterator[Row]:
    """What became of `count` honest runs, over the twins of the attacks and the three batch lengths.

    Every run has fresh processes for its candidate; those of the oracle and the baseline are kept within a twin.
    """
    honest = [a for a in chosen if not a.staged and not a.target and not a.why_not(device)]
    for index, attack in enumerate(honest):
        for turn in range(len(range(index, count, len(honest)))):
            home = folder / f"{attack.name.replace('/', '-')}-{turn}"
            for r in trial(attack, [("twin", "strict")], device, LENGTHS[device][turn % 3], home, pool)[0]:
                kept = {key: r[key] for key in ("workload", "variant", "status", "outcome", "reasons", "message")}
                yield {"attack": attack.name, **kept, "calls": r["clock"] and r["clock"]["calls"]}
