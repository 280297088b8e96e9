"""Times of commands that measure nothing."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from aisp_runner import config
from aisp_runner.dev import startup
from aisp_runner.errors import AispError
from aisp_runner.report import Console


def test_generated_workloads_are_listed_beside_the_runners_own(tmp_path: Path) -> None:
    startup.generate(tmp_path, 3)
    names = config.workload_files(config.config_folders([tmp_path]))
    assert {f"generated_{i:04}" for i in range(3)} < set(names)
    listed = startup.commands(tmp_path, 3)["aisp list, 3 more"]
    assert startup.seconds(listed) > 0


def test_every_command_of_the_table_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(startup, "seconds", lambda command: asked.append(command) or 0.25 * len(asked))
    rows = startup.run(Console(io.StringIO(), 200), runs=2, workloads=1).rows
    assert len(asked) == 2 * len(rows) and rows[0] == {
        "what": "python -c pass", "seconds": 0.375, "fastest": 0.25, "slowest": 0.5, "runs": 2, "times": [0.25, 0.5],
    }  # fmt: skip
    assert {"aisp-run --help", "aisp list", "aisp-run --cfg job", "import torch"} <= {row["what"] for row in rows}


def test_a_command_that_fails_is_no_time() -> None:
    with pytest.raises(AispError, match="ended with status 3"):
        startup.seconds([sys.executable, "-c", "raise SystemExit(3)"])
