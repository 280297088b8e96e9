"""statistical.cherry_picking: the slow rounds disappear from the sample.

The candidate is slow three quarters of the time; between measuring and concluding, only the rounds in which it happened to be
fast are kept. Twin: the same candidate with all of its rounds, which is slower and says so.
"""

import time

import torch

issue = "statistical.cherry_picking"
expect = "statistical.whole_sample"
gains = False


def candidate(a, b, c):
    slow = hash(time.monotonic_ns() // 50_000_000) % 4 != 0
    for _ in range(4 if slow else 1):
        torch.atan2(a, b, out=c)


twin = candidate


def stage(world):
    """What is left of the measured rounds and batches once the slow ones are dropped: the faster third of the candidate's."""

    def faster(rounds, batches):
        order = sorted(range(len(rounds)), key=lambda i: sum(rounds[i].long_ns["candidate"]))
        kept = sorted(order[: max(2, len(rounds) // 3)])
        return [rounds[i] for i in kept], [b for b in batches if not b.timed or b.round in kept]

    world.sample = faster
