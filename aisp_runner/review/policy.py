"""How severe each rule is and what has been waived: files that are reviewed like code, read from the base revision alone.

review.yaml at the root of the repository:

    rules: {code-changed: warn, roofline-changed: off}     # block, warn, info or off, where another than the default is wanted
    waivers:
      - rule: tolerance-loosened
        workloads: ch12_*                                   # a name, or a pattern with *
        key: outputs.y.*                                    # optional: the value's path, or a pattern
        owner: kernels-team
        reason: the new accumulator rounds once more; see the error table in the pull request
        expires: 2027-03-01                                 # the last day on which it counts

A waiver that a change adds does not count for that change: it is reviewed first.
"""

from __future__ import annotations

import datetime
import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aisp_runner import schema
from aisp_runner.config import load_yaml
from aisp_runner.errors import ConfigError
from aisp_runner.lint.places import Document
from aisp_runner.review.rules import POLICY_RULES, known, table

FILE = "review.yaml"
OFF = "off"


@dataclass(frozen=True)
class Waiver:
    """One accepted finding."""

    rule: str
    workloads: str
    key: str
    owner: str
    reason: str
    expires: datetime.date
    line: int

    def covers(self, rule: str, target: str, key: str) -> bool:
        """Whether it is about this finding of this workload."""
        return (
            rule == self.rule
            and fnmatch.fnmatchcase(target, self.workloads)
            and (not self.key or fnmatch.fnmatchcase(key, self.key))
        )

    @property
    def identity(self) -> tuple[str, str, str]:
        """What it is about, whoever owns it and however long."""
        return self.rule, self.workloads, self.key


@dataclass(frozen=True)
class Policy:
    """Severities and waivers of one revision."""

    severities: dict[str, str]
    waivers: tuple[Waiver, ...] = ()
    text: dict[str, Any] = field(default_factory=dict)
    """review.yaml as it is written."""

    def severity(self, rule: str) -> str:
        """block, warn, info or off."""
        return self.severities[rule]


def read(folder: Path) -> Policy:
    """The policy of a revision, the defaults where it has none. Raises ConfigError with a line for each problem."""
    severities = {rule: severity for rule, (severity, _) in {**table(), **POLICY_RULES}.items()}
    path = folder / FILE
    if not path.is_file():
        return Policy(severities)
    data = load_yaml(path)
    if isinstance(data.get("rules"), dict):  # YAML's reading of off is False
        data = data | {"rules": {rule: OFF if severity is False else severity for rule, severity in data["rules"].items()}}
    found = schema.problems(data, "review")
    for index, waiver in enumerate(data.get("waivers", []) if not found else ()):
        found += [problem] if (problem := known(waiver["rule"], f"waivers[{index}].rule")) else []
    for rule in data.get("rules", {}) if not found else ():
        found += [problem] if (problem := known(rule, f"rules.{rule}")) else []
    if found:
        raise ConfigError("\n".join(f"{FILE}: {problem}" for problem in found))
    document = Document(path.read_text("utf-8"))
    waivers = tuple(
        _waiver(waiver, document.find(f"waivers[{i}]").line, f"{FILE}: waivers[{i}]")
        for i, waiver in enumerate(data.get("waivers", []))
    )
    return Policy(severities | data.get("rules", {}), waivers, data)


def _waiver(data: dict[str, Any], line: int, where: str) -> Waiver:
    try:
        expires = datetime.date.fromisoformat(str(data["expires"]))
    except ValueError:
        raise ConfigError(f"{where}.expires: '{data['expires']}' is no day. Write 2027-03-01.") from None
    return Waiver(data["rule"], data["workloads"], data.get("key", ""), data["owner"], data["reason"], expires, line)


def waiving(waivers: Sequence[Waiver], rule: str, target: str, key: str, today: datetime.date) -> Waiver | None:
    """The waiver that excuses a finding today."""
    return next((w for w in waivers if w.covers(rule, target, key) and today <= w.expires), None)
