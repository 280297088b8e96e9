"""What most harnesses do, in one process: fixed content, a timer around each call, one comparison at the end.

    python naive.py JSON        one line of JSON: correct, speedup
    python naive.py             the same for each line of its input, in forks of itself: the exit status of each, a line

Attacks whose target is that process itself (its memory, its interpreter, its settings) are shown to be alive here. The judge's
own processes are apart, so there such an attack has nothing to reach.
"""

import importlib.util
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

CALLS = 30
RANK, MEETING = "NAIVE_RANK", "NAIVE_MEETING"
"""Environment of a rank. Rank 0 is the one that times and compares."""


def load(path, name):
    sys.path.insert(0, str(Path(path).parent))
    spec = importlib.util.spec_from_file_location(f"naive_{Path(path).stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)


def made(tensor, device):
    dtype = getattr(torch, tensor["dtype"])
    if tensor["role"] == "output":
        return torch.empty(tensor["shape"], dtype=dtype, device=device)
    if tensor["init"] == "normal":
        return torch.randn(tensor["shape"], device=device).to(dtype)
    unit = torch.rand(tensor["shape"], device=device, dtype=torch.float64)
    spread = unit * (tensor["high"] - tensor["low"]) + tensor["low"]
    return (spread.floor() if tensor["init"] == "integers" else spread).to(dtype)


def timed(function, inputs, outputs, returns, timer):
    """Median seconds of a call by this timer, and what it gave last."""
    took, given = [], outputs

    def call():
        nonlocal given
        result = function(*inputs) if returns else function(*inputs, *outputs)
        if returns:
            given = list(result) if isinstance(result, tuple | list) else [result]

    for _ in range(CALLS):
        took.append(TIMERS[timer](call, inputs[0].is_cuda))
    return statistics.median(took[2:]), given


def by_wall(call, cuda):
    """Seconds from before the call until the whole device is idle."""
    start = time.perf_counter()
    call()
    if cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def by_events(call, cuda):
    """Seconds between two events around the call on the current stream."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    call()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1e3


def by_profiler(call, cuda):
    """Seconds that kernels ran, summed: what a profiler's table of kernels adds up to."""
    activity = torch.profiler.ProfilerActivity.CUDA
    with torch.profiler.profile(activities=[activity]) as profiler:
        call()
        torch.cuda.synchronize()
    device = torch.autograd.DeviceType.CUDA
    return sum(e.device_time_total for e in profiler.events() if e.device_type == device) / 1e6


TIMERS = {"naive": by_wall, "events": by_events, "profiler": by_profiler}


def own_rank(asked):
    """This process's rank: rank 0 starts the others. On CUDA each has a GPU of its own, the current one from then on."""
    ranks = 1 + max(t["rank"] for t in asked["tensors"])
    rank = int(os.environ.get(RANK, "0"))
    if ranks > 1:
        os.environ.setdefault(MEETING, tempfile.mktemp())
        os.environ.update(GLOO_SOCKET_IFNAME="lo", NCCL_SOCKET_IFNAME="lo")
        os.environ.setdefault("NCCL_NVLS_ENABLE", "0")
        for other in range(1, ranks) if rank == 0 else ():
            subprocess.Popen([sys.executable, *sys.argv], env={**os.environ, RANK: str(other)}, stdout=subprocess.DEVNULL)
        store = torch.distributed.FileStore(os.environ[MEETING], ranks)
        own = {"backend": "gloo"}
        if asked["device"] == "cuda":
            torch.cuda.set_device(rank)
            own = {"backend": "nccl", "device_id": torch.device("cuda", rank)}
        torch.distributed.init_process_group(store=store, rank=rank, world_size=ranks, **own)
    return rank, ranks


def answers(asked, tensors, ranks):
    """What the reference says, for this rank or all of them."""
    names = dict.fromkeys(t["name"].partition("@")[0] for t, _ in tensors if t["role"] != "output")
    held = {t["name"]: tensor for t, tensor in tensors}
    given = [[held[f"{name}@{r}"] for r in range(ranks)] if ranks > 1 else held[name] for name in names]
    expected = load(*asked["reference"])(*given)
    return list(expected) if isinstance(expected, tuple | list) else [expected]


def serve():
    """Returns in a fork for each request, as a process that was started with that argument; not here, before there is an end
    of them.
    """
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if not pid:
            become(request)
            return
        sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}\n")
        sys.stdout.flush()
    sys.exit()


def become(request):
    """Argument, folder and streams of the process that a request wants; the kernel ends it after so many seconds."""
    signal.alarm(request["seconds"])
    sys.argv[1:] = [request["asked"]]
    os.chdir(request["folder"])
    for number, path in enumerate((os.devnull, request["printed"], request["errors"])):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC), number)


def main():
    asked = json.loads(sys.argv[1])
    rank, ranks = own_rank(asked)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    everyone = [(t, made(t, asked["device"])) for t in asked["tensors"]]
    tensors = [(t, tensor) for t, tensor in everyone if t["rank"] == rank]
    inputs = [held for t, held in tensors if t["role"] != "output"]
    specs = [t for t, _ in tensors if t["role"] == "output"]
    baseline, candidate = load(*asked["baseline"]), load(*asked["candidate"])
    expected = answers(asked, everyone, ranks)[rank if ranks > 1 else 0 :][: len(specs)]
    theirs, ours = ([torch.empty_like(held) for t, held in tensors if t["role"] == "output"] for _ in range(2))
    base_s, _ = timed(baseline, inputs, theirs, asked["returns"][1], asked["timer"])
    own_s, given = timed(candidate, inputs, ours, asked["returns"][0], asked["timer"])
    if ranks > 1:
        time.sleep(0.2)
    correct = all(
        torch.allclose(got.float(), want.float(), rtol=t["rtol"], atol=t["atol"])
        for t, got, want in zip(specs, given, expected, strict=True)
    )
    sys.stdout.write(json.dumps({"correct": correct, "speedup": base_s / own_s}) + "\n")


if __name__ == "__main__":
    if len(sys.argv) == 1:
        serve()
    main()
