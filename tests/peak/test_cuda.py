"""What is measured on a GPU and how it is counted; the arithmetic really runs here, on the CPU, and the clock is made up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from aisp_runner.errors import DeviceError
from aisp_runner.peak import cuda
from aisp_runner.peak.clock import Effort, Way
from peak.made import FakeClock

EFFORT = Effort(repeats=3, rest_s=0.0, sustained_s=0.0)


def test_products_rest_longer_than_copies_and_the_load_follows_the_time_that_is_given() -> None:
    light, heavy = cuda.efforts(15)
    assert heavy.rest_s > light.rest_s and heavy.repeats == light.repeats == 9
    assert heavy.sustained_s == pytest.approx(1.0)
    assert cuda.efforts(1)[1].sustained_s == pytest.approx(0.2)
    assert cuda.efforts(600)[1].sustained_s == pytest.approx(3.0)


@pytest.mark.parametrize(("name", "dtype"), [(n, d) for n, d in cuda.PRODUCTS.items() if n != "matmul_fp8"])
def test_a_product_is_a_product_of_normal_numbers_in_its_dtype(name: str, dtype: str) -> None:
    small, large = cuda.products(name, (32, 64), device="cpu")
    assert (small.work, large.work) == (2 * 32**3, 2 * 64**3)
    result = large.call()
    assert isinstance(result, torch.Tensor) and result.shape == (64, 64)
    assert result.dtype == getattr(torch, dtype)
    assert 4.0 < result.float().std() < 16.0, "64 products of normal numbers have a deviation of 8"


def test_an_fp8_product_is_tried_with_both_kinds_of_accumulation() -> None:
    ways = list(cuda.products("matmul_fp8", (64,), device="cpu"))
    assert [way.how for way in ways] == ["torch._scaled_mm e4m3, 64^3, fast accumulation", "torch._scaled_mm e4m3, 64^3"]
    for way in ways:
        way.call()


def test_an_fp8_product_gives_a_times_b_transposed() -> None:
    a, b = (torch.randn(32, 32).to(torch.float8_e4m3fn) for _ in range(2))
    way = cuda._fp8(a, b, fast=False)
    result = way.call()
    assert isinstance(result, torch.Tensor)
    assert torch.allclose(result.float(), a.float() @ b.float().t(), rtol=0.02, atol=0.1)


def test_tf32_is_allowed_for_its_own_product_only_and_given_back() -> None:
    before = torch.get_float32_matmul_precision()
    for name in cuda.PRODUCTS:
        with cuda._precision(name):
            assert torch.get_float32_matmul_precision() == ("high" if name == "matmul_tf32" else "highest")
    assert torch.get_float32_matmul_precision() == before


def test_every_product_is_measured_after_a_rest_before_any_is_measured_under_load(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock()
    order: list[str] = []

    def made(name: str, sizes: Any) -> list[Way]:
        return [Way(name, clock.cost(lambda: None, lambda now, count: order.append(name) or 1e-3), 1e12)]

    monkeypatch.setattr(cuda, "products", made)
    values = cuda.matmuls(clock, (8,), EFFORT)
    assert [name for i, name in enumerate(order) if i == 0 or order[i - 1] != name] == [*cuda.PRODUCTS, *cuda.PRODUCTS]
    for value in values.values():
        assert (value.value, value.sustained) == (pytest.approx(1e15), pytest.approx(1e15))


def test_a_load_that_fails_leaves_the_burst_and_a_reason() -> None:
    clock = FakeClock()
    count = [0]

    def later(now: float, _: int) -> float:
        count[0] += 1
        if count[0] > 30:
            raise RuntimeError("the card fell off the bus")
        return 1e-3

    way = Way("x", clock.cost(lambda: None, later), 1e12)
    value, best = cuda.best(clock, [way], "FLOP/s", EFFORT)
    loaded = cuda.under_load(clock, value, best, Effort(sustained_s=10.0))
    assert loaded.value == pytest.approx(1e15)
    assert (loaded.sustained, loaded.reason) == (None, "sustained: the card fell off the bus")
    assert cuda.under_load(clock, value, None, EFFORT) is value


@pytest.fixture
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Tensors for the GPU are made on the CPU; gives a function that sets the free device memory, bytes."""
    original = torch.empty

    def empty(*shape: Any, device: str = "cpu", pin_memory: bool = False, **options: Any) -> torch.Tensor:
        return original(*shape, **options)

    monkeypatch.setattr(torch, "empty", empty)
    return lambda free: monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (free, free))


def test_copies_are_far_larger_than_l2_and_fit_into_the_free_memory(
    on_cpu: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda, "COPY_BYTES", (1 << 16, 1 << 18))
    on_cpu(4 << 18)
    ways = list(cuda.copies(l2_bytes=1 << 13))
    assert [way.work for way in ways] == 3 * [2 << 16] + 3 * [2 << 18]
    assert len(list(cuda.copies(l2_bytes=1 << 14))) == 3, "the smaller one is no longer far larger than L2"
    on_cpu(1 << 18)
    assert [way.work for way in cuda.copies(l2_bytes=1 << 13)] == 3 * [2 << 16]
    assert torch.equal(*(ways[0].call().unique() for _ in range(2)))  # type: ignore[attr-defined]
    on_cpu(1 << 12)
    with pytest.raises(DeviceError, match="GiB of free device memory are too few"):
        list(cuda.copies(l2_bytes=1 << 13))


def test_the_l2_set_is_a_third_of_it_and_a_launch_walks_it_many_times(on_cpu: Callable[[int], None]) -> None:
    copy, read, once = cuda.l2_ways(l2_bytes=6 << 20)
    block = 4 * cuda.BLOCKS[0][0]
    half = (1 << 20) // block * block
    assert copy.work == 2 * half * cuda.L2_PASSES
    assert read.work == half * (cuda.L2_PASSES + 1)
    assert once.work == 2 * half
    assert copy.how == f"triton copy, 2 MiB, block 2048, {cuda.L2_PASSES} passes"
    with pytest.raises(DeviceError, match="too small"):
        list(cuda.l2_ways(l2_bytes=1 << 10))


def test_host_copies_count_each_byte_once(on_cpu: Callable[[int], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "HOST_BYTES", 1 << 20)
    (up,), (down,) = cuda.host_copies("h2d"), cuda.host_copies("d2h")
    assert up.work == down.work == 1 << 20
    assert up.call()[0] == 1 and down.call()[0] == 2  # type: ignore[index]


@pytest.mark.parametrize(
    ("count", "access", "reason"), [(1, False, "one GPU is visible"), (2, False, "has no peer access"), (2, True, "")]
)
def test_a_peer_copy_needs_two_gpus_that_reach_each_other(
    count: int, access: bool, reason: str, on_cpu: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda, "GIB", 1 << 10)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "can_device_access_peer", lambda a, b: access)
    if reason:
        with pytest.raises(DeviceError, match=reason):
            list(cuda.peer_copies())
    else:
        assert [way.work for way in cuda.peer_copies()] == [1 << 10]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_that_torch_can_use_it_says_so() -> None:
    with pytest.raises(DeviceError, match=r"cannot use the GPU\. See what is missing: aisp doctor"):
        cuda.measure(1.0)


@pytest.mark.cuda
@pytest.mark.slow
def test_a_gpu_is_measured_and_no_ceiling_exceeds_its_datasheet() -> None:
    from aisp_runner.peak import datasheet

    values, seen = cuda.measure(8.0, sizes=(4096,))
    assert seen["l2_bytes"] > 0 and seen["sm_count"] > 0
    reported = torch.cuda.get_device_name(0)
    for name, value in values.items():
        if name in ("peer", "matmul_fp8"):
            assert value.value or value.reason
            continue
        assert value.value, (name, value.reason)
        stated = datasheet.stated(reported, name)
        assert stated is None or 0.2 < value.value / stated < 1.1, name
    assert values["l2"].value > values["copy"].value  # type: ignore[operator]
    assert values["matmul_bf16"].value > values["matmul_fp32"].value  # type: ignore[operator]
    assert values["launch_gap"].value < values["launch_to_done"].value < 1e-3  # type: ignore[operator]
