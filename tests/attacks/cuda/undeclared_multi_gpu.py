"""cuda.undeclared_multi_gpu: half of the work is done by a GPU that nobody declared.

Where another GPU is visible it copies half of the inputs there, and both halves are computed at the same time. A worker of the
judge's sees one GPU, so there is no other to use. Twin: both halves one after the other, on the GPU of the inputs.
"""

import torch

issue = "cuda.undeclared_multi_gpu"
expect = "processes"
unprotected = "naive"
devices = "cuda"
because = "there is no second GPU to take where there is none"
gpus = 2
workload = "steps"
sizes = {"cuda": {"n": 16777216}}

STEPS = 16

_beside = {}


def _compute(a, b, c):
    torch.add(a, b, out=c)
    for _ in range(STEPS):
        torch.sin(c, out=c)
        c.add_(b)


def _buffers(half):
    """Half an input, the other one, and half an output, on the other GPU."""
    if half not in _beside:
        _beside[half] = [torch.empty(half, device="cuda:1") for _ in range(3)]
    return _beside[half]


def candidate(a, b, c):
    if torch.cuda.device_count() < 2:
        twin(a, b, c)
        return
    half = a.numel() // 2
    far_a, far_b, far_c = _buffers(half)
    far_a.copy_(a[half:], non_blocking=True)
    far_b.copy_(b[half:], non_blocking=True)
    with torch.cuda.device(1):
        _compute(far_a, far_b, far_c)
    _compute(a[:half], b[:half], c[:half])
    c[half:].copy_(far_c, non_blocking=True)


def twin(a, b, c):
    half = a.numel() // 2
    _compute(a[:half], b[:half], c[:half])
    _compute(a[half:], b[half:], c[half:])
