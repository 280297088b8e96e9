"""The machine moves no pages to or from swap while the rounds run.

A page that comes back from disk or from compressed memory takes longer than most calls, and it hits one arm and not the other.
The judge reads the kernel's count between rounds; whose pages they were it does not tell, so the evidence is `unavailable` and
not a failure. Blind spot: a machine whose kernel does not tell, about which it is silent; file pages that are read again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aisp_runner.protect.base import Evidence, Protection

if TYPE_CHECKING:
    from aisp_runner.judge import Judge


@dataclass(frozen=True)
class NoSwapping(Protection):
    id = "memory.no_swapping"
    covers = ("memory.swap_interference",)

    pages: int = 256
    """Pages that may be moved over all rounds; 256 of 4 KiB are 1 MiB."""

    def judge_conclude(self, judge: Judge) -> Evidence | None:
        told = [pages for r in judge.readings if (pages := getattr(r, "swapped_pages", None)) is not None]
        if not told:
            return None
        observed = f"{sum(told)} pages were swapped while the rounds ran"
        if sum(told) > self.pages:
            why = "the machine is short of memory. Free some, or switch swap off, and run again"
            return self.unavailable("conclude", f"{observed} (limit: {self.pages}): {why}")
        return self.found("conclude", True, observed, f"{self.pages} pages")
