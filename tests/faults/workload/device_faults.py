"""Additions of one, some with a fault that the device raises."""

import torch


def reference(a):
    return a + 1


def baseline(a, out):
    torch.add(a, 1, out=out)


def good(a, out):
    torch.add(a, 1, out=out)


def last(a, out):
    torch.add(a, 1, out=out)


def out_of_memory(a, out):
    torch.add(a, 1, out=out)
    torch.empty(1 << 42, dtype=torch.uint8, device=a.device)


def bad_index(a, out):
    torch.add(a, 1, out=out)
    torch.gather(a, 0, torch.full((8,), 1 << 40, device=a.device))


def assertion(a, out):
    torch.add(a, 1, out=out)
    torch._assert_async(torch.zeros((), dtype=torch.bool, device=a.device))


def endless(a, out):
    torch.add(a, 1, out=out)
    torch.cuda._sleep(100_000_000_000)


SOURCE = r"""
extern "C" __global__ void wild(float *p) { p[(1ull << 44) + threadIdx.x] = 1.0f; }
"""
_built = []


def illegal_address(a, out):
    torch.add(a, 1, out=out)
    if not _built:
        _built.append(torch.cuda._compile_kernel(SOURCE, "wild"))
    _built[0]((1, 1, 1), (32, 1, 1), (a,))
