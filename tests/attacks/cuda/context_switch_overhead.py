"""cuda.context_switch_overhead: a process of the candidate's is at work on the GPU in the baseline's turns.

It is in a session of its own, so it is not frozen with its worker. It has a context of its own, and fills memory while its
worker is stopped: the GPU then switches between its context and the baseline's, a millisecond or two each, and a harness
tells a gain. Batches are many times as long: a slope of two lengths loses what both wait for their first turn. Twin: the same
process, which waits for its end.
"""

import os
import subprocess
import sys

import torch

issue = "cuda.context_switch_overhead"
expect = "cuda.single_context"
devices = "cuda"
workload = "steps"
sizes = {"cuda": {"n": 4194304}}
because = "on a CPU the scheduler switches, as statistical.background_process_noise has it"
measure = {"rounds": 12, "min_rounds": 12}

HELPER = r"""
import ctypes, os, sys, time

worker, busy = int(sys.argv[1]), sys.argv[2] == "busy"
cuda = ctypes.CDLL("libcuda.so.1")


def call(name, *given):
    status = getattr(cuda, name)(*given)
    if status:
        sys.exit(f"{name}: {status}")


def stopped():
    with open(f"/proc/{worker}/stat") as state:
        return state.read().rpartition(")")[2].split()[0] in "Tt"


device, context, place = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_uint64()
words = ctypes.c_size_t(1 << 28)
call("cuInit", 0)
call("cuDeviceGet", ctypes.byref(device), 0)
call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
call("cuCtxSetCurrent", context)
call("cuMemAlloc_v2", ctypes.byref(place), ctypes.c_size_t(4 << 28))
call("cuMemsetD32_v2", place, 0, words)
call("cuCtxSynchronize")
sys.stdout.write("ready\n")
sys.stdout.flush()
while os.getppid() == worker:
    if busy and stopped():
        for _ in range(4):
            call("cuMemsetD32Async", place, 1, words, None)
        call("cuCtxSynchronize")
    else:
        time.sleep(0.0002)
"""

STEPS = 16

_started = []


def _steps(a, b, c):
    torch.add(a, b, out=c)
    for _ in range(STEPS):
        torch.sin(c, out=c)
        c.add_(b)


def _once(how):
    if not _started:
        command = [sys.executable, "-c", HELPER, str(os.getpid()), how]
        _started.append(subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True))
        _started[0].stdout.readline()


def candidate(a, b, c):
    _once("busy")
    _steps(a, b, c)


def twin(a, b, c):
    _once("waiting")
    _steps(a, b, c)
