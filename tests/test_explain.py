"""What `aisp explain` says of real refusals, of faults, and of cases that are undecided."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
from bench import QUICK, case, tried
from records import refused_record, valid_record

from aisp_runner import aisp, explain, record, undecided
from aisp_runner.content import content_root
from aisp_runner.errors import ConfigError
from aisp_runner.forkserver import ForkServer
from aisp_runner.intervals import student
from aisp_runner.protect import registry
from aisp_runner.report import UNPROTECTED

pytest_plugins = ("shared_server",)
Captured = pytest.CaptureFixture[str]

LATE = """
import threading

def _later(a, b, c):
    time.sleep(0.001)
    torch.add(a, b, out=c)

def candidate(a, b, c):
    threading.Thread(target=_later, args=(a, b, c)).start()
"""
STALE = """
kept = {}

def candidate(a, b, c):
    if c.data_ptr() not in kept:
        kept[c.data_ptr()] = a + b
    c.copy_(kept[c.data_ptr()])
"""
ROUGH = """
def candidate(a, b, c):
    torch.add(a, b, out=c)
    c.mul_(1.001)
"""
RESIZES = """
def candidate(a, b, c):
    torch.add(a, b, out=c)
    c.resize_(8)
"""
WRONG_BASELINE = "def baseline(a, b, c):\n    torch.sub(a, b, out=c)\n\ndef candidate(a, b, c):\n    torch.add(a, b, out=c)\n"

REAL: dict[str, tuple[str, str, str, str, str]] = {
    "late writes": (LATE, "memory.late_writes", "slots were written after DONE", "judge, of the candidate", "for a thread"),
    "tolerance": (ROUGH, "output.tolerance_bound", "checked elements are wrong", "at verify", "it is rounding"),
    "stale cache": (STALE, "output.fresh_inputs", "belongs to earlier content", "at verify", "a cache keyed by address"),
    "signature": (RESIZES, "output.output_signature", "c", "the worker, about itself", "write with `out=` or `copy_`"),
    "the baseline": (WRONG_BASELINE, "output.reference_crosscheck", "own baseline disagrees", "of the baseline", "If you"),
}  # fmt: skip
"""Code, the reason that must be among those told, and what stands in its block: seen, by, prose."""


def text(records: list[dict[str, Any]], piece: str | None = None, width: int = 120) -> str:
    """What is printed, one line, so that wrapping does not matter."""
    told = explain.explain(records, explain.choose(records, piece))
    return " ".join(" ".join(line for line, _ in explain.lines(told, width)).split())


def open_case(value: float = 1.03, deviation: float = 0.02, sets: int = 5, **changes: Any) -> dict[str, Any]:
    """An UNDECIDED record of sets of processes that differ by so much, at a margin of 1 %."""
    half = student(0.975, sets - 1) * deviation / math.sqrt(sets) if sets > 1 else deviation
    interval = {"value": value, "low": value * math.exp(-half), "high": value * math.exp(half), "confidence": 0.95}
    told = {"margin": 0.01, "mde": 0.04 if sets > 1 else None, "floor": 0.004, "used": 1.0, "processes": sets}
    control = {"value": 1.0, "low": 0.996, "high": 1.004, "confidence": 0.95}
    return valid_record(outcome="UNDECIDED", speedup=interval | told, control=control) | changes


@pytest.mark.parametrize(("code", "reason", "seen", "by", "prose"), REAL.values(), ids=REAL)
def test_a_real_refusal_is_explained(
    code: str, reason: str, seen: str, by: str, prose: str, server: ForkServer, tmp_path: Path
) -> None:
    looked_at = dataclasses.replace(
        QUICK, verify_seconds=0.1
    )  # which calls are checked is drawn: enough, on a busy machine too
    made = tried(case(tmp_path, code, measure=looked_at), server, tmp_path / "run")
    assert made["status"] == "INVALID", made["message"]
    (entry,) = explain.explain([made], explain.choose([made], None))["explained"]
    told = next(r for r in entry["reasons"] if r["reason"] == reason)
    first = told["findings"][0]
    assert seen in first["observed"] and first["limit"] and first["stage"] in explain.stages()
    assert all(told[part] for part in ("read", "what", "means", "look_for", "if_honest", "knobs", "blind_spot"))
    printed = text([made])
    for words in (reason, told["read"], first["observed"], first["limit"], by, prose, "A refusal means", "Blind spot"):
        assert words in printed


def test_the_reasons_stand_in_the_order_of_the_verdict_with_the_message_first(server: ForkServer, tmp_path: Path) -> None:
    made = tried(case(tmp_path, LATE), server, tmp_path / "run")
    (entry,) = explain.explain([made], [1])["explained"]
    assert [r["reason"] for r in entry["reasons"]] == made["reasons"]
    assert made["message"].startswith(entry["reasons"][0]["findings"][0]["observed"])


def test_a_worker_that_raised_is_explained_with_the_stage_and_the_exception(server: ForkServer, tmp_path: Path) -> None:
    made = tried(case(tmp_path, "def candidate(a, b, c):\n    raise ValueError('not today')"), server, tmp_path / "run")
    assert (made["status"], made["reasons"]) == ("ERROR", ["worker.raised"])
    printed = text([made])
    for words in (
        "worker.raised docs/explain.md#raised",
        "ValueError: not today",
        "by the worker, about itself",
        "at calibrate",
    ):
        assert words in printed
    assert "This means that the case did not run to its end" in printed
    assert "call the function yourself" in printed


def test_what_was_accepted_takes_one_line() -> None:
    assert text([valid_record(), valid_record(variant="split")]).startswith("2 cases, all accepted: nothing was refused")
    assert text([valid_record()], "1") == (
        "1. ch06_vector_add / vectorized / n=262144 cpu: VALID FASTER 2.0000x [2.0000, 2.0000] "
        "Accepted: there is nothing to explain. 1 case, all accepted: nothing was refused and nothing is undecided."
    )
    assert text([]) == "No record is in it, so there is nothing to explain."


def test_only_what_was_not_accepted_is_explained_and_the_rest_is_counted() -> None:
    printed = text([valid_record(), refused_record(variant="split"), open_case(variant="coarse")])
    assert "2. ch06_vector_add / split / n=262144 cpu: INVALID" in printed
    assert "3. ch06_vector_add / coarse / n=262144 cpu: VALID UNDECIDED" in printed
    assert "vectorized" not in printed
    assert printed.endswith("2 of 3 cases not accepted, 1 accepted.")


def test_a_protection_that_was_switched_off_is_not_called_a_refusal() -> None:
    made = refused_record("INCONCLUSIVE", "timing.drain_bound")
    left_out = registry.Shields(registry.select({"disable": ["timing.drain_bound"]})).evidence
    made["evidence"] = [vars(e) for e in left_out]
    printed = text([made])
    assert "seen timing.drain_bound is switched off" in printed
    assert "After DONE nothing may go on" in printed
    assert "silence is never a pass" in printed and "protect=strict" in printed
    assert "A refusal means" not in printed and "Knobs" not in printed


def test_a_protection_that_could_not_tell_gives_its_own_reasons() -> None:
    made = refused_record("INCONCLUSIVE", "timing.roofline_floor")
    made["evidence"][0] |= {"status": "unavailable", "stage": "conclude", "observed": "a call takes 1 us"}
    assert "Look for `work:` first" in text([made])
    made["evidence"][0] |= {"stage": "preflight"}
    assert "Look for `work:` first" in text([made])


def test_a_protection_that_raised_is_the_runners_mistake() -> None:
    made = refused_record("ERROR", "statistical.whole_sample")
    made["evidence"][0] |= {"status": "error", "observed": "KeyError: 'a'"}
    printed = text([made])
    assert "seen KeyError: 'a'" in printed and "it is a mistake of the runner's" in printed
    assert "A refusal means" not in printed


def test_a_reason_of_another_version_is_shown_with_what_was_seen() -> None:
    printed = text([refused_record(reason="output.sevenfold")])
    assert "output.sevenfold seen 8 of 8 slots were written after DONE" in printed
    assert "knows no such reason" in printed


def test_many_findings_of_one_protection_are_cut_and_counted_and_json_has_them() -> None:
    made = refused_record()
    made["evidence"] = [{**made["evidence"][0], "observed": f"{n} of 8 slots"} for n in range(9)]
    assert "2 of 8 slots" in text([made]) and "3 of 8 slots" not in text([made])
    assert "and 6 more like it: --json" in text([made])
    assert len(explain.explain([made], [1])["explained"][0]["reasons"][0]["findings"]) == 9


def test_what_a_reason_means_is_told_once_and_pointed_to_afterwards() -> None:
    printed = text(
        [refused_record(), refused_record(variant="split"), refused_record(variant="coarse", reason="timing.trusted_sync")]
    )
    assert printed.count("A refusal means that work was still running") == 1
    assert printed.count("What that means and what to do: at 1, above.") == 1
    assert printed.count("A refusal means") == 2


def test_findings_with_the_same_limit_share_it_and_each_says_how_often() -> None:
    made = refused_record()
    made["evidence"] = [{**made["evidence"][0], "observed": f"{n} slots", "limit": "0 slots", "count": n} for n in (1, 2)]
    assert "seen 1 slots seen 2 slots (2 times) limit 0 slots by the judge" in text([made])


def test_the_candidates_findings_come_before_the_baselines() -> None:
    made = refused_record()
    both = [{**made["evidence"][0], "arm": arm, "observed": arm} for arm in ("baseline", "candidate")]
    (reason,) = explain.explain([{**made, "evidence": both}], [1])["explained"][0]["reasons"]
    assert [e["observed"] for e in reason["findings"]] == ["candidate", "baseline"]


@pytest.mark.parametrize("made", [valid_record(quarantined=True), open_case(quarantined=True)], ids=["VALID", "UNDECIDED"])
def test_numbers_in_quarantine_stay_withheld(made: dict[str, Any]) -> None:
    told = explain.explain([made], explain.choose([made], None))
    assert "Its numbers are withheld" in text([made])
    assert f"{made['speedup']['value']:.2f}" not in json.dumps(told) + text([made])


def test_a_gate_that_asks_for_more_says_what_it_asked_for() -> None:
    slower = valid_record(400.0, 800.0, require="not_slower")
    assert "The gate asks for not_slower (verify.require), and that is not what was found." in text([slower])
    assert "all accepted" in text([{**slower, "phase": "detect"}])


def test_an_unprotected_record_says_so() -> None:
    assert UNPROTECTED in text([refused_record(unprotected=True)])


def test_nothing_that_judged_code_wrote_moves_the_cursor() -> None:
    made = refused_record("ERROR", "worker.raised", message="candidate raised \x1b[2J ValueError\n1. all accepted")
    made["evidence"] = []
    told = explain.lines(explain.explain([made], [1]), 100)
    assert not [line for line, _ in told if not line.isprintable()]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_lines_fit_into_the_width(width: int) -> None:
    told = explain.explain([refused_record(), open_case()], [1, 2])
    prose = [line for line, _ in explain.lines(told, width) if line.startswith(("    ", "   seen"))]
    assert prose and max(map(len, prose)) <= width


def test_an_undecided_case_shows_its_interval_its_limits_and_how_many_sets_would_decide() -> None:
    made = open_case(value=1.03, deviation=0.02, sets=5)
    need = undecided.needed(made["speedup"], made["control"])
    assert need is not None and need.sets is not None and need.sets > 10
    (entry,) = explain.explain([made], [1])["explained"]
    told = entry["undecided"]
    assert (told["needed_sets"], told["more_sets"], told["would_be"]) == (need.sets, need.sets - 5, "FASTER")
    printed = text([made])
    for words in (
        "interval 1.0300x [1.0047, 1.0559] at 95.0%, over 5 sets of processes",
        "margin 1.00%",
        "floor 0.40% of noise, from the control limits FASTER above 1.0100, SLOWER below 0.9900, SAME within 1 -+ 0.01",
        "MDE 4.00%",
        f"about {need.sets} sets of processes, {need.sets - 5} more: then FASTER in 80% of runs",
        f"next aisp-run +workload=ch06_vector_add measure=publication measure.processes={need.sets}",
        "it is no refusal",
    ):
        assert words in printed


def test_a_noise_floor_over_half_the_margin_moves_the_limits() -> None:
    made = open_case()
    made["speedup"]["floor"] = 0.008
    printed = text([made])
    assert "over half the margin, so twice the floor takes its place" in printed
    assert "FASTER above 1.0160, SLOWER below 0.9840, SAME cannot be told" in printed
    made["speedup"]["floor"] = 0.6
    assert "FASTER above 2.2000, SLOWER cannot be told, SAME cannot be told" in text([made])


def test_one_set_of_processes_leaves_it_not_known() -> None:
    printed = text([open_case(sets=1)])
    assert "over the rounds of one set of processes" in printed
    assert "MDE not known" in printed and "needed not known: one set of processes" in printed
    assert "next aisp-run +workload=ch06_vector_add measure=standard" in printed


def test_what_no_number_of_sets_decides_says_so() -> None:
    made = open_case(value=1.01)
    assert "needed not by 100 sets of processes: the speed-up is too near a limit" in text([made])
    made["control"] |= {"value": 1.03, "low": 1.025, "high": 1.035}
    assert "the control itself is off 1, which more sets do not mend" in text([made])


def test_the_smallest_setting_with_enough_sets_is_named_and_the_candidate_with_it() -> None:
    few = open_case(value=1.03, deviation=0.009, sets=5, candidate="my kernels/a.py::fast")
    assert "candidate='my kernels/a.py::fast' measure=publication" in text([few])
    assert "measure=publication measure.processes" not in text([few])
    assert explain._next(few, undecided.Need(4, "SAME")).endswith("measure=standard")


def test_a_case_that_the_clock_could_not_tell_has_no_arithmetic() -> None:
    printed = text([valid_record(outcome="UNDECIDED", speedup=None)])
    assert "measure longer batches" in printed and "interval neither lies" in printed and "MDE" not in printed


def test_the_presets_have_as_many_sets_as_their_configs_say() -> None:
    for name, sets in explain.PRESETS:
        assert f"\nprocesses: {sets}\n" in (content_root() / "conf" / "measure" / f"{name}.yaml").read_text("utf-8")


RECORDS = [valid_record(), refused_record(variant="split"), refused_record(variant="triton_add", workload="ch01_saxpy")]


@pytest.mark.parametrize(
    ("piece", "numbers"),
    [
        ("2", [2]),
        ("split", [2]),
        ("ch06_vector_add", [1, 2]),
        ("ch06_vector_add/split", [2]),
        ("ch06_vector_add / split / n=262144 cpu", [2]),
        ("n=262144", [1, 2, 3]),
        ("262144", [1, 2, 3]),
        ("saxpy/tri", [3]),
    ],
)
def test_a_case_is_named_by_number_or_by_a_piece_of_its_name(piece: str, numbers: list[int]) -> None:
    assert explain.choose(RECORDS, piece) == numbers


@pytest.mark.parametrize(
    ("piece", "said"),
    [
        ("9", "'9' is no case of this run. Cases: 1 ch06_vector_add/vectorized/n=262144 cpu; 2 ch06_vector_add/split"),
        ("0", "'0' is no case of this run."),
        ("spilt", "Did you mean 'split'?"),
        ("ch06_vector_ad/split", "Did you mean 'ch06_vector_add/split'?"),
        ("", "'' is no case of this run."),
    ],
)
def test_a_case_that_is_not_there_is_an_error_with_what_was_perhaps_meant(piece: str, said: str) -> None:
    with pytest.raises(ConfigError) as wrong:
        explain.choose(RECORDS, piece)
    assert said in str(wrong.value)


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """runs/old and runs/new below the working directory; the newer one has all of RECORDS."""
    monkeypatch.chdir(tmp_path)
    for age, name, records in ((200, "old", RECORDS[:1]), (100, "new", RECORDS)):
        for r in records:
            record.append(Path("runs") / name / record.FILE, r)
        os.utime(Path("runs") / name, (1e9 - age, 1e9 - age))
    return tmp_path


COMMANDS: dict[str, tuple[list[str], str, str]] = {
    "the newest run": ([], "runs/new", "2 of 3 cases not accepted"),
    "a run": (["runs/old"], "runs/old", "1 case, all accepted"),
    "a records.jsonl": (["runs/new/records.jsonl"], "runs/new/records.jsonl", "2 of 3 cases"),
    "a case": (["runs/new", "3"], "runs/new", "3. ch01_saxpy / triton_add"),
    "a case of the newest run": (["split"], "runs/new", "2. ch06_vector_add / split"),
}


@pytest.mark.parametrize(("arguments", "first", "said"), COMMANDS.values(), ids=COMMANDS)
def test_the_command_explains(arguments: list[str], first: str, said: str, runs: Path, capsys: Captured) -> None:
    assert aisp.main(["explain", *arguments]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{first}\n") and said in out


def test_json_has_what_is_printed(runs: Path, capsys: Captured) -> None:
    assert aisp.main(["explain", "runs/new", "split", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"run": "runs/new"} | explain.explain(RECORDS, [2])


MISTAKES: dict[str, tuple[list[str], str]] = {
    "a run that is not there": (["runs/nev"], "no such folder or file, and no case of runs/new. Did you mean 'runs/new'?"),
    "a case that is not there": (["triton_ad_"], "Did you mean 'triton_add'?"),
    "a case of a run": (["runs/new", "spilt"], "'spilt' is no case of this run. Did you mean 'split'?"),
    "a folder without a run": (["."], ".: no run is in it."),
    "an unknown option": (["--jsno"], "unrecognized arguments: --jsno"),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "said"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_and_exit_2(arguments: list[str], said: str, runs: Path, capsys: Captured) -> None:
    assert aisp.main(["explain", *arguments]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert (captured.out, captured.err.count("\n")) == ("", 1)


def test_where_nothing_was_run_it_says_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.chdir(tmp_path)
    assert aisp.main(["explain"]) == 2
    assert "runs/ holds no run. Measure something first: aisp-run" in capsys.readouterr().err
