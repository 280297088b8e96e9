"""Folders to review."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.review.copies import copied


@pytest.fixture(scope="package")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything as it is."""
    return copied(tmp_path_factory.mktemp("base"))


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A repository's folder with configs of three workloads."""
    folder = copied(tmp_path / "small")
    for file in (folder / "conf/workload").glob("*.yaml"):
        if file.stem not in ("ch12_kernel_fusion", "ch12_work_queue", "ch06_vector_add"):
            file.unlink()
    for file in (folder / "conf/suite").glob("*.yaml"):
        file.unlink()
    return folder
