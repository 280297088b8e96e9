"""What other timers say."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from aisp_runner.dev import peers, workloads


def test_slots_have_content_of_their_own_and_are_taken_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    count, call = peers.slots(workloads.addition("addition", 64), "cpu", 3)
    written: list[torch.Tensor] = []
    monkeypatch.setattr(torch, "add", lambda a, b, out: written.append(a.clone()))
    for i in range(4):
        call(i)
    assert count == 3 and torch.equal(written[0], written[3]) and not torch.equal(written[0], written[1])


def test_a_median_by_the_hosts_clock_is_what_a_call_takes() -> None:
    assert 2000 <= peers.cpu_us(lambda i: time.sleep(0.002 if i else 0.05), 9) < 20_000


def test_kernels_of_a_call_are_added_up() -> None:
    assert peers.by_call([1.0, 2.0, 1.5, 2.5], 2) == [3.0, 4.0]
    for count in (3, 5):
        with pytest.raises(RuntimeError, match=f"saw 4 kernels in {count} calls"):
            peers.by_call([1.0, 2.0, 1.5, 2.5], count)


class Profiler:
    """Time stamps out of order, with one of the host and a sleep that is first."""

    def __init__(self, **_: Any) -> None:
        device, host = torch.autograd.DeviceType.CUDA, torch.autograd.DeviceType.CPU
        stamps = [(30, 2.0, device), (20, 1.0, device), (10, 2000.0, device), (5, 9.0, host), (40, 3.0, device)]
        self.made = [
            SimpleNamespace(device_type=kind, time_range=SimpleNamespace(start=start, elapsed_us=lambda us=us: us))
            for start, us, kind in stamps
        ]

    def __enter__(self) -> Profiler:
        return self

    def __exit__(self, *_: object) -> None: ...

    def events(self) -> list[Any]:
        return self.made


@pytest.mark.parametrize(("rotate", "order"), [(True, [0, 1, 2]), (False, [0, 0, 0])])
def test_cupti_times_are_of_the_calls_alone_in_their_order(
    rotate: bool, order: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[int] = []
    monkeypatch.setattr("torch.profiler.profile", Profiler)
    monkeypatch.setattr(torch.cuda, "_sleep", slept.append)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    ran: list[int] = []
    assert peers.kernel_us(ran.append, 3, lambda: None, rotate) == [1.0, 2.0, 3.0]
    assert ran == order and slept == [peers.SPIN_CYCLES]


@pytest.mark.cuda
def test_every_peer_answers_on_a_gpu() -> None:
    answer = peers.cuda_peers(workloads.addition("addition", 1 << 20), 2)
    assert set(answer) == {"cupti_cold", "cupti_hot", "do_bench", "do_bench_median", "do_bench_cudagraph", "events"}
    assert all(len(times) == 2 and all(0.5 < us < 500 for us in times) for times in answer.values())
