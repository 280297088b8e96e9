"""Peers that answer and neighbours that disturb."""

from __future__ import annotations

import os

import pytest

from aisp_runner.dev import company
from aisp_runner.errors import AispError


def test_peers_answer_line_by_line() -> None:
    (answer,) = company.answers("repeat", "--runs", "2", "--only", "add")
    assert answer["op"] == "add 1 M" and len(answer["speedups"]) == 2 and all(0.01 < s < 100 for s in answer["speedups"])


def test_a_peer_that_fails_is_an_error_with_its_words() -> None:
    with pytest.raises(AispError, match="invalid choice: 'nonsense'"):
        list(company.answers("nonsense"))


@pytest.mark.parametrize(("condition", "count"), [("quiet", 0), ("neighbour", 1), ("every core", len(os.sched_getaffinity(0)))])
def test_neighbours_work_while_the_block_runs_and_no_longer(
    condition: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []
    start = company._start
    monkeypatch.setattr(company, "_start", lambda words: started.append(start(words)) or started[-1])
    with company.disturbed(condition, "cpu") as working:
        assert working == count == len(started)
        assert all(process.poll() is None for process in started)
    assert all(process.poll() is not None for process in started)


def test_neighbours_end_also_when_the_block_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    start = company._start
    monkeypatch.setattr(company, "_start", lambda words: started.append(start(words)) or started[-1])
    with pytest.raises(ZeroDivisionError), company.disturbed("neighbour", "cpu"):
        raise ZeroDivisionError
    assert started[0].poll() is not None
