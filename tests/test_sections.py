"""The documentation's sections, as `aisp explain` reads them: each reason that a record can give has one, with all parts."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

from aisp_runner import sections
from aisp_runner.content import content_root
from aisp_runner.errors import AispError
from aisp_runner.protect import registry

ROOT = Path(__file__).resolve().parent.parent
PAGE = """# Page

## Late writes
`memory.late_writes`, **essential**. It looks at [tripwires](record.md#evidence)
and *waits*. Within `atol + rtol * |expected|`.

- *A list* that is left out.

**A refusal means** that work went on. **Look
for** a thread. **If you are honest**, wait. **Knobs:** none. **Blind spot:** the rest.

## Another heading
Prose without a reason.
"""


def lacking(known: dict[str, sections.Section]) -> list[str]:
    """Each protection without a section, or with one that lacks a part, by name."""
    without = [f"{name}: no section" for name in registry.known() if name not in known]
    return without + [f"{s.reason}: {', '.join(s.lacking)}" for s in known.values() if s.lacking]


def engine_kinds() -> set[str]:
    """The kinds of EngineFault, as reasons."""
    from aisp_runner.errors import EngineFault

    return {f"engine.{kind}" for kind in re.findall(r'"(\w+)"', str(EngineFault.__doc__))}


def worker_kinds() -> set[str]:
    """The kinds of every WorkerFault that the runner raises, as reasons."""
    found = set()
    for path in (ROOT / "aisp_runner").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "WorkerFault":
                kind = node.args[1]
                assert isinstance(kind, ast.Constant), f"{path}:{node.lineno}: the kind is not a plain word"
                found.add(f"worker.{kind.value}")
    return found


def caught_faults() -> set[str]:
    """The exceptions that a case keeps as its fault; their names are its reason."""
    (catching,) = [
        node
        for node in ast.walk(ast.parse((ROOT / "aisp_runner" / "trial.py").read_text("utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name == "catching"
    ]
    kept = [h.type for h in ast.walk(catching) if isinstance(h, ast.ExceptHandler) and isinstance(h.type, ast.Tuple)]
    return {e.id for names in kept for e in names.elts if isinstance(e, ast.Name)} - {"WorkerFault"}


def test_every_protection_has_a_section_with_all_its_parts() -> None:
    missing = lacking(sections.sections())
    assert not missing, f"docs/protection.md needs {', '.join(sections.NEEDED['docs/protection.md'])}; {'; '.join(missing)}"


@pytest.mark.parametrize(
    ("bold", "part"),
    [
        ("A refusal means", "means"),
        ("Look\nfor", "look_for"),
        ("If you are honest", "if_honest"),
        ("Blind spot:", "blind_spot"),
    ],
)
def test_a_section_that_lacks_a_part_is_named(bold: str, part: str) -> None:
    (broken,) = sections.parse(PAGE.replace(f"**{bold}**", bold), "docs/protection.md").values()
    assert broken.lacking == [part]
    assert f"memory.late_writes: {part}" in lacking(sections.sections() | {broken.reason: broken})
    others = {name: section for name, section in sections.sections().items() if name != "memory.late_writes"}
    assert "memory.late_writes: no section" in lacking(others)


def test_a_part_without_words_is_lacking() -> None:
    (empty,) = sections.parse(PAGE.replace(" a thread.", ""), "docs/protection.md").values()
    assert empty.lacking == ["look_for"]


def test_a_section_is_read_without_its_markdown() -> None:
    known = sections.parse(PAGE, "docs/protection.md")
    assert list(known) == ["memory.late_writes"]
    section = known["memory.late_writes"]
    assert section.read == "docs/protection.md#late-writes"
    assert section.parts == {
        "what": "It looks at tripwires and waits. Within `atol + rtol * |expected|`.",
        "means": "A refusal means that work went on.",
        "look_for": "Look for a thread.",
        "if_honest": "If you are honest, wait.",
        "knobs": "Knobs: none.",
        "blind_spot": "Blind spot: the rest.",
    }


def test_the_anchor_is_the_one_that_a_refusal_names() -> None:
    from aisp_runner.report import document

    refusing = [s for s in sections.sections().values() if s.read.startswith("docs/protection.md")]
    assert len(refusing) >= 15
    for section in refusing:
        assert section.read == document(section.reason)


def test_no_protections_text_keeps_markdown() -> None:
    for section in sections.sections().values():
        for text in section.parts.values():
            assert not re.search(r"\*\*|\]\(|\n", text), section.reason


def test_every_reason_that_is_no_protection_has_a_section() -> None:
    reasons = worker_kinds() | engine_kinds() | caught_faults() | {"timing.resolution", "UNDECIDED", "unavailable", "error"}
    assert {
        "engine.lost",
        "engine.refused",
        "worker.raised",
        "worker.hung",
        "worker.mode",
        "BuildError",
        "DeviceError",
    } <= reasons
    assert sorted(reasons - set(sections.sections())) == []


def test_the_reasons_of_the_verdicts_page_are_the_same_ones() -> None:
    page = (content_root() / "docs" / "evidence-and-verdict.md").read_text("utf-8")
    table = page.split("| reason | what to do |")[1].split("\n## ")[0]
    cells = re.findall(r"^\| (`[^|]+`) \|", table, re.MULTILINE)
    reasons = [reason for cell in cells for reason in re.findall(r"`([\w.]+)`", cell)]
    told = {name for name, section in sections.sections().items() if section.read.startswith("docs/explain.md")}
    assert "timing.resolution" in reasons
    assert set(reasons) <= told


def test_both_pages_travel_with_the_wheel() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert set(sections.PAGES) <= set(wheel["only-include"])
    assert wheel["sources"]["docs"] == "aisp_runner/content/docs"


def test_a_page_that_is_missing_is_an_error_that_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sections, "content_root", lambda: tmp_path)
    sections.sections.cache_clear()
    try:
        with pytest.raises(AispError, match=r"^docs/protection\.md: No such file or directory\. Install aisp-run again"):
            sections.sections()
    finally:
        sections.sections.cache_clear()
