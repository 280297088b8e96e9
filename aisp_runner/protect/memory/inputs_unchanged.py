"""A variant leaves its inputs, weights among them, as it found them.

At verification the inputs of the checked calls still are what the judge revealed, bit by bit; weights are looked at once all
batches are in. Who writes its inputs hands the next reader other ones: a reference that is computed afterwards, the next call,
the user's own code. Blind spot: inputs that are restored before the judge looks, and those of calls that were not drawn for
checking.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aisp_runner.protect.base import Evidence, Protection

if TYPE_CHECKING:
    import torch

    from aisp_runner.judge import Batch, Judge
    from aisp_runner.verify import Comparison

LIMIT = "inputs as they were given"


@dataclass(frozen=True)
class InputsUnchanged(Protection):
    id = "memory.inputs_unchanged"
    covers = ("memory.input_output_aliasing",)

    def judge_verify(self, judge: Judge, batch: Batch, comparisons: list[Comparison]) -> Evidence:
        checked = judge.checked[batch.arm]
        slots = [batch.order[call] for call in checked]
        views, store = judge.arms[batch.arm].views, judge.content.store
        written = [
            t.name for t in judge.case.inputs if t.role != "weight" and not same(views[t.name], slots, store[t.name], checked)
        ]
        return self._seen("verify", written, f"inputs of {len(checked)} checked calls", batch.arm)

    def judge_conclude(self, judge: Judge) -> list[Evidence]:
        weights = [t.name for t in judge.case.inputs if t.role == "weight"]
        found = []
        for arms in judge.cast.sets if weights else ():
            for role, arm in arms.items():
                written = [name for name in weights if not same(arm.views[name], [0], judge.content.store[name], [0])]
                found.append(self._seen("conclude", written, "weights", role))
        return found

    def _seen(self, stage: str, written: list[str], what: str, arm: str) -> Evidence:
        observed = f"the variant wrote into its {what}: {', '.join(written)}" if written else f"{what} are unchanged"
        return self.found(stage, not written, observed, LIMIT, arm)


def same(view: torch.Tensor, slots: Sequence[int], store: torch.Tensor, rows: Sequence[int]) -> bool:
    """Whether these slots of a worker's ring hold these rows of the judge's content, bit by bit."""
    import torch

    from aisp_runner.verify import bits

    return all(torch.equal(bits(view[slot]), bits(store[row])) for slot, row in zip(slots, rows, strict=True))
