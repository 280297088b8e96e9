"""`aisp review BASE..HEAD`: exit code 0 clean, 2 blocked, 3 cannot be composed."""

from __future__ import annotations

import argparse
import concurrent.futures
import datetime
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aisp_runner.errors import ConfigError


def add_parser(commands: Any) -> None:
    """The subcommand of `aisp`."""
    about = "what a change of configs means for what is measured; exit 2 when it is blocked, 3 when it cannot be composed"
    review = commands.add_parser("review", help=about)
    review.add_argument(
        "change", metavar="BASE..HEAD", help="commits; BASE alone is held against the working tree; or a folder"
    )
    review.add_argument("other", nargs="?", type=Path, metavar="FOLDER", help="with a folder as the first argument: the head")
    named = "folder with workload/*.yaml, relative to the repository; default: every one that is found"
    review.add_argument("--config-dir", action="append", default=[], metavar="DIR", help=named)
    form = review.add_mutually_exclusive_group()
    form.add_argument("--markdown", action="store_true", help="as a page of Markdown")
    form.add_argument("--github", action="store_true", help="as at most ten annotations of a GitHub workflow")
    form.add_argument("--json", action="store_true", help="as JSON")
    form.add_argument("--sarif", action="store_true", help="as SARIF 2.1.0")
    review.add_argument("--summary", type=Path, metavar="FILE", help="also append the page of Markdown to this file")
    review.set_defaults(command=_run)


def _run(given: argparse.Namespace) -> int:
    from aisp_runner.review import report, sarif

    made = review(given.change, given.other, given.config_dir)
    forms = {"markdown": report.markdown, "github": report.github, "json": report.as_json, "sarif": sarif.sarif}
    form = next((forms[name] for name in forms if getattr(given, name)), report.text)
    sys.stdout.write(form(made))
    if given.summary:
        with given.summary.open("a", encoding="utf-8") as page:
            page.write(report.markdown(made))
    return made.exit_code


def review(
    change: str,
    other: Path | None = None,
    config_dirs: Sequence[str] = (),
    repository: Path | None = None,
    today: datetime.date | None = None,
) -> Any:
    """The Review of a change. repository: a folder of the git repository, by default the current one. today: for waivers.

    Raises ConfigError for what is not there, and for a policy of the base that cannot be read.
    """
    from aisp_runner.review import changes, findings, policy, revision

    today = today or datetime.datetime.now(datetime.UTC).date()
    for name in config_dirs:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ConfigError(f"--config-dir {name}: name a folder relative to the repository, as both revisions have it.")
    with tempfile.TemporaryDirectory(prefix="aisp-review-") as into:
        base, head = revision.pair(change, other, Path(into), repository or Path.cwd())
        rules = policy.read(base.folder)
        files = findings.differing(base.folder, head.folder, revision.KINDS, _places(base.folder, head.folder, config_dirs))
        if not files:
            return findings.Review((), (), 0, 0, base.name, head.name)
        before, after = _composed(base.folder, head.folder, config_dirs, files)
        found = findings.of_changes(changes.between(before, after, base.folder, head.folder), after, rules, today)
        found += findings.uncomposed(before, after, rules)
        found += findings.of_policy(rules, _policy(head.folder, rules, found), found, today)
        found += findings.without_effect(files, found, len(after.workloads), rules)
        kept = [f for f in found if rules.severity(f.rule) != policy.OFF]
        affected = sum(bool(values) for values in after.workloads.values())
        return findings.Review(findings.ordered(kept), tuple(files), len(after.workloads), affected, base.name, head.name)


def _policy(folder: Path, base: Any, found: list[Any]) -> Any:
    """The head's rules, which judge nothing yet; what is wrong with them is a finding."""
    from aisp_runner.review import findings, policy

    try:
        return policy.read(folder)
    except ConfigError as error:
        severity = base.severity("cannot-compose")
        found.append(findings.Finding("cannot-compose", severity, str(error), policy.FILE, 1, "", (), 0))
        return base


def _places(base: Path, head: Path, config_dirs: Sequence[str]) -> list[Path]:
    """Where a repository's configs and kernels lie: its config folders with all that is beside them, kernels/ and labs/."""
    from aisp_runner.review.composed import found_in

    own = [Path(name) for name in config_dirs] or [
        f.relative_to(s.resolve()) for s in (base, head) for f in found_in(s.resolve())
    ]
    return list(
        dict.fromkeys([Path("conf"), Path("kernels"), Path("labs"), Path("quarantine.yaml"), Path("review.yaml"), *own])
    )


def _composed(base: Path, head: Path, config_dirs: Sequence[str], files: Sequence[str]) -> tuple[Any, Any]:
    """The snapshots of both sides, each made by a process of its own, at the same time."""
    from aisp_runner.review.composed import Snapshot

    command = [sys.executable, "-m", "aisp_runner.review.composed"]
    running = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in (base, head)
    ]
    asked = [json.dumps({"folder": str(side), "config_dirs": list(config_dirs), "changed": files}) for side in (base, head)]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        told = list(pool.map(lambda process, text: process.communicate(text), running, asked))
    for process, (_, errors) in zip(running, told, strict=True):
        if process.returncode:
            raise ConfigError(f"a revision could not be composed: {errors.strip().splitlines()[-1] if errors.strip() else ''}")
    before, after = (Snapshot.of_json(out) for out, _ in told)
    return before, after
