"""Shares of a ceiling and times that cannot be undercut, from round numbers."""

from __future__ import annotations

import pytest

from aisp_runner.case import Tensor
from aisp_runner.peak import roofline
from aisp_runner.peak.roofline import HEADROOM
from peak.made import case, cpu_peak, gpu_peak

PEAK = gpu_peak()


def test_a_call_that_moves_bytes_is_bound_by_them() -> None:
    found = roofline.share(case(), 6e-3, PEAK)  # 12 GB in 6 ms are 2 TB/s of 4
    assert found is not None
    assert found["bytes_share"] == pytest.approx(0.5)
    assert found["flops_share"] == pytest.approx(1e9 / 6e-3 / 50e12)
    assert (found["bound_by"], found["share"]) == ("bytes", found["bytes_share"])
    assert found["ceiling"] == {
        "bytes_per_s": 4e12,
        "memory": "dram",
        "flops_per_s": 50e12,
        "dtype": "float32",
        "measured": "2026-01-02T03:04:05+00:00",
    }


@pytest.mark.parametrize(
    ("dtype", "ceiling"),
    [("float32", 50e12), ("bfloat16", 750e12), ("float16", 750e12), ("float8_e4m3fn", 1400e12)],
)
def test_arithmetic_is_held_against_the_rate_of_its_dtype(dtype: str, ceiling: float) -> None:
    found = roofline.share(case(dtype=dtype, work_flops=1e12, work_bytes=1e6), 0.1, PEAK)
    assert found is not None
    assert found["bound_by"] == "flops"
    assert found["share"] == pytest.approx(1e13 / ceiling)


def test_the_dtype_is_that_of_most_elements() -> None:
    inputs = (Tensor("w", (4096,), "bfloat16", "weight"), Tensor("bias", (8,), "float32", "weight"))
    found = roofline.share(case(inputs=inputs), 1.0, PEAK)
    assert found is not None and found["ceiling"]["dtype"] == "bfloat16"


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_an_answer_of_16_bits_may_be_made_of_such_numbers(dtype: str) -> None:
    wanted = case(outputs=(Tensor("y", (1024, 1024), dtype, "output"),), work_flops=1e12, work_bytes=1e6)
    found = roofline.share(wanted, 2e-3, PEAK)
    assert found is not None and found["ceiling"]["dtype"] == dtype
    assert found["share"] == pytest.approx(0.5e15 / 750e12)
    floor = roofline.floor_s(wanted, PEAK)
    assert floor is not None and floor <= 1e12 / 750e12


def test_int8_codes_beside_floats_may_be_multiplied_as_integers_faster_than_any_ceiling_of_floats() -> None:
    inputs = (Tensor("x", (4096, 4096), "float32", "activation"), Tensor("w", (64, 4096), "int8", "weight"))
    wanted = case(inputs=inputs, work_flops=1e15, work_bytes=4e9)
    found = roofline.share(wanted, 1.0, PEAK)
    assert found is not None and (found["flops_share"], found["bound_by"]) == (None, "bytes")
    floor = roofline.floor_s(wanted, PEAK)
    assert floor is not None and floor < 1e-2  # by bytes alone; 1e15 operations would take a second


@pytest.mark.parametrize("dtype", ["float64", "int32"])
def test_a_dtype_without_a_ceiling_leaves_the_bytes(dtype: str) -> None:
    found = roofline.share(case(dtype=dtype), 6e-3, PEAK)
    assert found is not None
    assert (found["flops_share"], found["bound_by"]) == (None, "bytes")


def test_l2_is_the_ceiling_of_a_hot_case_that_fits_into_half_of_it() -> None:
    for cache, work_bytes, memory in (("hot", 30e6, "l2"), ("hot", 32e6, "dram"), ("cold", 30e6, "dram")):
        found = roofline.share(case(cache=cache, work_bytes=work_bytes), 1e-3, PEAK)
        assert found is not None and found["ceiling"]["memory"] == memory, (cache, work_bytes)


def test_nothing_is_said_without_work_without_time_or_of_another_device() -> None:
    assert roofline.share(case(work_bytes=None, work_flops=None), 1e-3, PEAK) is None
    assert roofline.share(case(), 0.0, PEAK) is None
    assert roofline.share(case(device="cpu"), 1e-3, PEAK) is None
    assert roofline.floor_s(case(device="cpu"), PEAK) is None
    assert roofline.floor_s(case(work_bytes=None, work_flops=None), PEAK) is None


def test_a_cpu_is_held_against_one_thread_or_all() -> None:
    for threads, ceiling in ((1, 10e9), (8, 80e9)):
        found = roofline.share(case(device="cpu", threads=threads), 2.0, cpu_peak())
        assert found is not None
        assert found["bytes_share"] == pytest.approx(6e9 / ceiling)
        assert found["ceiling"]["flops_per_s"] == pytest.approx(10 * ceiling)


def test_no_time_lies_below_l2_and_the_datasheets_arithmetic() -> None:
    assert roofline.floor_s(case(work_flops=None), PEAK) == pytest.approx(12e9 / (6e12 * HEADROOM))
    bf16 = case(dtype="bfloat16", work_bytes=None, work_flops=1e12)
    assert roofline.floor_s(bf16, PEAK) == pytest.approx(1e12 / 989.5e12)
    both = case(dtype="bfloat16", work_flops=1e12)
    assert roofline.floor_s(both, PEAK) == pytest.approx(12e9 / (6e12 * HEADROOM))


def test_products_of_float32_may_honestly_run_in_tf32() -> None:
    assert roofline.floor_s(case(work_bytes=None, work_flops=1e12), PEAK) == pytest.approx(1e12 / 494.5e12)


def test_an_unknown_gpu_gets_headroom_in_place_of_a_datasheet() -> None:
    unknown = gpu_peak(name="Accelerator X")
    bf16 = case(dtype="bfloat16", work_bytes=None, work_flops=1e12)
    assert roofline.floor_s(bf16, unknown) == pytest.approx(1e12 / (750e12 * HEADROOM))


def test_a_measurement_above_the_datasheet_counts() -> None:
    fast = gpu_peak(values={**PEAK.values, "matmul_bf16": PEAK.values["matmul_fp8"]})
    bf16 = case(dtype="bfloat16", work_bytes=None, work_flops=1e12)
    assert roofline.floor_s(bf16, fast) == pytest.approx(1e12 / 1400e12)


def test_no_honest_call_at_the_ceiling_lies_below_the_floor() -> None:
    for c in (case(), case(dtype="bfloat16", work_flops=5e14), case(work_bytes=1e5, work_flops=None)):
        found, floor = roofline.share(c, 1.0, PEAK), roofline.floor_s(c, PEAK)
        assert found is not None and floor is not None
        assert floor < found["share"] * 1.0


def test_what_fits_into_the_cores_own_caches_has_no_floor_of_bytes() -> None:
    inside = case(device="cpu", threads=8, work_bytes=float(8 << 20), work_flops=None)
    assert roofline.floor_s(inside, cpu_peak()) is None
    beyond = case(device="cpu", threads=8, work_bytes=float(9 << 20), work_flops=None)
    assert roofline.floor_s(beyond, cpu_peak()) == pytest.approx((9 << 20) / (800e9 * HEADROOM))
