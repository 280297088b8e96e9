"""Where the runner's own configs, kernels and schemas lie."""

from __future__ import annotations

import functools
from pathlib import Path

from aisp_runner.errors import ConfigError

_elsewhere: list[Path] = []


def content_root() -> Path:
    """Absolute path of the folder that holds conf/ and kernels/: that of `installed_root`, or what `read_from` named last."""
    return _elsewhere[-1] if _elsewhere else installed_root()


def read_from(folder: Path) -> None:
    """Reads configs and kernels from this folder from now on: for the process that composes another revision."""
    _elsewhere.append(folder.resolve())


@functools.cache
def installed_root() -> Path:
    """Absolute path of the folder that holds this runner's own conf/, kernels/ and schemas/.

    In a repository checkout that is the parent of this package; in an installed wheel it is `aisp_runner/content`.
    Raises ConfigError when neither is there.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / "content", package.parent):
        if (folder / "conf" / "config.yaml").is_file():
            return folder
    raise ConfigError(
        f"no conf/config.yaml in {package.parent} nor in {package / 'content'}. Install aisp-run again, or use a checkout."
    )


def shown(path: Path) -> str:
    """A path as messages show it: relative to the content root or the current folder where it lies below one, else absolute."""
    path = path.absolute()
    for folder in (content_root(), Path.cwd()):
        if path.is_relative_to(folder):
            return path.relative_to(folder).as_posix()
    return str(path)
