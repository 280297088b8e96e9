"""The filter of system calls: run by a small interpreter for both machines, and by the kernel for this one."""

from __future__ import annotations

import errno
import platform
import re
import struct
from pathlib import Path

import pytest

from aisp_runner.sandbox import seccomp
from aisp_runner.sandbox.numbers import ALIKE, BOTH, MACHINES, X86_ONLY, number
from sandbox.inside import told_inside

ALLOWED, OWN, OTHER = 0x7FFF0000, 4711, 4712
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

here = pytest.mark.skipif(bool(seccomp.why_not()), reason=seccomp.why_not() or "can filter")


def answer(
    machine: str,
    call: int,
    *arguments: int,
    signals: bool = False,
    network: bool = False,
    gpu: bool = False,
    architecture: int = 0,
) -> int:
    """What the filter of worker 4711 says of a call: an error number, or ALLOWED."""
    words = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("<iIQ6Q", call, architecture or ARCHITECTURES[machine], 0, *words)
    steps = seccomp.program(machine, OWN, signals, network, gpu)
    at = value = 0
    while True:
        code, if_true, if_false, constant = steps[at]
        at += 1
        if code == 0x06:
            return constant if constant == ALLOWED else constant & 0xFFFF
        if code == 0x20:
            (value,) = struct.unpack_from("<I", data, constant)
        elif code == 0x54:
            value &= constant
        else:
            holds = {0x15: value == constant, 0x35: value >= constant, 0x45: bool(value & constant)}[code]
            at += if_true if holds else if_false


def asked(machine: str, name: str, *arguments: int, signals: bool = False, network: bool = False, gpu: bool = False) -> int:
    found = number(name, machine)
    assert found is not None
    return answer(machine, found, *arguments, signals=signals, network=network, gpu=gpu)


both = pytest.mark.parametrize("machine", MACHINES)


@both
def test_calls_that_reach_others_are_refused_and_all_numbers_else_are_allowed(machine: str) -> None:
    names = {**BOTH, **ALIKE, **X86_ONLY}
    by_number = {number(name, machine): name for name in names}
    some = {*seccomp.ONLY_SELF, *seccomp.ONLY_SELF_BY_KIND, *seccomp.WITHOUT_EFFECT, "socketpair", "clone", "clone3"}
    for call in range(1024):
        name = by_number.get(call, "")
        if name not in some:
            assert answer(machine, call) == (errno.EPERM if name in (*seccomp.REFUSED, *seccomp.NETWORK) else ALLOWED), (
                name or call
            )


@both
@pytest.mark.parametrize("name", seccomp.ONLY_SELF)
def test_limits_and_cores_are_the_workers_own(machine: str, name: str) -> None:
    assert [asked(machine, name, pid) for pid in (0, OWN, OTHER)] == [ALLOWED, ALLOWED, errno.EPERM]


@both
@pytest.mark.parametrize(("name", "kinds", "user"), [("setpriority", (0, 1), 2), ("ioprio_set", (1, 2), 3)])
def test_preference_is_the_workers_own(machine: str, name: str, kinds: tuple[int, ...], user: int) -> None:
    for kind in kinds:
        assert [asked(machine, name, kind, pid) for pid in (0, OWN, OTHER)] == [ALLOWED, ALLOWED, errno.EPERM]
    assert asked(machine, name, user, 0) == errno.EPERM, "all processes of the user"


@both
@pytest.mark.parametrize("name", [*seccomp.SIGNALS, "pidfd_send_signal"])
def test_signals_are_filtered_only_where_landlock_does_not(machine: str, name: str) -> None:
    assert asked(machine, name, OTHER) == ALLOWED
    assert asked(machine, name, OTHER, signals=True) == errno.EPERM
    everyone = (1 << 64) - 1
    assert asked(machine, name, everyone, signals=True) == errno.EPERM
    if name != "pidfd_send_signal":
        assert asked(machine, name, OWN, signals=True) == ALLOWED


@both
def test_processes_and_threads_start_but_namespaces_do_not(machine: str) -> None:
    threads, fork, new_user = 0x3D0F00, 0x1200011, 0x10000000
    assert [asked(machine, "clone", flags) for flags in (threads, fork)] == [ALLOWED, ALLOWED]
    assert [asked(machine, "clone", flags | new_user) for flags in (threads, fork)] == [errno.EPERM] * 2
    assert asked(machine, "clone3") == errno.ENOSYS, "the C library then takes clone"


@both
@pytest.mark.parametrize(
    ("family", "kind", "result"),
    [
        pytest.param(1, 1, ALLOWED, id="stream"),
        pytest.param(1, 5 | 0o2000000 | 0o4000, ALLOWED, id="packets with flags"),
        pytest.param(1, 2, errno.EPERM, id="datagrams, which can be sent anywhere"),
        pytest.param(1, 3, errno.EPERM, id="raw, which are datagrams"),
        pytest.param(30, 5, errno.EPERM, id="another family"),
    ],
)
def test_pairs_of_sockets_stay_connected_to_each_other(machine: str, family: int, kind: int, result: int) -> None:
    assert asked(machine, "socketpair", family, kind) == result


@both
@pytest.mark.parametrize(
    ("family", "of_ranks"), [(1, errno.EPERM), (2, ALLOWED), (10, ALLOWED), (16, ALLOWED), (40, errno.EPERM)]
)
def test_ranks_may_open_internet_sockets_and_no_unix_ones(machine: str, family: int, of_ranks: int) -> None:
    assert asked(machine, "socket", family, 1) == errno.EPERM
    assert asked(machine, "socket", family, 1, network=True) == of_ranks
    assert asked(machine, "connect", 3, network=True) == ALLOWED


@both
@pytest.mark.parametrize("network", [False, True])
@pytest.mark.parametrize(
    ("family", "kind", "result"),
    [
        pytest.param(1, 5, ALLOWED, id="packets"),
        pytest.param(1, 5 | 0o2000000, ALLOWED, id="packets with a flag"),
        pytest.param(1, 1, errno.EPERM, id="a stream, which a service manager listens on"),
        pytest.param(1, 2, errno.EPERM, id="datagrams"),
        pytest.param(40, 5, errno.EPERM, id="another family"),
    ],
)
def test_libcuda_may_open_its_unix_socket_of_packets(machine: str, network: bool, family: int, kind: int, result: int) -> None:
    assert asked(machine, "socket", family, kind, network=network, gpu=True) == result
    assert asked(machine, "socket", 2, 1, network=network, gpu=True) == (ALLOWED if network else errno.EPERM)
    assert asked(machine, "connect", 3, gpu=True, network=network) == (ALLOWED if network else errno.EPERM)


@here
def test_a_worker_on_a_gpu_binds_and_listens_and_connects_to_nobody(tmp_path: Path) -> None:
    code = """
    outside = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    outside.bind(chr(0) + f"aisp-test-{os.getpid()}")
    outside.listen()
    seccomp.restrict(False, gpu=True)
    mine = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    mine.bind(chr(0) + f"cuda-uvmfd-{os.getpid()}")
    mine.listen()
    other = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    tell([attempt(lambda: other.connect(outside.getsockname())), attempt(lambda: socket.socket(socket.AF_UNIX))])
    """
    assert told_inside(code, tmp_path) == ["EPERM", "EPERM"]


@both
def test_calls_under_the_numbers_of_another_architecture_are_refused(machine: str) -> None:
    getpid = {"x86_64": 39, "aarch64": 172}[machine]
    assert answer(machine, getpid) == ALLOWED
    assert answer(machine, getpid, architecture=0x40000003) == errno.EPERM
    if machine == "x86_64":
        assert answer(machine, 0x40000000 | getpid) == errno.EPERM, "x32"


HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}


@both
def test_numbers_are_those_of_the_kernels_headers(machine: str) -> None:
    if not HEADERS[machine].exists():
        pytest.skip(f"no {HEADERS[machine]}")
    text = HEADERS[machine].read_text()
    defined = {name: int(value) for name, value in re.findall(r"#define __NR_(\w+)\s+(\d+)", text)}
    known = {name: number(name, machine) for name in (*BOTH, *ALIKE, *X86_ONLY)}
    looked_at = {name: value for name, value in known.items() if name in defined}
    assert len(looked_at) > 60
    assert looked_at == {name: defined[name] for name in looked_at}


@here
def test_the_kernel_refuses_them(tmp_path: Path) -> None:
    code = """
    seccomp.restrict(False)
    filtered = "Seccomp:\\t2" in open("/proc/self/status").read()
    names = [name for name in (*seccomp.REFUSED, *seccomp.NETWORK) if number(name) is not None]
    tell([filtered, {name: attempt(lambda: call(name, -1, -1, -1, -1)) if filtered else "" for name in names}])
    """
    filtered, found = told_inside(code, tmp_path)
    assert filtered
    assert set(found.values()) == {"EPERM"}
    assert {"ptrace", "socket", "io_uring_setup", "process_vm_readv"} <= set(found)


@here
def test_threads_children_and_pairs_work_inside(tmp_path: Path) -> None:
    code = """
    import subprocess
    seccomp.restrict(False)
    seen = []
    thread = threading.Thread(target=lambda: seen.append(1))
    thread.start(); thread.join()
    quiet = subprocess.run(["true"], start_new_session=True).returncode
    first, second = socket.socketpair()
    first.send(b"x")
    tell([seen, quiet, second.recv(1).decode(), os.getsid(0) == os.getpid(), attempt(os.setsid), os.getpgid(0) == os.getpid()])
    """
    assert told_inside(code, tmp_path) == [[1], 0, "x", False, "done", False]


@here
def test_signals_of_the_fallback_reach_the_process_itself_only(tmp_path: Path) -> None:
    code = """
    child = sleeping_child()
    before = attempt(lambda: os.kill(child, 0))
    heard = []
    signal.signal(signal.SIGUSR1, lambda *_: heard.append(1))
    seccomp.restrict(True)
    signal.raise_signal(signal.SIGUSR1)
    tell([before, heard, attempt(lambda: os.kill(child, 0)), attempt(lambda: os.kill(-1, 0))])
    """
    assert told_inside(code, tmp_path) == ["done", [1], "EPERM", "EPERM"]


def test_a_machine_without_a_table_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert seccomp.why_not() == "system call numbers of 'riscv64' are not known"
