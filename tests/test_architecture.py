"""The rules that keep the parts apart, checked on the syntax tree of every file.

Each rule is a function that gives the offending lines of one file. Every rule is first shown code that breaks it and code
that keeps it, so that no rule can rot into one that finds nothing.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CONFIG_MODULES = ("cli.py", "plan.py", "config.py")
MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 80
SERIALIZERS = {"pickle", "_pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "multiprocessing.connection"}
FUNCTION_KINDS = (ast.FunctionDef, ast.AsyncFunctionDef)
# Written in parts, so that this file is not among those it finds.
MACHINE_PATHS = re.compile("/wor" + "k/|/far" + "m/|/ro" + "ot/|/ho" + "me/[a-z]|[.]libr" + "ary/")

Rule = Callable[[str, ast.Module], Iterator[str]]
"""(path relative to the repository's root, syntax tree) -> offences, each starting with its line number."""


def python_files(*folders: str) -> list[str]:
    """Paths of the Python files under these folders, relative to the root."""
    return sorted(str(p.relative_to(ROOT)) for folder in folders for p in (ROOT / folder).rglob("*.py"))


def imports(tree: ast.AST) -> Iterator[tuple[ast.stmt, str]]:
    """Each import statement with a dotted name that it imports; `from a import b` gives "a" and "a.b"."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node, alias.name
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield node, module
            for alias in node.names:
                yield node, f"{module}.{alias.name}" if node.module else f"{module}{alias.name}"


def top(name: str) -> str:
    return name.split(".")[0]


def lazy(tree: ast.AST) -> set[ast.AST]:
    """Every node inside a function, or under `if TYPE_CHECKING:`: not executed when the module is imported."""
    found: set[ast.AST] = set()
    for node in ast.walk(tree):
        typing_only = isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        if isinstance(node, FUNCTION_KINDS) or typing_only:
            found.update(child for child in ast.walk(node) if child is not node)
    return found


def dotted(node: ast.AST) -> str:
    """`a.b.c` of a name or attribute chain, or ""."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (left := dotted(node.value)):
        return f"{left}.{node.attr}"
    return ""


YAML_READERS = (
    "aisp_runner/quarantine.py",
    "aisp_runner/listing.py",
    "aisp_runner/learn.py",
    "aisp_runner/lint/places.py",
    "aisp_runner/yaml_bounds.py",
)


def config_language(path: str, tree: ast.Module) -> Iterator[str]:
    """Hydra and OmegaConf stay at the door; quarantine, list, learn and lint read YAML by themselves, inside a function."""
    deferred = lazy(tree)
    for node, name in imports(tree):
        if top(name) in ("hydra", "omegaconf", "antlr4") and path not in {f"aisp_runner/{m}" for m in CONFIG_MODULES}:
            yield f"{node.lineno}: imports {name}; only {', '.join(CONFIG_MODULES)} may"
        if top(name) == "yaml" and not (path in YAML_READERS and node in deferred):
            yield f"{node.lineno}: imports {name}; only a function of {' or '.join(YAML_READERS)} may"


def workloads(path: str, tree: ast.Module) -> Iterator[str]:
    """The runner knows no workload."""
    for node, name in imports(tree):
        if top(name) in ("kernels", "labs", "chapters", "tests"):
            yield f"{node.lineno}: imports {name}; sources are loaded by path, in the worker"


def benchmarks_of_itself(path: str, tree: ast.Module) -> Iterator[str]:
    """The runner works without the benchmarks of itself."""
    if path.startswith("aisp_runner/dev/"):
        return
    for node, name in imports(tree):
        if re.match(r"(aisp_runner)?\.dev\b", name):
            yield f"{node.lineno}: imports {name}; nothing of the runner needs aisp_runner.dev"


def loading_by_path(path: str, tree: ast.Module) -> Iterator[str]:
    """Only the worker executes a file it was given; and an audit the conditions that its own attacks stage."""
    loaders = ("spec_from_file_location", "spec_from_loader", "module_from_spec", "exec_module", "SourceFileLoader", "run_path")
    if path in ("aisp_runner/worker.py", "aisp_runner/audit/stage.py"):
        return
    for node in ast.walk(tree):
        name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
        if name in loaders:
            yield f"{node.lineno}: {name}; only worker.py loads a file by path"
    for node, name in imports(tree):
        if name.split(".")[-1] in loaders or top(name) in ("runpy", "imp"):
            yield f"{node.lineno}: imports {name}; only worker.py loads a file by path"


def serializers(path: str, tree: ast.Module) -> Iterator[str]:
    """Nothing that turns received bytes into objects of any class."""
    for node, name in imports(tree):
        if name in SERIALIZERS or top(name) in SERIALIZERS:
            yield f"{node.lineno}: imports {name}; messages and files are JSON"


def text_as_code(path: str, tree: ast.Module) -> Iterator[str]:
    """No text is turned into code, and no config names a callable."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and dotted(node.func).removeprefix("builtins.") in (
            "eval",
            "exec",
            "compile",
            "__import__",
        ):
            yield f"{node.lineno}: calls {dotted(node.func)}"
        if isinstance(node, ast.Constant) and node.value == "_target_":
            yield f"{node.lineno}: names _target_"
        if isinstance(node, ast.Attribute) and node.attr == "instantiate":
            yield f"{node.lineno}: uses instantiate"
    for node, name in imports(tree):
        if name.endswith(".instantiate"):
            yield f"{node.lineno}: imports {name}"


PURE = r"aisp_runner\.(statistics|intervals|verify|sources|case|gpu_use|host|sharing|system)\b"
"""Modules without a state of their own, which a protection may use inside its functions."""


def protections(path: str, tree: ast.Module) -> Iterator[str]:
    """A protection reads values it is given: base, registry and the standard library.

    Inside functions also torch and the pure modules; for annotations also the types it is given. base.py and registry.py may
    import the errors and the values of a case.
    """
    if not path.startswith("aisp_runner/protect/"):
        return
    deferred = lazy(tree)
    shared = r"aisp_runner\.(errors|case)\b" if path.endswith(("protect/base.py", "protect/registry.py")) else r"$^"
    for node, name in imports(tree):
        if name in ("", ".") or top(name) in sys.stdlib_module_names:
            continue
        if node in deferred and (top(name) == "torch" or re.match(PURE, name)):
            continue
        if node in deferred and re.match(r"aisp_runner\.(judge|worker|execute)(\.(Judge|Batch|Worker|Bench))?$", name):
            continue
        if (
            name == "aisp_runner.protect"
            or re.match(r"(aisp_runner\.protect|\.+)\.?(base|registry)\b", name)
            or re.match(shared, name)
        ):
            continue
        yield f"{node.lineno}: imports {name}; protections import base, registry and the standard library"


def printing(path: str, tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and dotted(node.func) == "print":
            yield f"{node.lineno}: calls print; what people read goes through report.py"


def swallowed(path: str, tree: ast.Module) -> Iterator[str]:
    """An `except` names what it expects and does something about it."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.ExceptHandler):
            continue
        if node.type is None:
            yield f"{node.lineno}: bare except"
        if all(isinstance(s, ast.Pass) or (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant)) for s in node.body):
            yield f"{node.lineno}: an except that does nothing"


def long_functions(path: str, tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, FUNCTION_KINDS) and node.end_lineno:
            lines = node.end_lineno - node.lineno + 1
            if lines > MAX_FUNCTION_LINES:
                yield f"{node.lineno}: {node.name} has {lines} lines (limit {MAX_FUNCTION_LINES})"


def kernel_imports(path: str, tree: ast.Module) -> Iterator[str]:
    """A kernel file says how something is computed: torch, triton, numpy, the standard library, siblings."""
    folder = (ROOT / path).parent
    for node, name in imports(tree):
        relative, first = name.startswith("."), top(name)
        sibling = first and ((folder / f"{first}.py").exists() or (folder / first).is_dir())
        if relative and not name.startswith(".."):
            continue
        if first in ("torch", "triton", "numpy") or first in sys.stdlib_module_names or sibling:
            continue
        yield f"{node.lineno}: imports {name}; kernels import torch, triton, numpy, the standard library and siblings"


RUNNER_RULES: tuple[Rule, ...] = (
    config_language,
    workloads,
    benchmarks_of_itself,
    loading_by_path,
    serializers,
    text_as_code,
    protections,
    printing,
    swallowed,
    long_functions,
)
KERNEL_RULES: tuple[Rule, ...] = (kernel_imports, swallowed, long_functions)

# (rule, path, code that breaks it, code that keeps it)
EXAMPLES: tuple[tuple[Rule, str, str, str], ...] = (
    (config_language, "aisp_runner/execute.py", "from omegaconf import OmegaConf", "import json"),
    (config_language, "aisp_runner/report.py", "def f():\n    import hydra", "hydra = 1"),
    (config_language, "aisp_runner/quarantine.py", "import yaml", "def f():\n    import yaml"),
    (workloads, "aisp_runner/judge.py", "from kernels import vector_add", "kernels = []"),
    (benchmarks_of_itself, "aisp_runner/cli.py", "from aisp_runner.dev import bench", "from aisp_runner import device"),
    (benchmarks_of_itself, "aisp_runner/cli.py", "from aisp_runner import dev", "from aisp_runner.device import base"),
    (loading_by_path, "aisp_runner/judge.py", "import importlib.util as u\nu.spec_from_file_location", "import importlib.util"),
    (loading_by_path, "aisp_runner/judge.py", "from importlib.util import spec_from_file_location", "import importlib"),
    (serializers, "aisp_runner/wire.py", "import pickle", "import json"),
    (serializers, "aisp_runner/wire.py", "from multiprocessing import connection", "from multiprocessing import shared_memory"),
    (text_as_code, "aisp_runner/spec.py", "eval('1')", "import re\nre.compile('1')\nmodel.eval()"),
    (text_as_code, "aisp_runner/spec.py", "import builtins\nbuiltins.exec('1')", "def execute(): ..."),
    (text_as_code, "aisp_runner/plan.py", "from hydra.utils import instantiate", "instance = 1"),
    (protections, "aisp_runner/protect/memory/x.py", "import torch", "def f():\n    import torch"),
    (protections, "aisp_runner/protect/memory/x.py", "from aisp_runner import judge", "from aisp_runner.protect import base"),
    (
        protections,
        "aisp_runner/protect/x.py",
        "from aisp_runner.case import Case",
        "from aisp_runner.protect.base import Evidence",
    ),
    (protections, "aisp_runner/protect/base.py", "from aisp_runner import judge", "from aisp_runner.errors import ConfigError"),
    (printing, "aisp_runner/judge.py", "print(1)", "console.print(1)"),
    (swallowed, "aisp_runner/judge.py", "try: f()\nexcept: g()", "try: f()\nexcept OSError: g()"),
    (swallowed, "aisp_runner/judge.py", "try: f()\nexcept OSError: pass", "try: f()\nexcept OSError as e: raise g() from e"),
    (long_functions, "aisp_runner/judge.py", "def f():\n" + "    x = 1\n" * 80, "def f():\n" + "    x = 1\n" * 79),
    (kernel_imports, "kernels/x.py", "from aisp_runner import wire", "import torch.nn.functional as F, math"),
    (kernel_imports, "kernels/x.py", "import scipy", "try:\n    import triton\nexcept ImportError:\n    triton = None"),
)


@pytest.mark.parametrize(
    ("rule", "path", "broken", "kept"), EXAMPLES, ids=[f"{r.__name__}-{i}" for i, (r, *_) in enumerate(EXAMPLES)]
)
def test_a_rule_finds_what_breaks_it_and_nothing_else(rule: Rule, path: str, broken: str, kept: str) -> None:
    assert list(rule(path, ast.parse(broken)))
    assert not list(rule(path, ast.parse(kept)))


def test_every_rule_has_an_example() -> None:
    assert {rule for rule, *_ in EXAMPLES} == {*RUNNER_RULES, *KERNEL_RULES}


def offences(rules: tuple[Rule, ...], paths: list[str]) -> list[str]:
    found = []
    for path in paths:
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"), filename=path)
        found += [f"{path}:{offence}" for rule in rules for offence in rule(path, tree)]
    return found


@pytest.mark.parametrize("rule", RUNNER_RULES, ids=lambda rule: rule.__name__)
def test_the_runner_keeps(rule: Rule) -> None:
    assert not offences((rule,), python_files("aisp_runner"))


@pytest.mark.parametrize("rule", KERNEL_RULES, ids=lambda rule: rule.__name__)
def test_kernels_keep(rule: Rule) -> None:
    assert not offences((rule,), python_files("kernels", "labs") if (ROOT / "labs").is_dir() else python_files("kernels"))


def test_no_python_file_is_over_the_line_limit() -> None:
    sizes = {
        p: len((ROOT / p).read_text(encoding="utf-8").splitlines()) for p in python_files("aisp_runner", "kernels", "tests")
    }
    assert not {p: n for p, n in sizes.items() if n > MAX_FILE_LINES}


def tracked_texts() -> Iterator[tuple[str, str]]:
    """(path, text) of each file that is, or would be, committed; everything but hidden and ignored folders without git."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, check=False
    )
    if listing.returncode == 0:
        paths = [ROOT / p for p in listing.stdout.decode().split("\0") if p]
    else:
        folders = ("aisp_runner", "chapters", "conf", "docs", "kernels", "labs", "schemas", "tests")
        paths = [p for folder in folders for p in (ROOT / folder).rglob("*") if "__pycache__" not in p.parts]
    for path in paths:
        if path.is_file():
            yield str(path.relative_to(ROOT)), path.read_bytes().decode("utf-8", errors="replace")


def test_no_file_names_a_path_of_the_machine_it_was_written_on() -> None:
    texts = dict(tracked_texts())
    assert "tests/test_architecture.py" in texts
    assert not [
        f"{path}:{number}: {line.strip()}"
        for path, text in texts.items()
        for number, line in enumerate(text.splitlines(), 1)
        if MACHINE_PATHS.search(line)
    ]


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        pytest.param(
            "aisp_runner.execute", ("hydra", "omegaconf", "jsonschema"), id="a node that only replays a plan needs no Hydra"
        ),
        pytest.param("aisp_runner.cli", ("torch",), id="help and listing do not wait for torch"),
    ],
)
def test_importing_leaves_out(module: str, unwanted: tuple[str, ...]) -> None:
    code = f"import sys, {module}; sys.stdout.write(' '.join(sorted(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    assert module in result.stdout.split()
    assert not set(unwanted) & set(result.stdout.split())
