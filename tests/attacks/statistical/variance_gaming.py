"""statistical.variance_gaming: the interval in the record is a tenth as wide as the samples say.

Speed-up and samples stay as they are; the interval's ends, the minimum detectable effect and the outcome that follows from
them are written over once the record is there. Whoever reads it finds a certainty that was not measured. Twin: the record as
it was written.
"""

import torch

issue = "statistical.variance_gaming"
expect = "verify-record"
gains = False


def candidate(a, b, c):
    torch.atan2(a, b, out=c)


twin = candidate


def stage(world):
    def narrow(record):
        said = record["speedup"]
        if said is not None:
            for end in ("low", "high"):
                said[end] = said["value"] + (said[end] - said["value"]) / 10
            said["mde"] = said["mde"] / 10 if said["mde"] else said["mde"]

    world.made = narrow


def twin_stage(world):
    world.made = lambda record: None
