"""What every test file shares: the `cuda` marker, and a clean environment.

`slow` and `cuda` are declared in pyproject.toml. A slow test runs unless it is deselected with -m 'not slow'.
"""

from __future__ import annotations

import signal

import pytest


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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests marked `cuda` where there is no GPU. torch is imported only when a collected test asks for one."""
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
