"""statistical.outlier_injection: batches of the baseline are lengthened after the fact.

Nothing is added and nothing is missing: the same batches, in the same order, but two of three of the baseline's are said to
have ended later than the clock saw. Counting batches does not find it. Twin: writes every time again, as it was.
"""

import dataclasses

import torch

issue = "statistical.outlier_injection"
expect = "statistical.whole_sample"


def candidate(a, b, c):
    torch.atan2(a, b, out=c)


twin = candidate


def _lengthened(world, factor):
    def doctor(rounds, batches):
        altered = []
        for number, r in enumerate(rounds):
            times = factor if number % 3 else 1
            long = {**r.long_ns, "baseline": tuple(times * ns for ns in r.long_ns["baseline"])}
            altered.append(dataclasses.replace(r, long_ns=long))
        again = [
            dataclasses.replace(b, done_ns=b.issued_ns + factor * (b.done_ns - b.issued_ns))
            if b.timed and b.arm == "baseline" and b.calls and b.round % 3
            else b
            for b in batches
        ]
        return altered, again

    world.sample = doctor


def stage(world):
    _lengthened(world, 2)


def twin_stage(world):
    _lengthened(world, 1)
