"""Whether the outputs of a batch are right: the snapshot taken at DONE against the oracle's float64 answer. Pure functions of
tensors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from aisp_runner.case import Tensor

POISON_BYTE, POISON_BYTE_INT = 0xFF, 0xA5
"""Every byte of a poisoned floating output (a NaN in each format) and of a poisoned integer output."""

CHUNK = 1 << 20
"""Elements compared at a time on a CPU, where they then stay in its cache; 16 times as many on a GPU."""

STEPS = 8
"""Smallest steps of a dtype below which an honest rounding may give zero for a subnormal answer."""

_TINY = torch.finfo(torch.float64).tiny


@dataclass(frozen=True)
class Comparison:
    """How one output of one batch compares, over all its checked calls."""

    arm: str
    output: str
    calls: int
    """Checked calls."""
    elements: int
    unwritten: int
    """Elements that still hold the poison they were given before the batch."""
    nonfinite: int
    """Elements that are NaN or infinite where the oracle's answer is not."""
    wrong: int
    """Elements further from the answer than atol + rtol * |answer|, unwritten and non-finite ones left out."""
    wrong_calls: tuple[int, ...]
    """Positions, among the checked calls, with anything wrong at all."""
    max_abs: float
    max_rel: float
    """Largest errors over the finite elements; relative to the answer where that is not zero."""
    subnormal: int = 0
    """Elements of float32 and float64 outputs whose answer is subnormal in that dtype, STEPS of its smallest steps or more."""
    flushed: int = 0
    """Those of them that are exactly zero."""


def bits(tensor: torch.Tensor) -> torch.Tensor:
    """The same memory as integers of the same width."""
    return tensor.view({1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.dtype.itemsize])


def poison_bits(dtype: torch.dtype) -> int:
    """The value of an element's bits when all its bytes are poison, as a signed integer."""
    byte = POISON_BYTE if dtype.is_floating_point else POISON_BYTE_INT
    return int.from_bytes(bytes([byte] * dtype.itemsize), "little", signed=True)


def poison(tensor: torch.Tensor) -> None:
    """Overwrites a tensor, of any dtype, with poison."""
    bits(tensor).fill_(poison_bits(tensor.dtype))


def compare(arm: str, spec: Tensor, actual: torch.Tensor, expected: torch.Tensor, equal_nan: bool = False) -> Comparison:
    """actual: [calls, *shape] in the declared dtype. expected: the same shape, float64 (integers: the declared dtype).

    A NaN or infinity is right only where the answer has the very same; with `equal_nan` other non-finite elements than
    poison are not looked at, as harnesses do that compare with equal_nan. Source of the rule |actual - expected| <= atol +
    rtol * |expected|: numpy.allclose.
    """
    calls = actual.shape[0]
    chunk = CHUNK if actual.device.type == "cpu" else 16 * CHUNK
    step = max(1, chunk // max(1, actual[0].numel()))
    counts, peaks, censuses = [], [], []
    for start in range(0, calls, step):
        part = slice(start, min(start + step, calls))
        count, peak = _compare_calls(spec, actual[part], expected[part])
        counts += count
        peaks.append(peak)
        censuses.append(census(actual[part], expected[part]))
    if equal_nan:
        counts = [(unwritten, 0, wrong) for unwritten, _, wrong in counts]
    unwritten, nonfinite, wrong = (sum(column) for column in zip(*counts, strict=True))
    wrong_calls = tuple(i for i, count in enumerate(counts) if any(count))
    max_abs, max_rel = (max(column) for column in zip(*peaks, strict=True))
    subnormal, flushed = (sum(column) for column in zip(*censuses, strict=True))
    return Comparison(
        arm, spec.name, calls, actual.numel(), unwritten, nonfinite, wrong, wrong_calls, max_abs, max_rel, subnormal, flushed
    )


def census(actual: torch.Tensor, expected: torch.Tensor) -> tuple[int, int]:
    """(elements whose answer is subnormal in the dtype of `actual`, those of them that are exactly zero).

    (0, 0) for other dtypes than float32 and float64.
    """
    if actual.dtype not in (torch.float32, torch.float64):
        return 0, 0
    form = torch.finfo(actual.dtype)
    if float(torch.linalg.vector_norm(expected, -math.inf)) >= form.tiny:  # the smallest magnitude, in one pass
        return 0, 0
    size = expected.abs()
    small = (size < form.tiny) & (size >= STEPS * form.tiny * form.eps)
    return int(small.sum()), int((small & (actual == 0)).sum())


def _compare_calls(
    spec: Tensor, actual: torch.Tensor, expected: torch.Tensor
) -> tuple[list[tuple[int, int, int]], tuple[float, float]]:
    """(unwritten, non-finite, wrong) elements of each call, and the largest absolute and relative error of all of them."""
    actual, wanted = actual.reshape(actual.shape[0], -1), expected.reshape(expected.shape[0], -1).double()
    given = actual.double()
    error, size = _distance(actual, expected.reshape(actual.shape)), wanted.abs()
    # NaN compares false, and infinity is no more than rtol * infinity: so all of these are finite and right
    if bool((error <= size * spec.rtol + spec.atol).all() & error.max().isfinite()):
        max_abs, max_rel = torch.stack([error.max(), (error / size.clamp_(min=_TINY)).max()]).tolist()
        return [(0, 0, 0)] * actual.shape[0], (max_abs, max_rel)
    held = bits(actual) == poison_bits(actual.dtype)
    finite = torch.isfinite(given) & torch.isfinite(wanted)
    error, size = error.masked_fill_(~finite, 0.0), size.masked_fill_(~finite, 0.0)
    wrong = error > spec.atol + spec.rtol * size
    odd = ~finite & (given != wanted) & ~(torch.isnan(given) & torch.isnan(wanted))
    unwritten = held & (wrong | ~finite)
    counts = torch.stack([unwritten.sum(1), (odd & ~unwritten).sum(1), (wrong & ~unwritten).sum(1)], dim=1)
    max_abs, max_rel = torch.stack([error.max(), (error / size.clamp_(min=_TINY)).max()]).tolist()
    return [(u, n, w) for u, n, w in counts.tolist()], (max_abs, max_rel)


def _distance(actual: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    """|actual - expected| in float64; integers are subtracted as integers, since float64 cannot tell large ones apart."""
    if actual.dtype.is_floating_point:
        return (actual.double() - expected.double()).abs_()
    return (actual.long() - expected.long()).abs_().double()


def disagreement(outputs: Sequence[Tensor], comparisons: Sequence[Comparison]) -> tuple[bool, str, str]:
    """Whether all finite and written elements are within the tolerance, how many are not, and the worst output's tolerance."""
    wrong = sum(c.wrong for c in comparisons)
    total = sum(c.elements for c in comparisons)
    worst = max(comparisons, key=lambda c: c.wrong)
    spec = next(t for t in outputs if t.name == worst.output)
    observed = f"{wrong} of {total} checked elements are wrong (largest error of {worst.output}: {worst.max_abs:.3g})"
    return wrong == 0, observed, f"rtol {spec.rtol:g}, atol {spec.atol:g}"


def accepts(spec: Tensor, guess: torch.Tensor, answer: torch.Tensor) -> bool:
    """Whether the declared tolerance would take `guess` for `answer`; both in float64 or the output's integer dtype."""
    error = (guess.double() - answer.double()).abs()
    return bool((error <= spec.atol + spec.rtol * answer.double().abs()).all())
