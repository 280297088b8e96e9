"""Every attack is refused by a protection against its issue, is alive without it, and has an honest twin that passes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aisp_runner.audit.attack import PREVENTED, VERIFIER, Attack, attacks, folder
from aisp_runner.audit.line import LENGTHS, covers, judge_attack, trial
from aisp_runner.pool import Pool
from aisp_runner.protect import registry
from aisp_runner.spec import load_workload

REFUSES_NOTHING = {"timing.roofline_floor"}
"""Their findings make a case INCONCLUSIVE: what they see may be the workload's mistake as well."""


SLOW = {"timing/deferred_cleanup"}


def first_of_each(every: list[Attack]) -> set[str]:
    """Names of one attack for each protection that can be tried on a CPU: slow ones, as with a compiler or ranks, come last."""
    chosen: dict[str, str] = {}
    for attack in sorted(every, key=lambda a: (a.path.parent.name in ("compile", "distributed"), a.name in SLOW, a.name)):
        if not attack.why_not("cpu"):
            chosen.setdefault(attack.expect, attack.name)
    return set(chosen.values())


HERE = {a.name for a in attacks()} if os.environ.get("AISP_AUDIT") == "all" else first_of_each(attacks())


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool() as shared:
        yield shared


@pytest.fixture(scope="module")
def rows(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What `aisp audit` says of the attacks that are asked for, on this machine's CPU; as many at a time as there are cores."""
    items: list[Any] = [item for item in request.session.items if item.path == request.path and "rows" in item.fixturenames]
    asked = [item.callspec.params["attack"] for item in items]
    names = ",".join(attack.name for attack in asked if attack.name in HERE and not attack.why_not("cpu"))
    if not names:
        return {}
    out = tmp_path_factory.mktemp("audit") / "rows.json"
    jobs = str(len(os.sched_getaffinity(0)))
    command = [sys.executable, "-m", "aisp_runner.aisp", "audit", "--json", "--jobs", jobs, "--names", names, "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1500, check=False)
    assert done.returncode in (0, 3), done.stderr
    return {row["attack"]: row for row in json.loads(out.read_text())}


@pytest.mark.parametrize("attack", attacks(), ids=lambda a: a.name)
def test_attack_is_refused_and_alive_and_its_twin_is_accepted(
    attack: Attack, rows: dict[str, dict[str, Any]], tmp_path: Path, pool: Pool
) -> None:
    if why := attack.why_not("cpu"):
        pytest.skip(why)
    if attack.name not in HERE:
        pytest.skip("one attack a protection is run here; `aisp audit` and AISP_AUDIT=all run them all")
    row = rows[attack.name]
    if row["refused"] and row["twin_accepted"] and not (row["named"] and row["alive"]):  # beside others it had no core for that
        row = judge_attack(attack, "cpu", LENGTHS["cpu"][1], tmp_path, pool)
    assert row["refused"], f"not refused: {row}"
    assert row["named"], f"refused by another protection than expected: {row}"
    assert row["alive"], f"not alive without protections: {row}"
    assert row["twin_accepted"], f"the honest twin was refused: {row['twin']}"


@pytest.mark.cuda
@pytest.mark.parametrize("calls", LENGTHS["cuda"], ids=lambda c: f"{c[1]} calls")
@pytest.mark.parametrize("attack", [a for a in attacks() if "cuda" in a.devices.split()], ids=lambda a: a.name)
def test_attack_on_a_gpu(attack: Attack, calls: tuple[int, int], tmp_path: Path, pool: Pool) -> None:
    if why := attack.why_not("cuda"):
        pytest.skip(why)
    row = judge_attack(attack, "cuda", calls, tmp_path, pool)
    assert row["refused"] and row["twin_accepted"], str(row)


SHARED_WORK = next(a for a in attacks() if a.name == "workload/shared_work")


def test_calls_that_share_work_give_right_answers_where_nothing_can_tell(tmp_path: Path, pool: Pool) -> None:
    """What a CPU can tell of it: neither the attack nor its twin is refused for its outputs."""
    made = trial(SHARED_WORK, [("candidate", "strict"), ("twin", "strict")], "cpu", (2, 6), tmp_path, pool)
    for (record,) in made:
        assert record["errors"]["c"]["outputs_checked"] > 20, record["message"]
        assert not [reason for reason in record["reasons"] if reason.startswith(("output.", "memory.", "worker."))]


def test_an_attack_says_where_it_can_be_staged_and_why_not_elsewhere() -> None:
    assert SHARED_WORK.why_not("cpu").startswith("workload.undeclared_shortcuts can be staged on cuda alone: a call alone")
    for attack in attacks():
        for device in ("cpu", "cuda"):
            assert not attack.why_not(device, gpus=64) or len(attack.because) > 20, attack.name
    assert {a.name for a in attacks("cpu")} == {a.name for a in attacks() if not a.why_not("cpu")}


def test_an_attack_on_ranks_needs_a_gpu_for_each_and_is_skipped_with_the_reason_where_there_are_fewer() -> None:
    ranked = {}
    for attack in attacks():
        ranks = load_workload(folder() / "workloads" / f"{attack.workload}.yaml").ranks
        if ranks > 1 and "cuda" in attack.devices.split():
            ranked[attack.name] = attack
            assert attack.gpus == ranks, attack.name
    assert len(ranked) == 8 and not any(a.why_not("cpu", gpus=0) or a.why_not("cuda", gpus=2) for a in ranked.values())
    why = ranked["distributed/rank_skipping"].why_not("cuda", gpus=1)
    assert why == "distributed.rank_skipping needs 2 GPUs on cuda, one a rank, and 1 can be seen (CUDA_VISIBLE_DEVICES)"


def test_every_protection_has_an_attack_that_it_is_expected_to_refuse() -> None:
    always_on = set(registry.UNPROTECTED)
    assert {a.expect for a in attacks()} - {PREVENTED, VERIFIER} | always_on | REFUSES_NOTHING == set(registry.known())


def test_every_attack_is_against_an_issue_that_its_protection_covers() -> None:
    assert [a.name for a in attacks() if a.expect not in (PREVENTED, VERIFIER) and not covers(a.expect, a.issue)] == []
