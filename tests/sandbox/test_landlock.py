"""Landlock by itself: what each version of it refuses, and what it leaves alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from aisp_runner.sandbox import landlock
from sandbox.inside import told_inside

ABI, WHY = landlock.version()
pytestmark = pytest.mark.skipif(ABI < 6, reason=f"needs Landlock ABI 6; this kernel has {ABI} ({WHY})")

TRIES = """
    os.makedirs("own/a"); os.makedirs("own/b"); os.makedirs("other")
    open("other/file", "w").close(); open("own/a/moves", "w").close()
    null = os.open("/dev/null", os.O_RDONLY)  # a device that is open already may be asked anything
    listener = socket.socket(); listener.bind(("127.0.0.1", 0)); listener.listen()
    hidden = socket.socket(socket.AF_UNIX); hidden.bind("\\0aisp-test-" + str(os.getpid())); hidden.listen()
    outside = sleeping_child()
    landlock.restrict(["own"], {abi})

    def device():
        asked = os.open("/dev/null", os.O_RDONLY)
        try:
            fcntl.ioctl(asked, 0x5401, bytes(64))
        except OSError as error:
            if error.errno != errno.ENOTTY:
                raise

    tries = {{
        "write here": lambda: open("own/new", "w").close(),
        "truncate here": lambda: os.truncate("own/new", 0),
        "move here": lambda: os.rename("own/a/moves", "own/b/moved"),
        "throw away": lambda: open("/dev/null", "w").write("x"),
        "read elsewhere": lambda: open("other/file").close(),
        "landlock.files": lambda: open("other/new", "w").close(),
        "landlock.truncate": lambda: os.truncate("other/file", 0),
        "landlock.tcp": lambda: socket.socket().connect(listener.getsockname()),
        "landlock.ioctl": device,
        "landlock.signals": lambda: os.kill(outside, 0),
        "landlock.abstract_sockets": lambda: socket.socket(socket.AF_UNIX).connect(hidden.getsockname()),
        "read memory": lambda: open(f"/proc/{{outside}}/mem", "rb").close(),
        "make a device": lambda: os.mknod("own/device", 0o020600, os.makedev(1, 3)),
        "signal itself": lambda: os.kill(os.getpid(), 0),
    }}
    found = {{name: attempt(act) for name, act in tries.items()}}
    os.close(null)
    tell(found)
"""


def tried(folder: Path, abi: int) -> dict[str, str]:
    return dict(told_inside(TRIES.format(abi=abi), folder))


@pytest.fixture(scope="module")
def by_version(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, str]]:
    return {abi: tried(tmp_path_factory.mktemp(f"abi{abi}"), abi) for abi in range(2, ABI + 1)}


@pytest.mark.parametrize("part", landlock.ABI_NEEDED)
def test_a_part_is_refused_from_the_version_on_that_it_is_said_to_need(
    part: str, by_version: dict[int, dict[str, str]]
) -> None:
    for abi, found in by_version.items():
        refused = found[part] in ("EACCES", "EPERM")
        assert refused == (abi >= landlock.ABI_NEEDED[part]), f"ABI {abi}: {found[part]}"


@pytest.mark.parametrize(
    "allowed", ["write here", "truncate here", "move here", "throw away", "read elsewhere", "signal itself"]
)
def test_what_compilers_and_caches_need_is_allowed_by_every_version(
    allowed: str, by_version: dict[int, dict[str, str]]
) -> None:
    assert {found[allowed] for found in by_version.values()} == {"done"}


@pytest.mark.parametrize("refused", ["read memory", "make a device"])
def test_what_every_version_refuses(refused: str, by_version: dict[int, dict[str, str]]) -> None:
    assert {found[refused] for found in by_version.values()} <= {"EACCES", "EPERM"}


def test_what_a_version_lacks_is_said_with_the_one_that_has_it() -> None:
    assert landlock.missing(7) == {}
    assert landlock.missing(5) == dict.fromkeys(
        ("landlock.signals", "landlock.abstract_sockets"), "needs Landlock ABI 6 (Linux 6.12); this kernel has 5"
    )
    assert set(landlock.missing(1)) == set(landlock.ABI_NEEDED), "renames between folders do not work in version 1"


def test_a_folder_that_is_not_there_is_an_error_and_nothing_is_confined(tmp_path: Path) -> None:
    code = """
    tell([attempt(lambda: landlock.restrict(["nowhere"], 6)), attempt(lambda: open("new", "w").close())])
    """
    assert told_inside(code, tmp_path) == ["ENOENT", "done"]


OWN_DEVICE = """
    landlock.restrict(["own"], {abi}, devices=["/dev/zero"])

    def asked():
        with open("/dev/zero", "wb") as device:
            try:
                fcntl.ioctl(device, 0x5401, bytes(64))
            except OSError as error:
                if error.errno != errno.ENOTTY:
                    raise

    tries = {{
        "its own device": lambda: open("/dev/zero", "wb").close(),
        "ask its own device": asked,
        "another device": lambda: open("/dev/full", "wb").close(),
        "name a thread": lambda: open(f"/proc/self/task/{{os.getpid()}}/comm", "w").write("named"),
        "another process": lambda: open(f"/proc/{{os.getppid()}}/comm", "w").write("named"),
    }}
    tell({{name: attempt(act) for name, act in tries.items()}})
"""


def test_a_device_that_is_its_own_can_be_used_and_others_cannot(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    found = dict(told_inside(OWN_DEVICE.format(abi=ABI), tmp_path))
    assert {name for name, how in found.items() if how == "done"} == {"its own device", "ask its own device", "name a thread"}
