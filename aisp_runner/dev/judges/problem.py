"""What every harness is given: the code of a candidate and of the baseline, and the tensors between them.

A harness is handed the attack's own code, less what the chosen function does not need: docstrings, comments, the fields that
describe the attack, branches for the other device, functions and imports that nobody uses. A twin's file thus has nothing of
its candidate's code in it, and neither has a word that only the other device needs, which a scan of the text would find.

The baseline is what a harness takes for its reference: it is what a speed-up is told against here, and its answers agree with
the workload's reference within the tolerance. Where a harness lets a problem say its tolerance, it gets the workload's; the
candidate's is the looser one that its attack asks for.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

from aisp_runner.audit.attack import KNOWN, Attack
from aisp_runner.audit.line import LENGTHS, cases
from aisp_runner.case import Tensor
from aisp_runner.errors import AispError, ConfigError

CONTROL = "baseline"
"""Function of a problem whose candidate is the baseline itself: a harness that refuses it says nothing of an attack."""

Definition = ast.FunctionDef | ast.ClassDef | ast.Assign | ast.Import | ast.ImportFrom


class NotApplicable(AispError):
    """An attack that a harness's format cannot express; the message says why."""


@dataclass(frozen=True)
class Problem:
    """One function of an attack on its workload, at one size."""

    name: str
    """A name for files: the attack's, and the function's."""
    function: str
    """What the harness is to judge: candidate, twin or baseline."""
    code: str
    """Python text that defines `function`."""
    reference: str
    """Python text that defines `baseline`."""
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    returns: bool
    """Whether `function` returns its outputs; otherwise it takes them as its last arguments."""
    baseline_returns: bool
    device: str

    @property
    def arguments(self) -> str:
        """Names of the inputs, with commas."""
        return ", ".join(t.name for t in self.inputs)

    @property
    def results(self) -> str:
        """Names of the outputs, with commas."""
        return ", ".join(t.name for t in self.outputs)

    @property
    def key(self) -> str:
        """Equal for problems with the same baseline, tensors and tolerances apart."""
        return repr((self.reference, [(t.name, t.shape, t.dtype) for t in (*self.inputs, *self.outputs)]))


def of(attack: Attack, function: str, device: str, home: Path) -> Problem:
    """An attack's candidate, twin or the baseline; `home` takes its files.

    Raises NotApplicable for what no other harness has the place for, and ConfigError where the device is not there.
    """
    for unfit, why in _unfit(attack):
        if unfit:
            raise NotApplicable(why)
    planned = cases(attack, function, device, "off", LENGTHS[device][1], home)
    if not planned:
        raise ConfigError(f"{attack.name}: no case of it can run on {device} here. Run `aisp doctor` to see what is missing.")
    case = planned[0]
    reference = reduced(Path(case.baseline.source.path).read_text("utf-8"), case.baseline.function, device)
    control = function == CONTROL
    return Problem(
        name=f"{attack.name.replace('/', '_')}_{function}",
        function=function,
        code=reference if control else reduced(Path(case.optimized.source.path).read_text("utf-8"), function, device),
        reference=reference,
        inputs=tuple(t for t in case.inputs if t.role != "output"),
        outputs=case.outputs,
        returns=case.baseline.returns if control else attack.returns,
        baseline_returns=case.baseline.returns,
        device=device,
    )


def _unfit(attack: Attack) -> list[tuple[bool, str]]:
    """Reasons why only this project can stage an attack, each with whether it holds."""
    text = attack.path.read_text("utf-8")
    return [
        (attack.staged, "it is a condition that the judge's process sets up (stage), and no kernel"),
        (bool(attack.target), f"it writes to this project's own file of the {attack.target}"),
        ("f_locals" in text and '"slots"' in text, "it reads a batch of calls from a frame of this project's worker"),
        (attack.path.parent.name == "distributed", "it runs on several ranks"),
        (attack.cases > 1 or attack.held_out, "it needs several sizes in one run"),
    ]


class _OnDevice(ast.NodeTransformer):
    """Decides `.is_cuda`, and leaves out what is then never executed."""

    def __init__(self, device: str) -> None:
        self.cuda = device == "cuda"

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        return ast.Constant(self.cuda) if node.attr == "is_cuda" else node

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        self.generic_visit(node)
        known = isinstance(node.op, ast.Not) and isinstance(node.operand, ast.Constant)
        return ast.Constant(not node.operand.value) if known else node  # type: ignore[attr-defined]

    def visit_IfExp(self, node: ast.IfExp) -> ast.expr:
        self.generic_visit(node)
        if not isinstance(node.test, ast.Constant):
            return node
        return node.body if node.test.value else node.orelse

    def visit_If(self, node: ast.If) -> ast.stmt | list[ast.stmt]:
        self.generic_visit(node)
        if not isinstance(node.test, ast.Constant):
            return node
        return (node.body if node.test.value else node.orelse) or ast.Pass()

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        self.generic_visit(node)
        returns = [i for i, statement in enumerate(node.body) if isinstance(statement, ast.Return)]
        del node.body[returns[0] + 1 if returns else len(node.body) :]
        return node


def reduced(text: str, function: str, device: str) -> str:
    """The code of a file that `function` needs, and what is executed in any case: statements that define no name."""
    tree = _OnDevice(device).visit(ast.parse(text))
    defined: dict[str, Definition] = {}
    roots: list[ast.stmt] = []
    for node in tree.body:
        if isinstance(node, Definition) and (names := _bound(node)):
            defined |= dict.fromkeys(names, node)
        elif not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            roots.append(node)
    kept: list[ast.stmt] = []
    wanted = [defined[function], *roots]
    while wanted:
        node = wanted.pop()
        if node in kept:
            continue
        kept.append(node)
        used = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
        wanted += [held for name, held in defined.items() if name in used and not _field(name, held)]
    for node in kept:
        for inner in ast.walk(node):
            if isinstance(inner, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(inner) is not None and inner.body[1:]:
                del inner.body[0]
    return "\n".join(ast.unparse(node) for node in tree.body if node in kept) + "\n"


def _bound(node: Definition) -> list[str]:
    """Names that a definition, a plain assignment or an import gives; none for a target that is not a name."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Assign):
        targets = [t.id for t in node.targets if isinstance(t, ast.Name)]
        return targets if len(targets) == len(node.targets) else []
    return [alias.asname or alias.name.partition(".")[0] for alias in node.names]


def _field(name: str, node: ast.stmt) -> bool:
    """Whether it is one of the assignments that describe the attack."""
    return name in KNOWN and isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant | ast.Dict | ast.List)


def drawn(tensor: Tensor, device: str, generator: str = "") -> str:
    """An expression that draws an input: its law as the workload declares it, in float32, then its dtype.

    Raises NotApplicable for a law that none of the harnesses' problems needed so far.
    """
    shape, more = list(tensor.shape), f', device="{device}"' + (f", generator={generator}" if generator else "")
    if tensor.init == "normal":
        text = f"torch.randn({shape}{more})"
    elif tensor.init == "uniform":
        text = f"torch.rand({shape}{more}) * {tensor.high - tensor.low!r} + {tensor.low!r}"
    elif tensor.init == "integers":
        text = f"torch.randint({int(tensor.low)}, {int(tensor.high)}, {shape}{more})"
    else:
        raise NotApplicable(f"its input {tensor.name} is drawn by the law {tensor.init}, for which there is no text")
    return text if tensor.dtype == "float32" and tensor.init != "integers" else f"({text}).to(torch.{tensor.dtype})"


def allocated(tensor: Tensor, device: str) -> str:
    """An expression that allocates an output. device: a Python expression."""
    return f"torch.empty({list(tensor.shape)}, dtype=torch.{tensor.dtype}, device={device})"


def returning(problem: Problem, function: str, returns: bool, indent: str = "    ") -> str:
    """Lines that call `function` on the inputs and return its outputs, which are allocated first where it takes them."""
    if returns:
        return f"{indent}return {function}({problem.arguments})\n"
    lines = [f"{t.name} = {allocated(t, f'{problem.inputs[0].name}.device')}" for t in problem.outputs]
    lines += [f"{function}({problem.arguments}, {problem.results})", f"return {problem.results}"]
    return "".join(f"{indent}{line}\n" for line in lines)
