"""cuda.undeclared_multi_gpu: a process that the candidate has started is at work on a GPU that nobody declared.

The candidate's worker sees one GPU; a process started with an environment of its own sees them all. It takes memory on the
second one, as a helper does that shares the work. What is judged is that it is noticed, so nothing is computed there. Twin: the
same process, without a GPU.
"""

import os
import subprocess
import sys

import torch

issue = "cuda.undeclared_multi_gpu"
expect = "cuda.device_census"
devices = "cuda"
because = "there is no second GPU to take where there is none"
gpus = 2
gains = False

HELPER = r"""
import ctypes, os, sys, time

cuda = ctypes.CDLL("libcuda.so.1") if sys.argv[2] == "gpu" else None
if cuda is not None:
    device, context, place = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_uint64()
    for status in (
        cuda.cuInit(0),
        cuda.cuDeviceGet(ctypes.byref(device), 1),
        cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device),
        cuda.cuCtxSetCurrent(context),
        cuda.cuMemAlloc_v2(ctypes.byref(place), ctypes.c_size_t(1 << 28)),
    ):
        if status:
            sys.exit(f"CUDA error {status}")
sys.stdout.write("ready\n")
sys.stdout.flush()
while os.getppid() == int(sys.argv[1]):
    time.sleep(0.01)
"""

_started = []


def _once(how):
    if not _started:
        everything = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
        command = [sys.executable, "-c", HELPER, str(os.getpid()), how]
        _started.append(subprocess.Popen(command, stdout=subprocess.PIPE, env=everything))
        _started[0].stdout.readline()


def candidate(a, b, c):
    _once("gpu")
    torch.atan2(a, b, out=c)


def twin(a, b, c):
    _once("none")
    torch.atan2(a, b, out=c)
