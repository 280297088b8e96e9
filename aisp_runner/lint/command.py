"""`aisp lint`: checks config files and says file:line for each remark."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from aisp_runner import workflow
from aisp_runner.lint import files
from aisp_runner.lint.files import Remark
from aisp_runner.lint.rules import ERROR
from aisp_runner.report import clean


def run(given: argparse.Namespace) -> int:
    """0 without errors (with --strict: without remarks), 2 otherwise. Raises ConfigError for a path that is not there."""
    found = files.collect(given.paths or files.default_paths())
    remarks = [remark for path in found for remark in files.lint(path, given.gpu_gib)]
    if given.fix and files.fix(remarks):
        remarks = [remark for path in found for remark in files.lint(path, given.gpu_gib)]
    errors = sum(remark.severity == ERROR for remark in remarks)
    if given.json:
        sys.stdout.write(files.as_json(remarks) + "\n")
    elif given.github:
        sys.stdout.write("".join(annotation(remark) + "\n" for remark in remarks))
    else:
        sys.stdout.write("".join(clean(remark.text()) + "\n" for remark in remarks))
        sys.stdout.write(_summary(len(found), remarks, errors))
    return 2 if errors or (given.strict and remarks) else 0


def annotation(remark: Remark) -> str:
    """A GitHub workflow command, which shows the remark beside the line."""
    at = remark.place
    return workflow.annotation(remark.severity, files.shown(remark.file), at.line, remark.rule, remark.message, at.column)


def _summary(count: int, remarks: Sequence[Remark], errors: int) -> str:
    fixable = sum(bool(remark.right) for remark in remarks)
    told = f"{count} files: {errors} errors, {len(remarks) - errors} warnings"
    return f"{told}{f'; {fixable} can be fixed with --fix' if fixable else ''}\n"
