"""Parts of a plan run elsewhere become one file of records; what cannot be one is refused."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from doctored import KEY
from sweeps import cut, lines, ran, rewritten, sizes_of, small_plan

from aisp_runner import aisp, chain, lineage, record
from aisp_runner.case import Plan
from aisp_runner.errors import ConfigError
from aisp_runner.execute import Ways, main
from aisp_runner.forkserver import ForkServer
from aisp_runner.plan_file import WHOLE, Shard, load_plan, load_shard, save_plan
from aisp_runner.shards import merge, split
from aisp_runner.verify_record import verify

pytest_plugins = ("shared_server",)
SIZES = (2048, 4096, 8192, 16384)


@dataclasses.dataclass(frozen=True)
class Parts:
    plan: Plan
    files: list[Path]
    run_dirs: list[Path]


@pytest.fixture(scope="module")
def parts(server: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> Parts:
    """A plan of four cases, run in two parts."""
    folder = tmp_path_factory.mktemp("parts")
    plan = small_plan(folder / "kernels", SIZES)
    save_plan(plan, folder / "plan.json")
    files = [path for path, _ in split(folder / "plan.json", 2)]
    run_dirs = [folder / "a", folder / "b"]
    for path, run_dir in zip(files, run_dirs, strict=True):
        ran(load_plan(path), run_dir, server, Ways(shard=load_shard(path)))
    return Parts(plan, files, run_dirs)


@pytest.fixture
def copies(parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The two folders, to be changed, in the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(chain.KEY_FILE, raising=False)
    for run_dir in parts.run_dirs:
        shutil.copytree(run_dir, tmp_path / run_dir.name)
    return [Path("a"), Path("b")]


def wrong(run_dir: Path) -> list[str]:
    return [f.line() for f in verify(run_dir).findings if f.contradicts]


def notes(run_dir: Path) -> str:
    return "\n".join(f.line() for f in verify(run_dir).findings if not f.contradicts)


def test_parts_hold_the_whole_plan_and_every_nth_case(parts: Parts) -> None:
    assert [path.name for path in parts.files] == ["plan.1-of-2.json", "plan.2-of-2.json"]
    assert [load_plan(path) for path in parts.files] == [parts.plan] * 2
    assert [load_shard(path) for path in parts.files] == [Shard(1, 2), Shard(2, 2)]
    assert [sizes_of(lines(run_dir)) for run_dir in parts.run_dirs] == [[2048, 8192], [4096, 16384]]


@pytest.mark.parametrize("count", [1, 3, 4])
def test_every_case_is_in_one_part(parts: Parts, count: int) -> None:
    cases = [case for number in range(1, count + 1) for case in Shard(number, count).cases(parts.plan)]
    assert sorted(c.axes["n"] for c in cases) == list(SIZES)


def test_a_run_of_a_part_bears_itself_out_and_says_that_it_is_one(parts: Parts) -> None:
    assert wrong(parts.run_dirs[0]) == []
    assert "shard 1/2 of the plan: records of its 2 of 4 cases alone are asked for" in notes(parts.run_dirs[0])


def test_merged_records_are_one_run_that_bears_itself_out(
    parts: Parts, copies: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    made = merge(Path("all"), copies)
    assert (made.records, made.standing, made.duplicates, made.missing, made.exit_code) == (4, 4, 0, [], 0)
    assert sorted(sizes_of(lines(Path("all")))) == list(SIZES)
    assert load_plan(Path("all/plan.json")) == parts.plan and load_shard(Path("all/plan.json")) == WHOLE
    assert wrong(Path("all")) == []
    assert "merged: 4 of 4 records were first written to other files, and their chains were checked" in notes(Path("all"))
    assert sizes_of(lines(Path("all"))) == [2048, 8192, 4096, 16384], "part by part"
    assert aisp.main(["show", "--json", "all"]) == 0
    assert sizes_of(json.loads(capsys.readouterr().out)["records"]) == list(SIZES), "in the plan's order"


def test_a_merged_record_is_word_for_word_what_the_part_wrote(copies: list[Path]) -> None:
    merge(Path("all"), copies)
    written = [r for folder in copies for r in lines(folder)]
    assert [lineage.first_written(r) for r in lines(Path("all"))] == written
    assert [r["origin"]["shard"] for r in lines(Path("all"))] == ["1/2", "1/2", "2/2", "2/2"]


def test_cases_that_nobody_ran_are_listed_and_the_merged_run_goes_on_with_them(
    parts: Parts, copies: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree("b")
    cut(parts.run_dirs[1], tmp_path / "b", 1, b'{"half')
    assert aisp.main(["merge", "all", "a", "b"]) == 3
    said = capsys.readouterr().out
    assert "missing: addition / candidate / n=16384 / cpu" in said
    assert "all/records.jsonl: 3 cases; 1 missing: python -m aisp_runner.execute --resume all runs them." in said
    assert main(["--resume", "all"]) == 0
    assert sorted(sizes_of(lines(Path("all")))) == list(SIZES) and wrong(Path("all")) == []


def test_a_folder_that_is_named_twice_or_was_copied_counts_once(copies: list[Path]) -> None:
    shutil.copytree("a", "again")
    made = merge(Path("all"), [*copies, Path("again")])
    assert (made.records, made.duplicates) == (4, 2)
    assert wrong(Path("all")) == []


def test_two_measurements_of_one_case_are_refused(parts: Parts, copies: list[Path], server: ForkServer) -> None:
    ran(parts.plan, Path("second"), server, Ways(shard=Shard(1, 2)))
    with pytest.raises(
        ConfigError, match=r"n=2048 cpu: there are two different measurements of it, in a and in second \(the keys"
    ):
        merge(Path("all"), [*copies, Path("second")])
    assert not Path("all").exists()


def test_a_case_that_was_run_again_in_its_part_is_merged_with_what_it_took_the_place_of(
    parts: Parts, copies: list[Path], server: ForkServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aisp_runner import machine

    monkeypatch.setattr(machine, "cpu_facts", lambda *_: {"cpu": "a faster CPU", "missing": {}})
    for place, folder in enumerate(copies, start=1):
        ran(parts.plan, folder, server, Ways(resume=True, shard=Shard(place, 2)))
    made = merge(Path("all"), copies)
    assert (made.records, made.standing) == (8, 4)
    assert wrong(Path("all")) == []


def another_key(folder: Path, **parts: str) -> None:
    """As if the part had been run elsewhere: every record has another key, and the chain is made anew."""
    from aisp_runner import keys

    rows = [json.loads(line) for line in (folder / record.FILE).read_bytes().splitlines()]
    (folder / record.FILE).unlink()
    for r in rows:
        changed = {k: v for k, v in r["key"].items() if k != "sha256"} | parts
        bare = {k: v for k, v in r.items() if k != "chain"}
        record.append(folder / record.FILE, bare | {"key": changed | {"sha256": keys.digest(changed)}})


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"runner": "0.2.0+abc"}, "the records were written by 2 different runners: 0.1.0"),
        ({"device": "another CPU"}, "the cases on cpu were measured on 2 different devices or drivers: "),
        ({"driver": "570.1"}, "the cases on cpu were measured on 2 different devices or drivers: "),
    ],
    ids=["runner", "device", "driver"],
)
def test_records_of_different_machines_are_not_mixed_unasked(copies: list[Path], changed: dict[str, str], said: str) -> None:
    another_key(copies[1], **changed)
    with pytest.raises(ConfigError) as refused:
        merge(Path("all"), copies)
    assert said in str(refused.value) and "or say --mixed" in str(refused.value)
    made = merge(Path("all"), copies, mixed=True)
    assert any(said in note for note in made.notes)
    assert wrong(Path("all")) == []


def of_another_plan(copies: list[Path]) -> None:
    plan = load_plan(copies[1] / "plan.json")
    save_plan(dataclasses.replace(plan, cases=plan.cases[1:]), copies[1] / "plan.json")


def edited(copies: list[Path]) -> None:
    rewritten(copies[1] / record.FILE, 1, message="touched up")


def without_a_key(copies: list[Path]) -> None:
    rows = lines(copies[1])
    (copies[1] / record.FILE).unlink()
    for r in rows:
        record.append(copies[1] / record.FILE, {k: v for k, v in r.items() if k not in ("chain", "key")})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (of_another_plan, "b is a run of plan "),
        (edited, "b/records.jsonl:2: its content is not the one that chain.sha256 is of"),
        (without_a_key, "an older version wrote it, without a key. Measure it again."),
        (lambda copies: (copies[1] / "plan.json").unlink(), "b: no run is in it."),
        (lambda copies: shutil.copytree("a", "all"), "all holds a records.jsonl already. Name a folder that has none."),
    ],
    ids=["another plan", "edited", "no key", "no run", "used"],
)
def test_what_cannot_be_merged_is_told(copies: list[Path], change: Any, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    change(copies)
    assert aisp.main(["merge", "all", "a", "b"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("aisp: error: ") and said in told


# A merged file that was doctored


def touched(rows: list[dict[str, Any]]) -> None:
    rows[1]["message"] = "touched up"


def swapped_origin(rows: list[dict[str, Any]]) -> None:
    rows[0]["origin"], rows[2]["origin"] = rows[2]["origin"], rows[0]["origin"]


def first_removed(rows: list[dict[str, Any]]) -> None:
    del rows[0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (touched, "content changed since it was first written, origin.chain.sha256"),
        (swapped_origin, "content changed since it was first written, origin.chain.sha256"),
        (
            first_removed,
            "the record it was first written after, origin.chain.previous: expected before it in this file, found none",
        ),
    ],
    ids=["touched up", "origins swapped", "one removed"],
)
def test_a_merged_file_whose_chain_was_made_anew_is_still_told(copies: list[Path], change: Any, said: str) -> None:
    merge(Path("all"), copies)
    rows = [{k: v for k, v in r.items() if k != "chain"} for r in lines(Path("all"))]
    change(rows)
    Path("all/records.jsonl").unlink()
    for r in rows:
        record.append(Path("all/records.jsonl"), r)
    assert any(said in line for line in wrong(Path("all"))), wrong(Path("all"))


def test_signatures_of_the_parts_are_checked_in_the_merged_file(
    copies: list[Path], parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("key").write_bytes(KEY)
    monkeypatch.setenv(chain.KEY_FILE, "key")
    for folder in copies:
        rows = lines(folder)
        (folder / record.FILE).unlink()
        for r in rows:
            record.append(folder / record.FILE, {k: v for k, v in r.items() if k != "chain"})
    merge(Path("all"), copies)
    assert [f.line() for f in verify(Path("all"), key_file=Path("key")).findings if f.contradicts] == []
    rows = [{k: v for k, v in r.items() if k != "chain"} for r in lines(Path("all"))]
    rows[0]["origin"]["chain"]["signature"] = "0" * 64
    Path("all/records.jsonl").unlink()
    for r in rows:
        record.append(Path("all/records.jsonl"), r)
    found = [f.line() for f in verify(Path("all"), key_file=Path("key")).findings if f.contradicts]
    assert len(found) == 1 and "origin: the key did not sign this content" in found[0]


# The command


def test_a_plan_is_split_on_the_command_line(parts: Parts, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_plan(parts.plan, tmp_path / "plan.json")
    assert aisp.main(["plan", "split", "3", str(tmp_path / "plan.json"), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert [line.split()[-2] for line in said.splitlines()[:3]] == ["2", "1", "1"]
    assert "python -m aisp_runner.execute plan.1-of-3.json --run-dir DIR" in said
    assert len(list((tmp_path / "out").iterdir())) == 3


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "split 0: the plan has 4 cases, so 1 to 4 parts can be made."), (5, "split 5: the plan has 4 cases")],
)
def test_a_number_of_parts_that_makes_no_sense_is_refused(parts: Parts, tmp_path: Path, count: int, said: str) -> None:
    save_plan(parts.plan, tmp_path / "plan.json")
    with pytest.raises(ConfigError, match=said):
        split(tmp_path / "plan.json", count)


def test_a_part_is_not_split_again(parts: Parts) -> None:
    with pytest.raises(ConfigError, match=r"it is a shard already \(1/2\)"):
        split(parts.files[0], 2)


def test_a_shard_that_is_none_is_refused(parts: Parts, tmp_path: Path) -> None:
    save_plan(parts.plan, tmp_path / "plan.json", Shard(3, 2))
    with pytest.raises(ConfigError, match=r"shard 3/2 is none: 1 <= number <= of"):
        load_shard(tmp_path / "plan.json")


def test_a_record_of_another_plan_is_refused_though_it_is_of_a_case_of_this_one(copies: list[Path]) -> None:
    file = copies[1] / record.FILE
    made = [{key: value for key, value in r.items() if key != "chain"} for r in lines(copies[1])]
    file.unlink()
    for r in made:
        record.append(file, r | {"plan_sha256": "0" * 64})
    with pytest.raises(ConfigError, match=r"it is a record of plan 000000000000, which is not in this folder \("):
        merge(Path("all"), copies)
    assert not Path("all").exists()
