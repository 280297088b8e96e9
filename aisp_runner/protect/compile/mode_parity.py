"""Both arms run on the same terms: threads, switches of torch, environment.

A baseline whose file pins it to one thread, switches a library off or disables the compiler is slow for a reason that the
candidate did not earn. Each worker tells after each batch which settings of its process are not as they were before its file
was loaded; the judge gives both arms the same threads and the same environment, so what the two tell must be the same too.
What makes arithmetic less precise is for workload.numeric_policy to see. Blind spot: told by the arms themselves; settings
that are not on the list; a setting that is changed and put back inside each call, which is part of the call.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aisp_runner.protect.base import Evidence, Protection

if TYPE_CHECKING:
    from aisp_runner.judge import Judge
    from aisp_runner.worker import Worker

PREFIXES = ("TORCH", "PYTORCH_", "OMP_", "MKL_", "KMP_", "GOMP_", "OPENBLAS_", "TRITON_", "CUDA_", "CUBLAS_", "NVIDIA_TF32_")
"""Environment variables that steer torch, its compilers and the libraries below."""

LEFT_ALONE = ("CUDA_MODULE_LOADING", "PYTORCH_NVML_BASED_CUDA_CHECK")
"""Set by torch itself when the device is first used."""

COMPILERS = {
    "torch._dynamo.config": ("disable", "suppress_errors"),
    "torch._inductor.config": ("max_autotune", "freezing", "epilogue_fusion", "pattern_matcher"),
}
"""Switches of torch.compile, by module. They are compared where both arms have loaded it."""

AS_GIVEN = "as given"

_AT_BOOT: dict[str, str] = {}
"""In a worker: the terms before any file of a variant was loaded."""


def terms() -> dict[str, str]:
    """Settings of this process that decide how fast torch runs, by name."""
    import torch

    backends: Any = torch.backends
    found = {
        "threads": torch.get_num_threads(),
        "mkldnn": backends.mkldnn.enabled,
        "cudnn": backends.cudnn.enabled,
        "cudnn.benchmark": backends.cudnn.benchmark,
        "cudnn.deterministic": backends.cudnn.deterministic,
        "cudnn.allow_tf32": torch._C._get_cudnn_allow_tf32(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "default_dtype": torch.get_default_dtype(),
        "inference_mode": torch.is_inference_mode_enabled(),
    }
    found |= {name: value for name, value in os.environ.items() if name.startswith(PREFIXES) and name not in LEFT_ALONE}
    if found.get("TRITON_PTXAS_PATH") == str(Path(torch.__file__).parent / "bin" / "ptxas"):
        del found["TRITON_PTXAS_PATH"]  # set by torch.compile itself when it first compiles, where torch brings its own
    return {name: str(value) for name, value in found.items()}


def compiler_switches() -> dict[str, str]:
    """Switches of torch.compile, by name; none where nobody has loaded it."""
    loaded = {module: sys.modules[module] for module in COMPILERS if module in sys.modules}
    return {
        f"{module}.{name}": str(getattr(config, name))
        for module, config in loaded.items()
        for name in COMPILERS[module]
        if hasattr(config, name)
    }


def changed(before: dict[str, str], now: dict[str, str]) -> dict[str, str]:
    """Settings that are not as they were, by name, with their value now ("unset": gone)."""
    return {name: now.get(name, "unset") for name in sorted(before | now) if before.get(name) != now.get(name)}


def differing(baseline: str, candidate: str) -> list[str]:
    """What two arms have told that is not the same, as `name: value and value`, without compilers that only one has loaded."""
    one, other = _parsed(baseline), _parsed(candidate)
    return [
        f"{name}: {one.get(name, AS_GIVEN)} and {other.get(name, AS_GIVEN)}"
        for name in sorted(one | other)
        if one.get(name) != other.get(name) and ((name in one and name in other) or not name.startswith(tuple(COMPILERS)))
    ]


def _parsed(told: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in told.split("; ") if "=" in part)
    return {name: value for name, _, value in pairs}


@dataclass(frozen=True)
class ModeParity(Protection):
    id = "compile.mode_parity"
    covers = ("compile.inductor_asymmetry",)

    def worker_boot(self, worker: Worker) -> None:
        if not _AT_BOOT:  # a process that is used again has loaded its file by now
            _AT_BOOT.update(terms())

    def worker_after_batch(self, worker: Worker) -> Evidence:
        own = changed(_AT_BOOT, terms()) | compiler_switches()
        said = "; ".join(f"{name}={value}" for name, value in own.items()) or AS_GIVEN
        return self.found("after_batch", True, said, "", worker.job["role"], witness="worker")

    def judge_conclude(self, judge: Judge) -> Evidence | None:
        told: dict[str, list[str]] = {}
        for batch in judge.batches:
            if batch.timed and self.id in batch.told:
                told.setdefault(batch.arm, []).append(batch.told[self.id])
        if not {"baseline", "candidate"} <= told.keys():
            return None
        pairs = {(mine, theirs) for mine in set(told["baseline"]) for theirs in set(told["candidate"])}
        odd = sorted({line for pair in pairs for line in differing(*pair)})
        said = f"baseline and candidate differ in {', '.join(odd)}" if odd else f"both: {told['candidate'][-1]}"
        return self.found("conclude", not odd, said, "the same settings in both", witness="worker")
