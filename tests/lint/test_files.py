"""One real workload, changed in one place at a time: each change is told by its rule, at its line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from aisp_runner import aisp
from aisp_runner.content import content_root
from aisp_runner.errors import ConfigError
from aisp_runner.lint import command, files
from aisp_runner.lint.files import Remark

VECTOR_ADD = (content_root() / "conf" / "workload" / "ch06_vector_add.yaml").read_text()

CHANGES: dict[str, tuple[str, str, str, int, str]] = {
    "a misspelt key": ("    rtol: 2.0e-7", "    rtoll: 2.0e-7", "declaration", 13, "Did you mean 'rtol'"),
    "a misspelt value": ("claim: wall", "claim: wal", "declaration", 23, "is not one of kernel, wall"),
    "a wrong type": ("{n: [262144]}", "{n: many}", "declaration", 17, ""),
    "a key that is there twice": ("    atol: 0.0", "    atol: 0.0\n    atol: 1.0", "duplicate-key", 15, "also on line 14"),
    "no reason": (
        'because: "one float32 addition, rounded once: at most 2**-24 = 6e-8 of the sum"',
        "because: fp32",
        "missing-because",
        15,
        "the reason 'fp32'",
    ),
    "a tolerance of half precision": ("rtol: 2.0e-7", "rtol: 1.0e-3", "vacuous-tolerance", 13, "half-precision"),
    "a tolerance of anything": ("rtol: 2.0e-7", "rtol: 0.75", "vacuous-tolerance", 13, "off by half"),
    "an axis that is not used": (
        "{n: [262144]}\n  cuda: {n: [1048576, 16777216]}\nheld_out:\n  cpu: [{n: 300007}]",
        "{n: [262144], m: [1, 2]}\n  cuda: {n: [1048576, 16777216]}\nheld_out:",
        "unused-axis",
        17,
        "no shape has 'm'",
    ),
    "an axis that is not there": ("a: {shape: [n]", "a: {shape: [m]", "declaration", 7, "axis 'm' is not defined"),
    "sizes that fit nowhere": ("16777216]}", "16777216000]}", "too-large", 18, "187.5 GiB"),
    "a function that is not there": ("baseline: chunked", "baseline: chunkd", "signature", 4, "Did you mean 'chunked'"),
    "another parameter": (
        "  b: {shape: [n], dtype: float32, init: normal}",
        "  e: {shape: [n], dtype: float32, init: normal}",
        "signature",
        4,
        "does not match the workload's tensors (a, e, c)",
    ),
    "a file that is not there": (
        "kernels/vector_add.py",
        "kernels/vector_ad.py",
        "declaration",
        3,
        "Did you mean 'vector_add.py'",
    ),
    "a key that is a boolean": ("claim: wall", "on: wall", "yaml-key", 23, "not text to YAML"),
    "an exponent without a point": ("rtol: 2.0e-7", "rtol: 2e-7", "yaml-exponent", 13, "Write 2.0e-7"),
    "a number of base 60": ("chapter: ch06", "chapter: 1:30", "yaml-sexagesimal", 1, "base 60"),
    "an octal number": ("atol: 0.0", "atol: 010", "yaml-octal", 14, "octal"),
    "a boolean in other words": ("environment: {device: any}", "returns: no", "yaml-boolean", 25, "Write false"),
    "the baseline among the variants": (
        "optimized: [split,",
        "optimized: [chunked, split,",
        "declaration",
        5,
        "is the baseline",
    ),
    "a held-out size that is declared": ("[{n: 300007}]", "[{n: 262144}]", "declaration", 20, "not held out"),
    "no YAML": ("axes:", "axes: [", "yaml", 18, "not YAML"),
    "huge arithmetic": ("bytes: 12 * n", 'bytes: "9**9**9**n"', "arithmetic", 22, ""),
    "a call": ("bytes: 12 * n", "bytes: \"__import__('os').getpid()\"", "declaration", 22, ""),
}


def changed(folder: Path, old: str, new: str) -> Path:
    path = folder / "conf" / "workload" / "ch06_vector_add.yaml"
    path.parent.mkdir(parents=True)
    assert VECTOR_ADD.count(old) == 1
    path.write_text(VECTOR_ADD.replace(old, new))
    return path


def told(path: Path) -> list[Remark]:
    return files.lint(path)


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_told_by_its_rule_at_its_line(name: str, tmp_path: Path) -> None:
    old, new, rule, line, message = CHANGES[name]
    remarks = told(changed(tmp_path, old, new))
    assert any(r.rule == rule and r.place.line == line and message in r.message for r in remarks), [r.text() for r in remarks]


def test_what_is_sound_has_no_remark(tmp_path: Path) -> None:
    assert told(changed(tmp_path, "chapter: ch06", "# a remark of its own\nchapter: ch06")) == []
    assert [r.text() for path in files.collect([content_root() / "conf"]) for r in files.lint(path)] == []


def test_what_is_safe_is_fixed_and_nothing_else_is_touched(tmp_path: Path) -> None:
    path = changed(tmp_path, "    rtol: 2.0e-7\n    atol: 0.0", "    rtol: 2e-7  # 2e-7 is enough\n    atol: 0e-3")
    assert aisp.main(["lint", str(path), "--strict"]) == 2
    assert aisp.main(["lint", str(path), "--fix", "--strict"]) == 0
    wanted = VECTOR_ADD.replace("    rtol: 2.0e-7\n    atol: 0.0", "    rtol: 2.0e-7  # 2e-7 is enough\n    atol: 0.0e-3")
    assert path.read_text() == wanted


def test_errors_and_warnings_have_their_exit_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = changed(tmp_path, "16777216]}", "16777216000]}")
    assert aisp.main(["lint", str(path)]) == 0
    assert aisp.main(["lint", str(path), "--strict"]) == 2
    assert "1 files: 0 errors, 1 warnings" in capsys.readouterr().out
    assert aisp.main(["lint", str(path), "--gpu-gib", "1000"]) == 0
    path.write_text(VECTOR_ADD.replace("rtol: 2.0e-7", "rtol: 0.9"))
    assert aisp.main(["lint", str(path), "--json"]) == 2
    (remark,) = json.loads(capsys.readouterr().out.partition("\n[")[2].join(["[", ""]))
    assert (remark["rule"], remark["line"], remark["severity"]) == ("vacuous-tolerance", 13, "error")


def test_an_annotation_is_one_line_that_github_reads(tmp_path: Path) -> None:
    (remark,) = told(changed(tmp_path, "rtol: 2.0e-7", "rtol: 0.9"))
    line = command.annotation(remark)
    assert line.startswith("::error file=") and ",line=13,col=5,title=vacuous-tolerance::rtol 0.9" in line and "\n" not in line


def test_every_kind_of_file_has_its_schema(tmp_path: Path) -> None:
    for folder, text, message in (
        ("suite", "titel: x\nselect: {chapters: [ch01]}\n", "titel: unknown key"),
        ("chapter", "title: x\nids: 3\n", "ids: unknown key"),
        ("lab", "titel: x\n", "titel: unknown key"),
    ):
        path = tmp_path / folder / "x.yaml"
        path.parent.mkdir()
        path.write_text(text)
        assert message in told(path)[0].message
    quarantine = tmp_path / "quarantine.yaml"
    quarantine.write_text("format: 1\nentries: {a/b: {}}\n")
    assert told(quarantine)[0].place.line == 2


def test_a_path_that_is_not_there_is_told_with_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    with pytest.raises(ConfigError, match="Did you mean 'conf'"):
        files.collect([tmp_path / "cnf"])


HOSTILE = {
    "a tag that runs code": "question: !!python/object/apply:os.system ['touch OWNED']\n",
    "a tag of its own": "question: !touch OWNED\n",
    "aliases that multiply": "a0: &a0 [x, x]\n" + "".join(f"a{i + 1}: &a{i + 1} [*a{i}, *a{i}]\n" for i in range(40)),
    "an alias of itself": "a: &a [*a]\n",
    "deep nesting": "a: " + "[" * 5000 + "]" * 5000 + "\n",
    "two megabytes": "a: " + "x" * (2 << 20) + "\n",
    "a resolver": "question: ${oc.env:HOME}\n",
    "a target": "_target_: os.system\nquestion: x\n",
    "no text at all": "\x00\x01\x02",
    "nothing": "",
    "a list": "- 1\n",
    "a path out of the folder": VECTOR_ADD.replace("kernels/vector_add.py", "../../../../../../etc/passwd.py"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_an_error_and_runs_nothing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "workload" / "w.yaml"
    path.parent.mkdir()
    path.write_text(HOSTILE[name])
    remarks = told(path)
    assert any(r.severity == "error" for r in remarks), "accepted"
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["w.yaml", "workload"]
