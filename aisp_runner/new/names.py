"""Which names `aisp new` takes: what can be a file, a module and a key, and what exists of categories, issues, protections."""

from __future__ import annotations

import keyword
import re
import sys
from collections.abc import Iterable

from aisp_runner.errors import ConfigError, did_you_mean

MOST = 32
"""Characters of a name, at most."""
TAKEN = {*sys.stdlib_module_names, "torch", "triton", "numpy"}
"""A kernel file of such a name would stand in for the module: its folder is on the worker's import path."""

_FORMS = {
    "name": ("[a-z][a-z0-9_]*", "small letters, digits and _"),
    "protection": ("[a-z][a-z_]*", "small letters and _"),
    "chapter": (r"ch[0-9]{2}", "ch and two digits, such as ch21"),
    "tag": ("[A-Za-z][A-Za-z0-9_]*", "letters, digits and _"),
}


def checked(word: str, what: str, form: str = "name") -> str:
    """`word`, if it can be a file's name and a key. Raises ConfigError that says what is allowed."""
    pattern, allowed = _FORMS[form]
    if not re.fullmatch(pattern, word) or len(word) > MOST:
        raise ConfigError(f"{what} {word!r}: at most {MOST} characters are allowed: {allowed}, a letter first.")
    if keyword.iskeyword(word):
        raise ConfigError(f"{what} {word!r}: it is a Python keyword. Use another name.")
    return word


def parted(text: str, separator: str, what: str, shape: str) -> tuple[str, str]:
    """The category and the name in "memory.late_writes" or "memory/background_thread". Raises ConfigError."""
    category, found, name = text.partition(separator)
    if not found or not category or not name:
        raise ConfigError(f"{what} {text!r}: write {shape}.")
    return category, name


def one_of(word: str, known: Iterable[str], what: str, many: str) -> str:
    """`word`, if it is known. Raises ConfigError with the nearest one and all there are."""
    known = list(known)
    if word not in known:
        raise ConfigError(f"there is no {what} {word!r}.{did_you_mean(word, known)} {many}: {', '.join(known)}.")
    return word


def known_issue(word: str, issues: Iterable[str]) -> str:
    """`word`, if it is a validity issue. Raises ConfigError with the nearest one, and those of its category."""
    issues = list(issues)
    if word not in issues:
        categories = list(dict.fromkeys(issue.partition(".")[0] for issue in issues))
        category = word.partition(".")[0]
        own = [issue for issue in issues if issue.startswith(f"{category}.")]
        listed = f"Issues of {category}: {', '.join(own)}." if own else f"Issues are of {', '.join(categories)}."
        raise ConfigError(f"there is no issue {word!r}.{did_you_mean(word, issues)} {listed} All of them: docs/coverage.md.")
    return word
