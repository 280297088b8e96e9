"""GPU MODE: a problem's folder with `eval.py` of the practice problems (problems/pmpp_v2), in its modes test and leaderboard.

A candidate is tested first, as a ranked submission is, and goes on to the leaderboard when it passes; there every timed call
has inputs of its own and its output is checked. A twin or the baseline goes to the leaderboard at once: the leaderboard makes
the test's comparison too, at the one size there is. Seeds are mixed with a secret one, as its runner does.

It tells times and no speed-up. What is told here is the baseline's mean time, from a leaderboard run of its own on the same
problem, over the candidate's, which is what a ranking compares. That run is no part of `seconds`.

Its convention hands a submission the inputs and the outputs in one tuple, and the tolerance is the problem's. Not used: the
service around eval.py, which also refuses submissions by words in their text.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from pathlib import Path

from aisp_runner.dev.judges.problem import CONTROL, NotApplicable, Problem, allocated, drawn, returning
from aisp_runner.dev.judges.process import Ended, Verdict, run, short

NAME = "GPU MODE"
FOLDER = "reference-kernels"
SOURCES = ("eval.py", "utils.py")
"""Files of problems/pmpp_v2 that a problem's folder has a copy of while it is judged."""
SIZE_KEY = "n"


def write(problem: Problem, home: Path) -> None:
    """workload.py, reference.py, submission.py and cases.txt of a problem. Raises NotApplicable for several tolerances."""
    tolerances = {(t.rtol, t.atol) for t in problem.outputs}
    if len(problem.outputs) != 1 or len(tolerances) != 1:
        raise NotApplicable("it has several outputs, and GPU MODE's matching of outputs takes one")
    (rtol, atol) = tolerances.pop()
    home.mkdir(parents=True, exist_ok=True)
    made = [f"    {t.name} = {drawn(t, problem.device, 'drawing')}\n" for t in problem.inputs]
    made += [f"    {t.name} = {allocated(t, repr(problem.device))}\n" for t in problem.outputs]
    unpacked = f"    {problem.arguments}, {problem.results} = data\n"
    (home / "workload.py").write_text(
        f"import torch\n\n{problem.reference}\n\n"
        f'def generate_input({SIZE_KEY}, seed):\n    drawing = torch.Generator(device="{problem.device}")\n'
        f"    drawing.manual_seed(seed)\n{''.join(made)}    return {problem.arguments}, {problem.results}\n\n\n"
        f"def ref_kernel(data):\n{unpacked}{returning(problem, 'baseline', problem.baseline_returns)}"
    )
    (home / "reference.py").write_text(
        "from utils import make_match_reference\nfrom workload import generate_input, ref_kernel\n\n"
        f"check_implementation = make_match_reference(ref_kernel, rtol={rtol!r}, atol={atol!r})\n"
    )
    call = f"return {problem.function}({problem.arguments})" if problem.returns else (
        f"{problem.function}({problem.arguments}, {problem.results})\n    return {problem.results}"
    )  # fmt: skip
    (home / "submission.py").write_text(f"{problem.code}\n\ndef custom_kernel(data):\n{unpacked}    {call}\n")
    (home / "cases.txt").write_text(f"{SIZE_KEY}: {problem.inputs[0].shape[0]}; seed: 4242\n")


def judge(problem: Problem, peers: Path, home: Path, baseline_ns: float | None = None) -> dict[str, Verdict]:
    """Its verdict. baseline_ns: mean time of the baseline's own run, ns, for the speed-up. Raises NotApplicable."""
    ended: list[Ended] = []
    said: dict[str, str] = {}
    for mode in ("test", "leaderboard") if problem.function == "candidate" else ("leaderboard",):
        ended.append(_evaluated(problem, mode, peers, home / mode, said := {}))
        if said.get("check") != "pass":
            break
    return {NAME: verdict(said, ended, baseline_ns)}


def _evaluated(problem: Problem, mode: str, peers: Path, home: Path, said: dict[str, str]) -> Ended:
    """Runs eval.py in a mode; what it logs goes to `said`."""
    write(problem, home)
    for name in SOURCES:
        shutil.copyfile(peers / FOLDER / "problems" / "pmpp_v2" / name, home / name)
    reading, writing = os.pipe()
    told = {"POPCORN_FD": str(writing), "POPCORN_SEED": str(secrets.randbelow(2**31))}
    try:
        ended = run([sys.executable, "eval.py", mode, "cases.txt"], home, more=told, pass_fds=(writing,))
    finally:
        os.close(writing)
    with os.fdopen(reading, encoding="utf-8", errors="replace") as log:
        for line in log:
            key, _, value = line.partition(": ")
            said[key] = value.strip()
    return ended


def verdict(said: dict[str, str], ended: list[Ended], baseline_ns: float | None) -> Verdict:
    """What the last mode logged (its keys and values); without a check in it, how it ended."""
    seconds = sum(e.seconds for e in ended)
    mean_ns = float(said["benchmark.0.mean"]) if "benchmark.0.mean" in said else None
    if said.get("check") != "pass":
        errors = [value for key, value in said.items() if key.endswith(".error")]
        return Verdict(False, None, seconds, short("; ".join(errors) or said.get("check") or ended[-1].last_words))
    speedup = baseline_ns / mean_ns if baseline_ns and mean_ns else None
    told = f"check: pass, {said.get('benchmark.0.runs')} runs, mean {mean_ns / 1e3:.2f} us" if mean_ns else "check: pass"
    return Verdict(mean_ns is not None, speedup, seconds, told)


def mean_ns(problem: Problem, peers: Path, home: Path) -> tuple[float | None, str]:
    """Mean time of the baseline on its own leaderboard run, ns, and what was said."""
    if problem.function != CONTROL:
        raise ValueError(f"{problem.name}: its function is {problem.function}, and a baseline's time is that of {CONTROL}")
    said: dict[str, str] = {}
    ended = _evaluated(problem, "leaderboard", peers, home, said)
    told = verdict(said, [ended], None)
    return (float(said["benchmark.0.mean"]) if told.accepted else None), told.message
