"""Files of a new protection: a check that works, its test, an attack that it refuses, its section in the documentation."""

from __future__ import annotations

from collections.abc import Sequence

from aisp_runner.errors import ConfigError
from aisp_runner.new import names
from aisp_runner.new.files import Scaffold, checkout, filled
from aisp_runner.new.pages import COVERAGE, PROTECTION, coverage, known, with_section
from aisp_runner.schema import capitalised

LINE = 128
"""Characters of a line, at most."""
USED = ("Any", "Evidence", "Judge", "Path", "Protection")
"""Names that the module and its test use already."""


def protection(name: str, covers: Sequence[str]) -> Scaffold:
    """Everything that protection `name` (category.name) consists of. covers: the issues that it is against, at least one.

    Raises ConfigError for a category or an issue that there is none of, and a name that another protection has.
    """
    root = checkout()
    category, short = names.parted(name, ".", "protection", "CATEGORY.NAME, such as memory.late_writes")
    folder = root / "aisp_runner" / "protect"
    names.one_of(category, sorted(p.parent.name for p in folder.glob("*/__init__.py")), "category", "Categories")
    names.checked(short, "protection", "protection")
    issues, covered, _ = known()
    for issue in covers:
        names.known_issue(issue, issues)
    for other in covered:
        if other.partition(".")[2] == short:
            where = f"{PROTECTION}#{short.replace('_', '-')}"
            raise ConfigError(f"protection {name!r}: {other} has that name, and its section is {where}. Use another name.")
    words = {"id": name, "category": category, "name": short, "class_name": _class_name(short), "issue": covers[0]}
    tests, attack = root / "tests" / "protect" / category, root / "tests" / "attacks" / category
    made = Scaffold(
        {
            folder / category / f"{short}.py": filled("protection/protection.py", covers=_tuple(covers), **words),
            tests / f"test_{short}.py": filled("protection/test.py", **words),
            attack / f"{short}.py": filled("protection/attack.py", **words),
        }
    )
    if not (tests / "__init__.py").exists():
        made.files[tests / "__init__.py"] = ""
    section = filled("protection/section.md", heading=capitalised(short.replace("_", " ")), **words)
    listed = (root / PROTECTION).read_text("utf-8")
    every = covered | {name: tuple(covers)}
    made.pages = {
        root / PROTECTION: lambda: with_section(listed, name, section),
        root / COVERAGE: lambda: coverage(every),
    }
    made.then = [
        f"pytest -q tests/protect/{category}/test_{short}.py tests/test_sections.py tests/test_coverage.py tests/protect",
        f"aisp audit --names {category}/{short}",
        f"aisp audit --mutate --names {category}/{short}",
    ]
    return made


def _class_name(short: str) -> str:
    found = "".join(map(capitalised, short.split("_")))
    return f"{found}Check" if found in USED else found


def _tuple(issues: Sequence[str]) -> str:
    """The issues as the module's source has them, laid out as ruff does."""
    issues = list(dict.fromkeys(issues))
    line = ", ".join(f'"{issue}"' for issue in issues)
    if len(issues) == 1:
        return f"({line},)"
    if len(f"    covers = ({line})") <= LINE:
        return f"({line})"
    return "(\n" + "".join(f'        "{issue}",\n' for issue in issues) + "    )"
