"""The worker: what it loads, what it says of an error, and what it notes about outputs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from bench import HONEST, accepted, case, tried

from aisp_runner.case import Tensor
from aisp_runner.forkserver import ForkServer
from aisp_runner.worker import MESSAGE_CHARS, Worker, describe, load_function

pytest_plugins = ("shared_server",)


@pytest.fixture
def _same_modules() -> Iterator[None]:
    """load_function changes the interpreter, which is the worker's own."""
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


@pytest.mark.usefixtures("_same_modules")
def test_a_function_is_loaded_with_its_siblings(tmp_path: Path) -> None:
    (tmp_path / "sibling_of_it.py").write_text("ANSWER = 42\n")
    (tmp_path / "own.py").write_text("import sibling_of_it\ndef fast():\n    return sibling_of_it.ANSWER\nnumber = 3\n")
    assert load_function(str(tmp_path / "own.py"), "fast")() == 42


@pytest.mark.usefixtures("_same_modules")
def test_a_name_that_is_no_function_is_refused(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("number = 3\n")
    with pytest.raises(TypeError, match=r"number in own\.py is not a function"):
        load_function(str(tmp_path / "own.py"), "number")


def raised_by(code: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What a worker that was started in `folder` says of the error that code.py in it raises."""
    monkeypatch.chdir(folder)
    file = folder / "code.py"
    file.write_text(code)
    try:
        exec(compile(code, str(file), "exec"), {})
    except BaseException as error:
        return describe(error)
    raise AssertionError("nothing was raised")


def test_an_error_is_described_with_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = raised_by("def inner():\n    raise ValueError('no')\n\ninner()\n", tmp_path, monkeypatch)
    assert said == "ValueError: no (code.py:2 in inner)"


def test_the_place_is_the_innermost_one_in_the_candidates_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = raised_by("import json\n\ndef outer():\n    json.loads('{')\n\nouter()\n", tmp_path, monkeypatch)
    assert said.startswith("JSONDecodeError: ") and said.endswith("(code.py:4 in outer)")


def test_a_long_error_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = raised_by("raise ValueError('x' * 100000)", tmp_path, monkeypatch)
    assert len(said) < MESSAGE_CHARS + 100 and said.endswith("(code.py:1 in <module>)")


# Variants that write and variants that return, live


RETURNS = "def candidate(a, b):\n    return {}"


@pytest.mark.parametrize("result", ["a + b", "(a + b,)"], ids=["tensor", "tuple"])
def test_a_variant_may_return_its_output(server: ForkServer, tmp_path: Path, result: str) -> None:
    made = tried(case(tmp_path, RETURNS.format(result), returns=True), server, tmp_path)
    assert accepted(made), made["message"]


def test_the_wrong_number_of_returned_values_is_an_error(server: ForkServer, tmp_path: Path) -> None:
    made = tried(case(tmp_path, RETURNS.format("a, b"), returns=True), server, tmp_path)
    assert (made["status"], made["reasons"]) == ("ERROR", ["worker.raised"])
    said = "candidate candidate raised TypeError: candidate returned 2 values; the workload has 1 outputs"
    assert made["message"].startswith(said)


@pytest.mark.parametrize(
    ("result", "said"),
    [
        ("(a + b).double()", "c is float64 [16384] instead of float32 [16384]"),
        ("(a + b)[:1]", "c is float32 [1] instead of float32 [16384]"),
        ("(a + b).as_subclass(torch.nn.Buffer)", "c is float32 [16384] (Buffer) instead of float32 [16384]"),
    ],
    ids=["dtype", "shape", "subclass"],
)
def test_a_returned_output_of_another_form_is_refused(server: ForkServer, tmp_path: Path, result: str, said: str) -> None:
    made = tried(case(tmp_path, RETURNS.format(result), returns=True), server, tmp_path)
    assert made["status"] == "INVALID"
    assert "output.output_signature" in made["reasons"]
    seen = [e["observed"] for e in made["evidence"] if e["protection"] == "output.output_signature" and e["status"] == "fail"]
    assert said in seen


def test_an_output_that_was_rebound_is_noticed(server: ForkServer, tmp_path: Path) -> None:
    made = tried(case(tmp_path, "def candidate(a, b, c):\n    c.data = a + b"), server, tmp_path)
    assert made["status"] == "INVALID"
    seen = [e["observed"] for e in made["evidence"] if e["protection"] == "output.output_signature" and e["status"] == "fail"]
    assert "c became float32 [16384] instead of float32 [16384]" in seen


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("candidate = 3 + 4", "TypeError: candidate in kernel.py is not a function"),
        ("def other(): pass", "has no attribute 'candidate'"),
        (
            "if os.getcwd().endswith('candidate'):\n    raise ImportError('no such thing')",
            "ImportError: no such thing (kernel.py:",
        ),
        ("def candidate(a, b, c):\n    sys.exit(0)", "SystemExit: 0 (kernel.py:"),
        ("def candidate(a):\n    pass", "TypeError: candidate() takes 1 positional argument but 3 were given"),
    ],
    ids=["no function", "missing", "import", "sys.exit", "arguments"],
)
def test_a_file_that_cannot_be_used_is_an_error_with_its_text(server: ForkServer, tmp_path: Path, code: str, said: str) -> None:
    made = tried(case(tmp_path, code), server, tmp_path)
    assert (made["status"], made["reasons"]) == ("ERROR", ["worker.raised"])
    assert made["message"].startswith("candidate candidate raised ") and said in made["message"]
    assert made["outcome"] is None and made["speedup"] is None


def test_an_error_whose_text_raises_is_still_an_error(server: ForkServer, tmp_path: Path) -> None:
    code = """
    class Rude(Exception):
        def __str__(self):
            raise ValueError("no text")
    def candidate(a, b, c):
        raise Rude
    """
    made = tried(case(tmp_path, code), server, tmp_path)
    assert (made["status"], made["reasons"]) == ("ERROR", ["worker.died"])
    assert made["message"].startswith("candidate candidate ended its process (exit status 1)")


def test_threads_are_those_of_the_case(server: ForkServer, tmp_path: Path) -> None:
    code = "def candidate(a, b, c):\n    raise RuntimeError(f'{torch.get_num_threads()} threads')"
    assert "RuntimeError: 2 threads" in tried(case(tmp_path, code, threads=2), server, tmp_path)["message"]


def test_each_slot_is_the_same_object_every_time(server: ForkServer, tmp_path: Path) -> None:
    """A cache keyed by the tensors' identity or address must work: what it holds is refreshed by each call here."""
    code = """
    seen = {}
    def candidate(a, b, c):
        seen.setdefault(c.data_ptr(), (a, b, c))
        a, b, c = seen[c.data_ptr()]
        if seen[c.data_ptr()][2] is not c or len(seen) > 32:
            raise RuntimeError("another object")
        torch.add(a, b, out=c)
    """
    assert accepted(tried(case(tmp_path, code), server, tmp_path))


# The oracle


def oracle_says(server: ForkServer, folder: Path, reference: str, **changes: Any) -> dict[str, Any]:
    return tried(case(folder, HONEST + f"\ndef reference(a, b):\n    {reference}\n", **changes), server, folder)


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("return a, b", "TypeError: reference returned 2 values; the workload has 1 outputs"),
        ("return (a + b)[:10]", "TypeError: reference: c is float64 [10], the workload declares float64 [16384]"),
        ("raise ValueError('bad day')", "ValueError: bad day (kernel.py:"),
    ],
    ids=["count", "shape", "raises"],
)
def test_a_reference_that_cannot_answer_is_named_as_the_workloads(
    server: ForkServer, tmp_path: Path, reference: str, said: str
) -> None:
    made = oracle_says(server, tmp_path, reference)
    assert (made["status"], made["reasons"]) == ("ERROR", ["worker.raised"])
    assert made["message"].startswith("addition's reference raised ") and said in made["message"]


def test_the_reference_gets_float64_and_integers_as_they_are(server: ForkServer, tmp_path: Path) -> None:
    integers = Tensor("b", (16384,), "int32", "activation", init="integers", low=0.0, high=9.0)
    inputs = (Tensor("a", (16384,), "float32", "activation"), integers)
    made = oracle_says(server, tmp_path, "raise ValueError(f'{a.dtype} {b.dtype}')", inputs=inputs)
    assert "ValueError: torch.float64 torch.int32" in made["message"]


def test_weights_are_the_same_in_every_call(server: ForkServer, tmp_path: Path) -> None:
    code = """
    first = []
    def candidate(a, b, c):
        if not first:
            first.append(b.clone())
        torch.add(a, first[0], out=c)
    """
    inputs = (Tensor("a", (16384,), "float32", "activation"), Tensor("b", (16384,), "float32", "weight"))
    assert accepted(tried(case(tmp_path, code, inputs=inputs), server, tmp_path))
    fresh = tried(case(tmp_path, code), server, tmp_path)
    assert "output.tolerance_bound" in fresh["reasons"], "b is fresh as an activation"


class Site:
    """Captures by calling, and writes down what is enqueued."""

    def __init__(self, log: list[str], refusal: str = "") -> None:
        self.log, self.refusal = log, refusal

    def capture(self, calls: Any) -> Any:
        if self.refusal:
            raise RuntimeError(self.refusal)
        calls()
        return SimpleNamespace(replay=lambda: self.log.append("replay"))

    def arm_gate(self, sequence: int) -> None:
        self.log.append(f"gate {sequence}")

    def enqueue_done(self, sequence: int) -> None:
        self.log.append(f"done {sequence}")

    def touch(self) -> None:
        self.log.append("touch")


def one_rank(refusal: str = "") -> tuple[Worker, list[str]]:
    """A worker of one rank of several, on a made-up device, without protections."""
    log: list[str] = []
    made = object.__new__(Worker)
    made.site, made.job, made.graph, made.views = Site(log, refusal), {"returns": False, "outputs": []}, None, {}  # type: ignore[assignment]
    made.channel = SimpleNamespace(send=lambda kind, **fields: log.append(f"{kind} {fields.get('refused', '')}".strip()))  # type: ignore[assignment]
    made.function, made.finish = (lambda: log.append("call")), lambda: log.append("wait")  # type: ignore[assignment]
    made.shields = SimpleNamespace(run=lambda *_: [])  # type: ignore[assignment]
    made.arguments, made.wanted, made.signature = {0: ([], []), 1: ([], [])}, {0: [], 1: []}, set()
    return made, log


def test_a_rank_captures_at_one_message_and_replays_at_the_next() -> None:
    worker, log = one_rank()
    worker.batch({"sequence": 5, "order": [0, 1], "mode": "capture"})
    assert log == ["touch", "call", "call", "ready"] and worker.graph is not None
    worker.batch({"sequence": 5, "order": [0, 1], "mode": "replay"})
    assert log[4:] == ["gate 5", "replay", "done 5", "ready", "wait", "done"] and worker.graph is None


def test_a_rank_that_cannot_capture_says_so_and_keeps_nothing() -> None:
    worker, log = one_rank("it waits for the device")
    worker.batch({"sequence": 5, "order": [0], "mode": "capture"})
    assert log == ["ready RuntimeError: it waits for the device"] and worker.graph is None


def test_one_process_captures_and_replays_at_once() -> None:
    worker, log = one_rank()
    worker.batch({"sequence": 5, "order": [1], "mode": "graph"})
    assert log == ["touch", "call", "gate 5", "replay", "done 5", "ready", "wait", "done"]
