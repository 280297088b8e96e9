"""A record is on the disk whole or not at all; a disk that is full loses nothing that was there."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from records import valid_record

from aisp_runner import chain, record, record_file
from aisp_runner.errors import ConfigError, DiskError


def records(count: int) -> list[dict[str, Any]]:
    return [valid_record(question=f"number {n}") for n in range(count)]


def file_of(folder: Path, count: int) -> Path:
    path = folder / record.FILE
    for r in records(count):
        record.append(path, r)
    return path


# A disk that is full

FILLS = """
    import resource, signal, sys
    from pathlib import Path
    sys.path[:0] = {paths!r}
    from records import valid_record
    from aisp_runner import record
    from aisp_runner.errors import DiskError
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    path = Path({path!r})
    limit = path.stat().st_size + {room}
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        record.append(path, valid_record())
    except DiskError as error:
        sys.exit(str(error))
"""


@pytest.mark.parametrize("room", [0, 1, 5000])
def test_a_limit_that_is_reached_within_a_record_leaves_the_file_as_it_was(tmp_path: Path, room: int) -> None:
    path = file_of(tmp_path, 2)
    before = path.read_bytes()
    tests = Path(__file__).parent
    code = textwrap.dedent(FILLS).format(paths=[str(tests), str(tests.parent)], path=str(path), room=room)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1, done.stderr
    assert f"{path}: a record of " in done.stderr and " bytes could not be written: File too large." in done.stderr
    assert f"The records before it are on the disk, unchanged. Make room, then go on with resume={tmp_path}." in done.stderr
    assert path.read_bytes() == before
    record.append(path, valid_record())
    assert chain.breaks(record.read(path)) == [] and len(record.read(path)) == 3


@pytest.fixture
def small_disk(tmp_path: Path) -> Any:
    """A file system of 128 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"needs the right to mount a tmpfs: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_ends_in_an_error_and_loses_nothing(small_disk: Path) -> None:
    path = small_disk / record.FILE
    written = 0
    with pytest.raises(DiskError, match="No space left on device"):
        for r in records(100):
            record.append(path, r)
            written += 1
    kept = record.read(path)
    assert [r["question"] for r in kept] == [f"number {n}" for n in range(written)] and written > 1
    assert chain.breaks(kept) == [] and record_file.mend(path) == ""


def test_a_plan_that_does_not_fit_leaves_the_one_before(small_disk: Path) -> None:
    from aisp_runner.case import Plan
    from aisp_runner.plan_file import load_plan, save_plan

    save_plan(Plan((), (), ("first",)), small_disk / "plan.json")
    with pytest.raises(DiskError, match=r"plan\.json: it could not be written: No space left on device"):
        save_plan(Plan((), (), ("x" * 200_000,)), small_disk / "plan.json")
    assert load_plan(small_disk / "plan.json").overrides == ("first",)
    assert os.listdir(small_disk) == ["plan.json"]


def test_a_disk_that_refuses_to_sync_is_told_and_the_record_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = file_of(tmp_path, 1)
    before, sync = path.read_bytes(), os.fsync

    def refuses(descriptor: int) -> None:
        monkeypatch.setattr(os, "fsync", sync)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", refuses)
    with pytest.raises(DiskError, match="Input/output error"):
        record.append(path, valid_record())
    assert path.read_bytes() == before


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / record.FILE).mkdir()
    with pytest.raises(DiskError, match=r"records\.jsonl: cannot be opened for writing: Is a directory"):
        record.append(tmp_path / record.FILE, valid_record())


# What a killed process leaves


def test_a_whole_record_without_its_line_end_is_kept(tmp_path: Path) -> None:
    path = file_of(tmp_path, 2)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert record_file.mend(path) == f"{path}: its last record lacked the line end, and has it now."
    assert path.read_bytes() == whole


def test_a_json_line_without_its_end_that_is_not_what_was_written_is_cut_off(tmp_path: Path) -> None:
    path = file_of(tmp_path, 1)
    whole = path.read_bytes()
    path.write_bytes(whole + json.dumps({"half": 1}).encode())
    assert "a half-written last line of 11 bytes was cut off" in record_file.mend(path)
    assert path.read_bytes() == whole


# Which records stand


def test_a_record_that_another_takes_the_place_of_does_not_stand(tmp_path: Path) -> None:
    path = file_of(tmp_path, 2)
    first, second = record.read(path)
    record.append(path, valid_record(supersedes={"sha256": first["chain"]["sha256"], "why": "another driver"}))
    rows = record.read(path)
    assert record_file.standing(rows) == [second, rows[2]]
    assert record_file.standing([first, second]) == [first, second]


def test_a_record_without_a_chain_is_known_by_its_content() -> None:
    assert record_file.known_as(valid_record()) == chain.digest(valid_record())


# Whole files


def test_a_file_is_written_whole_and_chained(tmp_path: Path) -> None:
    assert record_file.write_whole(tmp_path / "all.jsonl", records(3)) == 3
    assert chain.breaks(record.read(tmp_path / "all.jsonl")) == []
    assert os.listdir(tmp_path) == ["all.jsonl"]


def test_a_file_that_does_not_fit_is_not_there(small_disk: Path) -> None:
    with pytest.raises(DiskError, match="Nothing was left there"):
        record_file.write_whole(small_disk / "all.jsonl", records(100))
    assert os.listdir(small_disk) == []


def test_a_folder_is_free_again_when_its_run_was_killed(tmp_path: Path) -> None:
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom aisp_runner.record_file import alone\n"
        "with alone(Path(sys.argv[1])):\n    print('in', flush=True)\n    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == "in\n"
        with pytest.raises(ConfigError, match="another run is writing there"), record_file.alone(tmp_path):
            raise AssertionError("two were let in")
        other.kill()
        other.wait()
    with record_file.alone(tmp_path):
        assert (tmp_path / ".lock").exists()


def test_what_is_read_from_a_file_needs_no_more_than_is_open(tmp_path: Path) -> None:
    """A run of a thousand cases opens its file a thousand times."""
    path, before = file_of(tmp_path, 1), resource.getrlimit(resource.RLIMIT_NOFILE)
    open_now = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        record.append(path, valid_record())
    assert len(os.listdir("/proc/self/fd")) == open_now and before == resource.getrlimit(resource.RLIMIT_NOFILE)
