"""What there is of issues, protections and attacks, and the two pages that list it: docs/coverage.md and docs/protection.md."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from aisp_runner.audit.attack import Attack, attacks
from aisp_runner.audit.coverage import covering, issues, page
from aisp_runner.errors import ConfigError

COVERAGE, PROTECTION = "docs/coverage.md", "docs/protection.md"

_SECTION = re.compile(r"^## .+\n`([a-z_.]+)`", re.MULTILINE)
_HEADING = re.compile(r"^## ", re.MULTILINE)


def known() -> tuple[tuple[str, ...], dict[str, tuple[str, ...]], list[Attack]]:
    """(issues, issues by the protection that is against them, attacks), as they are before anything is written.

    Protections that exist are imported, as every run does; attacks are read as text. Raises ConfigError where one cannot be.
    """
    try:
        return tuple(issues()), covering(), attacks()
    except (ImportError, SyntaxError) as error:
        raise ConfigError(f"a protection or an attack that is there already cannot be read: {error}. Mend it first.") from None


def coverage(covers: Mapping[str, Sequence[str]]) -> str:
    """docs/coverage.md, with the attacks that are there by now."""
    return page(dict(sorted(covers.items())))


def with_section(text: str, name: str, section: str) -> str:
    """docs/protection.md with a section for protection `name` behind the others of its category, and a link in the table."""
    category, _, short = name.partition(".")
    heading = short.replace("_", " ")
    row = re.compile(rf"^(\| {category} \| .+) \|$", re.MULTILINE)
    text = row.sub(lambda found: f"{found[1]}, [{heading}](#{short.replace('_', '-')}) |", text, count=1)
    behind = [found.end() for found in _SECTION.finditer(text) if found[1].startswith(f"{category}.")]
    following = _HEADING.search(text, behind[-1]) if behind else None
    if following is None:
        return f"{text.rstrip()}\n\n{section}"
    return f"{text[: following.start()]}{section}\n{text[following.start() :]}"
