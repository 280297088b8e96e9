"""Every attack is refused by a protection against its issue, wins without protections, and has an honest twin that passes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from aisp_runner.execute import Pool
from aisp_runner.protect import registry
from tests.attacks.gauntlet import LENGTHS, Attack, attacks, covers, judge_attack


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool() as shared:
        yield shared


def row_of(attack: Attack, device: str, calls: tuple[int, int], folder: Path, pool: Pool) -> dict[str, object]:
    """The row of one attack. Its aliveness may need several tries on a busy machine; a refusal and a twin get one."""
    return judge_attack(attack, device, calls, folder, pool)


@pytest.mark.parametrize("attack", attacks(), ids=lambda a: a.issue)
def test_attack_is_refused_and_alive_and_its_twin_is_accepted(attack: Attack, tmp_path: Path, pool: Pool) -> None:
    row = row_of(attack, "cpu", LENGTHS["cpu"][1], tmp_path, pool)
    assert row["refused"], f"not refused: {row}"
    assert row["alive"], f"gains nothing without protections: {row}"
    assert row["twin_accepted"], f"the honest twin was refused: {row['twin']}"


@pytest.mark.cuda
@pytest.mark.parametrize("calls", LENGTHS["cuda"], ids=lambda c: f"{c[1]} calls")
@pytest.mark.parametrize("attack", attacks(), ids=lambda a: a.issue)
def test_attack_on_a_gpu(attack: Attack, calls: tuple[int, int], tmp_path: Path, pool: Pool) -> None:
    row = row_of(attack, "cuda", calls, tmp_path, pool)
    assert row["refused"] and row["twin_accepted"], str(row)


def test_every_protection_has_an_attack_that_it_alone_is_expected_to_refuse() -> None:
    always_on = set(registry.UNPROTECTED)
    assert {a.expect for a in attacks()} | always_on == set(registry.known())


def test_every_attack_is_against_an_issue_that_its_protection_covers() -> None:
    assert [a.issue for a in attacks() if not covers(a.expect, a.issue)] == []
