"""The results that README and docs quote are records that the schema accepts and that their own samples bear out."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from aisp_runner import record, record_file
from aisp_runner.dev.judges.rows import markdown as judged
from aisp_runner.protect import registry
from aisp_runner.report import to_markdown
from aisp_runner.spec import load_workload

RESULTS = Path(__file__).resolve().parent.parent / "docs" / "results"
FILES = sorted(RESULTS.glob("*/*.jsonl"))


@cache
def kept(file: Path) -> list[dict[str, Any]]:
    """The records of a file; reading holds each to the schema."""
    return record.read(file)


@pytest.mark.parametrize("file", FILES, ids=lambda f: f"{f.parent.name}-{f.stem}")
def test_records_follow_the_schema_and_their_numbers_come_from_their_samples(file: Path) -> None:
    for r in kept(file):
        assert record.recompute(r) == []


@pytest.mark.parametrize("file", FILES, ids=lambda f: f"{f.parent.name}-{f.stem}")
def test_the_table_beside_the_records_was_made_from_them(file: Path) -> None:
    assert file.with_suffix(".md").read_text() == to_markdown(record_file.standing(kept(file)), ()).rstrip() + "\n"


def test_what_the_drain_said_of_honest_code_is_what_the_decision_tells() -> None:
    rows = json.loads((RESULTS / "h200/drain.json").read_text())["rows"]
    refused = [
        sum(r["status"] == "INVALID" for r in rows if r["workload"] == name)
        for name in ("ch05_queue_depth", "ch04_gradient_payload")
    ]
    assert (len(rows), refused) == (24, [5, 5]) and all(" us" in r["observed"] and " us" in r["limit"] for r in rows)


@pytest.mark.parametrize("folder", ["h200", "cpu"])
def test_the_attack_figures_are_those_of_the_rows(folder: str) -> None:
    rows = json.loads((RESULTS / folder / "attacks.json").read_text())
    text = (RESULTS / "README.md").read_text()
    refused, alive, twins = (sum(1 for row in rows if row[key]) for key in ("refused", "alive", "twin_accepted"))
    figures = f"{refused} of {len(rows)} refused, {alive} of {len(rows)} alive, {twins} of {len(rows)} twins accepted"
    assert f"`{folder}/attacks.json` (commit" in text and figures in text
    honest = json.loads((RESULTS / folder / "honest.json").read_text())
    refused, untold = (sum(row["status"] in of for row in honest) for of in (("INVALID", "ERROR"), ("INCONCLUSIVE",)))
    figures = f"{refused} of {len(honest)} honest runs refused"
    assert f"{figures}, {untold} of {len(honest)} not told" in text if untold else figures in text


def test_measured_ceilings_follow_their_schema() -> None:
    for file in RESULTS.glob("*/peak.json"):
        assert record.complaints(json.loads(file.read_text()), "peak") == []


def test_what_other_harnesses_said_follows_its_schema() -> None:
    for file in RESULTS.glob("*/judges.json"):
        assert record.complaints(json.loads(file.read_text()), "judges") == []


def test_the_clocks_of_decision_0009_are_those_of_the_benchmark() -> None:
    rows = {row["op"]: row for row in json.loads((RESULTS / "h200/bench/clock.json").read_text())["rows"]}
    decision = next((RESULTS.parent / "decisions").glob("0009-*.md")).read_text()
    lines = [line for line in decision.splitlines() if line.strip().startswith("|") and "(" in line]
    assert len(lines) == len(rows) == 6
    for line, row in zip(lines, rows.values(), strict=True):
        cells = [cell.split("(")[0].strip() for cell in line.strip().strip("|").split("|")][1:]
        keys = ("graph_us", "gated_us", "stamps_us", "truth_us", "do_bench_us", "do_bench_cudagraph_us", "events_us")
        for cell, key in zip(cells, keys, strict=True):
            digits = len(cell.partition(".")[2])
            assert f"{row[key]:.{digits}f}" == cell, (row["op"], key)


def test_the_rows_in_the_readme_are_rows_of_the_results() -> None:
    readme = (RESULTS.parent.parent / "README.md").read_text().splitlines()
    quoted = [line for line in readme if line.startswith("| ch")]
    published = {line for file in RESULTS.glob("*/*.md") for line in file.read_text().splitlines()}
    assert quoted and set(quoted) <= published


def test_faults_of_a_device_ended_in_records_of_their_own_and_left_their_neighbours_alone() -> None:
    rows = json.loads((RESULTS / "h200/device_faults.json").read_text())["rows"]
    staged = load_workload(Path(__file__).parent / "faults/workload/device_faults.yaml").optimized
    assert [row["variant"] for row in rows] == [variant.name for variant in staged]
    assert [row["status"] for row in rows] == ["VALID", *["ERROR"] * 5, "VALID"]
    text = (RESULTS.parent / "sweeps.md").read_text()
    for row in rows[1:-1]:
        assert row["reasons"] and (row["total_s"] <= 1.9 or (row["variant"], round(row["total_s"])) == ("endless", 57))
    assert "0.7 to 1.9 s a fault, and 57 s for the kernel without an end" in text


def test_every_protection_of_a_cpu_is_missed_by_an_attack() -> None:
    rows = json.loads((RESULTS / "cpu/mutate.json").read_text())
    tried = {row["expect"] for row in rows} & set(registry.known())
    missed = {row["expect"] for row in rows if row["missed"]} & tried
    assert missed == tried
    assert f"{len(missed)} of {len(tried)} protections of a CPU are missed" in (RESULTS / "README.md").read_text()


def test_readme_tells_of_harnesses_what_the_file_says() -> None:
    readme = (RESULTS.parent.parent / "README.md").read_text()
    rows = json.loads((RESULTS / "h200/judges.json").read_text())["rows"]
    told = {"aisp-run": "aisp-run caught", "KernelBench": "KernelBench", "SOL-ExecBench": "SOL-ExecBench"}
    told |= {"GPU MODE": "GPU MODE's evaluator", "KernelBench, static": "KernelBench with its static check caught"}
    for judge, words in told.items():
        caught = [row["caught"] for row in rows if row["judge"] == judge]
        assert f"{words} {sum(caught)} of {len(caught)}" in readme
    refused = [row["judge"] for row in rows if not row["twin_accepted"]]
    assert refused == ["KernelBench, static"] * 2 and "None of them refused a twin" in readme and "refused two" in readme


def test_what_is_told_of_other_harnesses_wrong_variants_costs_and_length_is_in_the_files() -> None:
    text = (RESULTS / "README.md").read_text()
    judges = json.loads((RESULTS / "h200/judges.json").read_text())
    assert judged(judges["rows"]).split("\n\n")[0] in text
    assert all(told["commit"][:7] in text for told in judges["harnesses"].values())
    wrong = [row for row in json.loads((RESULTS / "h200/wrong.json").read_text()) if "why_not" not in row]
    refused, workloads = sum(row["refused"] for row in wrong), len({row["workload"] for row in wrong})
    assert f"{refused} of {len(wrong)} wrong variants of {workloads} workloads refused" in text
    for row in json.loads((RESULTS / "h200/bench/protections.json").read_text())["rows"]:
        assert f"| {row['what']} | {row['strict_s']:.2f} s | {row['off_s']:.2f} s | {row['ratio']:.2f} |" in text
    sweep = json.loads((RESULTS / "cpu/thousand.json").read_text())
    resident = [kib / 1024 for _, kib, records in sweep["samples"] if records >= 50]
    said = f"(least {min(resident):.0f}, most {max(resident):.0f}; `docs/results/cpu/thousand.json`)"
    assert sweep["statuses"] == {"VALID": 1000} and said in (RESULTS.parent / "sweeps.md").read_text()
