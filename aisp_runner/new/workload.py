"""Files of a new workload: a small comparison that runs, in the repository or in a folder of the user's own."""

from __future__ import annotations

from pathlib import Path

from aisp_runner.content import content_root, shown
from aisp_runner.errors import ConfigError
from aisp_runner.new import names
from aisp_runner.new.files import Scaffold, checkout, filled


def workload(name: str, into: Path | None = None, chapter: str = "", lab: str = "") -> Scaffold:
    """A workload's YAML and kernel file: conf/workload/ and kernels/ of the checkout, or FOLDER/workload/ and FOLDER/.

    chapter, lab: the tag that the workload carries. Raises ConfigError for a name that cannot be one.
    """
    names.checked(name, "workload")
    if name in names.TAKEN:
        raise ConfigError(f"workload {name!r}: the kernel file {name}.py would hide a module of that name. Use another name.")
    if (content_root() / "conf" / "workload" / f"{name}.yaml").exists():
        raise ConfigError(f"conf/workload/{name}.yaml is there already, and nothing is overwritten. Use another name.")
    tag = _tag(chapter, lab, into)
    if into is None:
        root = checkout()
        yaml, kernel, source = (
            root / "conf" / "workload" / f"{name}.yaml",
            root / "kernels" / f"{name}.py",
            f"kernels/{name}.py",
        )
        where = ""
    else:
        folder = into.expanduser().absolute()
        if folder.resolve() == content_root() / "conf":
            raise ConfigError(f"--into {into}: these are the repository's own configs. Leave --into out.")
        source, where = f"../{name}.py", f"--config-dir {into} "
        yaml, kernel = folder / "workload" / f"{name}.yaml", folder / f"{name}.py"
    then = [
        f"aisp lint {shown(yaml)}",
        f"aisp-run {where}+workload={name} verify.phase=gate",
        f"aisp show --config {shown(yaml) if where else name}",
        f"aisp audit --wrong {shown(yaml) if where else name}",
    ]
    return Scaffold(
        {yaml: filled("workload/workload.yaml", source=source, tag=tag), kernel: filled("workload/kernel.py")}, then=then
    )


def _tag(chapter: str, lab: str, into: Path | None) -> str:
    """The YAML's line for a chapter or lab. A chapter of the repository must be there, since it has a page."""
    if chapter and into is None:
        known = sorted(path.stem for path in (content_root() / "conf" / "chapter").glob("*.yaml"))
        if chapter not in known:
            try:
                names.one_of(chapter, known, "chapter", "Chapters")
            except ConfigError as error:
                raise ConfigError(f"--chapter: {error} Make it with: aisp new chapter {chapter}") from None
    for key, tag in (("chapter", chapter), ("lab", lab)):
        if tag:
            return f"{key}: {names.checked(tag, f'--{key}', 'tag')}\n"
    return ""
