"""KernelBench: `Model` and `ModelNew`, judged by `kernelbench.eval.eval_kernel_against_ref`.

Its scripts' own settings: 5 trials of correctness, 100 of performance, CUDA events, the check for an excessive speed-up on,
fp32. Its tolerance follows from the precision alone (1e-4, absolute and relative), so a workload's own does not reach it. It
compares one output, and casts every tensor to one precision.

Two judges come of one run. "KernelBench" is the evaluation as its batch script has it: a speed-up above its threshold, which it
flags as excessive, counts as refused. "KernelBench, static" has its checker of the text in front, with its strict checks and
without the one that wants CUDA sources in every candidate, since the honest twins have none either; what the checker only warns
of is told and refuses nothing.

A destination-passing function is called by a `forward` that allocates the outputs. Inputs are drawn on the host by
`get_inputs`, as its problems do.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from aisp_runner.dev.judges.problem import NotApplicable, Problem, drawn, returning
from aisp_runner.dev.judges.process import PACKAGES, Ended, Verdict, own_module, own_path, run, short

NAME, STATIC = "KernelBench", "KernelBench, static"
FOLDER = "KernelBench"
TRIALS = {"num_correct_trials": 5, "num_perf_trials": 100}
MODEL, MODEL_NEW, ANSWER = "model.py", "model_new.py", "answer.json"


def write(problem: Problem, home: Path) -> None:
    """The two files of a problem. Raises NotApplicable where its format has no place for it."""
    if len(problem.outputs) != 1:
        raise NotApplicable("it has several outputs, and KernelBench compares one")
    odd = sorted({t.dtype for t in (*problem.inputs, *problem.outputs)} - {"float32"})
    if odd:
        raise NotApplicable(f"it has tensors of {odd[0]}, and fp32 is the precision that KernelBench is run with here")
    home.mkdir(parents=True, exist_ok=True)
    inputs = ", ".join(drawn(t, "cpu") for t in problem.inputs)
    (home / MODEL).write_text(
        f"import torch\n\n{problem.reference}\n\n{_module('Model', problem, 'baseline', problem.baseline_returns)}\n\n"
        f"def get_inputs():\n    return [{inputs}]\n\n\ndef get_init_inputs():\n    return []\n"
    )
    module = _module("ModelNew", problem, problem.function, problem.returns)
    (home / MODEL_NEW).write_text(f"import torch\n\n{problem.code}\n\n{module}")


def _module(name: str, problem: Problem, function: str, returns: bool) -> str:
    body = returning(problem, function, returns, " " * 8)
    return f"class {name}(torch.nn.Module):\n    def forward(self, {problem.arguments}):\n{body}"


def judge(problem: Problem, peers: Path, home: Path) -> dict[str, Verdict]:
    """The verdicts of both judges. Raises NotApplicable."""
    write(problem, home)
    paths = [peers / FOLDER / "src", peers / PACKAGES, own_path()]
    ended = run([*own_module("kernelbench_child"), str(home)], home, paths)
    answer = json.loads((home / ANSWER).read_text()) if (home / ANSWER).is_file() else {}
    return verdicts(answer, ended)


def verdicts(answer: dict[str, Any], ended: Ended) -> dict[str, Verdict]:
    """What both judges say, from what the child wrote (kernelbench_child.py) and how it ended."""
    evaluated = _evaluated(answer.get("result"), answer.get("raised", ""), ended)
    static = answer.get("static")
    if static is None:
        return {NAME: evaluated, STATIC: evaluated}
    if not static["valid"]:
        seconds = ended.seconds - answer.get("evaluation_seconds", 0.0)
        return {NAME: evaluated, STATIC: Verdict(False, None, seconds, short("; ".join(sorted(static["errors"]))))}
    warned = f" (warned: {'; '.join(sorted(static['warnings']))})" if static["warnings"] else ""
    return {NAME: evaluated, STATIC: dataclasses.replace(evaluated, message=evaluated.message + warned)}


def _evaluated(result: dict[str, Any] | None, raised: str, ended: Ended) -> Verdict:
    if result is None:
        return Verdict(False, None, ended.seconds, short(raised or ended.last_words))
    told, metadata = result["runtime"] > 0 and result["ref_runtime"] > 0, result["metadata"]
    speedup = result["ref_runtime"] / result["runtime"] if told else None
    said = [
        f"{key}: {metadata[key]}"
        for key in ("compilation_error", "correctness_issue", "runtime_error", "error_during_performance", "max_difference")
        if key in metadata
    ]
    if metadata.get("excessive_speedup"):
        said.append("flagged: excessive_speedup")
    accepted = result["compiled"] and result["correctness"] and not metadata.get("excessive_speedup")
    return Verdict(bool(accepted), speedup, ended.seconds, short("; ".join(said) or f"correctness: {result['correctness']}"))
