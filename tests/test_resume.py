"""A run goes on where it ended: exactly the cases are run that have no record that still stands."""

from __future__ import annotations

import dataclasses
import io
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bench import HONEST, kernel
from sweeps import SIZES, cut, lines, ran, resumed, rewritten, shrunk, sizes_of, small_plan

from aisp_runner import aisp, machine, record, record_file, resume
from aisp_runner.case import Plan
from aisp_runner.errors import ConfigError
from aisp_runner.execute import Ways, main, run_plan
from aisp_runner.forkserver import ForkServer
from aisp_runner.keys import Keys
from aisp_runner.plan_file import earlier_plans, load_plan
from aisp_runner.report import Console
from aisp_runner.verify_record import verify

pytest_plugins = ("shared_server",)


@dataclasses.dataclass(frozen=True)
class Whole:
    """A run of three cases that ended."""

    plan: Plan
    run_dir: Path


@pytest.fixture(scope="module")
def whole(server: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    folder = tmp_path_factory.mktemp("whole")
    plan = small_plan(folder / "kernels")
    ran(plan, folder / "run", server)
    yield Whole(plan, folder / "run")


def found(whole: Whole, run_dir: Path, **ways: Any) -> resume.Found:
    """What is left to do in a folder, without running it."""
    from aisp_runner.protect.evaluation.sealed_judge import package_digest

    return resume.find(whole.plan.cases, run_dir, Keys(package_digest()).of, **ways)


def left(made: resume.Found) -> list[int]:
    return [slot.case.axes["n"] for slot in made.slots if slot.record is None]


def test_only_what_is_missing_is_run_and_the_chain_stays_whole(server: ForkServer, whole: Whole, tmp_path: Path) -> None:
    run_dir = cut(whole.run_dir, tmp_path / "run", 1)
    first = (run_dir / record.FILE).read_bytes()
    told = resumed(whole.plan, run_dir, server)
    assert "1 of 3 cases have a record that stands; 2 are run." in told
    assert "[2/3] addition / candidate / n=4096 / cpu: start" not in told and "[1/3]" not in told
    assert sizes_of(lines(run_dir)) == list(SIZES)
    assert (run_dir / record.FILE).read_bytes().startswith(first), "what was there was not touched"
    assert verify(run_dir).exit_code == 0


def test_a_run_that_is_complete_runs_nothing_and_gives_its_table_and_code_again(
    server: ForkServer, whole: Whole, tmp_path: Path
) -> None:
    run_dir = cut(whole.run_dir, tmp_path / "run", 3)
    before = (run_dir / record.FILE).read_bytes()
    told = resumed(whole.plan, run_dir, server)
    assert "3 of 3 cases have a record that stands; 0 are run." in told
    assert all(f"n={n} cpu" in told for n in SIZES)
    assert (run_dir / record.FILE).read_bytes() == before


def test_a_half_written_last_line_is_cut_off_and_said(server: ForkServer, whole: Whole, tmp_path: Path) -> None:
    third = (whole.run_dir / record.FILE).read_bytes().splitlines()[2]
    run_dir = cut(whole.run_dir, tmp_path / "run", 2, third[:1000])
    told = resumed(whole.plan, run_dir, server)
    assert f"{run_dir / record.FILE}: a half-written last line of 1000 bytes was cut off; its case is run again." in told
    assert sizes_of(lines(run_dir)) == list(SIZES)
    assert verify(run_dir).exit_code == 0


def test_a_file_that_was_cut_at_any_byte_is_left_with_its_whole_records(whole: Whole, tmp_path: Path) -> None:
    content = (whole.run_dir / record.FILE).read_bytes()
    ends = [i + 1 for i, byte in enumerate(content) if byte == 10]
    draw = random.Random(5)
    near = {end + by for end in ends for by in (-2, -1, 0, 1) if 0 <= end + by <= len(content)}
    run_dir = cut(whole.run_dir, tmp_path / "run", 0)
    for length in sorted(near | {draw.randrange(len(content)) for _ in range(60)}):
        (run_dir / record.FILE).write_bytes(content[:length])
        there = sum(end - 1 <= length for end in ends)  # a record that lacks only its line end is whole
        assert left(found(whole, run_dir)) == list(SIZES[there:]), length
        mended = (run_dir / record.FILE).read_bytes()
        assert mended == content[: ([0, *ends])[there]], length


def test_an_empty_folder_of_a_run_begins_from_the_start(whole: Whole, tmp_path: Path) -> None:
    run_dir = cut(whole.run_dir, tmp_path / "run", 0)
    (run_dir / record.FILE).unlink()
    made = found(whole, run_dir)
    assert left(made) == list(SIZES)
    assert made.said == (f"{run_dir}: it holds no record yet; all 3 cases are run.",)


def test_equal_cases_of_a_plan_each_want_a_record(server: ForkServer, tmp_path: Path) -> None:
    twice = small_plan(tmp_path / "kernels", (2048, 2048))
    ran(twice, tmp_path / "run", server)
    run_dir = cut(tmp_path / "run", tmp_path / "cut", 1)
    told = resumed(twice, run_dir, server)
    assert "1 of 2 cases have a record that stands; 1 are run." in told
    assert sizes_of(lines(run_dir)) == [2048, 2048]


# A key that no longer fits


def test_on_another_device_every_case_is_run_again_and_the_old_records_stay_and_are_marked(
    server: ForkServer, whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = cut(whole.run_dir, tmp_path / "run", 2)
    before, known = lines(run_dir), machine.cpu_facts()["cpu"]
    monkeypatch.setattr(machine, "cpu_facts", lambda *_: {"cpu": "a faster CPU", "missing": {}})
    told = resumed(whole.plan, run_dir, server)
    why = f"the device: {known} before, a faster CPU now"
    assert f"2 run again, and the old record stays in the file, superseded: {why}." in told
    after = lines(run_dir)
    assert after[:2] == before and sizes_of(after) == [2048, 4096, *SIZES]
    assert [r.get("supersedes") for r in after[2:]] == [*({"sha256": r["chain"]["sha256"], "why": why} for r in before), None]
    assert sizes_of(record_file.standing(after)) == list(SIZES)
    verified = verify(run_dir)
    assert verified.exit_code == 0
    assert sum("superseded by a later record of its case" in f.line() for f in verified.findings) == 2
    assert aisp.main(["show", str(run_dir)]) == 0
    shown = capsys.readouterr().out
    rows = [line for line in shown.splitlines() if "n=2048 cpu" in line and "addition / " not in line]  # no line of reasons
    assert len(rows) == 1 and "2 superseded records are not shown" in shown
    assert aisp.main(["show", "--json", str(run_dir)]) == 0
    assert len(json.loads(capsys.readouterr().out)["records"]) == 3


@pytest.mark.parametrize("part", ["runner", "driver", "sources", "case"])
def test_a_key_that_differs_in_any_part_does_not_fit(whole: Whole, part: str) -> None:
    old = lines(whole.run_dir)[0]["key"]
    name = {"runner": "the runner", "driver": "the driver", "sources": "the sources", "case": "the case"}[part]
    assert resume.changed(old, {**old, part: "f" * 64}).startswith(f"{name}: ")
    assert resume.changed(old, dict(old)) == ""


def test_a_record_of_an_older_version_without_a_key_is_run_again(whole: Whole, tmp_path: Path) -> None:
    run_dir = cut(whole.run_dir, tmp_path / "run", 0)
    (run_dir / record.FILE).write_bytes(b"")
    for r in lines(whole.run_dir):
        record.append(run_dir / record.FILE, {k: v for k, v in r.items() if k not in ("key", "chain")})
    made = found(whole, run_dir)
    assert left(made) == list(SIZES)
    assert {slot.supersedes["why"] for slot in made.slots if slot.supersedes} == {"it has no key: an older version wrote it"}


def test_a_changed_kernel_is_planned_anew_and_only_its_cases_are_run_again(server: ForkServer, tmp_path: Path) -> None:
    old = Plan((*small_plan(tmp_path / "one", (2048,)).cases, *small_plan(tmp_path / "two", (4096,)).cases))
    run_dir = tmp_path / "run"
    ran(old, run_dir, server)
    kernel(tmp_path / "two", HONEST + "\n# better\n")
    new = Plan(
        (
            *small_plan(tmp_path / "one", (2048,)).cases,
            *small_plan(tmp_path / "two", (4096,), code=HONEST + "\n# better\n").cases,
        )
    )
    assert new.cases[0] == old.cases[0] and new.cases[1] != old.cases[1]
    told = resumed(new, run_dir, server)
    assert f"The plan is another than before ({new.sha256()[:12]} instead of {old.sha256()[:12]})" in told
    assert "superseded: the sources: " in told
    assert load_plan(run_dir / "plan.json") == new
    assert [load_plan(path) for path in earlier_plans(run_dir)] == [old]
    verified = verify(run_dir)
    assert [f.line() for f in verified.findings if f.contradicts] == []
    assert any("are of an earlier plan" in f.line() for f in verified.findings)
    assert aisp.main(["show", str(run_dir)]) == 0


def test_a_source_that_changed_on_the_disk_is_told_before_anything_runs(server: ForkServer, tmp_path: Path) -> None:
    plan = small_plan(tmp_path / "kernels")
    ran(shrunk(plan, 0), tmp_path / "run", server)
    before = (tmp_path / "run" / record.FILE).read_bytes()
    kernel(tmp_path / "kernels", HONEST + "\n# edited\n")
    with pytest.raises(ConfigError, match=r"kernel\.py changed since the plan was made\. .* resume=RUN_DIR"):
        resumed(shrunk(plan, 0), tmp_path / "run", server)
    assert (tmp_path / "run" / record.FILE).read_bytes() == before


def test_another_run_is_not_gone_on_with(server: ForkServer, whole: Whole, tmp_path: Path) -> None:
    run_dir = cut(whole.run_dir, tmp_path / "run", 1)
    other = small_plan(tmp_path / "kernels", (16,), workload="subtraction")
    with pytest.raises(ConfigError, match="no comparison in common with what is asked for"):
        resumed(other, run_dir, server)
    assert load_plan(run_dir / "plan.json") == whole.plan and len(lines(run_dir)) == 1


# Errors that are tried again


def test_errors_are_run_again_where_that_is_asked_for_and_the_new_record_says_so(server: ForkServer, tmp_path: Path) -> None:
    fails_once = (
        "def candidate(a, b, c):\n    if not os.path.exists({flag!r}):\n        raise ValueError('not today')\n"
        "    torch.add(a, b, out=c)\n"
    )
    plan = small_plan(tmp_path / "kernels", (2048,), code=fails_once.format(flag=str(tmp_path / "flag")))
    ran(plan, tmp_path / "run", server)
    assert "1 of 1 cases have a record that stands; 0 are run." in resumed(plan, tmp_path / "run", server)
    (tmp_path / "flag").touch()
    resumed(plan, tmp_path / "run", server, retry_errors=True)
    first, second = lines(tmp_path / "run")
    assert first["status"] == "ERROR" and second["status"] != "ERROR"
    assert second["supersedes"] == {"sha256": first["chain"]["sha256"], "why": resume.RETRIED}
    assert "0 are run" in resumed(plan, tmp_path / "run", server, retry_errors=True)


# Files that were not merely cut short


def test_a_file_that_was_edited_is_not_added_to(whole: Whole, tmp_path: Path) -> None:
    run_dir = cut(whole.run_dir, tmp_path / "run", 2)
    rewritten(run_dir / record.FILE, 0, message="touched up")
    before = (run_dir / record.FILE).read_bytes()
    with pytest.raises(ConfigError, match=r"records\.jsonl:1: its content is not the one that chain\.sha256 is of"):
        found(whole, run_dir)
    assert (run_dir / record.FILE).read_bytes() == before


def test_a_line_in_the_middle_that_is_no_record_is_named(whole: Whole, tmp_path: Path) -> None:
    run_dir = cut(whole.run_dir, tmp_path / "run", 2)
    one, two = (run_dir / record.FILE).read_bytes().splitlines(keepends=True)
    (run_dir / record.FILE).write_bytes(one + b"{half\n" + two)
    with pytest.raises(ConfigError, match=r"records\.jsonl:2: no record of this version's format\. Delete that line"):
        found(whole, run_dir)


def test_a_record_that_was_removed_from_the_middle_is_noticed(whole: Whole, tmp_path: Path) -> None:
    run_dir = cut(whole.run_dir, tmp_path / "run", 3)
    rows = (run_dir / record.FILE).read_bytes().splitlines(keepends=True)
    (run_dir / record.FILE).write_bytes(rows[0] + rows[2])
    with pytest.raises(ConfigError, match=r"records\.jsonl:2: chain\.index is 2, and 1 is due"):
        found(whole, run_dir)


def test_two_runs_do_not_write_to_one_folder(server: ForkServer, whole: Whole, tmp_path: Path) -> None:
    run_dir = cut(whole.run_dir, tmp_path / "run", 1)
    with record_file.alone(run_dir), pytest.raises(ConfigError, match="another run is writing there"):
        resumed(whole.plan, run_dir, server)
    assert len(lines(run_dir)) == 1


# The command lines


def test_the_runner_without_hydra_resumes_from_the_folder_alone(whole: Whole, tmp_path: Path, capsys: Any) -> None:
    run_dir = cut(whole.run_dir, tmp_path / "run", 3)
    assert main(["--resume", str(run_dir)]) == 0
    assert "3 of 3 cases have a record that stands" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--resume", "nowhere"], "resume: there is no folder nowhere. Name the folder of the run that is to go on."),
        (["--resume", "empty"], "resume: empty holds no run. Name the folder of a run, or begin one with run_dir=empty."),
        ([], "a plan is wanted: python -m aisp_runner.execute plan.json, or --resume RUN_DIR."),
        (["run/plan.json", "--retry-errors"], "--retry-errors: it goes with --resume RUN_DIR"),
        (
            ["run/plan.json", "--run-dir", "run"],
            "--run-dir: run holds another run's records.jsonl. Name another folder, or",
        ),
    ],
    ids=["no folder", "no run", "nothing", "retry alone", "a folder that is used"],
)
def test_a_mistake_is_told(
    arguments: list[str], said: str, whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    cut(whole.run_dir, tmp_path / "run", 1)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert f"aisp-run: error: {said}" in capsys.readouterr().err


def test_a_run_begins_as_before_where_nothing_is_resumed(tmp_path: Path) -> None:
    assert run_plan(Plan(()), tmp_path / "run", Console(io.StringIO()), ways=Ways()) == 5
    assert load_plan(tmp_path / "run" / "plan.json") == Plan(())
