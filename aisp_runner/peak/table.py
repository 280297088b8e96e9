"""The ceilings as a person reads them: one line a value, with the share of the vendor's figure where there is one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from aisp_runner.peak import datasheet
from aisp_runner.peak.store import Peak, Value

LABELS = {
    "copy": "memory copy",
    "read": "memory read",
    "l2": "L2",
    "matmul_fp32": "product fp32",
    "matmul_tf32": "product tf32",
    "matmul_bf16": "product bf16",
    "matmul_fp16": "product fp16",
    "matmul_fp8": "product fp8",
    "launch_gap": "launch behind the gate",
    "launch_to_done": "launch to done, host",
    "h2d": "host to device",
    "d2h": "device to host",
    "peer": "GPU to GPU",
    "copy_one_thread": "memory copy, 1 thread",
    "copy_all_threads": "memory copy, all threads",
    "triad_one_thread": "memory triad, 1 thread",
    "triad_all_threads": "memory triad, all threads",
    "cache_one_thread": "cache copy, 1 thread",
    "cache_all_threads": "cache copy, all threads",
    "matmul_fp32_one_thread": "product fp32, 1 thread",
    "matmul_fp32_all_threads": "product fp32, all threads",
}
"""What each value is, in the order of the table."""
HEADINGS = ("", "burst", "sustained", "spread", "datasheet", "how")
NOISY = 0.1
"""Spread above which a value is marked: measure it again on a quieter machine."""
SCALES = {"B/s": ((1e12, "TB/s"), (1e9, "GB/s"), (1e6, "MB/s")), "FLOP/s": ((1e12, "TFLOP/s"), (1e9, "GFLOP/s"))}


def lines(peak: Peak, path: Path | None = None) -> list[tuple[str, str]]:
    """(text, style) lines. path: where the values were stored."""
    order = [name for name in LABELS if name in peak.values]
    rows = [_cells(peak, name) for name in order]
    shown = [(_title(peak), "bold"), *_aligned([HEADINGS, *rows], [peak.values[name] for name in order])]
    for name in order:
        if peak.values[name].value is None:
            shown.append((f"{LABELS[name]}: not measured: {peak.values[name].reason}", "yellow"))
        elif peak.values[name].reason:
            shown.append((f"{LABELS[name]}: {peak.values[name].reason}", "yellow"))
    sheet = datasheet.of_gpu(peak.name)
    if sheet:
        source = sheet.sources[0]
        shown.append((f"datasheet: {sheet.name}, dense: {source['title']}: {source['url']}", "dim"))
    if path:
        shown.append((f"stored in {path}", "dim"))
    return shown


def number(value: float | None, unit: str) -> str:
    """A rate or a time with three digits that mean something, or "" for None."""
    if value is None:
        return ""
    if unit == "s":
        return f"{_three(value * 1e6)} us"
    scales = SCALES[unit]
    size, name = next((s for s in scales if value >= s[0]), scales[-1])
    return f"{_three(value / size)} {name}"


def percent(fraction: float | None) -> str:
    """A fraction of 1 as per cent, or "" for None."""
    return "" if fraction is None else f"{100 * fraction:.{1 if fraction < 0.1 else 0}f} %"


def of_datasheet(peak: Peak, name: str) -> float | None:
    """Burst value over the dense figure of the vendor, as a fraction of 1, or None."""
    value, stated = peak.rate(name), datasheet.stated(peak.name, name)
    return value / stated if value and stated else None


def _title(peak: Peak) -> str:
    about = [f"{key} {peak.versions[key]}" for key in ("torch", "triton", "cuda") if peak.versions.get(key)]
    driver = [f"driver {peak.hardware['driver']}"] if peak.hardware.get("driver") else []
    return f"{peak.name} ({', '.join([*driver, *about])}), measured in {peak.seconds:.0f} s"


def _cells(peak: Peak, name: str) -> tuple[str, ...]:
    value: Value = peak.values[name]
    burst = number(value.value, value.unit) or "-"
    sustained = number(value.sustained, value.unit)
    return (LABELS[name], burst, sustained, percent(value.spread), percent(of_datasheet(peak, name)), value.how)


def _aligned(rows: Sequence[tuple[str, ...]], values: Sequence[Value]) -> list[tuple[str, str]]:
    """Columns without content are left out; a noisy value is yellow."""
    filled = [i for i in range(len(HEADINGS)) if any(row[i] for row in rows[1:])]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADINGS))]
    texts = []
    for row in rows:
        cells = [row[i].ljust(widths[i]) if i in (0, 5) else row[i].rjust(widths[i]) for i in filled]
        texts.append("  ".join(cells).rstrip())
    styles = ["dim", *("yellow" if (value.spread or 0.0) > NOISY else "" for value in values)]
    return list(zip(texts, styles, strict=True))


def _three(value: float) -> str:
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f}"
