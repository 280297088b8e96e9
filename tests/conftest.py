"""What every test file shares: the markers `cuda` and `alone`, and a clean environment.

They are declared in pyproject.toml. `make test` runs the files that are not ALONE side by side, and then these.
"""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

ALONE = {
    "dev/test_line",
    "dev/test_spread",
    "device/test_cpu",
    "engine/test_ray",
    "engine/test_slurm",
    "lanes/test_run",
    "peak/test_clock",
    "peak/test_cpu",
    "peak/test_measure",
    "protect/compile/test_recompile_counter",
    "protect/location/test_device_residency",
    "protect/memory/test_inputs_unchanged",
    "protect/output/test_reference_crosscheck",
    "protect/statistical/test_quiet_interpreter",
    "protect/workload/test_numeric_policy",
    "test_attacks",
    "test_calibrate",
    "test_cli",
    "test_crew",
    "test_execute",
    "test_explain",
    "test_faults",
    "test_hostile",
    "test_judge",
    "test_measure",
    "test_progress",
    "test_resume",
    "test_resume_cli",
    "test_shards",
    "test_trial",
    "test_verify_record",
    "test_wrong",
}
"""Files, without .py, whose tests measure time: nothing runs beside these."""

PARTLY_ALONE = {"dev/test_whole", "test_new"}
"""Files in which single tests say `@pytest.mark.alone`."""


def why_no_gpu() -> str:
    """The reason why a test that needs an NVIDIA GPU cannot run here, or "" where it can."""
    try:
        import torch
    except ImportError as error:
        return f"needs torch with CUDA, and torch cannot be imported: {error}"
    if torch.version.cuda is None:
        return f"needs an NVIDIA GPU, and torch {torch.__version__} is a CPU build"
    if not torch.cuda.is_available():
        return "needs an NVIDIA GPU, and torch sees none"
    return ""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave unread what `-m alone` and `-m 'not alone'` would deselect whole: reading every file takes ten seconds."""
    here = Path(__file__).parent
    if not (
        collection_path.name.startswith("test_") and collection_path.suffix == ".py" and collection_path.is_relative_to(here)
    ):
        return None
    name = collection_path.relative_to(here).with_suffix("").as_posix()
    unread = {"alone": name not in ALONE | PARTLY_ALONE, "not alone": name in ALONE}
    return True if unread.get(config.option.markexpr) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is ALONE, and skip the tests marked `cuda` where there is no GPU; torch is imported only for one of these."""
    here = Path(__file__).parent
    for item in items:
        if not item.path.is_relative_to(here):
            continue
        name = item.path.relative_to(here).with_suffix("").as_posix()
        if name in ALONE:
            item.add_marker(pytest.mark.alone)
        elif item.get_closest_marker("alone") and name not in PARTLY_ALONE:
            raise pytest.UsageError(f"{item.nodeid} is marked alone: add {name!r} to PARTLY_ALONE in tests/conftest.py")
    wanting = [item for item in items if item.get_closest_marker("cuda")]
    reason = why_no_gpu() if wanting else ""
    if reason:
        for item in wanting:
            item.add_marker(pytest.mark.skip(reason=reason))


def pytest_sessionstart() -> None:
    """A shell starts its background jobs with Ctrl-C ignored, nohup with SIGHUP; what tests start would inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def _no_inherited_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests see the defaults, not what the shell that started them had set."""
    for name in ("AISP_BUILD_DIR", "HYDRA_FULL_ERROR"):
        monkeypatch.delenv(name, raising=False)
