"""`aisp verify-record`: records that were measured, doctored in every way that it is meant to tell, and left alone."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bench import bench_of, case, tried_on
from doctored import KEY, MEASURED, PLAN, RESULTS, Records, a_run, contradictions, doctor, notes, rebuild, write

from aisp_runner import aisp, chain, record
from aisp_runner.case import Measure, Plan
from aisp_runner.forkserver import ForkServer
from aisp_runner.plan_file import save_plan
from aisp_runner.protect import registry
from aisp_runner.verify_record import digest_of, verify

pytest_plugins = ("shared_server",)

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(chain.KEY_FILE, raising=False)
    (tmp_path / "key").write_bytes(KEY)
    return tmp_path


@pytest.mark.parametrize("file", sorted(RESULTS.glob("*/*.jsonl")), ids=lambda f: f"{f.parent.name}-{f.stem}")
def test_published_records_bear_themselves_out(file: Path) -> None:
    verified = verify(file)
    assert verified.records
    assert contradictions(verified) == []
    assert verified.exit_code == 0


def test_records_of_an_older_version_are_told_to_have_no_chain() -> None:
    write(Path(), [{key: value for key, value in r.items() if key != "chain"} for r in MEASURED])
    verified = verify(Path("records.jsonl"))
    assert contradictions(verified) == []
    assert any("no chain in 2 of 2 records: they were written by an older version, or" in line for line in notes(verified))
    assert any("no plan.json is beside it" in line for line in notes(verified))


def test_a_run_that_nobody_touched_contradicts_nothing() -> None:
    verified = verify(a_run())
    assert contradictions(verified) == []
    assert [line.partition("jsonl: ")[2] for line in notes(verified)] == [
        "not signed: whoever can write the file can have written all of it anew"
    ]
    assert verified.run_exit_code == 0


def test_what_was_just_measured_bears_itself_out_whatever_became_of_it(server: ForkServer, tmp_path: Path) -> None:
    """Accepted, refused, ended with a fault, inconclusive for a protection that was switched off."""
    measure = Measure(processes=1, rounds=2, min_rounds=2, half_width=10.0, calls=(4, 32), verify_seconds=0.002)
    wrong = "def candidate(a, b, c):\n    torch.add(a, b, out=c)\n    c[0] += 1\n"
    without = registry.select({"mode": "strict", "disable": ["timing.drain_bound"]})
    cases = (
        case(tmp_path / "honest", measure=measure, work_bytes=12.0 * 16384),
        case(tmp_path / "wrong", wrong, n=8192),
        case(tmp_path / "raises", "def candidate(a, b, c):\n    raise ValueError(1)\n", n=4096),
        case(tmp_path / "without", phase="gate", n=2048, protections=without),
    )
    bench = bench_of(Plan(cases), tmp_path / "run", server)
    for given in cases:
        record.append(tmp_path / "run" / record.FILE, tried_on(bench, given))
    verified = verify(tmp_path / "run")
    assert contradictions(verified) == []
    assert len(verified.records) == 4
    doctor(tmp_path / "run", lambda records: records[0]["samples"].pop())
    assert any(": content changed after it was written" in line for line in contradictions(verify(tmp_path / "run")))


def change_plan(change: Callable[[dict[str, Any]], Any], anew: bool) -> Callable[[Path], None]:
    """Edit the first case in plan.json; anew: and give it the digest of its new content."""

    def edit(folder: Path) -> None:
        path = folder / "plan.json"
        content = json.loads(path.read_text())
        change(content["plan"]["cases"][0])
        if anew:
            content["sha256"] = digest_of(content["plan"])
        path.write_text(json.dumps(content))

    return edit


def swap(records: Records) -> Records:
    return records[::-1]


def other_plan(folder: Path) -> None:
    save_plan(Plan(PLAN.cases[:1]), folder / "plan.json")


def loosen(case: dict[str, Any]) -> None:
    case["outputs"][0]["rtol"] = 0.25


def told_by_plan(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda case: case.update({key: value})


def take_off_a_protection(case: dict[str, Any]) -> None:
    del case["protections"]["memory.late_writes"]


FILES: dict[str, tuple[Callable[[Path], Any], list[str]]] = {
    "a changed tolerance in plan.json": (
        change_plan(loosen, anew=False),
        [
            r"run/plan\.json: it was changed after it was made, sha256 of its content: expected \w{12}, found \w{12}",
            r"run/plan\.json: it is not the plan of 2 of 2 records, plan_sha256: expected \w{12}, found \w{12}",
            r"run/records\.jsonl:1: ch12_.*: tolerance, output\.tolerance_bound: expected rtol 0\.25, atol \S+, found rtol",
        ],
    ),
    "a changed tolerance, hashed anew": (
        change_plan(loosen, anew=True),
        [
            r"run/plan\.json: it is not the plan of 2 of 2 records, plan_sha256: expected \w{12}, found \w{12}",
            r"run/records\.jsonl:1: ch12_.*: tolerance, output\.tolerance_bound: expected rtol 0\.25, atol \S+, found rtol",
        ],
    ),
    "a changed margin": (
        change_plan(lambda case: case["measure"].update(margin=0.5), anew=True),
        ["it is not the plan of", r"records\.jsonl:1: .*: speedup\.margin: expected 0\.5, found 0\.0"],
    ),
    "fewer rounds": (
        change_plan(lambda case: case["measure"].update(min_rounds=1), anew=True),
        ["it is not the plan of", r"rounds, statistical\.whole_sample: expected 1 rounds or more of"],
    ),
    "a gate that became none": (
        change_plan(told_by_plan("phase", "detect"), anew=True),
        ["it is not the plan of", r"records\.jsonl:1: .*: phase: expected detect, found gate"],
    ),
    "a protection taken off": (
        change_plan(take_off_a_protection, anew=True),
        ["it is not the plan of", r"records\.jsonl:1: .*: protection memory\.late_writes: expected off, found on"],
    ),
    "more work declared": (
        change_plan(lambda case: case.update(work_bytes=1e15, work_flops=1e15), anew=True),
        ["it is not the plan of", r"roofline\.bytes_per_s: expected", r"roofline\.flops_per_s: expected"],
    ),
    "another source in the plan": (
        change_plan(lambda case: case["reference"]["source"].update(path="kernels/other.py"), anew=True),
        ["it is not the plan of", r"sources\[kernels/other\.py::\S+\]: expected \w+, found none"],
    ),
    "a shape that the record does not keep": (
        change_plan(lambda case: case["outputs"][0].update(shape=[2]), anew=True),
        ["it is not the plan of 2 of 2 records"],
    ),
    "other axes": (
        change_plan(told_by_plan("axes", {"n": 7}), anew=True),
        [
            "it is not the plan of",
            r"jsonl:1: .*: case: expected one of the plan's",
            r"n=7 / cpu: record: expected one of this case",
        ],
    ),
    "another plan": (
        other_plan,
        [
            "it is not the plan of 2 of 2 records",
            r"jsonl:2: .*: case: expected one of the plan's, found one that the plan does not",
        ],
    ),
    "a plan that is none": (lambda folder: (folder / "plan.json").write_text("{}"), [r"run/plan\.json: .*not a plan"]),
    "a plan with a bad case": (
        change_plan(told_by_plan("axes", 7), anew=True),
        [r"plan\.json: plan\.cases\[0\]\.axes: 7 is not a mapping"],
    ),
    "swapped records": (
        lambda folder: doctor(folder, swap),
        [
            r"jsonl:1: .*: order of the records, chain\.index: expected 0, found 1",
            r"jsonl:2: .*: order of the records, chain\.index: expected 1, found 0",
        ],
    ),
    "the first line removed": (
        lambda folder: doctor(folder, lambda records: records[1:]),
        [
            r"jsonl:1: .*: a record is missing, chain\.index: expected record 0 before record 1, found none",
            r"plan\.json: ch12_.*: record: expected one of this case, found none: the run ended before it, or",
        ],
    ),
    "the last line removed": (
        lambda folder: doctor(folder, lambda records: records[:-1]),
        [r"plan\.json: ch12_.*: record: expected one of this case, found none"],
    ),
    "every line removed": (
        lambda folder: (folder / record.FILE).unlink(),
        [r"plan\.json: ch12_.*: record: expected one of this case"] * 2,
    ),
    "a line cut off": (
        lambda folder: (folder / record.FILE).write_bytes((folder / record.FILE).read_bytes()[:-100]),
        [
            r"run/records\.jsonl:2: line: expected a record, found \d+ bytes that are none",
            r"plan\.json: .*: record: expected one",
        ],
    ),
}


@pytest.mark.parametrize(("change", "said"), FILES.values(), ids=FILES)
def test_files_that_were_doctored_are_told(change: Callable[[Path], Any], said: list[str]) -> None:
    folder = a_run()
    change(folder)
    verified = verify(folder)
    told = contradictions(verified)
    for text in said:
        assert any(re.search(text, line) for line in told), told
    assert len(told) == len(said), told
    assert verified.exit_code == 3


def test_a_plan_may_lie_elsewhere() -> None:
    folder = a_run()
    (folder / "plan.json").rename("reviewed.json")
    assert any("no plan.json is beside it" in line for line in notes(verify(folder)))
    assert contradictions(verify(folder, Path("reviewed.json"))) == []
    other_plan(Path())
    assert verify(folder, Path("plan.json")).exit_code == 3


def test_a_case_that_was_run_twice_is_noted() -> None:
    folder = a_run([*MEASURED, MEASURED[0]])
    verified = verify(folder)
    assert contradictions(verified) == []
    assert any(re.search(r"jsonl:3: ch12_.*: a further record of the same case", line) for line in notes(verified))


def test_a_kernel_file_that_changed_since_differs_and_is_no_contradiction(here: Path) -> None:
    (here / "theirs.py").write_text("then")
    name = f"{here / 'theirs.py'}::theirs.py"
    r = {**MEASURED[0], "sources": {name: "ab" * 32, f"{here / 'gone.py'}::gone.py": "cd" * 32}}
    record.append("records.jsonl", r)
    verified = verify(Path("records.jsonl"))
    (told,) = [line for line in notes(verified) if "differs from what was measured" in line]
    assert re.search(
        rf": {re.escape(name)} on this machine differs from what was measured: expected abababababab, found \w+", told
    )
    assert verified.exit_code == 0


SIGNED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "an edited record": (
        lambda folder: doctor(folder, lambda records: records[1].update(message="?")),
        r"jsonl:2: .*: the key did not sign this content, chain\.signature: expected \w{12}, found \w{12}",
    ),
    "a signature of another content": (
        lambda folder: doctor(folder, lambda r: r[1]["chain"].update(signature=r[0]["chain"]["signature"])),
        r"jsonl:2: .*: the key did not sign this content, chain\.signature: expected",
    ),
    "a signature taken off": (
        lambda folder: doctor(folder, lambda r: [r[1]["chain"].pop(key) for key in ("signature", "key_id")] and None),
        r"jsonl:2: .*: chain\.signature: expected one by the key \w{16}, found none",
    ),
    "everything forged and rebuilt": (rebuild, r"jsonl:1: .*: chain\.signature: expected one by the key \w{16}, found none"),
    "another key": (
        lambda folder: Path("key").write_bytes(KEY[::-1]),
        r"jsonl:1: .*: signed with another key, chain\.key_id: expected \w{16}, found \w{16}",
    ),
}


@pytest.mark.parametrize(("change", "said"), SIGNED.values(), ids=SIGNED)
def test_a_signature_that_does_not_hold_is_told(
    change: Callable[[Path], Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(chain.KEY_FILE, "key")
    folder = a_run()
    assert contradictions(verify(folder, key_file=Path("key"))) == []
    assert not any("signed" in line for line in notes(verify(folder, key_file=Path("key"))))
    change(folder)
    told = contradictions(verify(folder, key_file=Path("key")))
    assert any(re.search(said, line) for line in told), told


def test_without_the_key_a_signature_is_noted_and_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(chain.KEY_FILE, "key")
    folder = a_run()
    verified = verify(folder)
    assert verified.exit_code == 0
    key = chain.Key(KEY).id
    assert any(f"signed with the key {key}, and not checked: name its file with --key-file" in line for line in notes(verified))


def test_the_command_prints_a_line_a_finding_and_ends_with_3(capsys: Captured) -> None:
    folder = a_run()
    assert aisp.main(["verify-record", str(folder)]) == 0
    assert capsys.readouterr().out.endswith("run/records.jsonl: 2 records: nothing that was checked contradicts.\n")
    doctor(folder, lambda records: records[0].update(message="two\nlines \x1b[31m"))
    rebuild(folder)
    doctor(folder, lambda records: records[0]["speedup"].update(value=9.0, low=8.9, high=9.1))
    assert aisp.main(["verify-record", str(folder / "records.jsonl")]) == 3
    out = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("contradiction: run/records.jsonl:1: ch12_") for line in out) == len(out) - 2
    assert out[-2].startswith("note: run/records.jsonl: not signed")
    assert re.fullmatch(r"run/records\.jsonl: 2 records: \d+ contradictions\.", out[-1])


def test_the_command_as_json_has_every_finding_in_parts(capsys: Captured) -> None:
    folder = a_run()
    doctor(folder, lambda records: records[1]["speedup"].update(floor=1e-4))
    rebuild(folder)
    assert aisp.main(["verify-record", str(folder), "--json"]) == 3
    shown = json.loads(capsys.readouterr().out)
    assert (shown["records"], shown["agrees"], shown["run_exit_code"], shown["plan"]) == (2, False, 0, "run/plan.json")
    (told,) = [finding for finding in shown["findings"] if finding["contradicts"]]
    assert (told["where"], told["what"], told["found"]) == ("run/records.jsonl:2", "speedup.floor", "0.0001")
    assert told["expected"] == f"{MEASURED[1]['speedup']['floor']:.6g}"


USAGE: dict[str, tuple[list[str], str]] = {
    "no such folder": (["runs/none"], "runs/none: no such file or folder"),
    "a folder without a run": (["."], "records.jsonl: cannot be read"),
    "a file without a record": (["empty"], "empty: no record is in it"),
    "a plan that is missing": (["run", "--plan", "gone.json"], "gone.json: no such file"),
    "a key that is missing": (["run", "--key-file", "gone"], "gone: the signing key cannot be read"),
    "a key that is none": (["run", "--key-file", "empty"], "empty: 1 bytes are no signing key"),
}


@pytest.mark.parametrize(("arguments", "said"), USAGE.values(), ids=USAGE)
def test_what_cannot_be_checked_is_a_mistake_of_usage(arguments: list[str], said: str, capsys: Captured) -> None:
    a_run()
    Path("empty").write_text("\n")
    assert aisp.main(["verify-record", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"aisp: error: {said}")
