"""What a person reads: no number where there is no verdict, the reason, and what to do next."""

from __future__ import annotations

import io
from typing import Any

import pytest
from records import refused_record, stamped_record, valid_record

from aisp_runner import report
from aisp_runner.case import Case, Skip, Source, Tensor, Variant

SKIPS = [
    Skip("ch06_vector_add", "triton_add", "cuda", "no NVIDIA GPU"),
    Skip("ch06_vector_add", "triton_add", "cuda", "no NVIDIA GPU"),
    Skip("ch12_graphs", "graph", "cuda", "no NVIDIA GPU"),
]


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(params=["rich", "plain"])
def drawing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With rich, and as on a machine that lacks it."""
    if request.param == "plain":
        monkeypatch.setattr(report, "rich", None)
    name: str = request.param
    return name


def a_case(**changes: Any) -> Case:
    source = Source("kernels/vector_add.py", {})
    variants = [Variant(name, source, name) for name in ("reference", "chunked", "vectorized")]
    c = Tensor("c", (4,), "float32", "output")
    made: dict[str, Any] = {"workload": "ch06_vector_add", "question": "?", "group": "ch06", "origin": "x.yaml"}
    made |= {"axes": {"n": 4}, "held_out": False, "device": "cpu", "inputs": (), "outputs": (c,)}
    made |= dict(zip(("reference", "baseline", "optimized"), variants, strict=True))
    return Case(**made, **changes)


def told(records: list[dict[str, Any]], skips: list[Skip] = [], exit_code: int = 0, width: int | None = None) -> str:  # noqa: B006
    stream = io.StringIO()
    report.Console(stream, width).finished(records, skips, "runs/one", exit_code)
    return stream.getvalue()


def test_a_valid_record_is_a_row_with_its_speed_up_and_interval(drawing: str) -> None:
    r = valid_record()
    r["speedup"] |= {"value": 2.1, "low": 2.05, "high": 2.14}
    r["clock"] |= {"baseline_us": 812.34, "candidate_us": 38.012}
    text = told([r])
    row = next(line for line in text.splitlines() if "vectorized" in line)
    for cell in ("ch06_vector_add", "n=262144 cpu", "2.10x [2.05, 2.14]", "812.3", "38.01", "FASTER", "VALID"):
        assert cell in row
    assert text.splitlines()[-1] == "Next: aisp show runs/one"


@pytest.mark.parametrize("status", ["INVALID", "INCONCLUSIVE", "ERROR"])
def test_what_is_not_valid_shows_its_reason_and_no_number(status: str, drawing: str) -> None:
    text = told([refused_record(status)])
    assert f"{status}: ch06_vector_add / vectorized / n=262144 cpu: memory.late_writes: 8 of 8 output slots" in text
    for number in ("2.00", "800", "400", "x ["):
        assert number not in text
    assert "speed-up" not in text


def test_a_valid_record_in_quarantine_shows_no_number(drawing: str) -> None:
    text = told([valid_record(quarantined=True)])
    assert "in quarantine" in text
    assert "x [" not in text
    assert "FASTER" not in text
    assert "aisp quarantine list" in text.splitlines()[-1]


def test_a_valid_record_that_the_clock_cannot_tell_is_undecided_and_has_no_number(drawing: str) -> None:
    text = told([valid_record(outcome="UNDECIDED", speedup=None)])
    assert "UNDECIDED" in text
    assert "too noisy to time" in text
    assert "800" not in text


def test_an_unprotected_run_says_so_before_any_number(drawing: str) -> None:
    text = told([valid_record(unprotected=True)])
    assert text.startswith("UNPROTECTED: protections were switched off.")
    assert "UNPROTECTED" not in told([valid_record()])
    assert report.to_markdown([valid_record(unprotected=True)], []).startswith("> **UNPROTECTED")


NEXT: dict[str, tuple[list[dict[str, Any]], list[Skip], str]] = {
    "everything fine": ([valid_record()], [], "Next: aisp show runs/one"),
    "a refusal": ([valid_record(), refused_record()], [], "read docs/protection.md#late-writes for why ch06_vector_add was"),
    "an error before a refusal": ([refused_record(), refused_record("ERROR")], [], "mend what ch06_vector_add / vectorized"),
    "a protection that could not work": ([refused_record("INCONCLUSIVE")], [], "aisp doctor says what this machine lacks"),
    "undecided": (
        [valid_record(outcome="UNDECIDED")],
        [],
        "1 undecided: measure longer with aisp-run +workload=ch06_vector_add measure=publication",
    ),
    "everything skipped": ([], SKIPS, "nothing was measured: every comparison was skipped (no NVIDIA GPU). See what"),
    "an empty plan": ([], [], "nothing was measured: the plan has no case"),
}


@pytest.mark.parametrize(("records", "skips", "said"), NEXT.values(), ids=NEXT)
def test_the_last_line_says_what_to_do_after(records: list[dict[str, Any]], skips: list[Skip], said: str, drawing: str) -> None:
    last = told(records, skips).splitlines()[-1]
    assert last.startswith("Next: ")
    assert said in last


def test_skips_are_grouped_by_reason(drawing: str) -> None:
    assert "skipped 3: no NVIDIA GPU (cuda): ch06_vector_add / triton_add, ch12_graphs / graph" in told([valid_record()], SKIPS)
    many = [Skip("w", f"v{i}", "cuda", "no NVIDIA GPU") for i in range(6)]
    assert report.skip_lines(many) == ["skipped 6: no NVIDIA GPU (cuda): w / v0, w / v1, w / v2, w / v3 and 2 more"]


def test_a_failed_gate_names_its_exit_code(drawing: str) -> None:
    assert "exit 3: gate failed" in told([refused_record()], exit_code=3)
    assert "exit" not in told([valid_record()])


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (2.1, 2.05, 2.14, "2.10x [2.05, 2.14]"),
        (1.003, 1.001, 1.0049, "1.003x [1.001, 1.005]"),
        (1, 0.9999, 1.0002, "1.0000x [0.9999, 1.0002]"),
    ],
    ids=["wide", "narrow", "very narrow"],
)
def test_a_speed_up_has_as_many_digits_as_its_interval_needs(value: float, low: float, high: float, text: str) -> None:
    speedup = {"value": value, "low": low, "high": high, "confidence": 0.95, "margin": 0.02}
    assert report.speedup_text(valid_record(speedup=speedup)) == text


@pytest.mark.parametrize(("mde", "text"), [(0.0041, "0.4 %"), (0.25, "25.0 %"), (0.00041, "0.04 %"), (None, "1 set")])
def test_what_a_run_could_have_detected_stands_beside_the_speed_up(mde: float | None, text: str, drawing: str) -> None:
    r = valid_record()
    r["speedup"]["mde"] = mde
    heading, row = (line for line in told([r]).splitlines() if line.startswith(("workload", "ch06")))
    assert heading.index("MDE") + 3 == row.index(text) + len(text), "a column of numbers, to the right"
    assert report.detectable_text(refused_record()) == "" == report.detectable_text(valid_record(quarantined=True))


@pytest.mark.parametrize(
    ("value", "text"), [(1.23456, "1.235"), (38.012, "38.01"), (812.34, "812.3"), (23456.7, "23457"), (None, "")]
)
def test_a_time_has_four_digits(value: float | None, text: str) -> None:
    assert report.microseconds(value) == text


def test_text_of_judged_code_cannot_move_the_cursor_or_break_the_markup(drawing: str) -> None:
    text = told([refused_record(message="[bold]fine[/] \x1b[2J\x1b]0;title\x07 VALID\nFASTER 9.0x")])
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "[bold]fine[/]" in text
    assert not any(line.startswith("FASTER") for line in text.splitlines())


def test_in_a_log_a_finished_case_is_one_line_and_stages_are_left_out(drawing: str) -> None:
    stream = io.StringIO()
    console = report.Console(stream)
    console.case_started(1, 3, a_case())
    console.stage("measure 3/16")
    assert stream.getvalue() == ""
    console.case_finished(valid_record())
    line = stream.getvalue()
    assert line.startswith("[1/3] ch06_vector_add / vectorized / n=4 / cpu: VALID FASTER 2.00")
    assert line.endswith("(2.9 s)\n")


def test_in_a_log_a_refused_case_has_no_number() -> None:
    stream = io.StringIO()
    console = report.Console(stream)
    console.case_started(2, 3, a_case())
    console.case_finished(refused_record(stages_s={}))
    assert stream.getvalue() == "[2/3] ch06_vector_add / vectorized / n=4 / cpu: INVALID\n"


def test_on_a_terminal_the_stage_is_shown_while_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    console = report.Console(stream, width=100)
    console.case_started(1, 3, a_case())
    console.stage("measure 3/16")
    console.close()
    console.close()
    assert "ch06_vector_add / vectorized / n=4 / cpu: measure 3/16" in stream.getvalue()


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_a_row_is_one_line_with_a_whole_name_and_a_whole_speed_up_at_any_width(width: int, drawing: str) -> None:
    r = valid_record()
    r["speedup"] |= {"value": 2.1, "low": 2.05, "high": 2.14}
    lines = told([r, refused_record(variant="split")], width=width).split("INVALID: ")[0].splitlines()
    row = next(line for line in lines if "2.10x" in line)
    assert "2.10x [2.05, 2.14]" in row
    assert "vectorized" in row
    assert all(len(line.rstrip()) <= width or width == 60 for line in lines)
    assert sum("ch06_vector_add" in line for line in lines) == 1
    assert any("memory.late_writes" in line for line in lines) == (width >= 140)


def test_markdown_is_a_table_with_reasons_and_skips_below() -> None:
    lines = report.to_markdown([valid_record(), refused_record(message="a | b")], SKIPS).splitlines()
    assert lines[0].startswith("| workload | variant | case | speed-up |")
    assert lines[1].count("---:") == 4
    assert lines[2].count("|") == lines[0].count("|") == lines[3].count("|")
    assert "| ch06\\_vector\\_add |" in lines[2]
    assert any(line.startswith("- INVALID: ch06") and "a \\| b" in line for line in lines)
    assert lines[-1].startswith("- skipped 3: no NVIDIA GPU")
    assert report.to_markdown([], []) == "Nothing was measured.\n"


def test_a_number_that_time_stamps_decided_is_marked_where_it_stands_and_explained_below(drawing: str) -> None:
    r = stamped_record()
    assert report.speedup_text(r).endswith("] stamps")
    shown, plain = told([r]), told([valid_record()])
    (row,) = (line for line in shown.splitlines() if line.startswith("ch06"))
    assert "2.0000x [2.0000, 2.0000] stamps" in row
    assert "stamps: another process computes on the GPU, so the device's time stamps decided" in shown
    markdown = report.to_markdown([r, valid_record()], [])
    assert "] stamps |" in markdown and "- stamps: another process computes" in markdown
    assert "stamps" not in plain and "stamps" not in report.to_markdown([valid_record()], [])
    assert not report.stamped(stamped_record(quarantined=True))
