"""`aisp show --config WORKLOAD [SETTING=VALUE ...]`: composes what a run would use, and shows it on one page."""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aisp_runner.errors import ConfigError

if TYPE_CHECKING:
    from aisp_runner.config_page.page import ConfigPage, Sections

KEY = 34
"""Columns of a key, at most."""


def add_arguments(show: argparse.ArgumentParser) -> None:
    """Adds to `aisp show` what it needs to show a workload's config."""
    show.add_argument("--config", metavar="WORKLOAD", help="show what this workload (a name, or a YAML file) measures, and why")
    show.add_argument("settings", nargs="*", metavar="SETTING=VALUE", help="overrides as aisp-run takes them, with --config")
    show.add_argument("--config-dir", type=Path, action="append", default=[], help="your own folder with workload/*.yaml")


def run(given: argparse.Namespace, write_lines: Callable[[Callable[[int], list[tuple[str, str]]]], None]) -> int:
    """0. Raises ConfigError for a workload that there is none of, and for settings that aisp-run would refuse."""
    if given.markdown:
        raise ConfigError("--markdown is for a run's table. With --config there is --json.")
    words = [str(given.run_dir)] if given.run_dir else []
    made = composed(given.config, [*words, *given.settings], given.config_dir)
    sections = made.sections()
    if given.json:
        sys.stdout.write(json.dumps(as_json(made, sections), indent=2, ensure_ascii=False) + "\n")
    else:
        write_lines(lambda width: list(lines(made, sections, width)))
    return 0


def composed(workload: str, overrides: Sequence[str], config_dirs: Sequence[Path] = ()) -> ConfigPage:
    """A workload by its name or YAML file, with the settings that a run with these overrides would have.

    Raises ConfigError, in the words of aisp-run.
    """
    from aisp_runner import cli, config
    from aisp_runner.config_page.page import ConfigPage

    dirs, name = list(config_dirs), workload.removeprefix("+workload=")
    if name.endswith((".yaml", ".yml")):
        file = Path(name).absolute()
        if not file.is_file() or file.parent.name != "workload":
            raise ConfigError(f"--config {name}: there is no such file FOLDER/workload/NAME.yaml. Say a name of aisp list.")
        dirs, name = [*dirs, file.parent.parent], file.stem
    for word in overrides:
        if "=" not in word or word.lstrip("+").split("=")[0] in config.SELECTORS:
            raise ConfigError(f"{word}: overrides such as measure=quick may follow; the workload is named by --config.")
    argv = [f"+workload={name}", *overrides]
    try:
        request = config.compose(argv, dirs)
    except ConfigError:
        raise
    except Exception as error:
        message = cli.explained(error, argv)
        if not message:
            raise
        raise ConfigError(message) from None
    if len(request.files) != 1:
        raise ConfigError(f"--config {workload}: {len(request.files)} workloads, and a page shows one. Name one.")
    return ConfigPage(request, config.config_folders(dirs))


def as_json(made: ConfigPage, sections: Sections) -> dict[str, Any]:
    """The page as plain values."""
    from aisp_runner.content import shown

    head = {"workload": made.spec.name, "file": shown(made.file), "overrides": list(made.request.overrides)}
    return head | {"sections": {title: [row.to_json() for row in rows] for title, rows in sections.items()}}


def lines(made: ConfigPage, sections: Sections, width: int) -> Iterator[tuple[str, str]]:
    """The page as (text, style): key, value and, at the end or on a line of its own, who sets it."""
    from aisp_runner.content import shown

    yield f"{made.spec.name}  {shown(made.file)}", "bold"
    for title, rows in sections.items():
        yield "", ""
        yield title.capitalize(), "bold"
        room = min(KEY, max((len(row.key) for row in rows), default=0))
        before = ""
        for row in rows:
            key = "" if row.key == before else row.key
            before = row.key
            told = f"  {key:<{room}}  {row.value}"
            *above, last = textwrap.wrap(told, width, subsequent_indent=" " * (room + 4), break_on_hyphens=False)
            yield from ((text, "") for text in above)
            free = width - len(last) - len(row.origin.text)
            if free < 2:
                yield last, ""
            yield (f"{row.origin.text:>{width}}" if free < 2 else f"{last}{' ' * free}{row.origin.text}"), ""
