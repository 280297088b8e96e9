"""Where the slots live and what the gate is made of: `cpu` and `cuda`, each with a judge's and a worker's side.

`open_device(name)` gives the judge's side, `attach(name)` the worker's.
"""

from __future__ import annotations

from aisp_runner.device.base import Device, Worksite


def open_device(name: str) -> Device:
    """The judge's side of a device: "cpu" or "cuda"."""
    if name == "cuda":
        from aisp_runner.device.cuda import CudaDevice

        return CudaDevice()
    from aisp_runner.device.cpu import CpuDevice

    return CpuDevice()


def attach(name: str, signals: int, gpu: int = 0) -> Worksite:
    """The worker's side of a device. signals: the file descriptor of the page (or events) it shares with the judge. gpu: the
    number of the worker's own, as the worker counts them.
    """
    if name == "cuda":
        from aisp_runner.device.cuda_worker import CudaWorksite

        return CudaWorksite(signals, gpu)
    from aisp_runner.device.cpu import CpuWorksite

    return CpuWorksite(signals)
