"""A weight as a file in TMPDIR, written the first time that the weight is seen.

A weight is the same for a whole case, so its file is as well: the untimed first calls write it and every timed call reads it.
The file is padded with zeros to whole blocks, as reads past the page cache (O_DIRECT) need, and is on the disk (fsync) before
it is first read. Just written, it also lies in the page cache, and a buffered read gets it from there.
"""

from __future__ import annotations

import mmap
import os
import tempfile
import weakref

import torch
from torch import Tensor

BLOCK = 4096
"""Bytes that offset, length and address of an O_DIRECT read are multiples of."""

_files: dict[int, tuple[weakref.ref[Tensor], str]] = {}


def path_of(weight: Tensor) -> str:
    """Where the weight's bytes are, in row-major order. Removed once the tensor that it was written for is gone.

    An address means the same weight only as long as that tensor lives: memory that was freed can come back with other content.
    """
    written, path = _files.get(weight.data_ptr(), (None, ""))
    if written is None or written() is None:
        with tempfile.NamedTemporaryFile(prefix="weight-", dir=os.environ.get("TMPDIR"), delete=False) as file:
            file.write(weight.detach().cpu().numpy().tobytes())
            file.write(bytes(-file.tell() % BLOCK))
            file.flush()
            os.fsync(file.fileno())
        path = file.name
        _files[weight.data_ptr()] = weakref.ref(weight), path
        weakref.finalize(weight, os.unlink, path)
    return path


def read_at(file: int, buffer: Tensor | memoryview, start: int) -> None:
    """Fills a buffer from byte `start` on. Raises OSError when the file ends first."""
    view = memoryview(buffer.numpy() if isinstance(buffer, Tensor) else buffer).cast("B")
    done = 0
    while done < len(view):
        got = os.preadv(file, [view[done:]], start + done)
        if got == 0:
            raise OSError(f"weight file: {len(view)} bytes were asked for at {start}, it ends after {done} of them")
        done += got


def aligned(count: int) -> Tensor:
    """[count], float32, at a page's start: what O_DIRECT can read into. count * 4 must be a multiple of BLOCK."""
    return torch.frombuffer(mmap.mmap(-1, 4 * count), dtype=torch.float32)
