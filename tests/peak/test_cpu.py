"""The CPU's ceilings, really measured, on arrays small enough for a test."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from aisp_runner.peak import cpu
from aisp_runner.peak.clock import Effort
from aisp_runner.peak.store import Try, Value
from peak.made import FakeClock

TINY = cpu.Sizes(array_bytes=4 << 20, products=(128,), cache_steps=((64 << 10, 192 << 10),))


def test_a_cpu_is_measured_with_one_thread_and_with_all() -> None:
    start, threads = time.perf_counter(), torch.get_num_threads()
    values, seen = cpu.measure(0.5, TINY)
    assert time.perf_counter() - start < 10.0
    assert torch.get_num_threads() == threads
    assert list(values) == [f"{kind}_{name}" for name in ("one_thread", "all_threads") for kind in cpu.KINDS]
    for name, value in values.items():
        assert value.value is not None, (name, value.reason)
        assert value.unit == ("FLOP/s" if "matmul" in name else "B/s")
        assert 1e8 < value.value < 1e14, name
        assert value.how and value.tried
    assert seen["threads"] == cpu.usable_cores() and seen["array_bytes"] == 4 << 20


def test_all_threads_can_do_what_one_did() -> None:
    one, slower = (
        Value("B/s", 2e9, "x", 0.1, 9, tried=(Try("x", 2e9, 0.1),)),
        Value("B/s", 1e9, "y", tried=(Try("y", 1e9, 0.1),)),
    )
    found = cpu.at_least(slower, one)
    assert (found.value, found.how, [t.how for t in found.tried]) == (2e9, "x, 1 thread", ["y", "x"])
    assert cpu.at_least(one, slower) is one
    assert cpu.at_least(Value("B/s", None, reason="z"), one).value == 2e9


def test_the_time_of_a_batch_is_the_walls() -> None:
    clock = cpu.WallClock()
    assert 0.03 <= clock.batch(lambda: time.sleep(0.01), 3) < 0.3
    assert clock.batch(lambda: time.sleep(0.01), 0) < 0.01


def test_bytes_and_operations_are_counted_as_stream_and_blas_do() -> None:
    (copy,), (triad,) = cpu.copies(1 << 20), cpu.triads(1 << 20)
    assert (copy.work, triad.work) == (2 << 20, 3 << 20)
    (small, large) = cpu.products((16, 32))
    assert (small.work, large.work) == (2 * 16**3, 2 * 32**3)
    assert large.how == "torch.mm, 32^3"


def test_what_is_timed_does_the_work() -> None:
    for way in (*cpu.copies(1 << 12), *cpu.triads(1 << 12)):
        result = way.call()
        assert isinstance(result, torch.Tensor)
        assert result.unique().tolist() == [1.0 if "copy" in way.how else 4.0]


def test_a_caches_rate_is_free_of_what_a_call_costs() -> None:
    class CopyClock(FakeClock):
        """1 us a call, and 1 ns for every 100 bytes of the copy."""

        def batch(self, call: object, calls: int) -> float:
            nbytes = 2 * call().nbytes  # type: ignore[operator]
            return calls * (1e-6 + nbytes / 100e9)

    value = cpu.cache(CopyClock(0.0, gated=False), ((64 << 10, 192 << 10),), 1, Effort(repeats=3, rest_s=0.0))
    assert value.value == pytest.approx(100e9)
    assert value.how == "torch copy_, 64 KiB to 192 KiB"


def test_steps_that_show_nothing_are_said() -> None:
    class Constant(FakeClock):
        def batch(self, call: object, calls: int) -> float:
            return calls * 1e-3

    value = cpu.cache(Constant(0.0, gated=False), ((64 << 10, 192 << 10),), 1, Effort(repeats=3, rest_s=0.0))
    assert (value.value, value.reason) == (None, "the larger copy took no longer than the smaller one")


def made_caches(root: Path) -> Path:
    folder = root / "sys/devices/system/cpu/cpu0/cache"
    for index, (kind, level, size) in enumerate(
        (("Data", 1, "48K"), ("Instruction", 1, "64K"), ("Unified", 2, "2048K"), ("Unified", 3, "260M"))
    ):
        (folder / f"index{index}").mkdir(parents=True)
        for name, text in (("type", kind), ("level", str(level)), ("size", size)):
            (folder / f"index{index}" / name).write_text(text + "\n")
    return root


def test_caches_are_read_from_sys(tmp_path: Path) -> None:
    assert cpu.caches(made_caches(tmp_path)) == {"cache_bytes": 260 << 20, "core_cache_bytes": 2 << 20}
    assert cpu.caches(tmp_path / "nowhere") == {"cache_bytes": None, "core_cache_bytes": None}


def test_arrays_are_four_times_the_cache_within_what_the_machine_has() -> None:
    assert cpu.fitting(0, 1).array_bytes == 64 << 20
    assert cpu.fitting(32 << 20, 1).array_bytes >= 64 << 20
    assert cpu.fitting(4 << 30, 1).array_bytes <= 1 << 30
    assert cpu.fitting(0, 64).products > cpu.fitting(0, 2).products


def test_threads_are_given_back() -> None:
    before = torch.get_num_threads()
    with pytest.raises(RuntimeError), cpu.torch_threads(1):
        assert torch.get_num_threads() == 1
        raise RuntimeError
    assert torch.get_num_threads() == before
