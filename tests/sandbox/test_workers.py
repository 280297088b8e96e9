"""Real workers of a fork server: confined before they have a job, each to its own folder, and able to compile."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest
from bench import accepted, case, opened, tried

from aisp_runner import sandbox
from aisp_runner.case import Limits
from aisp_runner.forkserver import ForkServer, _report
from aisp_runner.wire import Channel

pytest_plugins = ("shared_server",)

whole = pytest.mark.skipif(bool(sandbox.facts()["missing"]), reason=f"this kernel lacks {sandbox.facts()['missing']}")


@whole
def test_a_worker_is_confined_before_it_has_a_job(server: ForkServer, tmp_path: Path) -> None:
    mine, theirs = Channel.pair()
    pid = server.fork(theirs, {"PATH": os.environ["PATH"]}, tmp_path, 1 << 30, 1 << 20)
    theirs.close()
    status = Path(f"/proc/{pid}/status").read_text()
    mine.close()
    server.kill(pid)
    assert "Seccomp:\t2" in status and "NoNewPrivs:\t1" in status
    report = server.sandboxed[pid]
    assert (report["mode"], report["applied"], report["missing"]) == ("auto", list(sandbox.PARTS), {})


@whole
def test_oracle_and_baseline_are_confined_as_the_candidate_is(server: ForkServer, tmp_path: Path) -> None:
    with opened(server, tmp_path) as judge:
        pids = [judge.oracle.pid, *(arm.pid for arm in judge.arms.values())]
        filters = ["Seccomp:\t2" in Path(f"/proc/{pid}/status").read_text() for pid in pids]
    assert len(set(pids)) == 3 and filters == [True] * 3
    assert all(sandbox.sufficient(server.sandboxed[pid]) for pid in pids)


def test_a_worker_of_a_server_that_is_told_so_is_not_confined(
    server: ForkServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "sandbox", "off")
    with opened(server, tmp_path) as judge:
        pid = judge.oracle.pid
        assert "Seccomp:\t0" in Path(f"/proc/{pid}/status").read_text()
    assert set(server.sandboxed[pid]["missing"].values()) == {"switched off (sandbox=off)"}


def test_a_server_for_a_gpu_leaves_its_workers_as_they_are_and_says_so(
    server: ForkServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "device", "cuda")
    mine, theirs = Channel.pair()
    pid = server.fork(theirs, {}, tmp_path, 1 << 30, 1 << 20)
    theirs.close()
    status = Path(f"/proc/{pid}/status").read_text()
    mine.close()
    server.kill(pid)
    assert "Seccomp:\t0" in status and "NoNewPrivs:\t1" in status
    assert set(server.sandboxed[pid]["missing"].values()) == {
        "not applied on cuda: not measured there; sandbox=full asks for it"
    }


def test_a_process_that_ends_before_it_reports_is_not_taken_for_confined() -> None:
    told, tell = os.pipe()
    os.close(tell)
    report = _report(told)
    assert report["applied"] == [] and not sandbox.sufficient(report)
    assert set(report["missing"].values()) == {"the process ended before it was confined"}


@whole
def test_a_confined_worker_is_frozen_thawed_and_killed_by_the_judge(server: ForkServer, tmp_path: Path) -> None:
    with opened(server, tmp_path) as judge:
        arm = judge.arms["candidate"]
        os.killpg(arm.pid, signal.SIGSTOP)
        os.killpg(arm.pid, signal.SIGCONT)
        assert server.lives(arm.pid)
        assert server.kill(arm.pid).status == -signal.SIGKILL


BUILDS = {
    "gcc": """
    import ctypes
    open("add.c", "w").write("void add(float*a,float*b,float*c,long n){for(long i=0;i<n;i++)c[i]=a[i]+b[i];}")
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "add.c", "-o", "add.so"], check=True)
    library = ctypes.CDLL(os.path.abspath("add.so"))
    def candidate(a, b, c):
        library.add(*(ctypes.c_void_p(t.data_ptr()) for t in (a, b, c)), ctypes.c_long(a.numel()))
    """,
    "triton": """
    os.environ["TRITON_INTERPRET"] = "1"
    import triton
    import triton.language as tl
    @triton.jit
    def add(a, b, c, n, BLOCK: tl.constexpr):
        i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        tl.store(c + i, tl.load(a + i, mask=i < n) + tl.load(b + i, mask=i < n), mask=i < n)
    def candidate(a, b, c):
        add[(triton.cdiv(a.numel(), 4096),)](a, b, c, a.numel(), BLOCK=4096)
    """,
    "inductor": """
    @torch.compile
    def add(a, b):
        return a + b
    def candidate(a, b, c):
        c.copy_(add(a, b))
    """,
    "cpp_extension": """
    import ctypes
    from torch.utils import cpp_extension
    os.mkdir("built")  # without torch's headers, which take the compiler most of a minute
    with open("plain.cpp", "w") as file:
        file.write('extern "C" void add(float*a,float*b,float*c,long n){for(long i=0;i<n;i++)c[i]=a[i]+b[i];}')
    cpp_extension.load("plain", ["plain.cpp"], build_directory="built", is_python_module=False)
    built = ctypes.CDLL(os.path.abspath("built/plain.so"))
    def candidate(a, b, c):
        built.add(*(ctypes.c_void_p(t.data_ptr()) for t in (a, b, c)), ctypes.c_long(a.numel()))
    """,
}
NEEDS = {"gcc": "gcc", "triton": "python3", "inductor": "g++", "cpp_extension": "g++"}
PATIENT = Limits(start_seconds=300.0, batch_seconds=60.0, memory_gib=4.0, output_mib=1.0)


@whole
@pytest.mark.slow
@pytest.mark.parametrize("how", BUILDS)
def test_compilers_work_inside(how: str, server: ForkServer, tmp_path: Path) -> None:
    if shutil.which(NEEDS[how]) is None:
        pytest.skip(f"needs {NEEDS[how]}")
    if how == "triton":
        pytest.importorskip("triton")
    made = tried(case(tmp_path, BUILDS[how], limits=PATIENT), server, tmp_path)
    assert accepted(made), made["message"]


@whole
def test_a_file_is_no_larger_than_the_memory_a_worker_may_use(server: ForkServer, tmp_path: Path) -> None:
    code = """
    def candidate(a, b, c):
        with open("large", "wb") as file:
            os.truncate(file.fileno(), {size})
        torch.add(a, b, out=c)
    """
    limit = int(0.5 * 2**30)
    limits = Limits(start_seconds=20.0, batch_seconds=5.0, memory_gib=0.5, output_mib=1.0)
    made = tried(case(tmp_path, code.format(size=limit), limits=limits), server, tmp_path)
    assert accepted(made), made["message"]
    over = tried(case(tmp_path, code.format(size=limit + 1), limits=limits), server, tmp_path)
    assert over["reasons"] == ["worker.raised"] and "File too large" in over["message"]
