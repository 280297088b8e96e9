"""statistical.outlier_injection: slow rounds of the baseline are invented and added to its sample.

Between measuring and concluding, each round is repeated with a baseline that took three times as long. A harness that
concludes from whatever list it is given finds a candidate that is twice as fast as it is. Twin: the sample as it was
measured.
"""

import dataclasses

import torch

issue = "statistical.outlier_injection"
expect = "statistical.whole_sample"

FACTOR = 3


def candidate(a, b, c):
    torch.atan2(a, b, out=c)


twin = candidate


def stage(world):
    """For each round an invented one, and for each of its batches an invented one of a number that does not exist."""

    def slower(batch, number):
        if batch.arm == "baseline" and batch.calls:
            took = batch.done_ns - batch.issued_ns
            batch = dataclasses.replace(batch, done_ns=batch.issued_ns + FACTOR * took, reported_ns=FACTOR * batch.reported_ns)
        return dataclasses.replace(batch, sequence=100_000 + batch.sequence, round=number + batch.round)

    def injected(rounds, batches):
        invented = []
        for r in rounds:
            long = {**r.long_ns, "baseline": tuple(FACTOR * ns for ns in r.long_ns["baseline"])}
            short = {**r.short_ns, "baseline": FACTOR * r.short_ns["baseline"]}
            invented.append(dataclasses.replace(r, long_ns=long, short_ns=short))
        copies = [slower(b, len(rounds)) for b in batches if b.timed]
        return invented * 3 + rounds, [*batches, *copies]

    world.sample = injected


def twin_stage(world):
    world.sample = lambda rounds, batches: (list(rounds), list(batches))
