"""A tolerance that garbage would pass is refused before any candidate runs.

With the oracle's real answers, four guesses are held against the declared tolerance: zeros, the answer scaled by 1.01, the
answer to other content, and the answer in a lower precision: half where float32 or float64 is declared, single where float64
is. One that passes for both answers that are known makes the workload itself invalid: a single number is within half precision
of itself by chance, 3 times in 100 at a tolerance of 1e-5. Blind spot: an output that truly does not depend on its inputs
cannot be told from one that ignores them; the third guess then says so. Low precision inside the operation that its answer
does not show.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aisp_runner.protect.base import Evidence, Protection

if TYPE_CHECKING:
    import torch

    from aisp_runner.case import Tensor
    from aisp_runner.judge import Judge


@dataclass(frozen=True)
class VacuousTolerance(Protection):
    id = "output.vacuous_tolerance"
    covers = (
        "output.constant_output",
        "output.approximation_drift",
        "workload.precision_mismatch",
        "workload.hidden_downsampling",
    )
    essential = True

    scale: float = 1.01
    """The scaled guess: an output off by this factor must be refused."""

    def judge_calibrate(self, judge: Judge) -> Evidence:
        taken = []
        for spec in judge.case.outputs:
            first, second = judge.oracle.views[spec.name][0], judge.oracle.views[spec.name][1]
            by_chance = self.passing(spec, second, first)
            taken += [f"{spec.name} takes {guess}" for guess in self.passing(spec, first, second) if guess in by_chance]
        limit = "none of zeros, a scaled answer, another answer, a lower precision"
        return self.found("calibrate", not taken, "; ".join(taken) or "every guess is refused", limit)

    def passing(self, spec: Tensor, answer: torch.Tensor, other: torch.Tensor) -> list[str]:
        """Guesses that the tolerance takes for the answer."""
        import torch

        from aisp_runner.verify import accepts

        guesses = {"all zeros": torch.zeros_like(answer), "the answer to other content": other}
        if answer.is_floating_point():
            guesses[f"the answer times {self.scale:g}"] = answer * self.scale
            if spec.dtype in ("float32", "float64"):
                guesses["a half-precision answer"] = answer.half().double()
            if spec.dtype == "float64":
                guesses["a single-precision answer"] = answer.float().double()
        return [name for name, guess in guesses.items() if accepts(spec, guess, answer)]
