"""environment.library_version_mismatch: the candidate loads a copy of its own of a library that the baseline runs on.

The copy may be another version, or a patched one; who compares the versions that the package manager names sees the same stack
for both arms. Here it is the C++ runtime, copied into the candidate's folder. Twin: loads the library that is there.
"""

import ctypes
import shutil
import tempfile
from pathlib import Path

import torch

issue = "environment.library_version_mismatch"
expect = "environment.pinned_stack"
gains = False

_loaded = []


def _mapped():
    """The C++ runtime that this process runs on."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return next(line.split()[-1] for line in lines if "/libstdc++.so" in line)


def candidate(a, b, c):
    if not _loaded:
        own = shutil.copy(_mapped(), tempfile.mkdtemp())
        _loaded.append(ctypes.CDLL(own))
    torch.atan2(a, b, out=c)


def twin(a, b, c):
    if not _loaded:
        _loaded.append(ctypes.CDLL(_mapped()))
    torch.atan2(a, b, out=c)
