"""Every workload's kernels against their reference, on the CPU: content, tolerances, parameters, and each Triton kernel.

Run as a program it is its own child: `interpret` runs the Triton kernels in the interpreter (which must be chosen before
triton is imported), `compile` builds them for two GPU architectures, and `rank:R:FILE` is rank R of a group of two that runs
the variants of workloads with `ranks: 2`. Each prints one JSON object, by kernel or variant, of "" or what went wrong.

The tensors of a workload with ranks are kept here as one, with the ranks as a first axis.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import json
import math
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.distributed as dist
from omegaconf import OmegaConf
from triton_child import children
from triton_table import TritonKernel, collected

from aisp_runner.expression import evaluate

ROOT = Path(__file__).resolve().parents[1]
WORKLOADS = {path.stem: path for path in sorted((ROOT / "conf" / "workload").glob("*.yaml"))}
TRITON = collected()


@functools.cache
def declared(name: str) -> dict[str, Any]:
    """A workload's YAML as plain values."""
    return OmegaConf.to_container(OmegaConf.load(WORKLOADS[name]))  # type: ignore[return-value]


@functools.cache
def module(source: str) -> ModuleType:
    """A kernel file, loaded by path as the worker does, with its folder on the path for siblings."""
    path = ROOT / source
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    spec = importlib.util.spec_from_file_location(f"kernel_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = loaded
    spec.loader.exec_module(loaded)
    return loaded


def variants(name: str) -> list[dict[str, Any]]:
    """Baseline and optimized variants, each as {name, device, returns}."""
    workload = declared(name)
    optimized = workload["optimized"] if isinstance(workload["optimized"], list) else [workload["optimized"]]
    named = [v if isinstance(v, dict) else {"name": v} for v in [workload["baseline"], *optimized]]
    return [{"device": "any", "returns": workload.get("returns", False)} | v for v in named]


def small_axes(name: str) -> dict[str, int]:
    """The first CPU case; for a workload without one, the first CUDA case cut to 512 an axis."""
    axes = declared(name)["axes"]
    if "cpu" in axes:
        return {axis: values[0] for axis, values in axes["cpu"].items()}
    return {axis: min(512, values[0]) for axis, values in axes["cuda"].items()}


def ranks(name: str) -> int:
    """Processes of a variant."""
    return int(declared(name).get("ranks", 1))


def of_all_ranks(name: str, kind: str) -> list[dict[str, Any]]:
    """Inputs or outputs as declared, with an axis for the ranks where there are several."""
    ahead = [ranks(name)] if ranks(name) > 1 else []
    return [tensor | {"shape": [*ahead, *tensor["shape"]]} for tensor in declared(name)[kind].values()]


def extents(tensor: dict[str, Any], axes: dict[str, int]) -> list[int]:
    """A declared shape with the axes' values put in."""
    return [int(evaluate(extent, axes, "shape")) for extent in tensor["shape"]]


def drawn(tensor: dict[str, Any], axes: dict[str, int], generator: torch.Generator) -> torch.Tensor:
    """Content of an input."""
    shape = extents(tensor, axes)
    low, high = float(tensor.get("low", 0.0)), float(tensor.get("high", 1.0))
    unit = torch.rand(shape, generator=generator, dtype=torch.float64)
    content = {
        "normal": lambda: torch.randn(shape, generator=generator, dtype=torch.float64),
        "uniform": lambda: unit * (high - low) + low,
        "integers": lambda: (unit * (high - low) + low).floor(),
        "log_uniform": lambda: low * torch.exp(unit * math.log(high / low)) if low > 0 else unit,
    }[tensor.get("init", "normal")]()
    return content.to(getattr(torch, tensor["dtype"]))


def content(name: str, axes: dict[str, int], seed: int) -> list[torch.Tensor]:
    """Fresh inputs of a workload."""
    generator = torch.Generator().manual_seed(seed)
    return [drawn(tensor, axes, generator) for tensor in of_all_ranks(name, "inputs")]


def poisoned(name: str, axes: dict[str, int]) -> list[torch.Tensor]:
    """Outputs as the runner hands them over: nothing in them is an answer."""
    made = []
    for tensor in of_all_ranks(name, "outputs"):
        dtype = getattr(torch, tensor["dtype"])
        poison = math.nan if dtype.is_floating_point else torch.iinfo(dtype).max
        made.append(torch.full(extents(tensor, axes), poison, dtype=dtype))
    return made


def expected(name: str, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
    """The reference's answer, from inputs in float64."""
    wide = [x.double() if x.is_floating_point() else x.clone() for x in inputs]
    reference = module(declared(name)["source"]).reference
    if ranks(name) == 1:
        answer = reference(*wide)
        return list(answer) if isinstance(answer, tuple) else [answer]
    answer = reference(*(list(x.unbind()) for x in wide))
    return [torch.stack(each) for each in (answer if isinstance(answer, tuple) else (answer,))]


def is_right(actual: torch.Tensor, answer: torch.Tensor, tensor: dict[str, Any]) -> bool:
    """Whether every element lies within the declared tolerance; a NaN does not."""
    bound = tensor.get("atol", 0.0) + tensor.get("rtol", 0.0) * answer.double().abs()
    return actual.shape == answer.shape and bool(((actual.double() - answer.double()).abs() <= bound).all())


def complaint(name: str, axes: dict[str, int], call: Callable[..., Any], returns: bool = False) -> str:
    """What is wrong with `call` on two lots of fresh content, or ""; changing an input is wrong, too."""
    for seed in (11, 12):
        inputs, outputs = content(name, axes, seed), poisoned(name, axes)
        given = [x.clone() for x in inputs]
        if returns:
            answer = call(*inputs)
            outputs = list(answer) if isinstance(answer, tuple) else [answer]
        else:
            call(*inputs, *outputs)
        if any(not torch.equal(before, after) for before, after in zip(given, inputs, strict=True)):
            return f"seed {seed}: an input was changed"
        tensors = declared(name)["outputs"].items()
        for (output, tensor), actual, answer in zip(tensors, outputs, expected(name, inputs), strict=True):
            if not is_right(actual, answer, tensor):
                worst = (actual.double() - answer.double()).abs().max().item()
                return f"seed {seed}: {output} is off by up to {worst:.3g}"
    return ""


RUNNABLE = [
    (name, variant["name"], variant["returns"])
    for name in WORKLOADS
    for variant in variants(name)
    if "cpu" in declared(name)["axes"] and variant["device"] != "cuda"
]
ALONE = [each for each in RUNNABLE if ranks(each[0]) == 1]
TOGETHER = [each for each in RUNNABLE if ranks(each[0]) == 2]


@pytest.mark.parametrize(("name", "variant", "returns"), ALONE, ids=[f"{n}-{v}" for n, v, _ in ALONE])
def test_variant_gives_the_references_answer(name: str, variant: str, returns: bool) -> None:
    call = getattr(module(declared(name)["source"]), variant)
    assert complaint(name, small_axes(name), call, returns) == ""


@pytest.fixture(scope="module")
def told_by_ranks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """By workload and variant: what is wrong with the ranks' answers together, or ""."""
    meeting = tmp_path_factory.mktemp("ranks") / "meeting"
    return children(__file__, [f"rank:{r}:{meeting}" for r in range(2)])[f"rank:0:{meeting}"]


@pytest.mark.parametrize(("name", "variant"), [each[:2] for each in TOGETHER], ids=[f"{n}-{v}" for n, v, _ in TOGETHER])
def test_variant_of_two_ranks_gives_the_references_answer(name: str, variant: str, told_by_ranks: dict[str, str]) -> None:
    assert told_by_ranks[f"{name}:{variant}"] == ""


@pytest.mark.parametrize("name", WORKLOADS)
def test_parameters_are_the_declared_inputs_then_outputs(name: str) -> None:
    workload = declared(name)
    tree = ast.parse((ROOT / workload["source"]).read_text(encoding="utf-8"))
    functions = {node.name: [a.arg for a in node.args.args] for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert functions["reference"] == list(workload["inputs"])
    for variant in variants(name):
        outputs = [] if variant["returns"] else list(workload["outputs"])
        assert functions[variant["name"]] == [*workload["inputs"], *outputs], variant["name"]


@pytest.mark.parametrize("name", WORKLOADS)
def test_references_answer_is_in_float64_and_of_the_declared_shape(name: str) -> None:
    axes = small_axes(name)
    for answer, output in zip(expected(name, content(name, axes, 1)), poisoned(name, axes), strict=True):
        assert answer.shape == output.shape
        assert answer.dtype == torch.float64 or not output.is_floating_point()


@pytest.mark.parametrize("name", WORKLOADS)
def test_tolerance_refuses_what_is_not_an_answer(name: str) -> None:
    axes = small_axes(name)
    answers, others = expected(name, content(name, axes, 1)), expected(name, content(name, axes, 2))
    for (output, tensor), answer, other in zip(declared(name)["outputs"].items(), answers, others, strict=True):
        wrong = {"zeros": torch.zeros_like(answer), "scaled by 1.01": answer * 1.01, "another seed's": other}
        if tensor["dtype"] == "float32":
            wrong["rounded to float16"] = answer.half().double()
        assert is_right(answer, answer, tensor)
        accepted = [what for what, values in wrong.items() if is_right(values, answer, tensor)]
        assert accepted == [], output


@pytest.mark.parametrize("name", WORKLOADS)
def test_tolerance_has_a_reason(name: str) -> None:
    for output, tensor in declared(name)["outputs"].items():
        assert len(tensor["because"].split()) >= 4, output


def test_every_workload_that_names_cuda_axes_only_says_that_it_needs_cuda() -> None:
    lonely = [name for name in WORKLOADS if "cpu" not in declared(name)["axes"]]
    assert [name for name in lonely if declared(name)["environment"]["device"] != "cuda"] == []


def jit_functions() -> set[str]:
    """file.py:name of every function under kernels/ decorated with triton.jit."""
    found = set()
    for path in sorted((ROOT / "kernels").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and any("jit" in ast.unparse(d).split(".") for d in node.decorator_list):
                found.add(f"{path.relative_to(ROOT / 'kernels')}:{node.name}")
    return found


def test_every_triton_kernel_is_in_the_table() -> None:
    assert jit_functions() == set(TRITON)


def interpret(kernel: TritonKernel) -> str:
    """Runs a kernel in the interpreter against the reference."""
    function = getattr(module(declared(kernel.workload)["source"]), kernel.function)
    return complaint(kernel.workload, kernel.axes, lambda *tensors: function(*tensors, **kernel.arguments))


def compiled(key: str, kernel: TritonKernel) -> str:
    """Compiles a kernel for two architectures."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    function = getattr(module(declared(kernel.workload)["source"]), key.split(":")[1])
    for capability in (90, 100):
        source = ASTSource(function, kernel.signature, kernel.constants)
        if "cubin" not in triton.compile(source, target=GPUTarget("cuda", capability, 32)).asm:
            return f"no cubin for sm_{capability}"
    return ""


@pytest.fixture(scope="module")
def told() -> dict[str, dict[str, str]]:
    """By task and kernel: what is wrong, or "". Both tasks run at the same time."""
    pytest.importorskip("triton", reason="the interpreter and the compiler are parts of triton")
    return children(__file__)


@pytest.mark.parametrize("key", TRITON)
def test_triton_kernel_gives_the_references_answer_in_the_interpreter(key: str, told: dict[str, dict[str, str]]) -> None:
    assert told["interpret"][key] == ""


@pytest.mark.parametrize("key", TRITON)
def test_triton_kernel_compiles_for_hopper_and_blackwell(key: str, told: dict[str, dict[str, str]]) -> None:
    assert told["compile"][key] == ""


def in_the_group(call: Callable[..., None], inputs: int) -> Callable[..., None]:
    """`call` on this rank's part of tensors that hold all ranks', with the other ranks' outputs fetched."""

    def together(*tensors: torch.Tensor) -> None:
        rank = dist.get_rank()
        call(*(tensor[rank] for tensor in tensors))
        for output in tensors[inputs:]:
            dist.all_gather(list(output.unbind()), output[rank].clone())

    return together


def of_rank(rank: int, meeting: str) -> dict[str, str]:
    """What is wrong with each variant, as this rank sees all ranks' answers."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    found = {}
    for name, variant, _ in TOGETHER:
        call = in_the_group(getattr(module(declared(name)["source"]), variant), len(declared(name)["inputs"]))
        found[f"{name}:{variant}"] = complaint(name, small_axes(name), call)
    dist.destroy_process_group()
    return found


def main(task: str) -> None:
    answers = {}
    if task.startswith("rank:"):
        _, rank, meeting = task.split(":", 2)
        sys.stdout.write(json.dumps(of_rank(int(rank), meeting)) + "\n")
        return
    for key, kernels in TRITON.items():
        try:
            found = [interpret(kernel) if task == "interpret" else compiled(key, kernel) for kernel in kernels]
            answers[key] = "; ".join(text for text in found if text)
        except Exception:  # whatever the compiler raises is the test's answer
            answers[key] = traceback.format_exc()[-2000:]
    sys.stdout.write(json.dumps(answers) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
