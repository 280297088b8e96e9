"""Curves over sizes, from records made by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from aisp_runner import aisp
from aisp_runner.curves import Curve, as_json, lines, of_records
from tests.records import refused_record, valid_record


def at(axes: dict[str, int], value: float, outcome: str = "", spread: float = 1.02, **changes: Any) -> dict[str, Any]:
    """A record at these sizes whose interval is `spread` wide to each side, in ratio."""
    record = valid_record()
    record["case"] = {**record["case"], "axes": axes, "held_out": False}
    record["speedup"] |= {"value": value, "low": value / spread, "high": value * spread}
    record["outcome"] = outcome or ("FASTER" if value > 1.05 else "SLOWER" if value < 0.95 else "SAME")
    return {**record, **changes}


def curve(*records: dict[str, Any]) -> Curve:
    (only,) = of_records(records)
    return only


def test_the_mean_is_geometric_and_errors_add_in_squares() -> None:
    value, low, high = curve(*(at({"n": n}, v) for n, v in ((1, 2.0), (2, 4.0), (3, 8.0), (4, 4.0)))).mean()
    assert value == pytest.approx(4.0)
    assert high / value == pytest.approx(value / low) == pytest.approx(math.exp(math.log(1.02) / 2)), (
        "four of them: half as wide"
    )


@pytest.mark.parametrize(
    ("speedups", "said"),
    [
        ((0.5, 0.8, 1.25, 2.0), "wins from n=300 up (even near n=2.4e+02)"),
        ((2.0, 1.25, 0.8, 0.5), "wins up to n=200 (even near n=2.4e+02)"),
        ((2.0, 2.0, 2.0, 2.0), "wins at every size"),
        ((0.5, 0.5, 0.5, 0.5), "slower at every size"),
        ((1.0, 0.5, 0.5, 1.0), "wins at no size for sure"),
        ((2.0, 0.5, 2.0, 0.5), "wins at n=100, 300, with no single crossover"),
    ],
)
def test_where_a_variant_begins_to_win(speedups: tuple[float, ...], said: str) -> None:
    assert curve(*(at({"n": 100 * i}, s) for i, s in enumerate(speedups, 1))).crossovers() == [said]


def test_what_is_undecided_is_no_crossover_that_is_told_to_a_size() -> None:
    made = curve(at({"n": 1}, 1.1, "UNDECIDED"), at({"n": 2}, 1.2))
    assert made.crossovers() == ["wins from n=2 up, undecided elsewhere"]


def test_each_axis_is_followed_while_the_others_stay() -> None:
    values = {(1, 1): 0.5, (1, 2): 2.0, (2, 1): 0.5, (2, 2): 2.0}
    told = curve(*(at({"m": m, "n": n}, v) for (m, n), v in values.items())).crossovers()
    assert told == ["wins from n=2 up at m=1 (even near n=1.4)", "wins from n=2 up at m=2 (even near n=1.4)"]


def test_the_curve_with_the_worst_size_comes_first_and_one_size_is_no_curve() -> None:
    made = of_records(
        [
            *(at({"n": n}, 3.0, variant="good") for n in (1, 2)),
            *(at({"n": n}, v, variant="bad") for n, v in ((1, 9.0), (2, 0.5))),
            at({"n": 1}, 0.1, variant="once"),
        ]
    )
    assert [c.variant for c in made] == ["bad", "good"]
    assert "worst 0.50x at n=2" in made[0].line()


def test_refused_comparisons_are_counted_and_have_no_point() -> None:
    refused = refused_record()
    refused |= {key: valid_record()[key] for key in ("workload", "variant", "candidate")}
    made = curve(at({"n": 1}, 2.0), at({"n": 2}, 2.0), {**refused, "case": at({"n": 3}, 1.0)["case"]})
    assert made.without == 1 and len(made.points) == 2 and ", 1 without numbers" in made.line()


def test_the_command_shows_a_line_a_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = [at({"n": 4096}, 0.5), at({"n": 16}, 2.0)]
    (tmp_path / "records.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records), "utf-8")
    assert aisp.main(["show", str(tmp_path), "--curves"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in shown[2:4]] == ["n=16", "n=4096"], "in the order of the sizes"
    assert "|##" in shown[2] and "##|" in shown[3] and shown == lines(of_records(records))[:4]
    assert aisp.main(["show", str(tmp_path), "--curves", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(as_json(of_records(records))))
