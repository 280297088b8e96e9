"""A tensor goes to a file and comes back: y = load(save(x)), seven ways to write and read the same bytes.

x, y [n], float32. One call must write 4 * n bytes to the file system and read as many. By default both are copies to and
from the page cache, and the disk is written later, or never: only `synced` and `direct` have the bytes on the disk when they
return. Each process has files of its own in its TMPDIR. That y has been through a file is in the variants' text alone; the
runner can only see that y is x.
"""

from __future__ import annotations

import atexit
import functools
import mmap
import os
import shutil
import tempfile

import numpy as np
import torch
from torch import Tensor

BLOCK = 4096

_mapped: dict[int, Tensor] = {}
_staged: dict[int, tuple[mmap.mmap, Tensor]] = {}


def reference(x: Tensor) -> Tensor:
    """The same values; nothing is rounded."""
    return x.clone()


def pickled(x: Tensor, y: Tensor) -> None:
    """torch.save and torch.load: a zip file with a pickle and a checksum of the bytes, removed when it was read.

    A file that is removed in time is never written to the disk. The clone is needed: torch.save writes all of a tensor's
    storage, and x is a slice of a larger one.
    """
    torch.save(x.clone(), _path("pickled"))
    y.copy_(torch.load(_path("pickled"), weights_only=True))
    os.unlink(_path("pickled"))


def pickled_mapped(x: Tensor, y: Tensor) -> None:
    """The same file, mapped by torch.load: isolates the copy into a tensor that is copied once more."""
    torch.save(x.clone(), _path("pickled"))
    y.copy_(torch.load(_path("pickled"), weights_only=True, mmap=True))
    os.unlink(_path("pickled"))


def raw(x: Tensor, y: Tensor) -> None:
    """The bytes alone, in a file that is made anew each time: isolates the container."""
    x.numpy().tofile(_path("raw"))
    y.copy_(torch.from_numpy(np.fromfile(_path("raw"), np.float32)))
    os.unlink(_path("raw"))


def overwritten(x: Tensor, y: Tensor) -> None:
    """The bytes alone, over the last call's, and straight into y: the page cache's pages are kept, not found anew."""
    _through("kept", os.O_RDWR | os.O_CREAT, memoryview(x.numpy()).cast("B"), memoryview(y.numpy()).cast("B"))


def mapped(x: Tensor, y: Tensor) -> None:
    """The file is mapped and stays so: a store into the page cache and a load from it, no system call."""
    n = x.shape[0]
    if n not in _mapped:
        _mapped[n] = torch.from_file(_path("mapped"), shared=True, size=n, dtype=torch.float32)
    _mapped[n].copy_(x)
    y.copy_(_mapped[n])


def synced(x: Tensor, y: Tensor) -> None:
    """As overwritten, but it waits for the disk (fsync) before it reads: what a checkpoint that must survive costs."""
    _through("kept", os.O_RDWR | os.O_CREAT, memoryview(x.numpy()).cast("B"), memoryview(y.numpy()).cast("B"), sync=True)


def direct(x: Tensor, y: Tensor) -> None:
    """Past the page cache both ways (O_DIRECT), through a buffer at a page's start, in whole blocks."""
    n = x.shape[0]
    if n not in _staged:
        pages = mmap.mmap(-1, -(-4 * n // BLOCK) * BLOCK)
        _staged[n] = pages, torch.frombuffer(pages, dtype=torch.float32)[:n]
    pages, values = _staged[n]
    values.copy_(x)
    _through("direct", os.O_RDWR | os.O_CREAT | os.O_DIRECT, memoryview(pages), memoryview(pages))
    y.copy_(values)


def _through(name: str, flags: int, source: memoryview, target: memoryview, sync: bool = False) -> None:
    """Writes all of source from the file's start on and fills target from there."""
    file = os.open(_path(name), flags, 0o600)
    try:
        done = 0
        while done < len(source):
            done += os.pwrite(file, source[done:], done)
        if sync:
            os.fsync(file)
        done = 0
        while done < len(target):
            got = os.preadv(file, [target[done:]], done)
            if got == 0:
                raise OSError(f"{name}: the file ends after {done} of {len(target)} bytes")
            done += got
    finally:
        os.close(file)


@functools.cache
def _folder() -> str:
    """This process's own, since processes of a role share a TMPDIR. Removed when the process ends."""
    folder = tempfile.mkdtemp(prefix="checkpoint-", dir=os.environ.get("TMPDIR"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _path(name: str) -> str:
    return os.path.join(_folder(), name)
