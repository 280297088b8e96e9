"""The file of a new attack: one that is known to hold, under another name and for another issue."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence

from aisp_runner.audit.attack import PREVENTED, VERIFIER, Attack
from aisp_runner.errors import ConfigError
from aisp_runner.new import names
from aisp_runner.new.files import Scaffold, checkout, filled
from aisp_runner.new.pages import COVERAGE, coverage, known

NO_ATTACKS = ("workloads", "__pycache__")


def attack(own: str, issue: str, expect: str) -> Scaffold:
    """tests/attacks/CATEGORY/NAME.py, which starts as an attack that `expect` is known to refuse.

    own: CATEGORY/NAME. issue: the validity issue that it is an instance of. expect: the protection that must refuse it, or
    `processes` or `verify-record` (aisp_runner/audit/attack.py). Raises ConfigError, for a protection that is not against the
    issue as well.
    """
    root = checkout()
    category, name = names.parted(own, "/", "attack", "CATEGORY/NAME, such as timing/clock_drift")
    categories = sorted(p.name for p in (root / "tests" / "attacks").iterdir() if p.is_dir() and p.name not in NO_ATTACKS)
    names.one_of(category, categories, "category of attacks", "Categories")
    names.checked(name, "attack")
    issues, covers, every = known()
    names.known_issue(issue, issues)
    _against(issue, expect, covers)
    base = _base(issue, expect, every)
    made = Scaffold({root / "tests" / "attacks" / category / f"{name}.py": _text(base, own, issue)})
    made.pages = {root / COVERAGE: lambda: coverage(covers)}
    where = "" if "cpu" in base.devices.split() else " --device cuda"
    made.then = [f"aisp audit --names {own}{where}", f"aisp audit --mutate --names {own}{where}"]
    return made


def _against(issue: str, expect: str, covers: Mapping[str, Sequence[str]]) -> None:
    """Refuses a protection that there is none of, or that does not claim the issue."""
    names.one_of(expect, [*covers, PREVENTED, VERIFIER], "protection", "An attack is expected to be refused by")
    if expect in covers and issue not in covers[expect]:
        own = [name for name, issues in covers.items() if issue in issues]
        raise ConfigError(
            f"--expect {expect} is not against {issue}, but against {', '.join(covers[expect])}. "
            f"Protections against {issue}: {', '.join(own) or f'none; an attack can still expect {PREVENTED}'}."
        )


def _base(issue: str, expect: str, every: Sequence[Attack]) -> Attack:
    """The attack to start from: of the same issue, on a CPU, and the shortest, as far as there is one."""
    found = [a for a in every if a.expect == expect]
    if not found:
        known = ", ".join(sorted({a.expect for a in every}))
        raise ConfigError(f"no attack expects {expect} yet, so there is none to start from. Write it by hand. Others: {known}.")
    return min(
        found,
        key=lambda a: (
            a.issue != issue,
            "cpu" not in a.devices,
            a.gpus,
            a.staged,
            a.target,
            a.prevented,
            a.path.stat().st_size,
        ),
    )


def _text(base: Attack, own: str, issue: str) -> str:
    """The base's text with another docstring and issue; its code as it is."""
    text = base.path.read_text("utf-8")
    lines, tree = text.splitlines(), ast.parse(text)
    said, start = "", 0
    first = tree.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        said, start = "\n".join(lines[: first.end_lineno]).strip('"\n '), first.end_lineno or 0
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "issue":
            lines[node.lineno - 1 : node.end_lineno] = [f'issue = "{issue}"']
    head = filled("attack/attack.py", issue=issue, base=base.name, expect=base.expect, own=own, said=said)
    return head + "\n".join(lines[start:]).rstrip() + "\n"
