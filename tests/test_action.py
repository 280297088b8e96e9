"""The GitHub action, the hooks of pre-commit and the commands in docs/ci.md: what they say is what the programs take."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aisp_runner import aisp, composable
from aisp_runner.config import compose
from aisp_runner.content import content_root
from tests.hostile_files import GOOD, KERNEL

yaml = pytest.importorskip("yaml", reason="PyYAML comes with OmegaConf")

ROOT = content_root()
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
STEPS = ACTION["runs"]["steps"]
SCRIPTS = {step["name"]: step["run"] for step in STEPS if "run" in step}
CI = (ROOT / "docs" / "ci.md").read_text()


def bash(script: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A step as a runner runs it, with aisp and aisp-run of this package on the path."""
    bin_ = folder.parent / "bin"
    bin_.mkdir(exist_ok=True)
    for name, module in (("aisp", "aisp"), ("aisp-run", "cli")):
        (bin_ / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" -m aisp_runner.{module} "$@"\n')
        (bin_ / name).chmod(0o755)
    (bin_ / "python").exists() or (bin_ / "python").symlink_to(sys.executable)
    given = {**os.environ, **environment, "PATH": f"{bin_}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
    return subprocess.run(command, cwd=folder, env=given, capture_output=True, text=True, check=False)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with one good workload in mine/."""
    folder = tmp_path / "checkout"
    (folder / "mine" / "workload").mkdir(parents=True)
    (folder / "mine" / "k.py").write_text(KERNEL)
    (folder / "mine" / "workload" / "x.yaml").write_text(GOOD)
    for words in (("init", "-q"), ("add", "."), ("-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-qm", "a")):
        subprocess.run(["git", *words], cwd=folder, check=True)
    return folder


def test_nothing_is_put_into_a_shell_but_by_its_environment() -> None:
    assert ACTION["runs"]["using"] == "composite" and len(SCRIPTS) == 5
    for name, script in SCRIPTS.items():
        assert "${{" not in script, name
    used = {name for step in STEPS for value in map(str, [step.get("if"), *step.get("env", {}).values(), step.get("with")])
            for name in re.findall(r"inputs\.([a-z-]+)", value)}  # fmt: skip
    assert used == set(ACTION["inputs"])
    assert all(step["shell"] == "bash" for step in STEPS if "run" in step)


def test_every_input_says_what_it_is() -> None:
    for name, given in ACTION["inputs"].items():
        assert given["description"].endswith(".") and isinstance(given["default"], str), name
        assert f"`{name}`" in CI


def commands(text: str) -> list[list[str]]:
    """The command lines of aisp and aisp-run in a script, variables put in as a word."""
    found = []
    for line in re.findall(r"(?<![\w-])(aisp(?:-run)? [^\n|]*)", re.sub(r" #.*", "", text)):
        line = re.sub(r"\"\$\{(folder|words)\[@\]\}\"", "", line.split(">>")[0].rstrip(";'\" "))
        line = re.sub(r"\$\{?\w+\}?", "VALUE", line)
        found.append(shlex.split(line + ('"' if line.count('"') % 2 else "")))
    return found


TEXTS = {**SCRIPTS, "docs/ci.md": "\n".join(re.findall(r"^ {4,}(?!\|).*$", CI, re.MULTILINE))}
COMMANDS = [(name, words) for name, text in TEXTS.items() for words in commands(text)]


@pytest.mark.parametrize(("name", "words"), COMMANDS, ids=[f"{name}: {' '.join(words)}" for name, words in COMMANDS])
def test_a_command_line_is_one_that_the_program_takes(name: str, words: list[str], tmp_path: Path) -> None:
    if words[0] == "aisp":
        parsed = aisp._parser().parse_args(words[1:])
        assert callable(parsed.command)
        return
    (tmp_path / "workload").mkdir()
    (tmp_path / "k.py").write_text(KERNEL)
    (tmp_path / "workload" / "saxpy.yaml").write_text(GOOD)
    rest = [word for word in words[1:] if word not in ("--config-dir", "mine", "||", "code=VALUE")]
    assert compose([*rest, "+workload=saxpy"] if name == "Gate" else rest, [tmp_path]).settings["verify"]["phase"] == "gate"


def test_the_commands_were_found() -> None:
    assert {words[1] for _, words in COMMANDS if words[0] == "aisp"} == {"lint", "review", "show"}
    assert sum(words[0] == "aisp-run" for _, words in COMMANDS) == 3


def test_the_default_selection_is_one() -> None:
    for text in (ACTION["inputs"]["select"]["default"], *re.findall(r"^ +select: (.+)$", CI, re.MULTILINE)):
        words = [word for word in text.split() if word != "+workload=saxpy"]
        assert compose([*words, "+workload=ch06_vector_add"] if len(words) < len(text.split()) else words).files


def test_lint_annotates_what_is_wrong_and_ends_with_its_code(checkout: Path) -> None:
    assert bash(SCRIPTS["Lint"], checkout, AISP_CONFIG_DIR="mine").returncode == 0
    (checkout / "mine" / "workload" / "x.yaml").write_text(GOOD.replace("rtol", "rtoll"))
    done = bash(SCRIPTS["Lint"], checkout, AISP_CONFIG_DIR="mine")
    assert done.returncode == 2
    assert "::error file=mine/workload/x.yaml,line=8,col=" in done.stdout and "rtoll: unknown key" in done.stdout


def test_review_writes_its_page_and_blocks_a_looser_tolerance(checkout: Path) -> None:
    page = checkout.parent / "summary.md"
    base = subprocess.run(["git", "rev-parse", "HEAD"], cwd=checkout, capture_output=True, text=True, check=True).stdout.strip()
    (checkout / "mine" / "workload" / "x.yaml").write_text(GOOD.replace("1.0e-6", "1.0e-2"))
    subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-qam", "b"], cwd=checkout, check=True
    )
    given = {"AISP_BASE": base, "AISP_HEAD": "HEAD", "AISP_CONFIG_DIR": "mine", "GITHUB_STEP_SUMMARY": str(page)}
    done = bash(SCRIPTS["Review"], checkout, **given)
    assert done.returncode == 2, done.stderr
    assert "::error" in done.stdout and "rtol" in page.read_text()


@pytest.mark.parametrize(
    "hostile", ["$(touch owned)", "`touch owned`", "; touch owned;", "' ; touch owned ; '", "--fix", "a\ntouch owned"]
)
@pytest.mark.parametrize("step", ["Lint", "Review", "Gate", "Report"])
def test_an_input_is_never_a_command(step: str, hostile: str, checkout: Path) -> None:
    names = ("AISP_CONFIG_DIR", "AISP_BASE", "AISP_HEAD", "AISP_RUN_DIR", "AISP_SELECT")
    given = {**dict.fromkeys(names, hostile), "GITHUB_STEP_SUMMARY": str(checkout.parent / "page")}
    done = bash(SCRIPTS[step], checkout, **given)
    assert not list(checkout.parent.rglob("owned"))
    assert done.returncode == (0 if step == "Report" else 2), done.stderr


def test_what_a_gate_prints_is_not_read_as_commands(checkout: Path) -> None:
    stub = 'aisp-run() { echo "::error::of a kernel"; return 3; }\n'
    done = bash(stub + SCRIPTS["Gate"], checkout, AISP_CONFIG_DIR="mine", AISP_SELECT="+workload=x", AISP_RUN_DIR="r")
    first, said, last = done.stdout.splitlines()
    token = first.removeprefix("::stop-commands::")
    assert len(token) == 32 and last == f"::{token}::" and said.startswith("::error")
    assert done.returncode == 3


def test_hooks_take_the_files_that_lint_knows() -> None:
    hooks: list[dict[str, Any]] = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    assert [hook["id"] for hook in hooks] == ["aisp-lint", "aisp-schema"]
    for hook in hooks:
        for path in ("mine/workload/x.yaml", "suite/s.yaml", "conf/measure/m.yaml", "quarantine.yaml"):
            assert re.search(hook["files"], path), path
        assert not re.search(hook["files"], ".github/workflows/ci.yaml")
    assert callable(aisp._parser().parse_args([*shlex.split(hooks[0]["entry"])[1:], "x.yaml"]).command)
    assert os.access(ROOT / hooks[1]["entry"], os.X_OK)


def test_the_schema_hook_chooses_by_folder(checkout: Path) -> None:
    stub = checkout.parent / "bin"
    stub.mkdir()
    (stub / "check-jsonschema").write_text('#!/bin/sh\necho "$@"\n')
    (stub / "check-jsonschema").chmod(0o755)
    done = bash(f'"{ROOT}/.ci/check-schema" mine/workload/x.yaml lab/l.yaml quarantine.yaml other/x.yaml', checkout)
    told = [line.split("/schemas/")[1] for line in done.stdout.splitlines()]
    assert "workload.schema.json ./mine/workload/x.yaml" in told[0] and "./lab/l.yaml" in told[1]
    assert told[2] == "quarantine.schema.json ./quarantine.yaml" and len(told) == 3


def test_editors_know_every_group_that_a_config_dir_has() -> None:
    import json

    settings = json.loads((ROOT / ".vscode" / "settings.json").read_text())["yaml.schemas"]
    assert all((ROOT / path).is_file() for path in settings)
    globs = [glob for entry in settings.values() for glob in entry]
    assert {f"**/{group}/*.yaml" for group in composable.SELECTORS} <= set(globs)


def test_a_measure_option_has_the_settings_of_measure() -> None:
    import json

    option, whole = (json.loads((ROOT / "schemas" / f"{name}.schema.json").read_text()) for name in ("measure", "config"))
    assert {k: v for k, v in option["properties"].items() if k != "defaults"} == whole["properties"]["measure"]["properties"]
