"""What a person sees of a run: progress while it goes on, the table, the reasons, and what to do next.

rich draws it where it is installed; a GPU node without rich gets the same words as plain text. A number is shown for VALID
records only, and never for a comparison in quarantine. Text that comes from judged code is stripped of control characters.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TextIO

from aisp_runner.case import Case, Skip
from aisp_runner.lanes import compare
from aisp_runner.record import by_device

try:
    import rich.console
    import rich.live
    import rich.text
except ImportError:
    rich = None  # type: ignore[assignment]

STYLES = {
    "VALID": "green", "INVALID": "bold red", "INCONCLUSIVE": "yellow", "ERROR": "bold magenta",
    "FASTER": "bold green", "SAME": "cyan", "SLOWER": "red", "UNDECIDED": "yellow",
}  # fmt: skip
HEADINGS = ("workload", "variant", "case", "speed-up", "MDE", "baseline us", "optimized us", "outcome", "status", "reason")
NUMBERS = (3, 4, 5, 6)
"""Columns of numbers, to the right."""
UNPROTECTED = "UNPROTECTED: protections were switched off. These numbers are no evidence of anything."
STAMPS = "stamps"
"""Behind a speed-up that the device's time stamps decided."""
STAMPED = f"{STAMPS}: another process computes on the GPU, so the device's time stamps decided and not the judge's clock."
LOG_WIDTH = 140
"""Columns of a log that is no terminal."""


class Console:
    """Where a run is told. On a terminal one live line says what is going on; elsewhere each finished case is one line."""

    def __init__(self, stream: TextIO | None = None, width: int | None = None) -> None:
        self.stream = stream or sys.stdout
        self.is_terminal = self.stream.isatty()
        self.width = width or (shutil.get_terminal_size().columns if self.is_terminal else LOG_WIDTH)
        self._rich = rich.console.Console(file=self.stream, width=self.width, highlight=False) if rich else None
        self._live: Any = None
        self._title = self._prefix = self._progress = ""

    def case_started(self, index: int, total: int, case: Case, progress: str = "") -> None:
        """index: from 1. progress: how far the run is, in words; shown on the live line."""
        self._prefix, self._title, self._progress = f"[{index}/{total}]", clean(case.title), progress
        self.stage("start")

    def stage(self, name: str) -> None:
        """One of start, build, calibrate, "measure 3/16", verify: shown on a terminal, left out of a log."""
        if not self.is_terminal or self._rich is None:
            return
        behind = f" ({self._progress})" if self._progress else ""
        text = rich.text.Text(f"{self._prefix} {self._title}: {clean(name)}{behind}", no_wrap=True, overflow="ellipsis")
        self._draw_live(text)

    def _draw_live(self, text: Any) -> None:
        if self._live is None:
            # Drawn by this thread alone: one that redraws by itself would take the interpreter from a judge that is timing.
            self._live = rich.live.Live(text, console=self._rich, auto_refresh=False, transient=True)
            self._live.start(refresh=True)
        else:
            self._live.update(text, refresh=True)

    def case_finished(self, record: dict[str, Any], progress: str = "") -> None:
        """One line with the verdict and, when it is VALID, the speed-up; then how far the run is."""
        self.close()
        withheld = "in quarantine" if record["quarantined"] else ""
        words = [record["status"], withheld or record["outcome"] or "", speedup_text(record)]
        seconds = record["stages_s"].get("total")
        line = f"{self._prefix} {self._title}: {' '.join(word for word in words if word)}"
        took = f"{seconds:.1f} s" if isinstance(seconds, int | float) else ""
        behind = "; ".join(part for part in (took, progress) if part)
        self.write(line + (f" ({behind})" if behind else ""), STYLES.get(record["status"], ""))

    def lanes(self, lines: Sequence[str], progress: str) -> None:
        """What each lane runs, where a run has lanes: a line each, on a terminal alone."""
        if not self.is_terminal or self._rich is None or not lines:
            return
        shown = [clean(line) for line in lines] + ([f"({progress})"] if progress else [])
        self._draw_live(rich.text.Text("\n".join(shown), no_wrap=True, overflow="ellipsis"))

    def case_ended(self, index: int, total: int, case: Case, record: dict[str, Any], progress: str = "") -> None:
        """As `case_finished`, of a case that was not announced alone, since others run beside it."""
        self._prefix, self._title = f"[{index}/{total}]", clean(case.title)
        self.case_finished(record, progress)

    def finished(self, records: Sequence[dict[str, Any]], skips: Sequence[Skip], run_dir: Path | str, exit_code: int) -> None:
        """The table, the reasons, the skips, and one last line that says what to do next."""
        self.close()
        self.table(records, skips)
        names = {1: "internal error", 2: "usage or config", 3: "gate failed", 4: "inconclusive", 5: "nothing was measured"}
        if exit_code:
            self.write(f"exit {exit_code}: {names.get(exit_code, 'failed')}", "bold red")
        self.write(f"Next: {next_step(records, skips, run_dir)}", "bold")

    def interrupted(self, records: Sequence[dict[str, Any]], left: int, run_dir: Path | str) -> None:
        """The table of what there is, and how to go on."""
        self.close()
        self.table(records, ())
        self.write(f"Interrupted with {left} cases left. To go on: aisp-run resume={run_dir}", "bold")

    def table(self, records: Sequence[dict[str, Any]], skips: Sequence[Skip]) -> None:
        """Every record a row, the first reason of each refusal below, then what was skipped."""
        if any(record.get("unprotected") for record in records):
            self.write(UNPROTECTED, "bold white on red")
        if records:
            self._draw([row(record) for record in records])
        for record in records:
            if record["status"] in ("INVALID", "ERROR", "INCONCLUSIVE"):
                self.write(reason_line(record), STYLES[record["status"]])
        if any(stamped(record) for record in records):
            self.write(STAMPED, "yellow")
        for line in compare.lines(records):
            self.write(line)
        for line in skip_lines(skips):
            self.write(line, "dim")

    def write(self, text: str, style: str = "") -> None:
        """A line of text, styled on a terminal that can. Wrapped by the terminal, never cut."""
        if self._rich is not None:
            self._rich.print(rich.text.Text(text), style=style or None, soft_wrap=True)
        else:
            self.stream.write(text + "\n")
        self.stream.flush()

    def close(self) -> None:
        """Take the live line away. Safe to call at any time."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _draw(self, rows: list[tuple[str, ...]]) -> None:
        for cells in table_lines(rows, self.width):
            if self._rich is None:
                self.stream.write("".join(text for text, _ in cells).rstrip() + "\n")
            else:
                self._rich.print(rich.text.Text.assemble(*cells), soft_wrap=True)


def table_lines(rows: Sequence[tuple[str, ...]], width: int) -> list[list[tuple[str, str]]]:
    """The table as lines of (text, style) cells that fit into `width` columns, as long as the names allow it.

    A column without content is left out. Where there is too little room, the workload becomes a line of its own; then the
    reason goes, which is told below the table anyway; then the two times a call.
    """
    filled = [i for i in range(len(HEADINGS)) if i < 3 or any(r[i] for r in rows)]
    widths = {i: max(len(r[i]) for r in [HEADINGS, *rows]) for i in filled}
    columns = next((c for c in _choices(filled) if sum(widths[i] + 2 for i in c) <= width), _choices(filled)[-1])
    indent = "" if 0 in columns else "  "

    def line(cells: tuple[str, ...], style: str = "", first: bool = True) -> list[tuple[str, str]]:
        made = [(indent, "")]
        for i in columns:
            text = "" if i == 0 and not first else cells[i]
            made.append((text.rjust(widths[i]) if i in NUMBERS else text.ljust(widths[i]), style or STYLES.get(cells[i], "")))
            made.append(("  ", ""))
        return made

    lines = [[("", "")], line(HEADINGS, "dim")]
    previous = ""
    for cells in rows:
        if indent and cells[0] != previous:
            lines.append([(cells[0], "bold")])
        lines.append(line(cells, first=cells[0] != previous))
        previous = cells[0]
    return [*lines, [("", "")]]


def _choices(filled: list[int]) -> list[list[int]]:
    """Columns to show, from everything to the least."""
    without = [(), (0,), (0, 9), (0, 4, 9), (0, 4, 5, 6, 9)]
    return [[i for i in filled if i not in left_out] for left_out in without]


def row(record: dict[str, Any]) -> tuple[str, ...]:
    """The cells of one record, in the order of HEADINGS."""
    clock = record["clock"] or {}
    numbers = [microseconds(clock.get(key)) if has_numbers(record) else "" for key in ("baseline_us", "candidate_us")]
    untold = record["outcome"] and not record["speedup"]
    told = "in quarantine" if record["quarantined"] else "too noisy to time" if untold else ""
    reason = record["reasons"][0] if record["reasons"] else told
    more = f" +{len(record['reasons']) - 1}" if len(record["reasons"]) > 1 else ""
    name = record["candidate"] or record["variant"]
    outcome = "" if record["quarantined"] else record["outcome"] or ""
    measured = (speedup_text(record), detectable_text(record), *numbers, outcome)
    cells = (record["workload"], name, case_text(record), *measured, record["status"], reason + more)
    return tuple(clean(cell) for cell in cells)


def has_numbers(record: dict[str, Any]) -> bool:
    """Whether its numbers may be shown: VALID, and not in quarantine."""
    return record["status"] == "VALID" and record["speedup"] is not None and not record["quarantined"]


def speedup_text(record: dict[str, Any]) -> str:
    """2.10x [2.05, 2.14], with as many decimals as the interval needs, or nothing; "stamps" behind it where those decided."""
    if not has_numbers(record):
        return ""
    s = record["speedup"]
    digits = 2 if s["high"] - s["low"] >= 0.02 else 3 if s["high"] - s["low"] >= 0.002 else 4
    text = f"{s['value']:.{digits}f}x [{s['low']:.{digits}f}, {s['high']:.{digits}f}]"
    return f"{text} {STAMPS}" if stamped(record) else text


def stamped(record: dict[str, Any]) -> bool:
    """Whether it has a number that the device's time stamps decided."""
    return has_numbers(record) and by_device(record)


def detectable_text(record: dict[str, Any]) -> str:
    """The minimum detectable effect, such as 0.4 %; "1 set" where one set of processes cannot tell it; or nothing."""
    if not has_numbers(record):
        return ""
    mde = record["speedup"]["mde"]
    return "1 set" if mde is None else f"{mde * 100:.1f} %" if mde >= 0.001 else f"{mde * 100:.2f} %"


def case_text(record: dict[str, Any]) -> str:
    """n=262144 cpu, with "held out" where it is."""
    case = record["case"]
    on = f"GPU {record['lane']['gpu']['index']}" if case.get("gpu") and (record.get("lane") or {}).get("gpu") else ""
    words = [",".join(f"{k}={v}" for k, v in case["axes"].items()), case["device"], on, "held out" if case["held_out"] else ""]
    return " ".join(word for word in words if word)


def microseconds(value: Any) -> str:
    """A time in us with four digits that mean something."""
    if not isinstance(value, int | float):
        return ""
    digits = 0 if value >= 1000 else 1 if value >= 100 else 2 if value >= 10 else 3
    return f"{value:.{digits}f}"


def reason_line(record: dict[str, Any]) -> str:
    """INVALID: memory.late_writes: what was seen. docs/protection.md#late-writes"""
    first = record["reasons"][0] if record["reasons"] else ""
    parts = [record["status"], title(record), first, clean(record["message"])]
    more = f" {document(first)}" if record["status"] == "INVALID" and first else ""
    return ": ".join(part for part in parts if part) + more


def title(record: dict[str, Any]) -> str:
    """ch06_vector_add / vectorized / n=262144 cpu."""
    return clean(f"{record['workload']} / {record['candidate'] or record['variant']} / {case_text(record)}")


def document(protection: str) -> str:
    """Where a protection is explained: memory.late_writes is docs/protection.md#late-writes."""
    return "docs/protection.md#" + protection.rsplit(".", 1)[-1].replace("_", "-")


def skip_lines(skips: Iterable[Skip]) -> list[str]:
    """One line a reason: how many comparisons were skipped for it, and which."""
    by_reason: dict[str, dict[str, int]] = {}
    for skip in skips:
        name = f"{skip.workload} / {skip.variant}"
        names = by_reason.setdefault(skip.reason if skip.device in skip.reason else f"{skip.reason} ({skip.device})", {})
        names[name] = names.get(name, 0) + 1
    lines = []
    for reason, names in by_reason.items():
        shown = ", ".join(list(names)[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        lines.append(f"skipped {sum(names.values())}: {clean(reason)}: {clean(shown)}")
    return lines


def next_step(records: Sequence[dict[str, Any]], skips: Sequence[Skip], run_dir: Path | str) -> str:
    """The one thing to do after this run."""
    show = f"aisp show {run_dir}"
    by_status: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        by_status.setdefault(record["status"], []).append(record)
    if not records:
        reasons = sorted({skip.reason for skip in skips})
        skipped = f"every comparison was skipped ({clean('; '.join(reasons[:2]))}{', ...' if len(reasons) > 2 else ''})"
        why = skipped if skips else "the plan has no case"
        return f"nothing was measured: {why}. See what runs here with: aisp list"
    if "ERROR" in by_status:
        first = by_status["ERROR"][0]
        return f"mend what {clean(first['workload'])} / {clean(first['variant'])} says above, run again. Details: {show}"
    if "INVALID" in by_status:
        first = by_status["INVALID"][0]
        place = document(first["reasons"][0]) if first["reasons"] else "docs/protection.md"
        return f"read {place} for why {clean(first['workload'])} was refused. Details: {show}"
    if "INCONCLUSIVE" in by_status:
        return f"a protection could not do its work here; aisp doctor says what this machine lacks. Details: {show}"
    undecided = [record for record in records if record["outcome"] == "UNDECIDED"]
    if undecided:
        name = clean(undecided[0]["workload"])
        return f"{len(undecided)} undecided: measure longer with aisp-run +workload={name} measure=publication"
    held = [record for record in records if record["quarantined"]]
    if held:
        return f"{len(held)} withheld by the quarantine; see aisp quarantine list"
    return show


def to_markdown(records: Sequence[dict[str, Any]], skips: Sequence[Skip]) -> str:
    """The same table for a pull request or a README."""
    lines = [f"> **{UNPROTECTED}**", ""] if any(record.get("unprotected") for record in records) else []
    if records:
        rule = ["---:" if i in NUMBERS else "---" for i in range(len(HEADINGS))]
        rows = [HEADINGS, rule, *(tuple(escaped(cell) for cell in row(record)) for record in records)]
        lines += ["| " + " | ".join(cells) + " |" for cells in rows]
    else:
        lines.append("Nothing was measured.")
    refused = [f"- {escaped(STAMPED)}"] if any(stamped(record) for record in records) else []
    refused += [f"- {escaped(reason_line(r))}" for r in records if r["status"] != "VALID"]
    compared = [f"- {escaped(line.strip())}" for line in compare.lines(records) if line.strip()]
    skipped = [f"- {escaped(line)}" for line in skip_lines(skips)]
    for block in (refused, compared, skipped):
        lines += ["", *block] if block else []
    return "\n".join(lines) + "\n"


def clean(text: str) -> str:
    """One line of printable characters: nothing that moves a cursor or rewrites what stands above it."""
    text = str(text)
    return text if text.isprintable() else "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in text)


def escaped(text: str) -> str:
    """Text as Markdown shows it, in a table or outside."""
    for character in ("\\", "|", "*", "_", "<", "`"):
        text = text.replace(character, "\\" + character)
    return text


@contextlib.contextmanager
def closing(console: Console) -> Any:
    """Takes the live line away however the block ends."""
    try:
        yield console
    finally:
        console.close()
