"""Configs of a stranger: each is a clear error in under 2 s and under 500 MB, and nothing of it is run.

tests/hostile_files.py makes them. Every command is a process of its own, forked from one that has imported the package; its
CPU time, peak memory and what it opened, started or ran are what the kernel and an audit hook say of it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.hostile_files import CANARY, HOSTILE, SECRET, TEXT, Hostile, build

MAX_CPU_S = 2.0
MAX_PEAK_MB = 500

Told = dict[tuple[str, str], dict[str, Any]]


def job(told: str, name: str, folder: Path, command: str, *arguments: str) -> dict[str, Any]:
    out = folder.parent / f"{folder.name}.{told}"
    return {
        "told": told,
        "name": name,
        "folder": str(folder),
        "out": str(out),
        "command": command,
        "arguments": list(arguments),
    }


def jobs_of(name: str, hostile: Hostile, folder: Path) -> list[dict[str, Any]]:
    """The commands that are given a config dir, in its parent folder."""
    build(folder, hostile)
    found = [job("run", name, folder, "aisp-run", "--config-dir", "mine", *hostile.run, "device=cpu", "mode=plan")]
    if hostile.listed or name in TEXT:
        found.append(job("list", name, folder, "aisp", "list", "--config-dir", "mine"))
    if hostile.lint:
        found.append(
            job("lint", name, folder, "aisp", "lint", f"mine/{hostile.file}" if "owned" not in hostile.file else "mine")
        )
    if hostile.lint and name in TEXT:
        found.append(job("github", name, folder, "aisp", "lint", "--github", "mine"))
    return found


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the commands said and took: {"start_cpu_s": ..., (name, command): ...}."""
    root = tmp_path_factory.mktemp("hostile")
    jobs = [one for number, (name, hostile) in enumerate(HOSTILE.items()) for one in jobs_of(name, hostile, root / f"{number}")]
    environment = {**os.environ, "AISP_HOSTILE_SECRET": SECRET, "COLUMNS": "120"}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    running = []
    for half in range(2):
        given, out = root / f"jobs{half}.json", root / f"told{half}.json"
        given.write_text(json.dumps(jobs[half::2]))
        command = [sys.executable, str(Path(__file__).with_name("hostile_child.py")), str(given), str(out)]
        pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        running.append((subprocess.Popen(command, env=environment, text=True, **pipes), out))
    made: dict[Any, Any] = {"start_cpu_s": 0.0}
    for process, out in running:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
        told = json.loads(out.read_text())
        made["start_cpu_s"] = max(made["start_cpu_s"], told["start_cpu_s"])
        made |= {(one["name"], one["told"]): one for one in told["results"]}
    return made


def commands(name: str, outcome: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for key, one in outcome.items() if key[0] == name]


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_of_it_is_run_or_shown(name: str, outcome: dict[str, Any]) -> None:
    for one in commands(name, outcome):
        folder, said = Path(one["folder"]), one["stdout"] + one["stderr"]
        plans = [path for path in folder.rglob("*") if path.name == "plan.json"]
        written = [line for line in one["done"] if not (plans and "writes" in line and "plan.json" in line)]
        assert not written, one["told"]
        assert not list(folder.rglob(CANARY)) and SECRET not in said
        assert not any(SECRET in path.read_text() for path in plans)


@pytest.mark.parametrize("name", HOSTILE)
def test_it_is_over_soon_and_in_little_memory(name: str, outcome: dict[str, Any]) -> None:
    for one in commands(name, outcome):
        assert outcome["start_cpu_s"] + one["cpu_s"] < MAX_CPU_S, one["told"]
        assert one["peak_mb"] < MAX_PEAK_MB, one["told"]


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_said_is_printable_and_no_traceback(name: str, outcome: dict[str, Any]) -> None:
    for one in commands(name, outcome):
        said = one["stdout"] + one["stderr"]
        assert one["code"] in (0, 2), (one["told"], one["code"], said[-2000:])
        assert "Traceback" not in said
        assert all(c.isprintable() or c == "\n" for c in said)
        starts = [line for line in said.splitlines() if line.lstrip().startswith("::")]
        assert all(re.match(r"::(error|warning) file=[^:,]+,line=\d+,col=\d+,title=[a-z-]+::", line) for line in starts)
        assert one["told"] == "github" or not starts


@pytest.mark.parametrize("name", [name for name, hostile in HOSTILE.items() if hostile.lint])
def test_lint_says_what_is_wrong_and_where(name: str, outcome: dict[str, Any]) -> None:
    one, hostile = outcome[name, "lint"], HOSTILE[name]
    assert one["code"] == 2
    lines = [line for line in one["stdout"].splitlines() if hostile.file in line and " error [" in line]
    assert any(re.search(hostile.said, line) for line in lines), one["stdout"][-2000:]


@pytest.mark.parametrize("name", [name for name, hostile in HOSTILE.items() if "plain" not in hostile.traits])
def test_a_run_says_what_is_wrong_and_where(name: str, outcome: dict[str, Any]) -> None:
    one, hostile = outcome[name, "run"], HOSTILE[name]
    assert one["code"] == 2
    assert hostile.file in one["stderr"], one["stderr"][-2000:]
    assert re.search(re.escape(hostile.run_says) or hostile.said, one["stderr"]), one["stderr"][-2000:]


@pytest.mark.parametrize("name", [name for name, hostile in HOSTILE.items() if hostile.listed])
def test_a_listing_names_it_and_goes_on(name: str, outcome: dict[str, Any]) -> None:
    one, hostile = outcome[name, "list"], HOSTILE[name]
    assert one["code"] == 2
    assert hostile.file in one["stderr"], one["stderr"][-2000:]
    assert "ch01_gemm_batched" in one["stdout"]


@pytest.mark.parametrize("name", [name for name, hostile in HOSTILE.items() if "plain" in hostile.traits])
def test_what_is_only_odd_is_planned(name: str, outcome: dict[str, Any]) -> None:
    assert outcome[name, "run"]["code"] == 0, outcome[name, "run"]["stderr"]


@pytest.mark.parametrize("command", ["lint", "aisp-run"])
def test_a_whole_process_stays_in_its_limits(command: str, tmp_path: Path) -> None:
    """From the interpreter's start, as a shell would start it."""
    build(tmp_path, HOSTILE["aliases of aliases"])
    words = {"lint": ["aisp", "lint", "mine"], "aisp-run": ["cli", "--config-dir", "mine", "+workload=x", "mode=plan"]}[command]
    limited = "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_CPU, (5, 5)); sys.argv = sys.argv[1:]; "
    limited += "runpy.run_module('aisp_runner.' + sys.argv[0], run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", limited, *words], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "x.yaml" in done.stdout + done.stderr
