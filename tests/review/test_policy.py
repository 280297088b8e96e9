"""Severities, waivers, commits and folders."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from aisp_runner.content import content_root
from aisp_runner.errors import ConfigError
from aisp_runner.review import report
from aisp_runner.review.command import review
from tests.review.copies import TODAY, Edit, against, applied, told, workload

# Rules and waivers


WAIVER = """waivers:
  - rule: tolerance-loosened
    workloads: ch12_*
    key: outputs.*.rtol
    owner: kernels-team
    reason: the new accumulator rounds once more
    expires: {expires}
"""
LOOSER = Edit("tolerance-loosened", workload("ch12_kernel_fusion"), "rtol: 1.0e-6", "rtol: 1.0e-5", "rtol:")


def test_a_waiver_of_the_base_lets_a_finding_through(small: Path, tmp_path: Path) -> None:
    text = WAIVER.format(expires="2026-12-01")
    made = against(small, tmp_path / "head", [LOOSER], (text, text))
    (finding,) = made.findings
    assert made.exit_code == 0 and finding.waiver == "kernels-team, until 2026-12-01: the new accumulator rounds once more"


@pytest.mark.parametrize(
    ("base_says", "head_says", "rules", "code"),
    [
        ("", "2027-01-01", ["policy-with-targets", "tolerance-loosened", "waiver-new"], 2),
        ("2026-11-30", "2026-11-30", ["tolerance-loosened", "waiver-expired"], 2),
        ("2026-12-31", "2027-12-31", ["policy-with-targets", "tolerance-loosened", "waiver-extended"], 2),
    ],
    ids=["its own", "expired", "extended"],
)
def test_a_waiver_that_a_change_brings_or_stretches_or_that_ran_out_does_not(
    small: Path, tmp_path: Path, base_says: str, head_says: str, rules: list[str], code: int
) -> None:
    texts = tuple(WAIVER.format(expires=day) if day else "" for day in (base_says, head_says))
    made = against(small, tmp_path / "head", [LOOSER], (texts[0], texts[1]))
    assert sorted(f.rule for f in made.findings) == rules and made.exit_code == code


def test_a_waiver_that_excuses_nothing_is_told(small: Path, tmp_path: Path) -> None:
    text, other = (
        WAIVER.format(expires="2027-12-01"),
        Edit("x", workload("ch06_vector_add"), "phase: gate", "phase: detect", ""),
    )
    made = against(small, tmp_path / "head", [other], (text, text))
    assert [(f.rule, f.file, f.line) for f in made.findings if f.severity == "info"] == [("waiver-unused", "review.yaml", 2)]


def test_severities_are_those_of_the_base(small: Path, tmp_path: Path) -> None:
    made = against(
        small, tmp_path / "head", [LOOSER], ("rules: {tolerance-loosened: warn}\n", "rules: {tolerance-loosened: off}\n")
    )
    severities = {f.rule: f.severity for f in made.findings}
    assert severities == {"tolerance-loosened": "warn", "policy-with-targets": "block"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rules: {tolerence-loosened: warn}\n", "Did you mean 'tolerance-loosened'"),
        ("rules: {tolerance-loosened: never}\n", "'never' is not one of block, warn, info, off"),
        (WAIVER.format(expires="2026-13-01"), "is no day"),
        (WAIVER.format(expires="2026-12-01").replace("    owner: kernels-team\n", ""), "owner: missing"),
        (WAIVER.format(expires="2026-12-01").replace("rounds once more", ""), "reason"),
    ],
)
def test_rules_and_waivers_that_are_wrong_are_refused(small: Path, tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=r"review\.yaml: ") as raised:
        against(small, tmp_path / "head", [], (text, ""))
    assert said in str(raised.value)


# What cannot be composed


def test_a_workload_that_cannot_be_composed_is_told_and_the_others_are_reviewed(small: Path, tmp_path: Path) -> None:
    suite = small / "conf/suite/quick.yaml"
    suite.write_text("title: some\nselect: {workloads: [ch06_vector_add]}\n", "utf-8")
    head = tmp_path / "head"
    shutil.copytree(small, head)
    (head / workload("ch12_kernel_fusion")).write_text("question: what\n", "utf-8")
    applied([Edit("x", workload("ch06_vector_add"), "phase: gate", "phase: detect", "")], head)
    (head / "conf/suite/quick.yaml").write_text("title: some\nselect: {workloads: [ch00_none]}\n", "utf-8")
    made = review(str(small), head, today=TODAY)
    assert made.exit_code == 3
    assert sorted(f.rule for f in made.findings) == ["cannot-compose", "cannot-compose", "phase-lowered"]
    broken = {f.file for f in made.findings if f.rule == "cannot-compose"}
    assert broken == {workload("ch12_kernel_fusion"), "conf/suite/quick.yaml"}
    mended = review(str(head), small, today=TODAY)
    assert mended.exit_code == 0 and [f.rule for f in mended.findings] == ["workload-new", "workload-new", "phase-raised"]
    assert all("could not be composed before" in f.message for f in mended.findings[:2])


def test_settings_that_cannot_be_composed_are_told(small: Path, tmp_path: Path) -> None:
    made = against(small, tmp_path / "head", [Edit("x", "conf/measure/standard.yaml", "rounds: 12", "rouns: 12", "")])
    assert made.exit_code == 3 and any("rouns" in f.message for f in made.findings if f.rule == "cannot-compose")


EVIL = "x: {_target_: subprocess.Popen, args: touch CANARY, shell: true}"


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("conf/config.yaml", "hydra:\n", f"hydra:\n  callbacks: {{{EVIL}}}\n", "hydra: callbacks"),
        ("conf/config.yaml", "hydra:\n", "hydra:\n  launcher: {_target_: os.system}\n", "hydra: launcher"),
        ("conf/config.yaml", "job: {chdir: false}", "job: {chdir: false, env_set: {A: b}}", "hydra: env_set"),
        (
            "conf/config.yaml",
            "  - device: auto\n",
            "  - device: auto\n  - override hydra/launcher: joblib\n",
            "override hydra/launcher",
        ),
        ("conf/config.yaml", "run_dir: null", "run_dir: ${oc.env:HOME}", "nothing is filled in here"),
        ("conf/config.yaml", "margin: null", "margin: {_target_: os.abort}", "no class is named"),
        ("conf/measure/quick.yaml", "\nrounds: 8", "\nrounds: ${oc.env:SECRET}", "asks for what is no setting"),
        ("conf/protect/strict.yaml", "knobs: {}", "knobs: {}\nhydra: {callbacks: {}}", "brings no such settings"),
        ("conf/chapter/ch12.yaml", "title:", "defaults: [/hydra/launcher: joblib]\ntitle:", "pulls in no other"),
    ],
)
def test_a_revision_that_reaches_for_hydra_or_the_environment_is_not_composed(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, old: str, new: str, said: str
) -> None:
    canary = tmp_path / "canary"
    monkeypatch.setenv("SECRET", "hunter2")
    made = against(small, tmp_path / "head", [Edit("x", file, old, new.replace("CANARY", str(canary)), "")])
    (finding,) = made.findings
    assert made.exit_code == 3 and finding.rule == "cannot-compose" and said in finding.message
    assert not canary.exists() and "hunter2" not in report.as_json(made)


# Commits of git, and what hostile ones hold


def git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=x", "-c", "user.email=x@example.invalid", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(small: Path) -> Path:
    git(small, "init", "-q", "-b", "main")
    git(small, "add", "-A")
    git(small, "commit", "-qm", "one")
    return small


def test_commits_are_compared_and_so_is_the_working_tree(repository: Path) -> None:
    git(repository, "checkout", "-qb", "branch")
    applied([LOOSER], repository)
    unsaved = review("HEAD", repository=repository, today=TODAY)
    assert [f.rule for f in unsaved.findings] == ["tolerance-loosened"] and unsaved.head == "working tree"
    git(repository, "commit", "-qam", "two")
    made = review("main..branch", repository=repository, today=TODAY)
    assert [f.rule for f in made.findings] == ["tolerance-loosened"] and made.head == git(repository, "rev-parse", "HEAD")[:10]
    git(repository, "checkout", "-q", "main")
    applied([Edit("x", workload("ch06_vector_add"), "phase: gate", "phase: detect", "")], repository)
    git(repository, "commit", "-qam", "three")
    assert sorted(f.rule for f in review("main..branch", repository=repository, today=TODAY).findings) == [
        "phase-raised",
        "tolerance-loosened",
    ]
    three_dots = review("main...branch", repository=repository, today=TODAY)
    assert [f.rule for f in three_dots.findings] == ["tolerance-loosened"], "from where the branch left main"


def test_a_commit_is_written_out_without_its_links_and_large_files(repository: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.yaml"
    secret.write_text("question: SECRET\n", "utf-8")
    (repository / workload("ch98_link")).symlink_to(secret)
    (repository / "conf" / "suite").mkdir(exist_ok=True)
    (repository / "conf/suite/deep").symlink_to("/etc")
    (repository / workload("ch97_large")).write_text("# " + "x" * (2 << 20), "utf-8")
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "two")
    made = review("HEAD~1..HEAD", repository=repository, today=TODAY)
    assert made.findings == () and "SECRET" not in report.as_json(made)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("HEAD..nowhere", "'nowhere' is no commit here"),
        ("--upload-pack=x..HEAD", "is no revision"),
        ("nowhere", "is no commit"),
    ],
)
def test_a_revision_that_is_not_there_is_refused(repository: Path, change: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        review(change, repository=repository)


def test_folders_of_a_users_own_are_found(tmp_path: Path) -> None:
    """A repository without a conf/ of its own: the runner's settings, the user's workloads."""
    base = tmp_path / "base"
    (base / "bench/workload").mkdir(parents=True)
    shutil.copy(content_root() / workload("ch06_vector_add"), base / "bench/workload/mine.yaml")
    shutil.copy(content_root() / "kernels/vector_add.py", base / "bench/vector_add.py")
    applied([Edit("x", "bench/workload/mine.yaml", "kernels/vector_add.py", "vector_add.py", "")], base)
    edits = [Edit("tolerance-loosened", "bench/workload/mine.yaml", "rtol: 2.0e-7", "rtol: 2.0e-5", "rtol: 2.0e-5")]
    edits += [
        Edit(
            "baseline-changed",
            "bench/vector_add.py",
            "def chunked(a: Tensor, b: Tensor, c: Tensor) -> None:",
            "def chunked(a: Tensor, b: Tensor, c: Tensor) -> None:\n    globals()",
            "def chunked",
        )
    ]
    made = against(base, tmp_path / "head", edits)
    assert all(told(made, edit, tmp_path / "head") for edit in edits) and len(made.findings) == 2, made.findings
