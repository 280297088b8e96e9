"""The command line of the runner's own benchmarks."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from aisp_runner.dev import bench, company, coverage, repeat, startup


def test_every_benchmark_has_a_help_and_a_file() -> None:
    told = " ".join(bench.parser().format_help().split())
    for what, text in bench.HELP.items():
        assert text in told
        assert bench.parser().parse_args([what, "--out", "x.json"]).out == Path("x.json")
    with pytest.raises(SystemExit):
        bench.parser().parse_args(["speed"])


def test_coverage_goes_through_to_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["coverage", "--trials", "6", "--effect-trials", "2", "--jobs", "1", "--out", str(tmp_path / "c.json")]
    monkeypatch.setattr(coverage, "SETUPS", coverage.SETUPS[:1])
    monkeypatch.setattr(sys, "argv", ["bench", *words])
    assert bench.main(words) == 0
    made = json.loads((tmp_path / "c.json").read_text())
    assert made["bench"] == "coverage" and made["command"].endswith(
        "coverage --trials 6 --effect-trials 2 --jobs 1 --out c.json"
    )
    assert len(made["rows"]) == len(coverage.REGIMES)


def test_what_is_asked_for_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []
    monkeypatch.setattr(repeat, "repeat", lambda *given, **named: asked.append((given, named)))
    words = ["repeat", "--device", "cuda", "--runs", "3", "--measure", "quick", "--condition", "every core", "--mode", "gated"]
    assert bench.main(words) == 0
    given, named = asked[0]
    assert given[1:] == ("cuda", 3, "quick", 0.01, None)
    assert named == {"only": "", "conditions": ("every core",), "mode": "gated"}
    assert set(company.CONDITIONS) == {"quiet", "neighbour", "every core"}


def test_an_error_is_a_message_and_a_status(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(
        startup, "commands", lambda folder, workloads: {"nothing": [sys.executable, "-c", "raise SystemExit(4)"]}
    )
    assert bench.main(["startup", "--runs", "1", "--workloads", "1"]) == 2
    assert "bench: error: startup: python -c" in capsys.readouterr().err


def test_repeat_beside_a_neighbour_may_ask_for_time_stamps_at_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr("aisp_runner.dev.repeat.repeat", lambda *_, **named: asked.update(named))
    words = "repeat --device cuda --measure quick --condition neighbour --device-clock cupti --processes 3"
    assert bench.main(words.split()) == 0
    assert (asked["device_clock"], asked["processes"], asked["conditions"]) == ("cupti", 3, ("neighbour",))
