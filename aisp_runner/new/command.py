"""`aisp new`: its command line, and what it says of the files that it has made."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aisp_runner.new.files import Scaffold

HELP = "files for a workload, protection, attack or chapter that run as they are made, to be changed"


def add_parser(commands: Any) -> None:
    """Adds `new` to the subcommands of `aisp`. Imports nothing of what the handlers need."""
    kinds = commands.add_parser("new", help=HELP).add_subparsers(metavar="KIND", required=True)
    workload = kinds.add_parser("workload", help="a comparison: its YAML and its kernel file")
    workload.add_argument("name", metavar="NAME", help="such as ch06_vector_add")
    workload.add_argument("--into", type=Path, metavar="FOLDER", help="a folder of your own, for aisp-run --config-dir FOLDER")
    tag = workload.add_mutually_exclusive_group()
    tag.add_argument("--chapter", default="", metavar="TAG", help="the chapter that it belongs to")
    tag.add_argument("--lab", default="", metavar="TAG", help="the lab that it belongs to")
    workload.set_defaults(command=_run, scaffold=_workload)
    protection = kinds.add_parser("protection", help="a check of the judge's: module, test, attack, section in the docs")
    protection.add_argument("name", metavar="ID", help="category.name, such as memory.late_writes")
    protection.add_argument("--covers", nargs="+", required=True, metavar="ISSUE", help="issues that it is against")
    protection.set_defaults(command=_run, scaffold=_protection)
    attack = kinds.add_parser("attack", help="a kernel that cheats, and its honest twin")
    attack.add_argument("name", metavar="CATEGORY/NAME", help="such as output/stale_cache")
    attack.add_argument("--issue", required=True, help="the validity issue, such as output.stale_cache")
    attack.add_argument(
        "--expect", required=True, metavar="PROTECTION", help="what must refuse it, such as output.fresh_inputs"
    )
    attack.set_defaults(command=_run, scaffold=_attack)
    chapter = kinds.add_parser("chapter", help="a title, a page and a first workload")
    chapter.add_argument("name", metavar="chNN", help="such as ch21")
    chapter.add_argument("--title", default="", help="what it is about, in one line")
    chapter.set_defaults(command=_run, scaffold=_chapter)


def _run(parsed: argparse.Namespace) -> int:
    """Writes the files, and says which, and what to do next. Raises ConfigError."""
    from aisp_runner.content import shown
    from aisp_runner.report import clean

    made: Scaffold = parsed.scaffold(parsed)
    made.write()
    lines = [f"made     {shown(path)}" for path in made.files] + [f"changed  {shown(path)}" for path in made.pages]
    lines += [f"next     {command}" for command in made.then]
    sys.stdout.write("".join(clean(line) + "\n" for line in lines))
    return 0


def _workload(parsed: argparse.Namespace) -> Scaffold:
    from aisp_runner.new.workload import workload

    return workload(parsed.name, parsed.into, parsed.chapter, parsed.lab)


def _protection(parsed: argparse.Namespace) -> Scaffold:
    from aisp_runner.new.protection import protection

    return protection(parsed.name, parsed.covers)


def _attack(parsed: argparse.Namespace) -> Scaffold:
    from aisp_runner.new.attack import attack

    return attack(parsed.name, parsed.issue, parsed.expect)


def _chapter(parsed: argparse.Namespace) -> Scaffold:
    from aisp_runner.new.chapter import chapter

    return chapter(parsed.name, parsed.title)
