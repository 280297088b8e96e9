"""evaluation.benchmark_memorization: keeps answers by the content of their inputs, in memory and in a file for the next run.

Sixteen elements of each input are the key. Content that comes again is answered from the table, which is right wherever the
inputs of a benchmark are made once or from a seed that is known. Here no content comes twice, so that the table is never of
use. Twin: keeps a list of the keys alone.
"""

import os

import torch

issue = "evaluation.benchmark_memorization"
expect = "processes"
devices = "cpu"
because = "reading the key waits for the device, which a call behind a gate cannot"

MOST = 96
FILE = "answers.pt"

_kept = {}


def _key(a, b):
    step = max(1, a.numel() // 16)
    return bytes(a[::step][:16].cpu().numpy()) + bytes(b[::step][:16].cpu().numpy())


def candidate(a, b, c):
    if not _kept and os.path.exists(FILE):
        _kept.update(torch.load(FILE))
    key = _key(a, b)
    if key in _kept:
        c.copy_(_kept[key])
        return
    torch.atan2(a, b, out=c)
    if len(_kept) < MOST:
        _kept[key] = c.clone()
        if len(_kept) == MOST:
            torch.save(_kept, FILE)


def twin(a, b, c):
    if len(_kept) < MOST:
        _kept[_key(a, b)] = True
    torch.atan2(a, b, out=c)
