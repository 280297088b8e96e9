"""statistical.percentile_selection: the speed-up in the record is that of the most favourable pair of batches.

The slowest of the baseline's long batches over the fastest of the candidate's takes the centre's place, and interval and
outcome move with it. All samples are there, so that a count finds nothing. Twin: the record as it was written.
"""

import torch

issue = "statistical.percentile_selection"
expect = "verify-record"
gains = False


def candidate(a, b, c):
    torch.atan2(a, b, out=c)


twin = candidate


def stage(world):
    def best(record):
        said = record["speedup"]
        if said is None:
            return
        times = {"baseline": [], "candidate": []}
        for sample in record["samples"]:
            if sample["purpose"] == "round" and sample["calls"] == record["clock"]["calls"]["baseline"][1]:
                times[sample["arm"]].append(sample["done_ns"] - sample["issued_ns"])
        ratio = max(times["baseline"]) / min(times["candidate"])
        moved = ratio / said["value"]
        for key in ("value", "low", "high"):
            said[key] *= moved
        record["outcome"] = "FASTER" if said["low"] > 1 + said["margin"] else record["outcome"]

    world.made = best


def twin_stage(world):
    world.made = lambda record: None
