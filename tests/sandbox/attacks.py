"""A candidate that tries to reach what is not its own, and tells how each try went.

A try that is refused gives the name of the error; one that works gives "done". Nothing is damaged where it works.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench import case, tried

from aisp_runner.forkserver import ForkServer

CANDIDATE = """
import ctypes, glob

SOURCE, CACHE, TEMPORARY, JUDGE = {source!r}, {cache!r}, {temporary!r}, {judge}
SERVER = os.getppid()
OWN = os.getpid()
libc = ctypes.CDLL(None, use_errno=True)

class Part(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]

def siblings():
    return [int(p) for p in open(f"/proc/{{SERVER}}/task/{{SERVER}}/children").read().split() if int(p) != OWN]

def checked(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")

def read_sibling():
    word = ctypes.create_string_buffer(8)
    here = Part(ctypes.addressof(word), 8)
    there = Part(id(None), 8)  # forked from one process: the same address in each
    checked(libc.process_vm_readv(siblings()[0], ctypes.byref(here), 1, ctypes.byref(there), 1, 0))

def read_memory_file():
    with open(f"/proc/{{siblings()[0]}}/mem", "rb", 0) as memory:
        memory.seek(id(None))
        memory.read(8)

def attach():
    victim = siblings()[0]
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    checked(libc.ptrace(16, victim, None, None))
    os.waitpid(victim, 0x40000000)
    checked(libc.ptrace(17, victim, None, None))

def stop_sibling():
    victim = siblings()[0]
    os.kill(victim, signal.SIGSTOP)
    os.kill(victim, signal.SIGCONT)

def connect():
    with socket.socket() as end:
        end.settimeout(1)
        try:
            end.connect(("127.0.0.1", 9))
        except ConnectionRefusedError:
            return  # the kernel went out to look

def bind():
    with socket.socket() as end:
        end.bind(("127.0.0.1", 0))

def reach_service():
    os.chdir(CACHE)  # an address holds 107 bytes
    with socket.socket(socket.AF_UNIX) as end:
        end.connect("service")

def leave_session():
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
        finally:
            os._exit(0 if os.getsid(0) == os.getpid() and os.getpgid(0) == os.getpid() else 7)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7:
        raise PermissionError("still in the worker's session")

def compile_cache():
    (folder,) = glob.glob(TEMPORARY + "/aisp-crew-*/baseline")
    open(folder + "/triton_cache_dir.planted", "w").close()

TRIES = {{
    "rewrite the kernel's source": lambda: open(SOURCE, "r+").close(),
    "remove a name beside the source": lambda: os.rename(SOURCE, SOURCE + ".moved") or os.rename(SOURCE + ".moved", SOURCE),
    "truncate a file": lambda: os.truncate(CACHE + "/victim", 0),
    "write into the baseline's folder": compile_cache,
    "plant a library": lambda: open(CACHE + "/planted.so", "w").close(),
    "read a sibling's memory": read_sibling,
    "read a sibling's memory file": read_memory_file,
    "trace a sibling": attach,
    "stop a sibling": stop_sibling,
    "signal the judge": lambda: os.kill(JUDGE, signal.SIGCONT),
    "signal the fork server": lambda: os.kill(SERVER, signal.SIGCONT),
    "pin a sibling": lambda: os.sched_setaffinity(siblings()[0], os.sched_getaffinity(siblings()[0])),
    "limit the judge": lambda: __import__("resource").prlimit(
        JUDGE, 4, __import__("resource").getrlimit(4)  # core size: the same as before
    ),
    "slow the judge": lambda: os.setpriority(os.PRIO_PROCESS, JUDGE, os.getpriority(0, JUDGE)),
    "connect": connect,
    "bind a port": bind,
    "reach a service": reach_service,
    "leave the session": leave_session,
}}

def attempt(act):
    try:
        act()
    except OSError as error:
        return type(error).__name__
    return "done"

def candidate(a, b, c):
    raise RuntimeError(json.dumps({{name: attempt(act) for name, act in TRIES.items()}}))
"""


def outcomes(server: ForkServer, mode: str, folder: Path, judge: int) -> dict[str, str]:
    """What came of each try in a sandbox of this mode; folder: where the judge's temporary files are."""
    cache = folder / "cache" / "aisp-run"
    cache.mkdir(parents=True, exist_ok=True)
    (cache / "victim").write_text("library")
    facts: dict[str, Any] = {"source": str(folder / "kernel.py"), "cache": str(cache), "temporary": str(folder), "judge": judge}
    before, server.sandbox = server.sandbox, mode
    try:
        record = tried(case(folder, CANDIDATE.format(**facts)), server, folder)
    finally:
        server.sandbox = before
    message = str(record["message"])
    assert record["reasons"] == ["worker.raised"], message
    told: dict[str, str] = json.JSONDecoder().raw_decode(message.partition("raised RuntimeError: ")[2])[0]
    return told
