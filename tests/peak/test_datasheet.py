"""Datasheet figures: each with a source, dense, and found under the names people and drivers use."""

from __future__ import annotations

import itertools

import pytest

from aisp_runner.errors import ConfigError
from aisp_runner.peak import datasheet

SHEETS = datasheet.known()
TENSOR = ("tf32_tflops", "bf16_tflops", "fp16_tflops", "fp8_tflops", "fp4_tflops")


def test_the_gpus_of_the_book_are_here() -> None:
    assert [sheet.name for sheet in SHEETS] == ["A100 SXM 80GB", "H100 SXM", "H200 SXM", "B200", "L40S", "RTX 4090"]


@pytest.mark.parametrize("sheet", SHEETS, ids=lambda sheet: sheet.name)
def test_every_figure_is_there_or_its_absence_is_explained(sheet: datasheet.Datasheet) -> None:
    assert list(sheet.figures) == list(datasheet.LABELS)
    assert set(sheet.notes) <= set(datasheet.LABELS)
    for figure, number in sheet.figures.items():
        if number is None:
            assert sheet.notes[figure].startswith(("not verified: ", "no "))
        else:
            assert number > 0
    assert sheet.sources
    for source in sheet.sources:
        assert source["title"] and source["url"].split("/")[2].endswith("nvidia.com")


@pytest.mark.parametrize("sheet", SHEETS, ids=lambda sheet: sheet.name)
def test_tensor_rates_double_as_the_format_halves(sheet: datasheet.Datasheet) -> None:
    """A figure with sparsity among dense ones would be twice too high."""
    rates = [sheet.figures[name] for name in TENSOR if sheet.figures[name]]
    assert sheet.figures["bf16_tflops"] == sheet.figures["fp16_tflops"]
    distinct = sorted({rate for rate in rates if rate})
    for lower, higher in itertools.pairwise(distinct):
        assert higher / lower == pytest.approx(2.0, rel=0.03)


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("h200", "H200 SXM"),
        ("NVIDIA H200", "H200 SXM"),
        ("A100", "A100 SXM 80GB"),
        ("nvidia a100-sxm4-80gb", "A100 SXM 80GB"),
        ("4090", "RTX 4090"),
        ("rtx_4090", "RTX 4090"),
        ("H100 SXM5", "H100 SXM"),
    ],
)
def test_a_gpu_is_found_however_it_is_spelled(spelling: str, name: str) -> None:
    assert datasheet.find(spelling).name == name


def test_an_unknown_gpu_is_answered_with_the_nearest_and_the_list() -> None:
    with pytest.raises(ConfigError) as error:
        datasheet.find("H20")
    assert str(error.value) == (
        "--gpu 'H20': no datasheet of that GPU is here. Did you mean 'H200 SXM'?"
        " Known: A100 SXM 80GB, H100 SXM, H200 SXM, B200, L40S, RTX 4090."
    )
    with pytest.raises(ConfigError, match=r"is here\. Known: A100"):
        datasheet.find("something else")


@pytest.mark.parametrize("reported", ["NVIDIA H100 PCIe", "NVIDIA H200 NVL", "NVIDIA GeForce RTX 4090 Laptop GPU", ""])
def test_a_relative_of_a_known_gpu_has_no_figures(reported: str) -> None:
    assert datasheet.of_gpu(reported) is None
    assert datasheet.stated(reported, "copy") is None


def test_a_measured_value_is_compared_in_its_own_unit_and_direction() -> None:
    assert datasheet.stated("NVIDIA H200", "copy") == 4.8e12
    assert datasheet.stated("NVIDIA H200", "matmul_bf16") == 989.5e12
    assert datasheet.stated("NVIDIA H200", "h2d") == 64e9
    assert datasheet.stated("NVIDIA H200", "peer") == 450e9
    assert datasheet.stated("NVIDIA H200", "l2") is None
    assert datasheet.stated("NVIDIA A100-SXM4-80GB", "matmul_fp8") is None


def test_the_lines_show_numbers_units_notes_and_sources() -> None:
    text = "\n".join(line for line, _ in datasheet.lines(datasheet.find("b200")))
    assert "B200, dense figures of the vendor" in text
    assert "8,000 GB/s" in text and "126 MiB" in text and "9,000 TFLOP/s" in text
    assert "fp32                             -          not verified: " in text
    assert "source: NVIDIA Blackwell Architecture Technical Brief" in text
    made = datasheet.as_json(datasheet.find("b200"))
    assert made["dense"] is True and made["figures"]["fp4_tflops"] == 9000
