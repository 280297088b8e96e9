"""A batch must be long enough for the clock that times it.

The clock's own scatter is what batches without calls differ by; a long batch less the handshake that does not stand well above
it says nothing of its calls. That is for whoever chose the batch to mend, so the finding is `unavailable`: INCONCLUSIVE in a
gate. Time stamps that decide come in steps, and a case whose calls are too short for them is not decided by them. Blind spot:
noise that comes with the calls and not with the handshake, which the interval tells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aisp_runner.protect.base import Evidence, Protection

if TYPE_CHECKING:
    from aisp_runner.judge import Judge


@dataclass(frozen=True)
class CalibratedBatch(Protection):
    id = "timing.calibrated_batch"
    covers = ("timing.timer_granularity",)

    times: float = 4.0
    """A long batch less the handshake takes at least so many times the clock's scatter."""
    cuda_scatter_us: float = 2.0
    cpu_scatter_us: float = 20.0
    """The clock scatters by at least this much, us: a few empty batches may happen to agree."""

    def judge_conclude(self, judge: Judge) -> Evidence | None:
        from aisp_runner.intervals import median

        if judge.measured is not None and judge.measured.stamped:
            return self._stamps(judge.measured.estimate().arms_ns)
        timed = [b for b in judge.batches if b.timed]
        empty = sorted(b.elapsed_ns / 1e3 for b in timed if not b.calls)
        if judge.measured is None or not empty:
            return None
        floor_us = self.cuda_scatter_us if judge.device.name == "cuda" else self.cpu_scatter_us
        scatter_us = max(_interquartile(empty), floor_us)
        net = {arm: _long_us(judge, arm) - median(empty) for arm in ("baseline", "candidate")}
        arm = min(net, key=lambda role: net[role])
        said = f"a long batch takes {net[arm]:.1f} us beyond the handshake, which scatters by {scatter_us:.1f} us"
        least_us = self.times * scatter_us
        if net[arm] < least_us:
            longer = "ask for more calls a batch (measure.calls, measure.batch_ms, measure.batch_gpu_ms)"
            return self.unavailable("conclude", f"{arm}: {said}; {least_us:.1f} us or more can be told: {longer}")
        return self.found("conclude", True, said, f"at least {least_us:.1f} us", arm)

    def _stamps(self, call_ns: dict[str, float]) -> Evidence:
        """The clock's scatter is the step that time stamps come in."""
        from aisp_runner.sharing import LEAST_NS, STEP_NS

        arm = min(call_ns, key=lambda role: call_ns[role])
        said = f"a call takes {call_ns[arm] / 1e3:.2f} us by time stamps, which come in steps of {STEP_NS} ns"
        least = f"at least {LEAST_NS / 1e3:.1f} us"
        if call_ns[arm] < LEAST_NS:
            return self.unavailable("conclude", f"{arm}: {said}; {least} can be told: use a larger shape")
        return self.found("conclude", True, said, least, arm)


def _long_us(judge: Judge, arm: str) -> float:
    """The median of an arm's long batches, us."""
    from aisp_runner.intervals import median

    assert judge.measured is not None
    calls = judge.measured.schedule.calls.of(arm)[1]
    return median([b.elapsed_ns / 1e3 for b in judge.batches if b.timed and b.arm == arm and b.calls == calls])


def _interquartile(ordered: list[float]) -> float:
    return ordered[3 * len(ordered) // 4] - ordered[len(ordered) // 4]
