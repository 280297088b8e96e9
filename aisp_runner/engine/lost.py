"""The record of a case whose task came back without one: ERROR, with a reason that begins with `engine.`.

It says that nothing is known of the case. A run that goes on runs such a case again, and its new record says so (resume.py).
"""

from __future__ import annotations

from typing import Any

from aisp_runner import keys
from aisp_runner.case import Case
from aisp_runner.errors import EngineFault
from aisp_runner.execute import Bench
from aisp_runner.keys import Key
from aisp_runner.resume import Slot
from aisp_runner.trial import Trial


class AwayBench(Bench):
    """A run whose cases are judged on other machines: its keys name no device."""

    def key_of(self, case: Case) -> Key:
        """What must be the same for a case's record to stand, wherever it was measured."""
        known = self._cases.get(id(case)) or case.sha256()
        return Key(known, keys.sources_digest(case), self._keys.runner, None, None)


def lost_record(slot: Slot, bench: AwayBench, kind: str, message: str) -> dict[str, Any]:
    """kind: lost, time_limit, failed or refused."""
    trial = Trial(slot.case)
    trial.fault = EngineFault(kind, f"{message} Nothing is known of this case. To run it: aisp-run resume={bench.run_dir}")
    made = trial.record(bench)
    if slot.supersedes:
        made["supersedes"] = slot.supersedes
    return made
