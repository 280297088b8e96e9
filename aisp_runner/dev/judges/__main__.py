"""Who catches what, in how many seconds: ten attacks and their honest twins, judged by this project and by other harnesses.

python -m aisp_runner.dev.judges --peers DIR --device cuda --out FILE.json [--names a,b] [--judges a,b] [--limit SECONDS]
python -m aisp_runner.dev.judges --show FILE.json [FILE.json ...]              the tables as Markdown

DIR has the checkouts KernelBench, SOL-ExecBench and reference-kernels, each with a file COMMIT if it is to be told, and a
folder `packages` with the third-party packages that they import and this environment lacks. A harness that refuses the baseline
of the first attack's workload, its control, is not measured at all. Rows are written as they come; those that FILE.json has
already are kept and not made again, but for those that were not measured.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from aisp_runner import machine
from aisp_runner.audit.attack import Attack, attacks
from aisp_runner.dev.judges import gpu_mode, kernelbench, own, problem, rows, sol_execbench
from aisp_runner.dev.judges.problem import CONTROL, NotApplicable, Problem
from aisp_runner.dev.judges.process import Verdict
from aisp_runner.errors import AispError, ConfigError
from aisp_runner.report import Console

TEN = (
    "timing/unsynced_streams",
    "output/stale_cache",
    "workload/precision_switch",
    "location/lazy_evaluation_skip",
    "workload/early_exit",
    "exploits/slowed_baseline",
    "memory/background_thread",
    "timing/clock_drift",
    "exploits/permissive_subclass",
    "workload/half_precision",
)
"""One of each kind: streams, a cache by address, a switch of precision, a lazy result, work left out, a slowed baseline, a
thread, clocks, a comparison that the output itself answers, half precision.
"""

PEERS = {
    "kernelbench": (kernelbench.FOLDER, (kernelbench.NAME, kernelbench.STATIC), "kernelbench.eval.eval_kernel_against_ref"),
    "sol_execbench": (sol_execbench.FOLDER, (sol_execbench.NAME,), "sol_execbench.cli.main"),
    "gpu_mode": (gpu_mode.FOLDER, (gpu_mode.NAME,), "problems/pmpp_v2/eval.py"),
}
"""Folder of the checkout, names of the judges that its run gives, entry point."""
OWN = "own"
REFUSED_CONTROL = "it does not accept the workload's own baseline"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: 0, or 2 with a message."""
    given = parser().parse_args(arguments)
    console = Console(width=240)
    try:
        if given.show:
            found = [row for file in given.show for row in json.loads(file.read_text())["rows"]]
            console.write(rows.markdown(found))
            return 0
        compare(given, console)
    except AispError as error:
        sys.stderr.write(f"judges: error: {error}\n")
        return 2
    return 0


def compare(given: argparse.Namespace, console: Console) -> None:
    """Makes the rows that are asked for and not there yet, and writes the file after each."""
    chosen, judges = _chosen(given.names), _judges(given.judges)
    for name in judges:
        if name != OWN and not (given.peers and (given.peers / PEERS[name][0]).is_dir()):
            raise ConfigError(
                f"--peers: there is no folder {PEERS[name][0]} in {given.peers or 'no folder at all'}. Check {name} out there,"
                f" or name other judges: --judges {','.join(j for j in judges if j != name) or OWN}."
            )
    peers = given.peers.resolve() if given.peers else Path()
    document = _document(given, judges, peers)
    with tempfile.TemporaryDirectory(prefix="aisp-judges-") as folder:
        bench = Bench(peers, given.device, Path(folder), time.monotonic() + given.limit if given.limit else None)
        there = {(row["attack"], row["judge"]) for row in document["rows"] if row["status"] != rows.NOT_MEASURED}
        for attack in chosen:
            for name in judges:
                if all((attack.name, judge) in there for judge in _names(name)):
                    continue
                for row in bench.rows(attack, name):
                    document["rows"] = [*(old for old in document["rows"] if not rows.same(old, row)), row]
                    console.write(f"{row['attack']:30} {row['judge']:20} {rows.cell(row)}")
                given.out.write_text(json.dumps(document, indent=1) + "\n")
    console.write("\n" + rows.markdown(document["rows"]))


class Bench:
    """Judges attacks; holds what is measured once: each harness's control, and the baselines' times where those are needed."""

    def __init__(self, peers: Path, device: str, home: Path, until: float | None) -> None:
        self.peers, self.device, self.home, self.until = peers, device, home, until
        self._controls: dict[str, str] = {}
        self._baselines: dict[str, tuple[float | None, str]] = {}
        self._runs = 0

    def rows(self, attack: Attack, name: str) -> Iterator[rows.Row]:
        """The rows of one attack by the judges of one run."""
        if self.until is not None and time.monotonic() > self.until:
            yield from (rows.missing(attack, judge, rows.NOT_MEASURED, "the time limit was up") for judge in _names(name))
            return
        try:
            if name != OWN and (why := self._control(attack, name)):
                yield from (rows.missing(attack, judge, rows.NOT_MEASURED, why) for judge in _names(name))
                return
            candidate, twin = (self._judged(attack, function, name) for function in ("candidate", "twin"))
        except NotApplicable as reason:
            yield from (rows.missing(attack, judge, rows.NOT_APPLICABLE, str(reason)) for judge in _names(name))
            return
        yield from (rows.measured(attack, judge, candidate[judge], twin[judge]) for judge in _names(name))

    def _judged(self, attack: Attack, function: str, name: str) -> dict[str, Verdict]:
        if name == OWN:
            return own.judge(attack, function, self.device, self._folder())
        return self._peer(name, problem.of(attack, function, self.device, self._folder()), attack)

    def _peer(self, name: str, asked: Problem, attack: Attack) -> dict[str, Verdict]:
        if name == "gpu_mode":
            return gpu_mode.judge(asked, self.peers, self._folder(), self._baseline(attack)[0])
        judge = kernelbench.judge if name == "kernelbench" else sol_execbench.judge
        return judge(asked, self.peers, self._folder())

    def _baseline(self, attack: Attack) -> tuple[float | None, str]:
        """Mean time of the baseline by GPU MODE's leaderboard, ns, and what was said: once for each workload."""
        asked = problem.of(attack, CONTROL, self.device, self._folder())
        if asked.key not in self._baselines:
            self._baselines[asked.key] = gpu_mode.mean_ns(asked, self.peers, self._folder())
        return self._baselines[asked.key]

    def _control(self, attack: Attack, name: str) -> str:
        """Why a harness's answers say nothing, or "" where it accepts a workload's own baseline.

        It is asked about that of the first attack; GPU MODE about each, since it has to give a time for it.
        """
        if name == "gpu_mode":
            took_ns, said = self._baseline(attack)
            return "" if took_ns is not None else f"{REFUSED_CONTROL}: {said}"
        if name not in self._controls:
            verdict = self._peer(name, problem.of(attack, CONTROL, self.device, self._folder()), attack)[_names(name)[0]]
            self._controls[name] = "" if verdict.accepted else f"{REFUSED_CONTROL}: {verdict.message}"
        return self._controls[name]

    def _folder(self) -> Path:
        """A fresh folder."""
        self._runs += 1
        made = self.home / f"run-{self._runs:03}"
        made.mkdir()
        return made


def _names(name: str) -> tuple[str, ...]:
    """Names of the judges that one run gives rows of."""
    return (own.NAME,) if name == OWN else PEERS[name][1]


def _chosen(names: str) -> list[Attack]:
    every = {attack.name: attack for attack in attacks()}
    wanted = [name for name in names.split(",") if name] or list(TEN)
    if unknown := [name for name in wanted if name not in every]:
        raise ConfigError(f"--names: there is no attack {unknown[0]!r}. Attacks: {', '.join(every)}.")
    return [every[name] for name in wanted]


def _judges(names: str) -> list[str]:
    known = [OWN, *PEERS]
    wanted = [name for name in names.split(",") if name] or known
    if unknown := [name for name in wanted if name not in known]:
        raise ConfigError(f"--judges: there is no judge {unknown[0]!r}. Judges: {', '.join(known)}.")
    return wanted


def _document(given: argparse.Namespace, judges: Sequence[str], peers: Path) -> dict[str, Any]:
    """What the file says so far, or a new one without rows."""
    if given.out.is_file():
        held: dict[str, Any] = json.loads(given.out.read_text())
    else:
        facts = machine.facts(given.device)
        name = (facts.get("gpu") or {}).get("name") or facts.get("cpu") or "unknown"
        versions = {"python": platform.python_version(), "torch": str(facts.get("torch") or "unknown")}
        held = {
            "format": rows.FORMAT,
            "device": given.device,
            "machine": name,
            "versions": versions,
            "harnesses": {},
            "rows": [],
        }
    for peer in (j for j in judges if j != OWN):
        folder, _, entry_point = PEERS[peer]
        commit = peers / folder / "COMMIT"
        told = commit.read_text().strip() if commit.is_file() else "unknown"
        held["harnesses"][folder] = {"commit": told, "entry_point": entry_point}
    return held


def parser() -> argparse.ArgumentParser:
    """Of the command line."""
    made = argparse.ArgumentParser(prog="python -m aisp_runner.dev.judges", description=(__doc__ or "").split("\n")[0])
    made.add_argument("--peers", type=Path, metavar="DIR", help="folder of the other harnesses' checkouts")
    made.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    made.add_argument("--names", default="", help="attacks instead of the ten, as category/name, with commas")
    made.add_argument("--judges", default="", help=f"of {', '.join([OWN, *PEERS])}, with commas; all of them unless named")
    made.add_argument(
        "--limit", type=float, default=0.0, metavar="SECONDS", help="start no further row after this long; 0: no limit"
    )
    made.add_argument("--out", type=Path, default=Path("judges.json"), metavar="FILE.json")
    made.add_argument("--show", type=Path, nargs="+", metavar="FILE.json", help="print the tables of files that are there")
    return made


if __name__ == "__main__":
    sys.exit(main())
