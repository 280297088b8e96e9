"""Every attack is refused by a protection against its issue, wins without protections, and has an honest twin that passes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from aisp_runner.pool import Pool
from aisp_runner.protect import registry
from tests.attacks.gauntlet import LENGTHS, Attack, attacks, covers, judge_attack, run

REFUSES_NOTHING = {"timing.roofline_floor"}
"""Their findings make a case INCONCLUSIVE: what they see may be the workload's mistake as well."""


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool() as shared:
        yield shared


def row_of(attack: Attack, device: str, calls: tuple[int, int], folder: Path, pool: Pool) -> dict[str, object]:
    """The row of one attack. Its aliveness may need several tries on a busy machine; a refusal and a twin get one."""
    if why := attack.why_not(device):
        pytest.skip(why)
    return judge_attack(attack, device, calls, folder, pool)


@pytest.mark.parametrize("attack", attacks(), ids=lambda a: a.issue)
def test_attack_is_refused_and_alive_and_its_twin_is_accepted(attack: Attack, tmp_path: Path, pool: Pool) -> None:
    row = row_of(attack, "cpu", LENGTHS["cpu"][1], tmp_path, pool)
    assert row["refused"], f"not refused: {row}"
    assert row["alive"], f"gains nothing without protections: {row}"
    assert row["twin_accepted"], f"the honest twin was refused: {row['twin']}"


@pytest.mark.cuda
@pytest.mark.parametrize("calls", LENGTHS["cuda"], ids=lambda c: f"{c[1]} calls")
@pytest.mark.parametrize("attack", attacks("cuda"), ids=lambda a: a.issue)
def test_attack_on_a_gpu(attack: Attack, calls: tuple[int, int], tmp_path: Path, pool: Pool) -> None:
    row = row_of(attack, "cuda", calls, tmp_path, pool)
    assert row["refused"] and row["twin_accepted"], str(row)


ELSEWHERE = [attack for attack in attacks() if attack.why_not("cpu")]


@pytest.mark.parametrize("attack", ELSEWHERE, ids=lambda a: a.issue)
def test_an_attack_that_cannot_be_staged_here_gives_right_answers_all_the_same(
    attack: Attack, tmp_path: Path, pool: Pool
) -> None:
    """What a CPU can tell of it: neither the attack nor its twin is refused for its outputs."""
    made = run(attack, [("candidate", "strict"), ("twin", "strict")], "cpu", (2, 6), tmp_path, pool)
    for (record,) in made:
        assert record["errors"]["c"]["outputs_checked"] > 20, record["message"]
        assert not [reason for reason in record["reasons"] if reason.startswith(("output.", "memory.", "worker."))]


def test_an_attack_says_where_it_can_be_staged_and_why_not_elsewhere() -> None:
    assert [a.issue for a in ELSEWHERE] == ["workload.undeclared_shortcuts"]
    assert ELSEWHERE[0].why_not("cpu").startswith("workload.undeclared_shortcuts can be staged on cuda alone: a call alone")
    assert len(attacks("cpu")) == len(attacks()) - 1 and attacks("cuda") == attacks()


def test_every_protection_has_an_attack_that_it_alone_is_expected_to_refuse() -> None:
    always_on = set(registry.UNPROTECTED)
    assert {a.expect for a in attacks()} | always_on | REFUSES_NOTHING == set(registry.known())


def test_every_attack_is_against_an_issue_that_its_protection_covers() -> None:
    assert [a.issue for a in attacks() if not covers(a.expect, a.issue)] == []
