"""A filter of system calls: which ones a worker, and all that it starts, is refused with EPERM.

It refuses what reaches other processes, the kernel or the network; everything else is allowed, but for leaving the worker's
process group, which does nothing. A worker on a GPU may open a Unix socket of packets: the CUDA driver binds one when it
starts. A filter sees numbers and plain arguments, no paths and no memory.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct

from aisp_runner.sandbox.numbers import MACHINES, X86_ONLY, call, number

REFUSED = (
    *("ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd", "kcmp", "process_madvise", "process_mrelease"),
    *("move_pages", "migrate_pages", "bpf", "perf_event_open", "userfaultfd", "add_key", "request_key", "keyctl"),
    *("mount", "umount2", "pivot_root", "chroot", "move_mount", "open_tree", "open_tree_attr", "fsopen", "fsconfig"),
    *("fsmount", "fspick", "mount_setattr", "unshare", "setns", "fanotify_init"),
    *("init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot", "swapon", "swapoff"),
    *("acct", "quotactl", "quotactl_fd", "syslog", "vhangup", "sethostname", "setdomainname", *X86_ONLY),
    *("name_to_handle_at", "open_by_handle_at", "io_uring_setup", "io_uring_enter", "io_uring_register"),
    *("clock_settime", "settimeofday", "adjtimex", "clock_adjtime"),
)
"""Refused whatever the arguments are."""

NETWORK = ("socket", "connect")
"""Likewise, but to ranks, and sockets of one kind on a GPU."""

_RANKS_FAMILIES = (2, 10, 16)
"""AF_INET, AF_INET6 and AF_NETLINK (which lists the interfaces). Never AF_UNIX streams or datagrams: the user's service manager
starts processes for whoever can reach its socket."""

WITHOUT_EFFECT = ("setsid", "setpgid")
"""Answered with success: what starts a helper in a session of its own works without one, and who stays in the worker's
process group is frozen and ended with it."""

ONLY_SELF = ("prlimit64", "sched_setaffinity", "sched_setparam", "sched_setscheduler", "sched_setattr")
"""Allowed with process id 0 or the worker's own: limits and cores of others would slow them."""

ONLY_SELF_BY_KIND = {"setpriority": 2, "ioprio_set": 3}
"""The same for the second argument; the number is the kind that means all processes of a user."""

SIGNALS = ("kill", "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo")
"""Where Landlock does not confine signals: allowed to the worker's own process only."""

_ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""AUDIT_ARCH_*: calls of another one, such as 32-bit ones, would have other numbers."""
_X32 = 0x40000000
_NAMESPACES = 0x7E020000
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET."""
_AF_UNIX, _STREAM, _SEQPACKET, _TYPE = 1, 1, 5, 0xF

_LOAD, _AND, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERROR = 0x7FFF0000, 0x00050000
_SET_MODE_FILTER, _ACTION_AVAILABLE = 1, 2
_FLAG_SPEC_ALLOW = 1 << 2
"""Before Linux 5.16 a filter without it switches Speculative Store Bypass off in the worker, which changes its times."""

Step = tuple[int, int, int, int]
"""(code, instructions to skip if true, if false, constant) of classic BPF."""

_ALLOWED: Step = (_RETURN, 0, 0, _ALLOW)
_DENIED: Step = (_RETURN, 0, 0, _ERROR | errno.EPERM)


def why_not() -> str:
    """Why a filter cannot be set here, or ""."""
    if platform.machine() not in MACHINES:
        return f"system call numbers of '{platform.machine()}' are not known"
    try:
        call("seccomp", _ACTION_AVAILABLE, 0, struct.pack("=I", _ERROR))
    except OSError as error:
        return f"this kernel cannot filter system calls: {error.strerror}"
    return ""


def program(machine: str, pid: int, signals: bool, network: bool = False, gpu: bool = False) -> list[Step]:
    """The filter of worker `pid`. signals: whether it refuses signals to other processes too. network: whether it allows
    TCP and UDP. gpu: whether it allows what libcuda needs to start: a Unix socket of packets, named cuda-uvmfd-*.
    """
    steps: list[Step] = [
        (_LOAD, 0, 0, 4),
        (_EQUAL, 1, 0, _ARCHITECTURE[machine]),
        _DENIED,
        (_LOAD, 0, 0, 0),
    ]
    if machine == "x86_64":
        steps += [(_AT_LEAST, 0, 1, _X32), _DENIED]
    for name in (*REFUSED, *(() if network else ("connect",)), *(("pidfd_send_signal",) if signals else ())):
        steps += _of(name, machine, [_DENIED])
    steps += _of("socket", machine, [*(_packets() if gpu else ()), _load(0), *_only(_RANKS_FAMILIES if network else ())])
    for name in WITHOUT_EFFECT:
        steps += _of(name, machine, [(_RETURN, 0, 0, _ERROR)])
    for name in (*ONLY_SELF, *(SIGNALS if signals else ())):
        steps += _of(name, machine, _only_self(0, pid))
    for name, whole_user in ONLY_SELF_BY_KIND.items():
        steps += _of(name, machine, [_load(0), (_EQUAL, 0, 1, whole_user), _DENIED, *_only_self(1, pid)])
    steps += _of("clone", machine, [_load(0), (_ANY_BIT, 0, 1, _NAMESPACES), _DENIED, _ALLOWED])
    # Its flags lie in memory, where a filter cannot look. The C library takes clone where clone3 is not there.
    steps += _of("clone3", machine, [(_RETURN, 0, 0, _ERROR | errno.ENOSYS)])
    steps += _of("socketpair", machine, _connected_pair())
    return [*steps, _ALLOWED]


def restrict(signals: bool, network: bool = False, gpu: bool = False) -> None:
    """Sets the filter for this thread and what it starts. Needs no_new_privs. Raises OSError."""
    steps = program(platform.machine(), os.getpid(), signals, network, gpu)
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    call("seccomp", _SET_MODE_FILTER, _FLAG_SPEC_ALLOW, struct.pack("@HP", len(steps), ctypes.addressof(code)))


def _of(name: str, machine: str, body: list[Step]) -> list[Step]:
    """Runs the body, which returns, if the call has this name."""
    wanted = number(name, machine)
    return [] if wanted is None else [(_EQUAL, 0, len(body), wanted), *body]


def _load(argument: int) -> Step:
    """The lower half of an argument: both machines are little-endian, and the arguments looked at are ints or low flags."""
    return (_LOAD, 0, 0, 16 + 8 * argument)


def _only(values: tuple[int, ...]) -> list[Step]:
    """Allows what was loaded to be one of these and nothing else."""
    return [*((_EQUAL, len(values) - i, 0, value) for i, value in enumerate(values)), _DENIED, _ALLOWED]


def _only_self(argument: int, pid: int) -> list[Step]:
    return [_load(argument), *_only((0, pid))]


def _packets() -> list[Step]:
    """Allows a Unix socket of packets; goes on with any other."""
    return [_load(0), (_EQUAL, 0, 4, _AF_UNIX), _load(1), (_AND, 0, 0, _TYPE), (_EQUAL, 0, 1, _SEQPACKET), _ALLOWED]


def _connected_pair() -> list[Step]:
    """Two ends that stay connected to each other; a datagram socket could be sent to any address."""
    kinds = [_load(1), (_AND, 0, 0, _TYPE), *_only((_STREAM, _SEQPACKET))]
    return [_load(0), (_EQUAL, 1, 0, _AF_UNIX), _DENIED, *kinds]
