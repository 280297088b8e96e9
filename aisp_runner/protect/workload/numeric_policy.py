"""What a process computes with is as precise in the candidate's process as in the baseline's.

After each batch a worker names the numeric settings of its process that are less precise than they were before any kernel file
was loaded: the default dtype, the precision of float32 products and convolutions (TF32, bfloat16), reduced sums in half
precision, autocast, subnormals flushed to zero. What both arms' processes name is equal terms; what only one of them names is
refused: less precise is faster here and slower there. Blind spot: seen in the process itself, so native code could hide it; a
setting that is put back before the batch ends, and a lower precision that the code itself asks for, which the tolerance has to
refuse.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from aisp_runner.protect.base import Evidence, Protection

if TYPE_CHECKING:
    from aisp_runner.judge import Judge
    from aisp_runner.worker import Worker

Setting = tuple[float, str]
"""How imprecise, by an order within the setting alone, and what it is called."""

NOTHING = "as before the kernel file was loaded"

ORDER = {"none": 0, "ieee": 0, "tf32": 1, "bf16": 2}
"""Internal precisions of float32 operations as torch names them."""

UNITS = tuple((owner, what) for owner in ("cuda", "mkldnn") for what in ("matmul", "conv", "rnn"))

FLAGS = (
    "_get_cublas_allow_fp16_reduced_precision_reduction",
    "_get_cublas_allow_bf16_reduced_precision_reduction",
    "_get_cublas_allow_fp16_accumulation",
    "_get_math_sdp_allow_fp16_bf16_reduction",
)


def _probes() -> dict[str, Callable[[], Setting]]:
    """How each setting is read, by what it is called in a message. The functions of torch are taken as they are now."""
    import torch

    getter, autocast, default = torch._C._get_fp32_precision_getter, torch.is_autocast_enabled, torch.get_default_dtype
    probes: dict[str, Callable[[], Setting]] = {
        "default dtype": lambda: (-default().itemsize, str(default()).removeprefix("torch.")),
        "subnormals": _subnormals,
    }
    for owner, what in UNITS:
        probes[f"{owner} {what}"] = partial(_precision, getter, owner, what)
    for device in ("cpu", "cuda"):
        probes[f"{device} autocast"] = partial(_switch, autocast, device)
    for name in FLAGS:
        if read := getattr(torch._C, name, None):
            probes[name.removeprefix("_get_").replace("reduced_precision_", "")] = partial(_switch, read)
    return probes


def _precision(getter: Callable[[str, str], str], owner: str, what: str) -> Setting:
    name = getter(owner, what)
    return ORDER.get(name, len(ORDER)), name


def _switch(read: Callable[..., bool | tuple[bool, ...]], *of: str) -> Setting:
    """Some of torch's switches have two parts; each that is on is less precise."""
    held = read(*of)
    parts = held if isinstance(held, tuple) else (held,)
    return sum(parts), ", ".join("on" if part else "off" for part in parts)


def _subnormals() -> Setting:
    half = 0.5
    return (1, "flushed to zero") if sys.float_info.min * half == 0.0 else (0, "kept")


_READ: dict[str, Callable[[], Setting]] = {}
"""In a worker: the probes, taken before its kernel file was loaded."""

_AT_BOOT: dict[str, Setting] = {}
"""In a worker: what they said then. A process that is kept for another case has loaded its file already."""


@dataclass(frozen=True)
class NumericPolicy(Protection):
    id = "workload.numeric_policy"
    covers = ("workload.precision_mismatch", "compile.inductor_asymmetry")

    def worker_boot(self, worker: Worker) -> None:
        if not _AT_BOOT:
            _READ.update(_probes())
            _AT_BOOT.update({name: read() for name, read in _READ.items()})

    def worker_after_batch(self, worker: Worker) -> Evidence:
        now = {name: read() for name, read in _READ.items()}
        less = [f"{name} {now[name][1]}, was {was[1]}" for name, was in _AT_BOOT.items() if now[name][0] > was[0]]
        return self.found("after_batch", True, "; ".join(less) or NOTHING, "compared when all batches are in", witness="worker")

    def judge_conclude(self, judge: Judge) -> Evidence:
        said: dict[str, set[str]] = {}
        for e in judge.shields.evidence:
            if e.protection == self.id and e.stage == "after_batch":
                said.setdefault(e.arm, set()).update(e.observed.split("; "))
        if "candidate" not in said:
            return self.unavailable("conclude", "the candidate's processes told nothing of their numeric settings", "worker")
        named = {arm: said.get(arm, set()) - {NOTHING} for arm in ("candidate", "baseline")}
        for arm, other in (("candidate", "baseline"), ("baseline", "candidate")):
            if alone := named[arm] - named[other]:
                limit = f"no setting less precise than the {other}'s"
                return self.found("conclude", False, "; ".join(sorted(alone)), limit, arm, "worker")
        observed = "; ".join(sorted(named["candidate"])) or "nothing is less precise than at the start"
        return self.found("conclude", True, observed, "the same in both arms", "candidate", "worker")
