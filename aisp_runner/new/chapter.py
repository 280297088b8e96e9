"""Files of a new chapter: its title, its page and a first workload."""

from __future__ import annotations

import json

from aisp_runner.errors import ConfigError
from aisp_runner.new import names
from aisp_runner.new.files import Scaffold, checkout, filled
from aisp_runner.new.workload import workload

TITLE = "An example to change"


def chapter(name: str, title: str = "") -> Scaffold:
    """conf/chapter/NAME.yaml, chapters/NAME/README.md and a workload that carries its tag. Raises ConfigError."""
    names.checked(name, "chapter", "chapter")
    title = title or TITLE
    if not title.isprintable():
        raise ConfigError(f"--title {title!r}: one line of printable characters is wanted.")
    root, first = checkout(), f"{name}_multiply_add"
    made = workload(first)
    (yaml,) = [path for path in made.files if path.suffix == ".yaml"]
    source = next(path for path in made.files if path.suffix == ".py")
    tagged = filled("workload/workload.yaml", source=f"kernels/{source.name}", tag=f"chapter: {name}\n")
    words = {"name": name, "number": str(int(name[2:])), "workload": first}
    page = filled("chapter/README.md", title=title, **words)
    files = {
        root / "conf" / "chapter" / f"{name}.yaml": filled("chapter/chapter.yaml", name=name, title=json.dumps(title)),
        root / "chapters" / name / "README.md": page,
    }
    then = [
        f"aisp-run +chapter={name} verify.phase=gate",
        f"aisp learn {name}",
        f"add two of its workloads to conf/suite/quick.yaml, and ranges: python -m aisp_runner.dev.chapters --command "
        f"'aisp-run +chapter={name}' RUN_DIR",
    ]
    return Scaffold(files | made.files | {yaml: tagged}, then=then)
