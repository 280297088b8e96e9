"""Which share of a measured ceiling a call reaches, and the time that no call can undercut.

Both rest on what the workload declares (`work:`): the bytes a call must move and the operations it must do, not those it does.
torch is not imported here.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from aisp_runner.case import Case
from aisp_runner.peak import datasheet
from aisp_runner.peak.store import Peak

HEADROOM = 1.3
"""What a better kernel may gain over the libraries measured here, where no datasheet says how far that can go. cuBLAS reached
78 % of the dense figure on an H200 (8192 product in bfloat16, 1.42 ms), so 1.28 is all there was to gain.
"""
FLOATS = {
    "float32": "matmul_fp32",
    "bfloat16": "matmul_bf16",
    "float16": "matmul_fp16",
    "float8_e4m3fn": "matmul_fp8",
}
"""The value that holds the arithmetic ceiling of inputs of a dtype."""
FASTER = {"float32": ("matmul_fp32", "matmul_tf32")}
"""Where a kernel may honestly compute the same inputs in another format: no floor may rest on the slower one."""


def share(case: Case, seconds_per_call: float, peak: Peak) -> dict[str, Any] | None:
    """How near a call comes to what the machine can do, as fractions of 1; None where nothing can be said.

    bytes_share, flops_share: declared work over time, over its ceiling; None without a declaration or a ceiling. share: the
    larger, bound_by: which one that is ("bytes" or "flops"). ceiling: bytes_per_s, memory (dram, l2 or cache), flops_per_s,
    dtype, measured. A share above 1 is possible: content that was still in a cache, or products of float32 in tf32.
    """
    if case.device != peak.device or not seconds_per_call > 0:
        return None
    memory, bytes_per_s = _memory(case, peak)
    dtype = _dtype(case)
    flops_per_s = _rate(case, peak, FLOATS.get(dtype or "", ""))
    bytes_per_s, flops_per_s = (rate and rate * _gpus(case) for rate in (bytes_per_s, flops_per_s))
    found = {
        "bytes": _share(case.work_bytes, seconds_per_call, bytes_per_s),
        "flops": _share(case.work_flops, seconds_per_call, flops_per_s),
    }
    known = {name: value for name, value in found.items() if value is not None}
    if not known:
        return None
    bound_by = max(known, key=lambda name: known[name])
    return {
        "bytes_share": found["bytes"],
        "flops_share": found["flops"],
        "bound_by": bound_by,
        "share": known[bound_by],
        "ceiling": {
            "bytes_per_s": bytes_per_s,
            "memory": memory,
            "flops_per_s": flops_per_s,
            "dtype": dtype,
            "measured": peak.measured,
        },
    }


def floor_s(case: Case, peak: Peak) -> float | None:
    """The least time, s, that a call can take which does its declared work; None where nothing is known.

    Bytes come from the fastest level that can hold them between calls, L2 on a GPU. On a CPU they count only where they exceed
    the cores' own caches. Rates are the measured ones times HEADROOM, or the datasheet's where that is higher.
    """
    if case.device != peak.device:
        return None
    times = []
    bytes_per_s = _fastest_memory(case, peak)
    if case.work_bytes and bytes_per_s:
        times.append(case.work_bytes / bytes_per_s)
    flops_per_s = _fastest_arithmetic(case, peak)
    if case.work_flops and flops_per_s:
        times.append(case.work_flops / flops_per_s)
    return max(times) / _gpus(case) if times else None


def _gpus(case: Case) -> int:
    """GPUs that share a case's work: one a rank. What they tell one another is not counted."""
    return case.ranks if case.device == "cuda" else 1


def _share(work: float | None, seconds: float, rate: float | None) -> float | None:
    return work / seconds / rate if work and rate else None


def _memory(case: Case, peak: Peak) -> tuple[str, float | None]:
    """Level and rate: main memory, unless the case is hot and a call's bytes fit into half of the cache."""
    cached = peak.hardware.get("l2_bytes" if case.device == "cuda" else "cache_bytes") or 0
    level = "l2" if case.device == "cuda" else "cache"
    hot = case.cache == "hot" and case.work_bytes is not None and case.work_bytes <= cached / 2
    rate = _rate(case, peak, level) if hot else None
    return (level, rate) if rate else ("dram", _rate(case, peak, "copy"))


def _rate(case: Case, peak: Peak, name: str) -> float | None:
    """A measured rate; on a CPU that of one thread for a case of one thread, else that of all."""
    if case.device == "cpu":
        name += "_one_thread" if case.threads == 1 else "_all_threads"
    return peak.rate(name)


def _dtype(case: Case) -> str | None:
    """That of most elements of the floating inputs, or None. Of an output of 16 bits where the inputs are float32: who wants an
    answer of 8 or 11 bits lets its products be made of such numbers. int8 where an input is of such codes: a product of them
    is faster than any of floats, and `aisp peak` measures none.
    """
    if any(tensor.dtype == "int8" for tensor in case.inputs):
        return "int8"
    elements: Counter[str] = Counter()
    for tensor in case.inputs:
        if "float" in tensor.dtype:
            elements[tensor.dtype] += math.prod(tensor.shape)
    dtype = elements.most_common(1)[0][0] if elements else None
    short = [t.dtype for t in case.outputs if t.dtype in ("bfloat16", "float16")]
    return short[0] if short and dtype == "float32" else dtype


def _fastest_memory(case: Case, peak: Peak) -> float | None:
    if case.device == "cuda":
        rates = [_rate(case, peak, name) for name in ("l2", "copy", "read")]
        return None if rates[0] is None else HEADROOM * max(rate for rate in rates if rate)
    own = peak.hardware.get("core_cache_bytes")
    rate = _rate(case, peak, "cache")
    return HEADROOM * rate if own and rate and (case.work_bytes or 0) > own * case.threads else None


def _fastest_arithmetic(case: Case, peak: Peak) -> float | None:
    dtype = _dtype(case) or ""
    rates = []
    for name in FASTER.get(dtype, (FLOATS.get(dtype, ""),)):
        measured, stated = _rate(case, peak, name), datasheet.stated(peak.name, name)
        if measured:
            rates.append(max(measured * (1.0 if stated else HEADROOM), stated or 0.0))
    return max(rates, default=None)
