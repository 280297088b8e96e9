"""Evidence and times in, a verdict out: the whole table."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from aisp_runner import verdict
from aisp_runner.errors import AispError, BuildError, DeviceError, WorkerFault
from aisp_runner.protect import registry
from aisp_runner.protect.base import Evidence
from aisp_runner.statistics import Estimate, Interval
from aisp_runner.verdict import ABOUT_TIMING, Verdict, decide, exit_code, outcome

TIMES = Estimate(((0.7,),), Interval(2.0, 1.9, 2.1, 0.97), None, None, 2.0, 45e3, 8e5, 4e5)
UNTOLD = Estimate(((float("nan"),),), None, None, None, 2.0, 45e3, 8e5, -1.0)
FAULT = WorkerFault("candidate", "hung", "candidate fast did not finish")


def seen(
    status: str, protection: str = "output.tolerance_bound", observed: str = "3 wrong", limit: str = "", arm: str = ""
) -> Evidence:
    return Evidence(protection, "verify", "judge", status, observed, limit, arm)


PASS, FAIL, ERROR, UNAVAILABLE = (seen(status) for status in ("pass", "fail", "error", "unavailable"))


@pytest.mark.parametrize(
    ("evidence", "fault", "phase", "times", "status"),
    [
        ([PASS], None, "gate", TIMES, "VALID"),
        ([], None, "detect", TIMES, "VALID"),
        ([PASS, FAIL], None, "detect", TIMES, "INVALID"),
        ([FAIL], FAULT, "gate", None, "INVALID"),
        ([FAIL, ERROR, UNAVAILABLE], None, "gate", TIMES, "INVALID"),
        ([PASS], FAULT, "gate", None, "ERROR"),
        ([ERROR], FAULT, "gate", None, "ERROR"),
        ([ERROR, UNAVAILABLE], None, "gate", TIMES, "ERROR"),
        ([UNAVAILABLE], None, "gate", TIMES, "INCONCLUSIVE"),
        ([UNAVAILABLE], None, "detect", TIMES, "VALID"),
        ([UNAVAILABLE], None, "quarantine", TIMES, "VALID"),
        ([PASS], None, "gate", None, "INCONCLUSIVE"),
        ([PASS], None, "detect", UNTOLD, "INCONCLUSIVE"),
    ],
    ids=[
        "all pass",
        "nothing seen",
        "one fails",
        "failure before fault",
        "failure before all",
        "fault",
        "fault before error",
        "error before unavailable",
        "unavailable gates",
        "unavailable when detecting",
        "unavailable in quarantine",
        "nothing timed",
        "clock cannot tell",
    ],
)
def test_the_status_is(
    evidence: list[Evidence], fault: AispError | None, phase: str, times: Estimate | None, status: str
) -> None:
    assert decide(evidence, fault, phase, times).status == status


@pytest.mark.parametrize(
    ("require", "status"), [("valid", "VALID"), ("not_slower", "INCONCLUSIVE"), ("faster", "INCONCLUSIVE")]
)
@pytest.mark.parametrize("name", ABOUT_TIMING)
def test_a_noisy_machine_stops_a_gate_that_requires_an_outcome_and_no_other(name: str, require: str, status: str) -> None:
    noise = Evidence(name, "conclude", "judge", "unavailable", "others used the cores", "")
    assert decide([noise], None, "gate", TIMES, require).status == status
    off = Evidence(name, "preflight", "judge", "unavailable", "switched off", "")
    assert decide([off], None, "gate", TIMES, require).status == "INCONCLUSIVE", "one that is switched off was not asked"
    assert name in registry.known()


def test_a_refusal_says_what_was_seen_and_the_limit() -> None:
    made = decide([seen("fail", observed="3 of 8 are wrong", limit="rtol 1e-06")], None, "gate", TIMES)
    assert made == Verdict("INVALID", ("output.tolerance_bound",), "3 of 8 are wrong (limit: rtol 1e-06)")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [(FAULT, "worker.hung"), (BuildError("x.cu: no"), "BuildError"), (DeviceError("full"), "DeviceError")],
)
def test_a_fault_is_named_by_its_kind_and_told_in_full(fault: AispError, reason: str) -> None:
    assert decide([], fault, "gate", None) == Verdict("ERROR", (reason,), str(fault))


def test_a_protection_that_broke_is_named() -> None:
    made = decide([seen("error", observed="KeyError: 'c'")], None, "gate", TIMES)
    assert made.message == "protection output.tolerance_bound itself failed: KeyError: 'c'"


def test_a_clock_that_cannot_tell_says_what_to_do() -> None:
    made = decide([], None, "gate", UNTOLD)
    assert made.reasons == ("timing.resolution",) and "measure.calls" in made.message


def test_a_clock_that_a_busy_machine_kept_from_telling_says_so() -> None:
    shared = replace(
        seen("unavailable", "environment.quiet_machine", observed="another process computes there"), stage="conclude"
    )
    for phase in ("detect", "gate"):
        made = decide([shared], None, phase, UNTOLD)
        assert made.reasons == ("environment.quiet_machine", "timing.resolution")
        assert made.message == "another process computes there"
    assert decide([shared], None, "gate", TIMES).status == "VALID"
    assert decide([shared], None, "gate", TIMES, "faster").status == "INCONCLUSIVE"


def test_reasons_come_once_and_the_most_telling_first() -> None:
    names = ["workload.zzz", "output.tolerance_bound", "output.poisoned_outputs", "memory.late_writes", "memory.late_writes"]
    made = decide([seen("fail", name, observed=name) for name in names], None, "gate", TIMES)
    assert made.reasons == ("memory.late_writes", "output.poisoned_outputs", "output.tolerance_bound", "workload.zzz")
    assert made.message == "memory.late_writes"


def test_every_telling_protection_exists() -> None:
    assert set(verdict.TELLING) <= set(registry.known())
    assert len(set(verdict.TELLING)) == len(verdict.TELLING)


def test_a_fault_of_the_baseline_alone_is_called_its_own() -> None:
    baseline = seen("fail", observed="the baseline's", arm="baseline")
    assert decide([baseline], None, "gate", TIMES).message == "the baseline, not the candidate: the baseline's"
    both = decide([baseline, seen("fail", observed="the candidate's", arm="candidate")], None, "gate", TIMES)
    assert both.message == "the candidate's" and both.reasons == ("output.tolerance_bound",)


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (1.03, 1.5, "FASTER"),
        (1.02, 1.5, "UNDECIDED"),
        (1.0, 1.5, "UNDECIDED"),
        (0.98, 1.02, "SAME"),
        (0.99, 1.01, "SAME"),
        (0.97, 1.01, "UNDECIDED"),
        (0.99, 1.03, "UNDECIDED"),
        (0.5, 1.5, "UNDECIDED"),
        (0.5, 0.98, "UNDECIDED"),
        (0.5, 0.97, "SLOWER"),
    ],
)
def test_the_outcome_needs_the_whole_interval(low: float, high: float, said: str) -> None:
    assert outcome(Interval((low + high) / 2, low, high, 0.95), 0.02) == said


@pytest.mark.parametrize(
    ("low", "high", "floor", "said"),
    [
        (1.03, 1.5, 0.0, "FASTER"),
        (1.03, 1.5, 0.01, "FASTER"),
        (1.03, 1.5, 0.02, "UNDECIDED"),
        (1.05, 1.5, 0.02, "FASTER"),
        (0.5, 0.97, 0.01, "SLOWER"),
        (0.5, 0.97, 0.02, "UNDECIDED"),
        (0.5, 0.95, 0.02, "SLOWER"),
        (0.99, 1.01, 0.01, "SAME"),
        (0.99, 1.01, 0.011, "UNDECIDED"),
        (0.97, 1.03, 0.5, "UNDECIDED"),
    ],
)
def test_a_noise_floor_over_half_the_margin_takes_its_place_doubled(low: float, high: float, floor: float, said: str) -> None:
    """The margin is 0.02: a floor of 0.01 changes nothing, one of 0.02 asks for 4 %, and SAME cannot be told above 0.01."""
    assert outcome(Interval((low + high) / 2, low, high, 0.95), 0.02, floor) == said


def test_the_margin_moves_the_outcome() -> None:
    interval = Interval(1.05, 1.04, 1.06, 0.95)
    assert [outcome(interval, margin) for margin in (0.02, 0.05, 0.1)] == ["FASTER", "UNDECIDED", "SAME"]
    assert outcome(None, 0.02) == "UNDECIDED"


def made(status: str = "VALID", said: str | None = "FASTER", require: str = "valid", phase: str = "gate") -> dict[str, Any]:
    return {"status": status, "outcome": said if status == "VALID" else None, "require": require, "phase": phase}


@pytest.mark.parametrize(
    ("record", "code"),
    [
        (made(), 0),
        (made(said="SLOWER"), 0),
        (made(said="UNDECIDED"), 0),
        (made("INVALID"), 3),
        (made("ERROR"), 3),
        (made("INCONCLUSIVE"), 4),
        (made(require="faster"), 0),
        (made(said="SAME", require="faster"), 3),
        (made(said="SLOWER", require="faster"), 3),
        (made(said="UNDECIDED", require="faster"), 4),
        (made(said="SAME", require="not_slower"), 0),
        (made(said="SLOWER", require="not_slower"), 3),
        (made(said="UNDECIDED", require="not_slower"), 4),
        (made("INVALID", phase="detect"), 0),
        (made("ERROR", phase="quarantine"), 0),
        (made("INCONCLUSIVE", phase="detect"), 0),
    ],
    ids=lambda value: " ".join(str(v) for v in value.values()) if isinstance(value, dict) else str(value),
)
def test_one_record_gives_the_exit_code(record: dict[str, Any], code: int) -> None:
    assert exit_code([record]) == code


def test_the_worst_record_gives_the_exit_code() -> None:
    good, unsure, bad = made(), made("INCONCLUSIVE"), made("INVALID")
    assert exit_code([good, unsure, good]) == 4
    assert exit_code([bad, unsure, good]) == 3 == exit_code([good, unsure, bad])
    assert exit_code([made("INVALID", phase="detect"), good]) == 0


def test_no_record_is_not_a_pass() -> None:
    assert exit_code([]) == 5
