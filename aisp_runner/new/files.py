"""Templates of the package, filled in, and written where no file is yet."""

from __future__ import annotations

import contextlib
import os
import string
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from aisp_runner.content import content_root, shown
from aisp_runner.errors import ConfigError

TEMPLATES = Path(__file__).resolve().parent / "templates"


@dataclass
class Scaffold:
    """What is going to be written, and what to do then."""

    files: dict[Path, str] = field(default_factory=dict)
    """Text of each new file, by absolute path."""
    pages: dict[Path, Callable[[], str]] = field(default_factory=dict)
    """What gives the new text of a page that lists what there is, once the files are there; by absolute path. Such a page
    gains lines, or is generated again.
    """
    then: list[str] = field(default_factory=list)
    """Commands to go on with."""

    def write(self) -> None:
        """Writes all new files or none, and then the pages. Raises ConfigError; for a file that is there already before
        anything is written.
        """
        there = [shown(path) for path in self.files if os.path.lexists(path)]
        if there:
            verb = "is" if len(there) == 1 else "are"
            raise ConfigError(f"{', '.join(there)} {verb} there already, and nothing is overwritten. Use another name.")
        made: list[Path] = []
        try:
            for path, text in self.files.items():
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("x", encoding="utf-8") as file:
                    made.append(path)
                    file.write(text)
        except OSError as error:
            for path in made:
                with contextlib.suppress(OSError):
                    path.unlink()
            raise ConfigError(f"{shown(Path(error.filename or path))}: cannot be written: {error.strerror}.") from None
        for page, text_of in self.pages.items():
            replace(page, text_of())


def replace(path: Path, text: str) -> None:
    """Gives a page another text, whole or not at all. Raises ConfigError."""
    beside = path.with_name(f".{path.name}.new")
    try:
        beside.write_text(text, "utf-8")
        beside.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise ConfigError(f"{shown(path)}: cannot be written: {error.strerror}.") from None


def filled(name: str, /, **words: str) -> str:
    """The template templates/NAME with ${word} replaced. A word that is not given is our own mistake: KeyError."""
    return string.Template((TEMPLATES / f"{name}.tmpl").read_text("utf-8")).substitute(words)


def checkout() -> Path:
    """The repository's root. Raises ConfigError where the package is installed without its tests."""
    root = content_root()
    if not (root / "tests" / "attacks").is_dir() or not (root / "pyproject.toml").is_file():
        raise ConfigError(
            f"{root} is an installation and no checkout of the repository. Workloads of your own need none: "
            "aisp new workload NAME --into FOLDER."
        )
    return root
