"""`aisp new`: what it makes keeps the project's own rules, runs, holds in an audit, and overwrites nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from aisp_runner import aisp, learn
from aisp_runner.content import content_root
from aisp_runner.errors import ConfigError
from aisp_runner.new import files, names
from aisp_runner.new.pages import with_section
from aisp_runner.new.protection import _tuple

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("aisp_runner", "chapters", "conf", "docs", "kernels", "schemas", "tests", "pyproject.toml", "README.md")
MADE = (
    ["workload", "made_fma"],
    ["chapter", "ch97", "--title", 'A title: with a colon, "quotes" and #'],
    ["protection", "output.left_files", "--covers", "output.stale_cache", "location.warmup_computation"],
    ["protection", "distributed.other_files", "--covers", "distributed.rank_skipping"],
    ["attack", "output/kept_answer", "--issue", "location.warmup_computation", "--expect", "output.fresh_inputs"],
)
"""What the checkout below is given; the last attack is for another issue than the one that it is made from."""
Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository in which one of each kind was made."""
    root = tmp_path_factory.mktemp("checkout")
    for name in COPIED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
        copy(ROOT / name, root / name, **({"ignore": shutil.ignore_patterns("__pycache__")} if (ROOT / name).is_dir() else {}))
    for arguments in MADE:
        done = run(root, "aisp_runner.aisp", "new", *arguments)
        assert done.returncode == 0, done.stderr
        assert "made     " in done.stdout and "next     " in done.stdout
    return root


def run(root: Path, module: str, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    return subprocess.run(command, cwd=cwd or root, env=environment, capture_output=True, text=True, timeout=300, check=False)


def texts(root: Path) -> dict[str, str]:
    """Every file below, by path."""
    return {
        str(path.relative_to(root)): path.read_text("utf-8", errors="replace")
        for path in sorted(root.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts and path.suffix in (".py", ".yaml", ".md", ".tmpl")
    }


def test_what_is_made_is_linted_without_a_remark(checkout: Path) -> None:
    done = run(checkout, "aisp_runner.aisp", "lint", "--strict")
    assert done.returncode == 0, done.stdout


def test_what_is_made_is_laid_out_as_the_project_is(checkout: Path) -> None:
    pytest.importorskip("ruff", reason="ruff is a tool of development")
    made = [name for name in sorted(texts(checkout)) if name.endswith(".py") and not (ROOT / name).exists()]
    assert len(made) == 10
    for words in (["check", "--quiet"], ["format", "--quiet", "--check"]):
        done = run(checkout, "ruff", *words, "--no-cache", *made)
        assert done.returncode == 0, done.stdout


def test_what_is_made_passes_the_projects_tests(checkout: Path) -> None:
    own = ["output/test_left_files.py", "distributed/test_other_files.py", "test_base.py", "test_registry.py"]
    known = [f"tests/protect/{name}" for name in own]
    known += [f"tests/test_{name}.py" for name in ("sections", "coverage", "architecture")]
    for test in (
        "test_every_protection_has_an_attack_that_it_is_expected_to_refuse",
        "test_every_attack_is_against_an_issue_that_its_protection_covers",
    ):
        known.append(f"tests/test_attacks.py::{test}")
    done = run(checkout, "pytest", "-q", "-p", "no:cacheprovider", *known)
    assert done.returncode == 0, done.stdout[-3000:]
    about = ["tests/test_kernels.py", "tests/test_learn.py", "-k", "made_fma or ch97"]
    kernels = run(checkout, "pytest", "-q", "-p", "no:cacheprovider", *about)
    assert kernels.returncode == 0 and "passed" in kernels.stdout, kernels.stdout[-3000:]


@pytest.mark.slow
@pytest.mark.alone
def test_a_made_chapter_passes_its_gate(checkout: Path, tmp_path: Path) -> None:
    words = ["+chapter=ch97", "verify.phase=gate", "device=cpu", "measure=quick", f"run_dir={tmp_path / 'run'}"]
    done = run(checkout, "aisp_runner.cli", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    records = [json.loads(line) for line in (tmp_path / "run" / "records.jsonl").read_text().splitlines()]
    assert [(r["status"], r["case"]["held_out"]) for r in records] == [("VALID", False), ("VALID", True)]


@pytest.mark.slow
@pytest.mark.alone
def test_made_attacks_hold(checkout: Path, tmp_path: Path) -> None:
    made = "output/left_files,output/kept_answer"
    done = run(checkout, "aisp_runner.aisp", "audit", "--names", made, "--json", "--out", str(tmp_path / "rows.json"))
    rows = {row["attack"]: row for row in json.loads((tmp_path / "rows.json").read_text())}
    assert done.returncode == 0, rows
    assert {name: (row["issue"], row["named"], row["alive"], row["twin_accepted"]) for name, row in rows.items()} == {
        "output/left_files": ("output.stale_cache", True, True, True),
        "output/kept_answer": ("location.warmup_computation", True, True, True),
    }


@pytest.mark.slow
@pytest.mark.alone
def test_a_workload_of_ones_own_runs_and_passes_its_gate(tmp_path: Path) -> None:
    assert run(ROOT, "aisp_runner.aisp", "new", "workload", "theirs", "--into", "mine", cwd=tmp_path).returncode == 0
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.*")) == [
        "mine/theirs.py",
        "mine/workload/theirs.yaml",
    ]
    assert run(ROOT, "aisp_runner.aisp", "lint", "mine", "--strict", cwd=tmp_path).returncode == 0
    words = ["--config-dir", "mine", "+workload=theirs", "verify.phase=gate", "device=cpu", "measure=quick"]
    done = run(ROOT, "aisp_runner.cli", *words, cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.count("VALID") >= 2, done.stdout + done.stderr


def test_a_chapters_page_is_shown_with_its_title(checkout: Path) -> None:
    page = learn.page("ch97", checkout)
    assert page.startswith('# Chapter 97: A title: with a colon, "quotes" and #\n') and "## Prediction" in page
    listed = run(checkout, "aisp_runner.aisp", "list", "ch97", "--json")
    assert 'A title: with a colon, "quotes" and #' in json.loads(listed.stdout)["groups"].values()


def test_making_it_again_changes_nothing(checkout: Path) -> None:
    before = texts(checkout)
    for arguments in MADE:
        done = run(checkout, "aisp_runner.aisp", "new", *arguments)
        assert done.returncode == 2 and done.stderr.startswith("aisp: error: "), done.stderr
    assert texts(checkout) == before


def test_a_file_that_is_there_keeps_its_content_and_nothing_else_is_made(tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "theirs.py").write_text("raise SystemExit('imported')\n")
    assert aisp.main(["new", "workload", "theirs", "--into", str(tmp_path / "mine")]) == 2
    assert "is there already, and nothing is overwritten" in capsys.readouterr().err
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["theirs.py"]
    assert (tmp_path / "mine" / "theirs.py").read_text() == "raise SystemExit('imported')\n"


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    made = files.Scaffold({tmp_path / "a.py": "1", tmp_path / "file" / "b.py": "2"})
    with pytest.raises(ConfigError, match="cannot be written"):
        made.write()
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["workload", "../x"], "workload '../x': at most 32 characters are allowed: small letters, digits and _"),
        (["workload", "x" * 33], "at most 32 characters"),
        (["workload", "class"], "it is a Python keyword"),
        (["workload", "random"], "the kernel file random.py would hide a module of that name"),
        (["workload", "ch06_vector_add"], "conf/workload/ch06_vector_add.yaml is there already"),
        (["workload", "x1", "--chapter", "cho6"], "--chapter: there is no chapter 'cho6'. Did you mean 'ch"),
        (["workload", "x1", "--into", str(ROOT / "conf")], "these are the repository's own configs"),
        (["protection", "late"], "protection 'late': write CATEGORY.NAME"),
        (["protection", "memry.x"], "there is no category 'memry'. Did you mean 'memory'? Categories: compile, cuda,"),
        (["protection", "memory.x2"], "protection 'x2': at most 32 characters are allowed: small letters and _"),
        (["protection", "memory.late_writes"], "memory.late_writes has that name"),
        (["protection", "output.late_writes"], "memory.late_writes has that name, and its section is docs/protection.md#late"),
        (["attack", "output"], "attack 'output': write CATEGORY/NAME"),
        (["attack", "outptu/x"], "there is no category of attacks 'outptu'. Did you mean 'output'?"),
        (["attack", "output/stale_cache"], "tests/attacks/output/stale_cache.py is there already"),
        (["chapter", "chapter21"], "chapter 'chapter21': at most 32 characters are allowed: ch and two digits"),
        (["chapter", "ch98", "--title", "two\nlines"], "one line of printable characters"),
    ],
    ids=lambda value: " ".join(value)[:40].replace("\n", " ") if isinstance(value, list) else "",
)
def test_a_name_that_cannot_be_is_refused_with_what_is_allowed(arguments: list[str], said: str, capsys: Captured) -> None:
    more = {
        "protection": ["--covers", "memory.swap_interference"],
        "attack": ["--issue", "output.stale_cache", "--expect", "output.fresh_inputs"],
    }
    assert aisp.main(["new", *arguments, *more.get(arguments[0], [])]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("issue", "expect", "said"),
    [
        (
            "output.stale_cach",
            "output.fresh_inputs",
            "no issue 'output.stale_cach'. Did you mean 'output.stale_cache'?",
        ),
        ("nothing.at_all", "output.fresh_inputs", "Issues are of timing, output,"),
        ("output.stale_cache", "output.fresh_input", "there is no protection 'output.fresh_input'. Did you mean 'output.fresh"),
        (
            "output.stale_cache",
            "memory.no_swapping",
            "is not against output.stale_cache, but against memory.swap_",
        ),
        ("timing.unsynced_streams", "timing.roofline_floor", "no attack expects timing.roofline_floor yet"),
    ],
)
def test_issue_and_protection_of_an_attack_must_exist_and_fit(issue: str, expect: str, said: str, capsys: Captured) -> None:
    assert aisp.main(["new", "attack", "output/unheard_of", "--issue", issue, "--expect", expect]) == 2
    assert said in capsys.readouterr().err
    assert not (ROOT / "tests" / "attacks" / "output" / "unheard_of.py").exists()


def test_an_issue_of_a_protection_must_exist(capsys: Captured) -> None:
    assert aisp.main(["new", "protection", "memory.unheard_of", "--covers", "memory.swap"]) == 2
    said = capsys.readouterr().err
    assert "there is no issue 'memory.swap'." in said and "Issues of memory: memory.pre_allocated_output," in said


def test_an_installation_without_tests_makes_workloads_of_ones_own_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(files, "content_root", lambda: tmp_path)
    with pytest.raises(ConfigError, match=r"is an installation and no checkout.*aisp new workload NAME --into FOLDER"):
        files.checkout()


def test_every_template_travels_with_the_wheel_and_is_filled_by_its_words() -> None:
    shipped = {str(path.relative_to(files.TEMPLATES)) for path in files.TEMPLATES.rglob("*.tmpl")}
    assert {name.partition("/")[0] for name in shipped} == {"attack", "chapter", "protection", "workload"}
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert "aisp_runner" in wheel["only-include"]  # with all files below it that git does not ignore
    assert not any(name in (ROOT / ".gitignore").read_text().split() for name in ("*.tmpl", "templates/", "new/"))
    with pytest.raises(KeyError):
        files.filled("chapter/chapter.yaml", name="ch21")


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from aisp_runner import aisp\n"
        "try: aisp.main(['new', 'workload', '--help'])\n"
        "except SystemExit: pass\n"
        "sys.stderr.write(' '.join(m for m in ('torch', 'hydra', 'omegaconf', 'jsonschema', 'yaml') if m in sys.modules))"
    )
    environment = {**os.environ, "PYTHONPATH": str(content_root())}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, "") and "--into" in done.stdout


@pytest.mark.parametrize(
    ("issues", "text"),
    [
        (["a.b"], '("a.b",)'),
        (["a.b", "c.d", "a.b"], '("a.b", "c.d")'),
        (["a." + 60 * "b", "c." + 60 * "d"], f'(\n        "a.{60 * "b"}",\n        "c.{60 * "d"}",\n    )'),
    ],
    ids=["one", "two", "too long"],
)
def test_issues_are_laid_out_as_the_formatter_does(issues: list[str], text: str) -> None:
    assert _tuple(issues) == text


def test_a_section_goes_behind_those_of_its_category() -> None:
    page = "| memory | [a](#a) |\n\n## A\n`memory.a`. Text.\n\n## B\n`output.b`. Text.\n"
    made = with_section(page, "memory.c_d", "## C d\n`memory.c_d`. New.\n")
    assert made == page.replace("[a](#a) |", "[a](#a), [c d](#c-d) |").replace("\n## B", "\n## C d\n`memory.c_d`. New.\n\n## B")
    last = with_section(page, "output.e", "## E\n`output.e`. New.\n")
    assert last == page + "\n## E\n`output.e`. New.\n"


def test_a_name_that_hides_a_module_is_taken() -> None:
    assert {"torch", "random", "json"} <= names.TAKEN
