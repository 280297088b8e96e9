"""How an audit shares attacks out, and what a plain harness says of one from a fork of a process that is kept."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from aisp_runner.audit import jobs
from aisp_runner.audit.attack import Attack, attacks, read
from aisp_runner.audit.line import LENGTHS, cases
from aisp_runner.audit.plain import naive

CALLS = LENGTHS["cpu"][0]

FRAME_WALK = next(a for a in attacks() if a.name == "exploits/frame_walk")

TEXT = """
import os

import torch

issue = "evaluation.eval_code_exploitation"
expect = "processes"
unprotected = "naive"


def candidate(a, b, c):
    {does}


def twin(a, b, c):
    torch.atan2(a, b, out=c)
"""


def written(folder: Path, does: str) -> Attack:
    """An attack whose candidate does this."""
    (folder / "attack.py").write_text(TEXT.format(does=does))
    return read(folder / "attack.py")


def plainly(attack: Attack, function: str, home: Path) -> dict[str, object]:
    return naive(attack, cases(attack, function, "cpu", "off", CALLS, home)[0])


def test_an_attack_is_taken_once(tmp_path: Path) -> None:
    first, second = attacks()[:2]
    assert [jobs.take(a, tmp_path) for a in (first, second, first, second)] == [True, True, False, False]


def test_every_attack_is_run_by_one_of_the_processes(tmp_path: Path) -> None:
    chosen = [*(a for a in attacks("cpu") if a.expect == "verify-record"), FRAME_WALK]
    given = argparse.Namespace(device="cpu", all_lengths=False, mutate=True)
    found = list(jobs.rows(given, chosen, 2))
    assert sorted(row["attack"] for row in found) == sorted(a.name for a in chosen)


def test_what_an_attack_does_to_the_process_of_a_plain_harness_ends_with_its_run(tmp_path: Path) -> None:
    """The candidate's time is divided by 50 in its own run; the twin's, in the next one, is what it is."""
    assert plainly(FRAME_WALK, "candidate", tmp_path)["alive"]
    said = plainly(FRAME_WALK, "twin", tmp_path)
    assert said["off_status"] == ["True"] and isinstance(said["fake_speedup"], float) and said["fake_speedup"] < 10


@pytest.mark.parametrize(
    ("does", "words"),
    [
        ("raise ValueError('no answer')", "no answer"),
        ("os._exit(3)", "ended with 3"),
        ("os.kill(os.getpid(), 9)", "ended with -9"),
    ],
)
def test_an_attack_that_breaks_a_plain_harness_is_not_alive_and_says_how(tmp_path: Path, does: str, words: str) -> None:
    attack = written(tmp_path, does)
    said = plainly(attack, "candidate", tmp_path)
    assert not said["alive"] and words in str(said["off_status"])
    assert plainly(attack, "twin", tmp_path)["off_status"] == ["True"]
