"""The quarantine file: who enters it, who leaves it, and what a reviewer reads."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from records import refused_record, valid_record

from aisp_runner import quarantine
from aisp_runner.errors import ConfigError

KEY = "ch06_vector_add/vectorized"
SMALL = {"axes": {"n": 1024}, "device": "cpu", "held_out": False}
LARGE = {"axes": {"n": 4096}, "device": "cpu", "held_out": True}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "quarantine.yaml"


@pytest.fixture(params=["with PyYAML", "without PyYAML"])
def any_yaml(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "without PyYAML":
        monkeypatch.setitem(sys.modules, "yaml", None)


def test_a_refused_record_enters_with_its_reason_and_evidence(path: Path, any_yaml: None) -> None:
    record = refused_record()
    assert quarantine.add(path, record, path.parent / "runs" / "one") == KEY
    entry = quarantine.load(path)["entries"][KEY]
    assert entry["reason"] == ["memory.late_writes"]
    assert entry["message"].startswith("8 of 8 output slots")
    assert entry["date"] == "2025-01-02T03:04:05+00:00"
    assert entry["evidence"] == [{"case": "n=262144 cpu", "run_dir": "runs/one", "record": quarantine.digest(record)}]
    assert quarantine.is_quarantined(path, valid_record())
    assert not quarantine.is_quarantined(path, valid_record(variant="split"))


def test_the_digest_finds_the_record_in_the_runs_file(path: Path) -> None:
    record = refused_record()
    record["quarantined"] = quarantine.update(path, record)
    assert quarantine.load(path)["entries"][KEY]["evidence"][0]["record"] == quarantine.digest(record)


def test_the_file_is_sorted_yaml_with_a_header_and_the_same_every_time(path: Path) -> None:
    for variant in ("vectorized", "split"):
        quarantine.add(path, refused_record(variant=variant, case=LARGE), "runs/one")
    first = path.read_text()
    quarantine.add(path, refused_record(case=LARGE), "runs/one")
    assert path.read_text() == first
    assert first.startswith("# Comparisons whose numbers are withheld.")
    assert first.index("ch06_vector_add/split") < first.index(KEY)
    assert "&id" not in first
    assert [p.name for p in path.parent.iterdir()] == ["quarantine.yaml"]


def test_a_file_written_without_pyyaml_is_yaml_too(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "yaml", None)
        quarantine.add(path, refused_record())
    assert json.loads("".join(line for line in path.read_text().splitlines(True) if line[0] != "#"))
    assert list(yaml.safe_load(path.read_text())["entries"]) == [KEY]
    assert KEY in quarantine.load(path)["entries"]


def test_yaml_without_pyyaml_is_an_error_that_says_what_to_install(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quarantine.add(path, refused_record())
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(ConfigError, match="pip install pyyaml"):
        quarantine.load(path)


def test_no_file_means_nothing_is_in_quarantine(path: Path) -> None:
    assert quarantine.load(path) == {"format": 1, "entries": {}, "released": []}
    assert not quarantine.update(path, valid_record())
    assert not path.exists()


@pytest.mark.parametrize("phase", ["quarantine", "gate"])
def test_an_entry_goes_when_its_case_is_valid_again(path: Path, phase: str, any_yaml: None) -> None:
    assert quarantine.update(path, refused_record(phase=phase), "runs/one")
    assert not quarantine.update(path, valid_record(phase=phase), "runs/two")
    assert quarantine.load(path)["entries"] == {}


STAYS: dict[str, dict[str, Any]] = {
    "a run that only detects": {"phase": "detect"},
    "another case": {"case": SMALL},
    "another device": {"case": {"axes": {"n": 262144}, "device": "cuda", "held_out": False}},
    "another variant": {"variant": "split"},
    "a run without protections": {"unprotected": True},
}


@pytest.mark.parametrize("changes", STAYS.values(), ids=STAYS)
def test_an_entry_is_not_released_by(changes: dict[str, Any], path: Path) -> None:
    quarantine.add(path, refused_record(), "runs/one")
    assert not quarantine.verified_again(path, valid_record(**changes), "runs/two")
    assert KEY in quarantine.load(path)["entries"]


@pytest.mark.parametrize("status", ["INCONCLUSIVE", "ERROR"])
def test_what_says_nothing_about_the_candidate_neither_enters_nor_releases(status: str, path: Path) -> None:
    assert not quarantine.update(path, refused_record(status))
    quarantine.update(path, refused_record())
    assert quarantine.update(path, refused_record(status))


def test_a_refusal_that_is_only_detected_is_not_written(path: Path) -> None:
    assert not quarantine.update(path, refused_record(phase="detect"))
    assert not path.exists()


def test_all_recorded_cases_must_be_valid_in_one_run(path: Path) -> None:
    quarantine.add(path, refused_record(case=SMALL), "runs/one")
    quarantine.add(path, refused_record(case=LARGE), "runs/one")
    assert not quarantine.verified_again(path, valid_record(case=SMALL), "runs/two")
    assert not quarantine.verified_again(path, valid_record(case=LARGE), "runs/three")
    assert not quarantine.verified_again(path, valid_record(case=SMALL), "runs/four")
    assert quarantine.verified_again(path, valid_record(case=LARGE), "runs/four")


def test_a_new_refusal_takes_back_what_was_valid_before(path: Path) -> None:
    quarantine.add(path, refused_record(case=SMALL), "runs/one")
    quarantine.add(path, refused_record(case=LARGE), "runs/one")
    quarantine.verified_again(path, valid_record(case=SMALL), "runs/two")
    quarantine.add(path, refused_record(reason="output.wrong", case=LARGE), "runs/two")
    entry = quarantine.load(path)["entries"][KEY]
    assert not any("valid_in" in item for item in entry["evidence"])
    assert entry["reason"] == ["memory.late_writes", "output.wrong"]
    assert not quarantine.verified_again(path, valid_record(case=LARGE), "runs/two")


def test_an_outside_candidate_does_not_put_the_books_variant_into_quarantine(path: Path) -> None:
    assert quarantine.add(path, refused_record(candidate="some/folder/theirs.py::fast")) == "ch06_vector_add/theirs.py::fast"
    assert not quarantine.is_quarantined(path, valid_record())


def test_a_release_by_hand_is_kept_with_its_reason(path: Path) -> None:
    quarantine.add(path, refused_record())
    quarantine.release(path, KEY, "  the kernel was mended ")
    content = quarantine.load(path)
    assert content["entries"] == {}
    assert [(r["name"], r["because"], r["reason"]) for r in content["released"]] == [
        (KEY, "the kernel was mended", ["memory.late_writes"])
    ]


def test_a_release_without_a_reason_or_of_an_unknown_name_is_refused(path: Path) -> None:
    quarantine.add(path, refused_record())
    with pytest.raises(ConfigError, match="--because is empty"):
        quarantine.release(path, KEY, " ")
    with pytest.raises(ConfigError, match=f"is not in quarantine. Did you mean '{KEY}'"):
        quarantine.release(path, "ch06_vector_add/vectorised", "spelling")
    with pytest.raises(ConfigError, match="Nothing is in quarantine"):
        quarantine.release(path.parent / "other.yaml", KEY, "fixed")


def test_a_hand_made_edit_with_an_unquoted_date_is_read(path: Path) -> None:
    quarantine.add(path, refused_record())
    path.write_text(path.read_text().replace("'2025-01-02T03:04:05+00:00'", "2025-01-02"))
    assert quarantine.load(path)["entries"][KEY]["date"] == "2025-01-02"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("entries: {a/b: {reason: [x]}}", "entries.a/b: 'message' is a required property"),
        ("entires: {}", "entires: unknown key. Did you mean 'entries'?"),
        ("entries: [", "is not YAML"),
        ("- a", "is not a mapping"),
    ],
    ids=["an entry without evidence", "a misspelt key", "broken YAML", "a list"],
)
def test_an_edit_that_makes_no_sense_is_refused_by_its_place(text: str, said: str, path: Path) -> None:
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        quarantine.load(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


def test_the_environment_names_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AISP_QUARANTINE", raising=False)
    assert quarantine.default_path() == Path("quarantine.yaml")
    monkeypatch.setenv("AISP_QUARANTINE", "elsewhere.yaml")
    assert quarantine.default_path() == Path("elsewhere.yaml")
