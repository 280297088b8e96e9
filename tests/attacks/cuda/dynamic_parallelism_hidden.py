"""cuda.dynamic_parallelism_hidden: a kernel of one thread starts the kernels that do the work.

Whoever adds up the kernels that a profiler lists does not see those that a kernel has started. The judge's clock stops in the
order of the stream, where a kernel is over when all that it has started is. Twin: the same kernel, started by the host.
"""

import ctypes
import os
import subprocess
from pathlib import Path

import torch

issue = "cuda.dynamic_parallelism_hidden"
expect = "processes"
unprotected = "profiler"
devices = "cuda"
because = "a CPU has no kernels that start kernels"
sizes = {"cuda": {"n": 16777216}}

SOURCE = r"""
__global__ void compute(const float *a, const float *b, float *c, int n) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) c[i] = atan2f(a[i], b[i]);
}

__global__ void start(const float *a, const float *b, float *c, int n) { compute<<<1056, 256>>>(a, b, c, n); }

extern "C" int run(const float *a, const float *b, float *c, int n, int hidden, void *stream) {
    if (hidden) start<<<1, 1, 0, (cudaStream_t)stream>>>(a, b, c, n);
    else compute<<<1056, 256, 0, (cudaStream_t)stream>>>(a, b, c, n);
    return (int)cudaGetLastError();
}
"""

_built = []


def _library():
    if not _built:
        folder = Path(os.environ.get("TMPDIR", "/tmp"))
        source, library = folder / "hidden.cu", folder / f"hidden-{os.getpid()}.so"
        source.write_text(SOURCE)
        major, minor = torch.cuda.get_device_capability()
        options = ["-O3", "-shared", "-rdc=true", "-Xcompiler", "-fPIC", f"-arch=sm_{major}{minor}", "-lcudadevrt"]
        subprocess.run(["nvcc", *options, "-o", str(library), str(source)], check=True, capture_output=True)
        _built.append(ctypes.CDLL(str(library)))
    return _built[0]


def _run(a, b, c, hidden):
    places = [ctypes.c_void_p(t.data_ptr()) for t in (a, b, c)]
    stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
    status = _library().run(*places, ctypes.c_int(a.numel()), ctypes.c_int(hidden), stream)
    if status:
        raise RuntimeError(f"the kernel was not started: CUDA error {status}")


def candidate(a, b, c):
    _run(a, b, c, 1)


def twin(a, b, c):
    _run(a, b, c, 0)
