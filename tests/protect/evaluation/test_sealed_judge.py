"""The judge's own files and the reference, held against what they were."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from bench import case

from aisp_runner.case import Case
from aisp_runner.protect.evaluation import sealed_judge
from aisp_runner.protect.evaluation.sealed_judge import SealedJudge, package_digest


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of two files in the place of the runner."""
    folder = tmp_path / "package"
    (folder / "inner").mkdir(parents=True)
    (folder / "one.py").write_text("a = 1\n")
    (folder / "inner" / "two.py").write_text("b = 2\n")
    monkeypatch.setattr(sealed_judge, "PACKAGE", folder)
    return folder


def look(given: Case, digest: str) -> Any:
    bench: Any = SimpleNamespace(package_digest=digest)
    return SealedJudge().judge_preflight(bench, given)


def test_nothing_changed_passes(package: Path, tmp_path: Path) -> None:
    found = look(case(tmp_path / "case"), package_digest())
    assert (found.status, found.observed) == ("pass", "judge and reference are unchanged")


@pytest.mark.parametrize("change", ["content", "name", "another file", "removed"])
def test_any_change_of_the_judges_files_is_seen(package: Path, tmp_path: Path, change: str) -> None:
    given, digest = case(tmp_path / "case"), package_digest()
    inner = package / "inner" / "two.py"
    if change == "content":
        inner.write_text("b = 3\n")
    elif change == "name":
        inner.rename(inner.with_name("three.py"))
    elif change == "another file":
        (package / "three.py").write_text("")
    else:
        inner.unlink()
    found = look(given, digest)
    assert (found.status, found.observed) == ("fail", "aisp_runner changed on disk")


def test_a_changed_reference_is_named(package: Path, tmp_path: Path) -> None:
    given = case(tmp_path / "case")
    (tmp_path / "case" / "kernel.py").write_text("def reference(a, b): return a\n")
    found = look(given, package_digest())
    assert found.status == "fail" and "kernel.py changed on disk" in found.observed
