"""The `aisp` command as a person drives it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from records import refused_record, valid_record

from aisp_runner import aisp, quarantine, record
from aisp_runner.case import Plan, Skip
from aisp_runner.content import content_root
from aisp_runner.plan_file import save_plan

PLAN = Plan((), (Skip("ch06_vector_add", "triton_add", "cuda", "no NVIDIA GPU"),))
Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AISP_QUARANTINE", raising=False)
    return tmp_path


def a_run(name: str, records: list[dict[str, Any]]) -> Path:
    """A folder as aisp-run leaves it."""
    run_dir = Path("runs") / name
    run_dir.mkdir(parents=True)
    save_plan(PLAN, run_dir / "plan.json")
    for r in records:
        record.append(run_dir / "records.jsonl", {**r, "plan_sha256": PLAN.sha256()})
    return run_dir


def spawn(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(content_root())}
    command = [sys.executable, "-m", "aisp_runner.aisp", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_list_runs_as_a_command_and_shows_the_repositorys_workloads() -> None:
    done = spawn("list")
    assert done.returncode == 0, done.stderr
    for path in (content_root() / "conf" / "workload").glob("*.yaml"):
        assert path.stem in done.stdout
    assert "run here." in done.stdout


def test_list_imports_neither_torch_nor_hydra_nor_omegaconf_nor_jsonschema() -> None:
    code = (
        "import sys; from aisp_runner.aisp import main; main(['list']);"
        "sys.stderr.write(' '.join(m for m in ('torch', 'hydra', 'omegaconf', 'jsonschema') if m in sys.modules))"
    )
    environment = {**os.environ, "PYTHONPATH": str(content_root())}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_reader_who_closes_the_pipe_early_sees_no_error() -> None:
    command = f"{sys.executable} -m aisp_runner.aisp list --json | head -c 1"
    environment = {**os.environ, "PYTHONPATH": str(content_root())}
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, env=environment, check=False)
    assert (done.stdout, done.stderr) == ("{", "")


def test_list_takes_a_folder_of_your_own(here: Path, capsys: Captured) -> None:
    (here / "mine" / "workload").mkdir(parents=True)
    (here / "mine" / "workload" / "softmax.yaml").write_text("question: Q?\nbaseline: a\noptimized: b\naxes: {cpu: {n: [1]}}")
    assert aisp.main(["list", "softmax", "--config-dir", "mine"]) == 0
    assert "softmax  Q?" in capsys.readouterr().out
    assert aisp.main(["list", "--config-dir", "theirs"]) == 2
    assert "aisp: error: --config-dir theirs: has no folder 'workload'" in capsys.readouterr().err


def test_list_names_a_file_that_cannot_be_read_and_shows_the_rest(here: Path, capsys: Captured) -> None:
    (here / "mine" / "workload").mkdir(parents=True)
    (here / "mine" / "workload" / "broken.yaml").write_text("a: [")
    assert aisp.main(["list", "--config-dir", "mine"]) == 2
    captured = capsys.readouterr()
    assert "run here." in captured.out
    assert captured.err.startswith("aisp: error: mine/workload/broken.yaml: while parsing")


def test_show_gives_the_table_the_reasons_and_the_skips(capsys: Captured) -> None:
    run_dir = a_run("one", [valid_record(), refused_record(variant="split")])
    assert aisp.main(["show", str(run_dir)]) == 0
    out = capsys.readouterr().out
    assert "2.0000x [" in out
    assert "INVALID: ch06_vector_add / split" in out
    assert "skipped 1: no NVIDIA GPU (cuda): ch06_vector_add / triton_add" in out


def test_show_without_a_name_takes_the_newest_run(capsys: Captured) -> None:
    for age, name in ((100, "new"), (200, "old")):
        run_dir = a_run(name, [valid_record(variant=name)])
        os.utime(run_dir, (1e9 - age, 1e9 - age))
    assert aisp.main(["show"]) == 0
    assert capsys.readouterr().out.startswith("runs/new\n")


def test_show_as_json_has_the_raw_samples(capsys: Captured) -> None:
    run_dir = a_run("one", [valid_record()])
    assert aisp.main(["show", str(run_dir), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [{k: v for k, v in r.items() if k != "chain"} for r in shown["records"]] == [valid_record(plan_sha256=PLAN.sha256())]
    assert shown["skips"][0]["variant"] == "triton_add"
    assert shown["contradictions"] == []


def test_show_as_markdown_is_a_table(capsys: Captured) -> None:
    run_dir = a_run("one", [valid_record()])
    assert aisp.main(["show", str(run_dir), "--markdown"]) == 0
    assert capsys.readouterr().out.startswith("| workload |")


@pytest.mark.parametrize("form", [[], ["--json"], ["--markdown"]], ids=["table", "json", "markdown"])
def test_show_says_what_contradicts_itself_and_fails(form: list[str], capsys: Captured) -> None:
    doctored = valid_record()
    doctored["speedup"] |= {"value": 9.0, "low": 8.9, "high": 9.1}
    run_dir = a_run("one", [doctored])
    assert aisp.main(["show", str(run_dir), *form]) == 3
    said = "contradiction: ch06_vector_add / vectorized / n=262144 cpu: speedup.value is 9, and the samples give 2"
    assert said in capsys.readouterr().err


def test_show_says_when_the_plan_is_not_the_one_that_was_run(capsys: Captured) -> None:
    run_dir = a_run("one", [valid_record()])
    save_plan(Plan(()), run_dir / "plan.json")
    assert aisp.main(["show", str(run_dir)]) == 3
    assert "there are records of another: it was changed after the run" in capsys.readouterr().err


def test_show_of_a_missing_run_names_the_nearest_and_the_newest(capsys: Captured) -> None:
    a_run("20250102-030405-abcdef01", [valid_record()])
    assert aisp.main(["show", "runs/20250102-030405-abcdef02"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == (
        "aisp: error: runs/20250102-030405-abcdef02: no such folder. Did you mean 'runs/20250102-030405-abcdef01'?"
        " Newest runs: runs/20250102-030405-abcdef01.\n"
    )


def test_show_where_nothing_was_run_says_what_to_run(capsys: Captured) -> None:
    assert aisp.main(["show"]) == 2
    assert "runs/ holds no run. Measure something first: aisp-run" in capsys.readouterr().err


def test_show_of_a_run_in_which_everything_was_skipped_says_why(capsys: Captured) -> None:
    assert aisp.main(["show", str(a_run("one", []))]) == 0
    assert "nothing was measured: every comparison was skipped (no NVIDIA GPU)" in capsys.readouterr().out


def test_a_broken_record_is_an_error_with_its_line(capsys: Captured) -> None:
    run_dir = a_run("one", [valid_record()])
    with (run_dir / "records.jsonl").open("a") as file:
        file.write("{")
    assert aisp.main(["show", str(run_dir)]) == 2
    assert "aisp: error: runs/one/records.jsonl:2: not a JSON line" in capsys.readouterr().err


def test_doctor_looks_and_always_succeeds(capsys: Captured) -> None:
    assert aisp.main(["doctor"]) == 0
    out = capsys.readouterr().out
    for name in ("torch", "hydra", "cores", "governor", "bare metal", "memory locking", "timer", "NVML", "nvcc", "CUPTI"):
        assert name in out
    assert aisp.main(["doctor", "--json"]) == 0
    assert {c["status"] for c in json.loads(capsys.readouterr().out)} <= {"ok", "missing"}


def test_quarantine_is_listed_and_released(capsys: Captured) -> None:
    quarantine.add(Path("quarantine.yaml"), refused_record(), "runs/one")
    assert aisp.main(["quarantine", "list"]) == 0
    out = capsys.readouterr().out
    assert "ch06_vector_add/vectorized" in out
    assert "memory.late_writes: 8 of 8 output slots" in out
    assert "n=262144 cpu  runs/one" in out
    assert aisp.main(["quarantine", "release", "ch06_vector_add/vectorized", "--because", "mended"]) == 0
    assert "is out of quarantine; quarantine.yaml keeps why." in capsys.readouterr().out
    assert aisp.main(["quarantine", "list"]) == 0
    assert "Nothing is in quarantine (quarantine.yaml)." in capsys.readouterr().out


MISTAKES: dict[str, tuple[list[str], str]] = {
    "an unknown command": (
        ["shwo"],
        "'shwo' is no command. Did you mean 'show'? Commands: list, learn, new, lint, review, show, verify-record, explain, "
        "audit, doctor, plan, merge, peak, quarantine.",
    ),
    "an unknown option": (["list", "--jsno"], "unrecognized arguments: --jsno"),
    "an unknown workload": (["list", "ch6"], "'ch6' is no workload, chapter or lab."),
    "no command": ([], "the following arguments are required: COMMAND"),
    "no action": (["quarantine"], "the following arguments are required: ACTION"),
    "a release without a reason": (["quarantine", "release", "a/b"], "the following arguments are required: --because"),
    "a release of nothing": (["quarantine", "release", "a/b", "--because", "x"], "'a/b' is not in quarantine."),
}


@pytest.mark.parametrize(("arguments", "said"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_and_exit_2(arguments: list[str], said: str, capsys: Captured) -> None:
    assert aisp.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("aisp: error: ")
    assert said in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_help_names_every_command() -> None:
    done = spawn("--help")
    assert done.returncode == 0
    for command in aisp.COMMANDS:
        assert command in done.stdout
