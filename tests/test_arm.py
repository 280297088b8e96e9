"""Whatever a candidate's process does becomes an ERROR record with its name and a kind, and the next case runs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from bench import HONEST, accepted, case, open_files, tried

from aisp_runner import record
from aisp_runner.arm import ARM_SECONDS, Arm, ArmTimeout, CannotCapture, oracle_tensors
from aisp_runner.case import Limits, Plan, Tensor
from aisp_runner.device import open_device
from aisp_runner.execute import run_plan
from aisp_runner.forkserver import ForkServer
from aisp_runner.wire import ChannelClosed

pytest_plugins = ("shared_server",)

CHANNEL = """
    def channel():
        for fd in os.listdir("/proc/self/fd"):
            try:
                if os.readlink("/proc/self/fd/" + fd).startswith("socket:"):
                    return socket.socket(fileno=os.dup(int(fd)))
            except OSError:
                continue

    def say(**message):
        channel().send(json.dumps(message).encode())

    calls = []
"""

SAYS = (
    CHANNEL
    + """
    def candidate(a, b, c):
        calls.append(1)
        if len(calls) == 3:
            {act}
        torch.add(a, b, out=c)
"""
)


def fails(act: str) -> str:
    return SAYS.format(act=act)


FAULTS = {
    "raises": (fails("raise ValueError('not today')"), "raised", "raised ValueError: not today (kernel.py:"),
    "segfaults": (fails("import ctypes; ctypes.string_at(0)"), "died", "ended its process (SIGSEGV)"),
    "exits": (fails("os._exit(0)"), "died", "ended its process (exit status 0)"),
    "kills itself": (fails("os.kill(os.getpid(), 9)"), "died", "ended its process (SIGKILL)"),
    "closes its channel": (fails("channel().shutdown(2)"), "died", "ended its process (exit status 0)"),
    "writes garbage": (fails("channel().send(b'garbage!')"), "protocol", "wrote to its channel: b'garbage!' is not a message"),
    "writes too much": (fails("channel().send(b'x' * 70000)"), "protocol", "a message is longer than 65536 bytes"),
    "speaks for the judge": (fails("say(kind='batch')"), "protocol", "is not one of the messages ready, done, fault"),
    "forges a ready": (fails("say(kind='ready', sequence=99)"), "protocol", "sent {'kind': 'ready', 'sequence': 99} on its"),
    "forges a fault": (fails("say(kind='fault', message='the baseline broke')"), "raised", "raised the baseline broke"),
    "forges a fault without text": (fails("say(kind='fault')"), "raised", "candidate candidate raised "),
    "floods its channel": (
        fails("s = channel(); s.setblocking(False); [s.send(b'{}') for _ in range(10)]"),
        "protocol",
        "is not one of the messages",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_candidate_that(server: ForkServer, tmp_path: Path, name: str) -> None:
    code, kind, said = FAULTS[name]
    made = tried(case(tmp_path, code), server, tmp_path)
    assert (made["status"], made["reasons"]) == ("ERROR", [f"worker.{kind}"]), made["message"]
    assert made["message"].startswith("candidate candidate ") and said in made["message"]
    assert made["speedup"] is None and made["outcome"] is None


@pytest.mark.parametrize("act", ["time.sleep(60)", "while True: pass", "os.kill(os.getpid(), signal.SIGSTOP)"])
def test_a_candidate_that_hangs_is_stopped_and_named(server: ForkServer, tmp_path: Path, act: str) -> None:
    limits = Limits(start_seconds=20.0, batch_seconds=0.5, memory_gib=2.0)
    made = tried(case(tmp_path, fails(act), limits=limits), server, tmp_path)
    assert (made["status"], made["reasons"]) == ("ERROR", ["worker.hung"])
    assert made["message"] == "candidate candidate did not finish a batch within 0.5 s and was stopped (limits.*_seconds)"
    assert made["stages_s"]["total"] < 5


def test_a_file_that_hangs_while_it_is_loaded_is_stopped_and_named(server: ForkServer, tmp_path: Path) -> None:
    limits = Limits(start_seconds=1.5, batch_seconds=5.0, memory_gib=2.0)
    code = "if os.getcwd().endswith('candidate'):\n    time.sleep(60)\n" + HONEST
    made = tried(case(tmp_path, code, limits=limits), server, tmp_path)
    assert made["message"] == "candidate candidate did not load its file within 1.5 s and was stopped (limits.*_seconds)"


def test_a_baseline_that_fails_is_named_as_the_baseline(server: ForkServer, tmp_path: Path) -> None:
    made = tried(case(tmp_path, HONEST + "\ndef baseline(a, b, c):\n    raise ValueError('mine')\n"), server, tmp_path)
    assert (made["status"], made["reasons"]) == ("ERROR", ["worker.raised"])
    assert made["message"].startswith("baseline baseline raised ValueError: mine")


def test_a_batch_that_is_reported_without_its_signal_is_refused(server: ForkServer, tmp_path: Path) -> None:
    """The sequence of the batch is guessed from the messages: calls 1, 2, ... of this arm."""
    act = "[say(kind='done', sequence=n) for n in [len(calls) + 1]]; time.sleep(3)"
    made = tried(case(tmp_path, fails(act)), server, tmp_path)
    assert (made["status"], made["reasons"]) == ("ERROR", ["worker.protocol"])
    assert made["message"].startswith("candidate candidate sent {'kind': 'done', 'sequence': 4}") or (
        "reported a batch as done without signalling it" in made["message"]
    )


FORGED = (
    CHANNEL
    + """
    import aisp_runner.wire as wire
    honest = wire.Channel.send
    def send(self, kind, fds=(), **fields):
        if kind == "done":
            fields.update({forged})
        honest(self, kind, fds, **fields)
    def candidate(a, b, c):
        wire.Channel.send = send
        torch.add(a, b, out=c)
"""
)


@pytest.mark.parametrize(
    "forged",
    [
        "evidence='all is well'",
        "evidence=[['output.tolerance_bound', 'pass', 'fine', '', 'more'], [1, 2, 3, 4], None, {},"
        " ['no.such', 'pass', 'fine', ''], ['output.tolerance_bound', 'excellent', 'fine', '']]",
        "sequence=fields['sequence'], extra={'a': 1}",
    ],
)
def test_a_report_with_odd_values_is_harmless(server: ForkServer, tmp_path: Path, forged: str) -> None:
    made = tried(case(tmp_path, FORGED.format(forged=forged)), server, tmp_path)
    assert accepted(made), made["message"]
    assert not [e for e in made["evidence"] if e["observed"] == "fine"]


@pytest.mark.parametrize("value", ["'soon'", "None", "float('inf')", "-5", "1.5"])
def test_a_report_without_a_number_ends_the_case_and_not_the_run(server: ForkServer, tmp_path: Path, value: str) -> None:
    made = tried(case(tmp_path, FORGED.format(forged=f"reported_ns={value}")), server, tmp_path)
    assert (made["status"], made["reasons"]) == ("ERROR", ["worker.protocol"])


def test_forged_evidence_is_marked_as_the_workers_and_cannot_outweigh_the_judges(server: ForkServer, tmp_path: Path) -> None:
    forged = "evidence=[['output.tolerance_bound', 'pass', 'all right ' * 200, '']]"
    made = tried(case(tmp_path, FORGED.format(forged=forged) + "        c[5] += 1\n"), server, tmp_path)
    assert made["status"] == "INVALID" and "output.tolerance_bound" in made["reasons"]
    (mine,) = [e for e in made["evidence"] if e["observed"].startswith("all right")]
    assert mine["witness"] == "worker" and len(mine["observed"]) == 400


def test_descriptors_that_a_worker_sends_are_not_kept(server: ForkServer, tmp_path: Path) -> None:
    act = "socket.send_fds(channel(), [json.dumps(dict(kind='fault')).encode()], [0] * 8)"
    tried(case(tmp_path / "first", fails("sys.exit()")), server, tmp_path / "first")
    before = open_files()
    assert tried(case(tmp_path, fails(act)), server, tmp_path)["reasons"] == ["worker.raised"]
    assert open_files() <= before


def test_cases_leave_no_descriptor_and_no_process_behind(server: ForkServer, tmp_path: Path) -> None:
    def processes() -> str:
        return Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text()

    tried(case(tmp_path / "first", HONEST), server, tmp_path / "first")
    before = open_files()
    for name in ("raises", "exits"):
        tried(case(tmp_path / name, FAULTS[name][0]), server, tmp_path / name)
    assert open_files() <= before
    assert processes() == ""


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_candidate_that_kills_the_fork_server_ends_its_case_and_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AISP_SANDBOX", "off")
    bad = case(tmp_path / "bad", fails("os.kill(os.getppid(), 9); time.sleep(5)"))
    ended = ""
    try:
        run_plan(Plan((bad, case(tmp_path / "good"))), tmp_path / "run")
    except ChannelClosed as gone:
        ended = str(gone)
    open_files()  # collects the sockets that were left, while their warning is off
    assert not ended
    first, second = record.read(tmp_path / "run" / record.FILE)
    assert (first["status"], first["reasons"]) == ("ERROR", ["worker.died"])
    assert accepted(second), second["message"]


class Scripted:
    """A channel that is read: messages, or what is raised instead. What is sent and received is noted."""

    def __init__(self, *script: dict[str, Any] | Exception) -> None:
        self.script = list(script)
        self.log: list[Any] = []

    def send(self, kind: str, **fields: Any) -> None:
        self.log.append((kind, fields))

    def receive(self, seconds: float) -> tuple[dict[str, Any], list[int]]:
        self.log.append(seconds)
        said = self.script.pop(0)
        if isinstance(said, Exception):
            raise said
        return said, []


READY, DONE = {"kind": "ready", "sequence": 7}, {"kind": "done", "sequence": 7, "reported_ns": 1}


def made_ready(folder: Path, mode: str, *script: dict[str, Any] | Exception) -> tuple[Scripted, list[int], Exception | None]:
    """What an arm does with these answers: its channel, the gates it opened, and how it ended."""
    given = case(folder)
    arm = Arm("candidate", given.optimized, given, open_device("cpu"), 3)
    arm.channel, gates = Scripted(*script), []
    arm.signals.open_gate = gates.append  # type: ignore[method-assign]
    ended = None
    try:
        arm.arm(7, (0, 2), mode)
    except (ArmTimeout, CannotCapture) as raised:
        ended = raised
    finally:
        arm.stop()
    assert arm.channel.log[0] == ("batch", {"sequence": 7, "order": [0, 2], "mode": mode})
    return arm.channel, gates, ended


@pytest.mark.parametrize(
    ("mode", "seconds"), [("wall", 5.0), ("graph", ARM_SECONDS), ("gated", ARM_SECONDS), ("profiled", 5.0)]
)
def test_a_batch_that_is_ready_in_time_waits_for_its_gate(tmp_path: Path, mode: str, seconds: float) -> None:
    channel, gates, ended = made_ready(tmp_path, mode, READY)
    assert channel.log[1:] == [seconds] and gates == [] and ended is None


def test_calls_that_wait_for_the_device_are_let_go_and_named(tmp_path: Path) -> None:
    channel, gates, ended = made_ready(tmp_path, "gated", TimeoutError(), READY, DONE)
    assert gates == [7] and isinstance(ended, ArmTimeout) and str(ended) == "candidate candidate"
    assert channel.script == [], "its report was read, so that the next batch finds an empty channel"


def test_calls_that_cannot_be_captured_are_named_with_the_reason(tmp_path: Path) -> None:
    refusal = READY | {"refused": "RuntimeError: " + "x" * 1000}
    _, gates, ended = made_ready(tmp_path, "graph", refusal)
    assert gates == [] and isinstance(ended, CannotCapture)
    assert str(ended).startswith("candidate candidate: RuntimeError: xxx") and len(str(ended)) < 250


def test_a_refusal_that_comes_late_is_followed_by_no_report(tmp_path: Path) -> None:
    channel, gates, ended = made_ready(tmp_path, "graph", TimeoutError(), READY | {"refused": "RuntimeError: no"})
    assert gates == [7] and isinstance(ended, ArmTimeout) and channel.script == []


def test_the_oracle_answers_in_float64_and_in_the_declared_integers(tmp_path: Path) -> None:
    outputs = (Tensor("c", (4,), "bfloat16", "output"), Tensor("k", (4,), "int32", "output"))
    given = dataclasses.replace(case(tmp_path), outputs=outputs)
    assert [t.dtype for t in oracle_tensors(given)] == ["float32", "float32", "float64", "int32"]
    arm = Arm("oracle", given.reference, given, open_device("cpu"), 3)
    forms: dict[str, Any] = {name: (str(view.dtype), tuple(view.shape)) for name, view in arm.views.items()}
    arm.stop()
    assert forms["c"] == ("torch.float64", (3, 4)) and forms["k"] == ("torch.int32", (3, 4))
