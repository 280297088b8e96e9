"""The lock on a GPU, held by real processes: it keeps others out, says who has it, and is free when its process is gone."""

from __future__ import annotations

import os
import re
import signal
import stat
from pathlib import Path

import pytest

from aisp_runner.errors import ConfigError, DeviceError
from aisp_runner.lanes import gpu_lock
from aisp_runner.lanes.gpu_lock import held
from lanes.holder import UUID, another


def taken(folder: Path, wait_seconds: float = 0.0) -> list[str]:
    """Takes the lock and gives it back; gives what was told meanwhile."""
    told: list[str] = []
    with held([UUID], wait_seconds, told.append, folder):
        return told


def test_a_gpu_that_another_process_holds_is_refused_with_its_pid(tmp_path: Path) -> None:
    with another(tmp_path) as process, pytest.raises(DeviceError) as refused:
        taken(tmp_path)
    text = str(refused.value)
    assert text.startswith(
        f"{UUID} is in use by another run (process {process.pid}, it says, lock {tmp_path}/aisp-gpu-{UUID}.lock)"
    )
    assert "was after 0 s" in text and "gpus.wait_seconds=SECONDS" in text
    assert taken(tmp_path) == []


def test_kill_9_frees_it(tmp_path: Path) -> None:
    with another(tmp_path) as process:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert taken(tmp_path) == []


def test_a_run_waits_says_so_once_and_goes_on(tmp_path: Path) -> None:
    told: list[str] = []
    with another(tmp_path) as process:

        def let_go(text: str) -> None:
            told.append(text)
            assert process.stdin is not None
            process.stdin.close()

        with held([UUID], 60.0, let_go, tmp_path):
            pass
    assert len(told) == 1 and f"process {process.pid}" in told[0] and "waiting for at most 60 s" in told[0]


def test_other_gpus_are_free_meanwhile(tmp_path: Path) -> None:
    with another(tmp_path, "GPU-bbbbbbbb-0000"):
        assert taken(tmp_path) == []


def test_every_user_may_open_the_file_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        with held([UUID, "MIG-1/2"], 0.0, pytest.fail, tmp_path) as paths:
            assert [stat.S_IMODE(path.stat().st_mode) for path in paths] == [0o666, 0o666]
            assert paths[0].read_text() == f"pid {os.getpid()}\n"
    finally:
        os.umask(before)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"aisp-gpu-{UUID}.lock", "aisp-gpu-MIG-1_2.lock"]
    assert paths[0].read_text() == "", "who holds it no more is not named"


def plant(folder: Path, kind: str) -> Path:
    """Something that another user has left at the file's place; gives what must not be changed."""
    victim, path = folder / "victim", folder / f"aisp-gpu-{UUID}.lock"
    victim.write_text("precious")
    if kind == "symlink":
        path.symlink_to(victim)
    elif kind == "hard link":
        path.hardlink_to(victim)
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()
    return victim


@pytest.mark.parametrize("kind", ["symlink", "hard link", "fifo", "folder"])
def test_what_is_no_plain_file_is_refused_and_nothing_is_written(kind: str, tmp_path: Path) -> None:
    victim = plant(tmp_path, kind)
    with pytest.raises(DeviceError, match=r"the lock on a GPU cannot be taken: .*Remove the file, or name another folder"):
        taken(tmp_path)
    assert victim.read_text() == "precious"


def test_a_file_that_says_nonsense_is_a_lock_all_the_same(tmp_path: Path) -> None:
    with another(tmp_path), pytest.raises(DeviceError, match="it does not say which"):
        next(tmp_path.iterdir()).write_text("\x1b[2Jpid 0; rm\n")
        taken(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to every file")
def test_a_file_that_may_only_be_read_is_enough(tmp_path: Path) -> None:
    taken(tmp_path)
    next(tmp_path.iterdir()).chmod(0o444)
    with held([UUID], 0.0, pytest.fail, tmp_path), pytest.raises(DeviceError, match="in use"):
        taken(tmp_path)


def test_the_folder_is_one_that_all_may_write_to_and_none_may_clear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(gpu_lock.FOLDER, raising=False)
    modes = {"closed": 0o755, "loose": 0o777, "sticky": 0o1777}
    for name, mode in modes.items():
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(mode)
    monkeypatch.setattr(gpu_lock, "SHARED", tuple(tmp_path / name for name in ("missing", *modes)))
    assert gpu_lock.folder() == tmp_path / "sticky"
    monkeypatch.setenv(gpu_lock.FOLDER, str(tmp_path / "closed"))
    assert gpu_lock.folder() == tmp_path / "closed"
    monkeypatch.setenv(gpu_lock.FOLDER, str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match=re.escape(f"{gpu_lock.FOLDER}: there is no folder")):
        gpu_lock.folder()
