"""What is applied for which policy, and that what is not is told with its reason."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aisp_runner import sandbox
from aisp_runner.errors import ConfigError
from aisp_runner.sandbox import Sandbox, confine, landlock, seccomp
from aisp_runner.sandbox.policy import mode_asked
from sandbox.inside import told_inside

whole = pytest.mark.skipif(bool(sandbox.facts()["missing"]), reason=f"this kernel lacks {sandbox.facts()['missing']}")


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        (Sandbox("off"), "switched off (sandbox=off)"),
        (Sandbox("off", "cuda"), "switched off (sandbox=off)"),
        (Sandbox("auto", "cuda"), "not applied on cuda: not measured there; sandbox=full asks for it"),
    ],
    ids=["off", "off on a GPU", "auto on a GPU"],
)
def test_where_nothing_is_applied_each_part_is_missing_for_a_reason(policy: Sandbox, why: str) -> None:
    report = confine(policy, 1 << 20)
    assert (report["mode"], report["applied"]) == (policy.mode, [])
    assert report["missing"] == dict.fromkeys(sandbox.PARTS, why)
    assert not sandbox.sufficient(report)
    assert "Seccomp:\t0" in Path("/proc/self/status").read_text()


def test_a_process_of_several_threads_is_not_confined_by_half() -> None:
    stop = threading.Event()
    other = threading.Thread(target=stop.wait)
    other.start()
    try:
        report = confine(Sandbox(), 1 << 20)
    finally:
        stop.set()
        other.join()
    assert report["applied"] == []
    assert "threads, and only the calling one would be confined" in report["missing"][sandbox.PARTS[0]]


@whole
@pytest.mark.parametrize("policy", ['Sandbox("auto", "cpu", ("own",))', 'Sandbox("full", "cuda", ("own",))'])
def test_a_kernel_that_has_all_of_it_leaves_nothing_out(policy: str, tmp_path: Path) -> None:
    code = f"""
    os.mkdir("own")
    report = confine({policy}, 1000)
    def too_long():
        with open("own/long", "wb", 0) as file:
            file.write(bytes(1000))
            file.write(b"x")
    tell([report, attempt(too_long), attempt(lambda: open("elsewhere", "w")), attempt(socket.socket)])
    """
    report, *refused = told_inside(code, tmp_path)
    assert (report["applied"], report["missing"]) == (list(sandbox.PARTS), {})
    assert 0 < report["us"] < 1e6
    assert refused == ["EFBIG", "EACCES", "EPERM"]
    assert sandbox.sufficient(report)


@whole
def test_ranks_reach_one_another_and_no_service_of_the_user(tmp_path: Path) -> None:
    code = """
    os.mkdir("own")
    service = socket.socket(socket.AF_UNIX); service.bind("service"); service.listen()
    report = confine(Sandbox(writable=("own",), network=True), 1 << 20)
    peer = socket.socket(); peer.bind(("127.0.0.1", 0)); peer.listen()
    reach = attempt(lambda: socket.create_connection(peer.getsockname()))
    interfaces = [name for _, name in socket.if_nameindex()]
    tell([report, reach, interfaces, attempt(lambda: socket.socket(socket.AF_UNIX).connect("service"))])
    """
    report, reach, interfaces, service = told_inside(code, tmp_path)
    assert (reach, "lo" in interfaces, service) == ("done", True, "EPERM")
    why = "its ranks communicate over TCP"
    assert report["missing"] == {"landlock.tcp": why, "seccomp.sockets": why}
    assert not sandbox.sufficient(report)


OLDER = """
    landlock.version = lambda: {version}
    seccomp.why_not = lambda: {filter!r}
    os.mkdir("own")
    child = sleeping_child()
    report = confine(Sandbox(writable=("own",)), 1 << 20)
    tell([report, attempt(lambda: os.kill(child, 0)), attempt(lambda: open("elsewhere", "w"))])
"""


@pytest.fixture
def on_older(tmp_path: Path) -> Callable[..., Any]:
    """Confines a process as a kernel with these facts would allow; gives report, signal, write."""
    return lambda version, no_filter="": told_inside(OLDER.format(version=version, filter=no_filter), tmp_path)


@whole
def test_without_scoped_signals_the_filter_refuses_them(on_older: Callable[..., Any]) -> None:
    report, signalled, wrote = on_older((5, ""))
    assert report["missing"] == landlock.missing(5)
    assert report["applied"][-2:] == ["seccomp.calls", "seccomp.signals"]
    assert (signalled, wrote) == ("EPERM", "EACCES")
    assert sandbox.sufficient(report)


@whole
def test_without_landlock_files_are_not_confined_and_that_is_said(on_older: Callable[..., Any]) -> None:
    report, signalled, wrote = on_older((0, "Landlock is switched off at boot"))
    assert report["missing"] == dict.fromkeys(landlock.ABI_NEEDED, "Landlock is switched off at boot")
    assert (signalled, wrote) == ("EPERM", "done")
    assert not sandbox.sufficient(report)


@whole
def test_without_a_filter_landlock_is_applied_all_the_same(on_older: Callable[..., Any]) -> None:
    report, signalled, wrote = on_older(landlock.version(), "this kernel cannot filter system calls")
    assert report["missing"] == {"seccomp.calls": "this kernel cannot filter system calls"}
    assert (signalled, wrote) == ("EPERM", "EACCES")
    assert not sandbox.sufficient(report)


@whole
def test_the_first_version_of_landlock_is_not_used(on_older: Callable[..., Any]) -> None:
    report, _, wrote = on_older((1, ""))
    assert report["missing"]["landlock.files"] == "needs Landlock ABI 2 (Linux 5.19); this kernel has 1"
    assert wrote == "done"


@whole
def test_a_kernel_that_refuses_after_all_is_told_in_its_words(tmp_path: Path) -> None:
    code = """
    seccomp.restrict(False)
    report = confine(Sandbox(writable=("/nowhere",)), 1 << 20)
    tell([report["applied"], report["missing"]["landlock.files"]])
    """
    applied, why = told_inside(code, tmp_path)
    assert why == "refused here: [Errno 2] No such file or directory: '/nowhere'"
    assert applied == ["limits.file_size", "seccomp.calls", "seccomp.signals"]


def test_facts_are_what_the_kernel_says() -> None:
    facts = sandbox.facts()
    assert facts["landlock_abi"] == landlock.version()[0]
    assert set(facts["missing"]) <= set(sandbox.PARTS)
    assert all(facts["missing"].values()), "a part that is missing has a reason"
    assert ("seccomp.calls" in facts["missing"]) == bool(seccomp.why_not())


@pytest.mark.parametrize(("asked", "set_to", "mode"), [(None, None, "auto"), (None, "off", "off"), ("full", "off", "full")])
def test_the_mode_is_the_given_one_or_that_of_the_environment(
    asked: str | None, set_to: str | None, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AISP_SANDBOX", raising=False)
    if set_to:
        monkeypatch.setenv("AISP_SANDBOX", set_to)
    assert mode_asked(asked) == mode


def test_an_unknown_mode_is_refused_and_says_where_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AISP_SANDBOX", "of")
    with pytest.raises(ConfigError, match=r"AISP_SANDBOX=.of.: unknown mode\. Allowed: auto, full, off\."):
        mode_asked()
    with pytest.raises(ConfigError, match="sandbox='strict': unknown mode"):
        mode_asked("strict")
    assert os.environ["AISP_SANDBOX"] == "of"
