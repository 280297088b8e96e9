"""SOL-ExecBench: definition, workload and solution as JSON, judged by its command line.

Its own defaults: 10 rounds of correctness, 10 calls of warm-up and 50 timed ones by CUPTI, the reference timed after the
candidate, clocks not locked, 99 % of the elements within the tolerance. The tolerance itself is the workload's, and so are the
laws that inputs are drawn by (its `custom_inputs_entrypoint`).

A destination-passing function is its own style too and is handed over as it is; one that returns is declared as such.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from aisp_runner.case import Tensor
from aisp_runner.dev.judges.problem import Problem, drawn, returning
from aisp_runner.dev.judges.process import PACKAGES, Ended, Verdict, run, short

NAME = "SOL-ExecBench"
FOLDER = "SOL-ExecBench"
TRACES = "traces.jsonl"
KERNEL = "kernel.py"


def write(problem: Problem, home: Path) -> None:
    """definition.json, workload.jsonl and solution.json of a problem."""
    sizes = sorted({size for t in (*problem.inputs, *problem.outputs) for size in t.shape})
    axes = {size: f"axis_{number}" for number, size in enumerate(sizes)}
    tolerance = {"max_atol": max(t.atol for t in problem.outputs), "max_rtol": max(t.rtol for t in problem.outputs)}
    solution = {
        "name": problem.name,
        "definition": problem.name,
        "author": "aisp-run",
        "spec": {
            "languages": ["pytorch"],
            "target_hardware": ["LOCAL"],
            "entry_point": f"{KERNEL}::{problem.function}",
            "dependencies": ["torch"],
            "destination_passing_style": not problem.returns,
        },
        "sources": [{"path": KERNEL, "content": problem.code}],
    }
    definition = {
        "name": problem.name,
        "axes": {name: {"type": "var"} for name in axes.values()},
        "custom_inputs_entrypoint": "generate_inputs",
        "inputs": {t.name: _spec(t, axes) for t in problem.inputs},
        "outputs": {t.name: _spec(t, axes) for t in problem.outputs},
        "reference": reference(problem),
    }
    workload = {
        "axes": {name: size for size, name in axes.items()},
        "inputs": {t.name: {"type": "custom"} for t in problem.inputs},
        "uuid": problem.name,
        "tolerance": tolerance,
    }
    home.mkdir(parents=True, exist_ok=True)
    (home / "definition.json").write_text(json.dumps(definition, indent=1))
    (home / "workload.jsonl").write_text(json.dumps(workload) + "\n")
    (home / "solution.json").write_text(json.dumps(solution, indent=1))


def reference(problem: Problem) -> str:
    """Text with `run`, which is the baseline in a style that returns, and `generate_inputs`."""
    made = "".join(f'        "{t.name}": {drawn(t, "DEVICE")},\n' for t in problem.inputs).replace('"DEVICE"', "device")
    return (
        f"import torch\n\n{problem.reference}\n\ndef run({problem.arguments}):\n"
        f"{returning(problem, 'baseline', problem.baseline_returns)}\n\n"
        f"def generate_inputs(axes_and_scalars, device):\n    return {{\n{made}    }}\n"
    )


def _spec(tensor: Tensor, axes: dict[int, str]) -> dict[str, Any]:
    return {"shape": [axes[size] for size in tensor.shape], "dtype": tensor.dtype}


def judge(problem: Problem, peers: Path, home: Path) -> dict[str, Verdict]:
    """Its verdict, by its command line on the problem's folder."""
    folder = home / "problem"
    write(problem, folder)
    command = [sys.executable, "-m", "sol_execbench.cli.main", str(folder), "--timeout", "100", "--output", str(home / TRACES)]
    ended = run(command, home, [peers / FOLDER / "src", peers / PACKAGES])
    lines = (home / TRACES).read_text().splitlines() if (home / TRACES).is_file() else []
    return {NAME: verdict([json.loads(line) for line in lines], ended)}


def verdict(traces: list[dict[str, Any]], ended: Ended) -> Verdict:
    """What it says in its last trace; without one, how it ended."""
    if not traces or not traces[-1].get("evaluation"):
        return Verdict(False, None, ended.seconds, short(ended.last_words))
    said = traces[-1]["evaluation"]
    performance, correctness = said.get("performance") or {}, said.get("correctness") or {}
    speedup = performance.get("speedup_factor") or None
    words = [said["status"], said.get("log") or ""]
    if performance:
        words.append(f"{performance['latency_ms'] * 1e3:.2f} us, reference {performance['reference_latency_ms'] * 1e3:.2f} us")
    elif correctness:
        words.append(f"maximal absolute error {correctness.get('max_absolute_error')}")
    return Verdict(said["status"] == "PASSED", speedup, ended.seconds, short("; ".join(w for w in words if w)))
