"""The command line as a user types it: exit codes, and what is said on which stream."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from aisp_runner import __version__
from aisp_runner.case import Plan, Skip
from aisp_runner.cli import likely_device, run, run_folder
from aisp_runner.content import content_root
from aisp_runner.errors import ConfigError
from aisp_runner.execute import Ways
from aisp_runner.plan_file import load_plan
from aisp_runner.pool import Pool

KERNEL = "def reference(a): ...\ndef loop(a, c): ...\ndef fast(a, c): ...\n"

MINE = """
chapter: cli1
question: Is it faster?
source: k.py
baseline: loop
optimized: fast
inputs:
  a: {shape: [n], dtype: float32}
outputs:
  c: {shape: [n], dtype: float32, rtol: 1.0e-6, atol: 0.0}
axes:
  cpu: {n: [4]}
"""


@pytest.fixture(autouse=True)
def servers(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The devices whose fork servers were started ahead; none of them is, since nothing is run here."""
    started: list[str] = []
    monkeypatch.setattr(Pool, "start_server", lambda pool, device: started.append(device))
    return started


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a config dir `mine` that holds workload/cli_mine.yaml."""
    (tmp_path / "mine" / "workload").mkdir(parents=True)
    (tmp_path / "mine" / "workload" / "cli_mine.yaml").write_text(MINE)
    (tmp_path / "mine" / "k.py").write_text(KERNEL)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], *argv: str, code: int = 2) -> str:
    """What a command line prints on stderr, after its exit code was as expected."""
    assert run(list(argv)) == code
    return capsys.readouterr().err


def test_without_a_selection_it_helps_and_exits_2(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys)
    assert text.startswith("usage: aisp-run +workload=NAME | +chapter=TAG")
    assert "+suite=quick" in text
    assert "measure=quick|standard|publication" in text


def test_settings_alone_are_no_selection(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "device=cpu").endswith(
        "aisp-run: error: nothing is selected. Say +workload=NAME, +chapter=TAG, +lab=NAME or +suite=NAME.\n"
    )


def test_help_lists_what_there_is_also_in_a_config_dir_and_exits_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help", "--config-dir", "mine"]) == 0
    text = capsys.readouterr().out
    assert "+chapter=cli1\n    cli_mine  Is it faster?\n" in text


def test_version_is_this_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"aisp-run {__version__}\n"


def test_mode_plan_writes_the_plan_and_lists_its_cases(capsys: pytest.CaptureFixture[str], here: Path) -> None:
    assert run(["--config-dir", "mine", "+chapter=cli1", "mode=plan", "device=cpu", "run_dir=out"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("out/plan.json\n1 cases, 0 skipped, sha256 ")
    assert "  cli_mine / fast / n=4 / cpu\n" in text
    plan = load_plan(here / "out" / "plan.json")
    assert plan.overrides == ("+chapter=cli1", "mode=plan", "device=cpu", "run_dir=out")
    assert sorted(path.name for path in here.iterdir()) == ["mine", "out"]  # nothing of Hydra's
    assert sorted(path.name for path in (here / "out").iterdir()) == ["plan.json"]


@pytest.mark.parametrize(
    ("argv", "wanted"),
    [
        ("", False),
        ("environment.lock_clocks=true", True),
        ("environment=bare_metal", False),
        ("environment=bare_metal environment.lock_clocks=true", True),
    ],
)
def test_clocks_are_locked_only_where_it_is_asked_for(argv: str, wanted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from aisp_runner import execute

    asked = []

    def run_plan(plan: Plan, folder: Path, pool: Pool, lock_clocks: bool, ways: Ways) -> int:
        asked.append(lock_clocks)
        return 0

    monkeypatch.setattr(execute, "run_plan", run_plan)
    assert run(["--config-dir", "mine", "+workload=cli_mine", *argv.split()]) == 0
    assert asked == [wanted]


@pytest.mark.parametrize(
    ("argv", "device"),
    [
        ("+workload=cli_mine device=cpu", "cpu"),
        ("+chapter=cli1 device=cpu measure=quick", "cpu"),
        ("+chapter=cli1 device=cpu -m", "cpu"),
        ("+workload=cli_mine device=cpu mode=plan", None),
        ("+workload=cli_mine device=cpu --cfg job", None),
        ("device=cpu", None),
    ],
)
def test_the_fork_server_starts_ahead_of_a_run_and_of_nothing_else(
    argv: str, device: str | None, servers: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from aisp_runner import execute

    pools = []

    def run_plan(plan: Plan, folder: Path, pool: Pool, lock_clocks: bool, ways: Ways) -> int:
        pools.append(pool)
        return 0

    monkeypatch.setattr(execute, "run_plan", run_plan)
    run(["--config-dir", "mine", *argv.split()])
    assert servers == ([device] if device else [])
    assert [isinstance(pool, Pool) for pool in pools] == ([True] if device else [])


@pytest.mark.parametrize(("there", "argv", "device"), [(True, "", "cuda"), (True, "device=cpu", "cpu"), (False, "", "cpu")])
def test_the_device_is_guessed_from_what_is_there(there: bool, argv: str, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "exists", lambda path: there if str(path) == "/dev/nvidiactl" else os.path.exists(path))
    assert likely_device(["+workload=x", *argv.split()]) == device


def test_run_folder_is_named_by_time_and_plan(here: Path) -> None:
    plan = Plan((), (Skip("x", "y", "cpu", "z"),))
    folder = run_folder(None, plan)
    assert folder.parent == Path("runs")
    assert folder.name.endswith(f"Z-{plan.sha256()[:8]}")


def test_run_folder_of_another_run_is_refused(here: Path) -> None:
    (here / "out").mkdir()
    (here / "out" / "records.jsonl").write_text("")
    with pytest.raises(ConfigError, match=r"run_dir: out holds another run's records\.jsonl\. Name another folder"):
        run_folder("out", Plan(()))
    with pytest.raises(ConfigError, match=r"run_dir: .*k\.py is a file"):
        run_folder("mine/k.py", Plan(()))


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("+chapter=cli9", "+chapter=cli9: there is no chapter 'cli9'. Did you mean 'cli1'? Chapters: "),
        ("+workload=cli_min", "+workload=cli_min: there is no workload 'cli_min'. Did you mean 'cli_mine'? Workloads: "),
        ("+suite=quik", "+suite=quik: there is no suite 'quik'. Did you mean 'quick'? Suites: all, quick."),
        ("+workload=cli_mine measure=qick", "measure=qick: there is no measure 'qick'. Did you mean 'quick'? Choices: "),
        (
            "+workload=cli_mine device=gpu",
            "device=gpu: there is no device 'gpu'. Did you mean 'cuda'? Choices: auto, cpu, cuda.",
        ),
        (
            "+workload=cli_mine verify.phaze=gate",
            "verify.phaze=gate: there is no setting 'verify.phaze'. Did you mean 'verify.phase'? Settings: verify.phase, "
            "verify.require.",
        ),
        (
            "+workload=cli_mine verify.phase=gaet",
            "verify.phase: 'gaet' is not one of detect, quarantine, gate. Did you mean 'gate'?",
        ),
        ("+workload=cli_mine marign=0.1", "marign=0.1: there is no setting 'marign'. Did you mean 'margin'? Settings: "),
        ("+worklod=cli_mine", "worklod: unknown key. Did you mean 'workload'? Known keys: "),
        ("workload=cli_mine", "workload=cli_mine: write +workload=cli_mine, with a plus: "),
        ("chapter=cli1", "chapter=cli1: write +chapter=cli1, with a plus: "),
        ("+workload=null", "+workload=null: a name is wanted, such as +workload=NAME."),
        ("+workload=cli_mine =3", "'=3' cannot be read. Write KEY=VALUE."),
        ("+workload=cli_mine margin", "'margin' cannot be read: "),
        ("+workload=cli_mine measure=quick,standard", "measure=quick,standard: one value is wanted. Write measure="),
        ("+chapter=cli1 workload.margin=0.1", "workload.margin=0.1: this changes one workload, chosen by +workload=NAME."),
        (
            "+workload=cli_mine device=cpu environment.lock_clocks=true",
            "environment.lock_clocks: every case of this plan runs on the CPU, so there is no GPU clock to lock. ",
        ),
        ("+workload=cli_mine environment.lock_clocks=maybe", "environment.lock_clocks: "),
        (
            "+workload=cli_mine environment.lock_clock=true",
            "environment.lock_clock=true: there is no setting 'environment.lock_clock'. Did you mean 'environment.lock_clocks",
        ),
        (
            "+workload=cli_mine candidate=x.py::f",
            "candidate: there is no file 'x.py'. Write candidate=path/to/file.py::function.",
        ),
    ],
)
def test_mistake_is_explained_in_one_message_without_traceback(
    capsys: pytest.CaptureFixture[str], argv: str, message: str
) -> None:
    text = said(capsys, "--config-dir", "mine", *argv.split())
    assert text.startswith(f"aisp-run: error: {message}"), text
    assert "Traceback" not in text
    assert text.count("\n") == 1


def test_several_problems_are_counted_and_listed(capsys: pytest.CaptureFixture[str], here: Path) -> None:
    (here / "mine" / "workload" / "cli_mine.yaml").write_text(MINE.replace("atol: 0.0", "attol: 0.0"))
    text = said(capsys, "--config-dir", "mine", "+workload=cli_mine")
    assert text.startswith("aisp-run: error: 2 problems\n  mine/workload/cli_mine.yaml: outputs.c.attol: unknown key.")


def test_yaml_that_is_none_is_named_with_its_line(capsys: pytest.CaptureFixture[str], here: Path) -> None:
    (here / "mine" / "workload" / "cli_mine.yaml").write_text("question: a\nsource: [\n")
    text = said(capsys, "--config-dir", "mine", "+workload=cli_mine")
    assert text.startswith("aisp-run: error: mine/workload/cli_mine.yaml: line 3: not YAML: ")


def test_workload_beside_the_workload_folder_is_told_where_to_go(capsys: pytest.CaptureFixture[str], here: Path) -> None:
    (here / "mine" / "stray.yaml").write_text(MINE)
    text = said(capsys, "--config-dir", "mine", "+workload=stray")
    assert "mine/stray.yaml is not where workloads are looked for. Move it to mine/workload/stray.yaml" in text


def test_config_dir_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "--config-dir", "mien", "+workload=cli_mine")
    assert text == "aisp-run: error: --config-dir: there is no folder mien. Did you mean 'mine'?\n"
    assert said(capsys, "+workload=x", "--config-dir") == "aisp-run: error: --config-dir: a folder is wanted after it.\n"


def test_workload_of_ones_own_without_config_dir_gets_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    assert "One of your own needs --config-dir FOLDER" in said(capsys, "+workload=cli_mine")


def test_sweep_plans_each_value_and_flags_may_stand_anywhere(capsys: pytest.CaptureFixture[str], here: Path) -> None:
    argv = ["+workload=cli_mine", "mode=plan", "-m", "measure=quick,standard", "--config-dir", "mine"]
    assert run(argv) == 0
    assert capsys.readouterr().out.count("1 cases, 0 skipped") == 2
    assert sorted(path.name for path in here.iterdir()) == ["mine", "runs"]


def test_unexpected_exception_shows_its_traceback_and_exits_1(
    capsys: pytest.CaptureFixture[str], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("nobody thought of this")

    monkeypatch.setattr("aisp_runner.cli.save_plan", broken)
    text = said(capsys, "--config-dir", "mine", "+workload=cli_mine", "run_dir=out", code=1)
    assert "Traceback" in text
    assert "RuntimeError: nobody thought of this" in text


def test_environment_and_argv_are_put_back(capsys: pytest.CaptureFixture[str]) -> None:
    before = list(sys.argv)
    said(capsys, "--config-dir", "mine", "+workload=nothing")
    assert sys.argv == before
    assert "HYDRA_FULL_ERROR" not in os.environ


def test_console_script_exits_with_the_code(here: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "aisp_runner.cli", "+chapter=ch999"], capture_output=True, text=True, cwd=here,
        env={**os.environ, "PYTHONPATH": str(content_root())}, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("aisp-run: error: +chapter=ch999: there is no chapter 'ch999'.")
