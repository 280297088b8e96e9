"""Which device files a worker on a GPU is left."""

from __future__ import annotations

from pathlib import Path

import pytest

from aisp_runner.sandbox import policy


@pytest.fixture
def devices(tmp_path: Path) -> Path:
    for name in ("nvidia0", "nvidia1", "nvidia10", "nvidiactl", "nvidia-uvm", "nvidia-caps/nvidia-cap1", "null"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


COMMON = ["nvidiactl", "nvidia-uvm", "nvidia-caps/nvidia-cap1"]


@pytest.mark.parametrize(
    ("told", "named", "own"),
    [
        ([1], 1, ["nvidia1"]),
        ([1, 10], 2, ["nvidia1", "nvidia10"]),
        (None, 1, ["nvidia0", "nvidia1", "nvidia10"]),
        ([7], None, ["nvidia0", "nvidia1", "nvidia10"]),
    ],
    ids=["one", "two", "NVML does not tell", "all are asked for"],
)
def test_a_worker_is_left_its_own_gpus_and_what_all_share(
    devices: Path, monkeypatch: pytest.MonkeyPatch, told: list[int] | None, named: int | None, own: list[str]
) -> None:
    monkeypatch.setattr(policy, "minor_numbers", lambda count: told)
    found = [str(Path(path).relative_to(devices)) for path in policy.gpu_devices(named, devices)]
    assert found == [*own, *COMMON]


def test_a_machine_without_a_gpu_has_none(tmp_path: Path) -> None:
    assert policy.gpu_devices(1, tmp_path) == ()
