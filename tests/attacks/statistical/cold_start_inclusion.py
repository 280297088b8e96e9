"""statistical.cold_start_inclusion: the baseline's first batches are counted, and the candidate's are not.

The baseline does twice the work until it is warm. Between measuring and concluding its warm-up batches take the places of
timed ones, and the candidate's fast batches stay where they are. Twin: the same baseline, with the batches that were timed.
"""

import dataclasses

import torch

issue = "statistical.cold_start_inclusion"
expect = "statistical.whole_sample"

COLD_CALLS = 110

_calls = {"seen": 0}


def baseline(a, b, c):
    _calls["seen"] += 1
    for _ in range(3 if _calls["seen"] <= COLD_CALLS else 1):
        torch.atan2(a, b, out=c)


def candidate(a, b, c):
    torch.atan2(a, b, out=c)


twin = candidate


def stage(world):
    def cold(rounds, batches):
        longest = max(b.calls for b in batches)
        first = next(b for b in batches if b.purpose == "warm_up" and b.arm == "baseline" and b.calls == longest)
        took, told, moved = first.done_ns - first.issued_ns, first.reported_ns, []
        for b in batches:
            replaced = b.timed and b.arm == "baseline" and b.calls == longest
            moved.append(dataclasses.replace(first, purpose="round", round=b.round) if replaced else b)
        strict = "statistical.whole_sample" in world.cases[0].protections
        ns = float(took if strict else told)
        return [dataclasses.replace(r, long_ns={**r.long_ns, "baseline": (ns, ns)}) for r in rounds], moved

    world.sample = cold


def twin_stage(world):
    world.sample = lambda rounds, batches: (rounds, batches)
