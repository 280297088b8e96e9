"""The table of ceilings as a person reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from aisp_runner.peak import cpu, cuda, table
from aisp_runner.peak.store import Value
from peak.made import cpu_peak, gpu_peak


def shown(peak: object, path: Path | None = None) -> dict[str, str]:
    """Lines by what stands in their first column."""
    return {line.split("  ")[0].strip(): line for line, _ in table.lines(peak, path)}  # type: ignore[arg-type]


def test_a_known_gpu_shows_each_value_beside_its_share_of_the_datasheet() -> None:
    lines = shown(gpu_peak())
    assert "4.00 TB/s" in lines["memory copy"] and "83 %" in lines["memory copy"]
    assert "750 TFLOP/s" in lines["product bf16"] and "76 %" in lines["product bf16"]
    assert "55.0 GB/s" in lines["host to device"] and "86 %" in lines["host to device"]
    assert "1.70 us" in lines["launch behind the gate"]
    assert "%" not in lines["L2"].replace("1.0 %", ""), "no datasheet prints the bandwidth of L2"
    text = "\n".join(lines.values())
    assert "datasheet: H200 SXM, dense: NVIDIA H200 Tensor Core GPU" in text
    assert "NVIDIA H200 (driver 580.1, torch 2.11.0), measured in 15 s" in text


def test_an_unknown_gpu_has_no_column_for_a_datasheet() -> None:
    text = "\n".join(shown(gpu_peak(name="Accelerator X")).values())
    assert "datasheet" not in text and "sustained" not in text


def test_a_sustained_value_stands_beside_its_burst() -> None:
    value = Value("FLOP/s", 774e12, "torch.mm, 8192^3", 0.002, 9, sustained=662e12)
    lines = table.lines(gpu_peak(values={"matmul_bf16": value}))
    assert lines[1][0].split() == ["burst", "sustained", "spread", "datasheet", "how"]
    assert lines[2][0].split("  ")[0] == "product bf16"
    assert "774 TFLOP/s  662 TFLOP/s   0.2 %" in lines[2][0]


def test_what_was_not_measured_says_why_below_the_table() -> None:
    assert "GPU to GPU: not measured: one GPU is visible" in shown(gpu_peak())
    failed = Value("FLOP/s", 1e14, "x", 0.0, 9, reason="sustained: out of memory")
    assert "product bf16: sustained: out of memory" in shown(gpu_peak(values={"matmul_bf16": failed}))


def test_a_noisy_value_is_marked() -> None:
    values = {"copy": Value("B/s", 1e12, "x", 0.5, 9), "l2": Value("B/s", 2e12, "x", 0.01, 9)}
    styles = {line.split("  ")[0]: style for line, style in table.lines(gpu_peak(values=values))}
    assert (styles["memory copy"], styles["L2"]) == ("yellow", "")


def test_the_last_line_says_where_it_is_stored() -> None:
    assert table.lines(cpu_peak(), Path("x/peak.json"))[-1][0] == "stored in x/peak.json"


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (4.8e12, "B/s", "4.80 TB/s"),
        (36.24e9, "B/s", "36.2 GB/s"),
        (999e3, "B/s", "1.00 MB/s"),
        (774.4e12, "FLOP/s", "774 TFLOP/s"),
        (103e9, "FLOP/s", "103 GFLOP/s"),
        (7.3e-6, "s", "7.30 us"),
        (None, "s", ""),
    ],
)
def test_numbers_have_three_digits_and_a_unit(value: float | None, unit: str, text: str) -> None:
    assert table.number(value, unit) == text


def test_every_value_that_is_measured_has_a_name_in_the_table() -> None:
    kinds = [f"{kind}_{name}" for kind in ("copy", "triad", "cache", "matmul_fp32") for name in ("one_thread", "all_threads")]
    others = ["copy", "read", "l2", "launch_gap", "launch_to_done", "h2d", "d2h", "peer", *cuda.PRODUCTS]
    assert set(table.LABELS) == {*kinds, *others}
    tiny = cpu.Sizes(array_bytes=1 << 20, products=(16,), cache_steps=((1 << 12, 1 << 13),))
    assert set(cpu.measure(0.01, tiny)[0]) == set(kinds)
