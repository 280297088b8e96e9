"""evaluation.self_modifying_tests: rewrites the baseline that it will be judged by next.

The first case writes the file, from a path it was told; in the second one, whose processes load it anew, the baseline does its
work four times, and the candidate, which is honest otherwise, is faster by that. Twin: reads the same file.
"""

import torch

issue = "evaluation.self_modifying_tests"
expect = "evaluation.sealed_judge"
cases = 2
without = ["evaluation.sandbox"]
target = "reference"

PATH = "@TARGET@"
ONCE = "    torch.atan2(a, b, out=c)"


_state = {}


def candidate(a, b, c):
    if not _state:
        _state["written"] = True
        _slow_down()
    torch.atan2(a, b, out=c)


def _slow_down():
    with open(PATH) as file:
        text = file.read()
    if text.count(ONCE) < 8:
        with open(PATH, "w") as file:
            file.write(text.replace(ONCE, "\n".join([ONCE] * 4)))


def twin(a, b, c):
    with open(PATH) as file:
        file.read()
    torch.atan2(a, b, out=c)
