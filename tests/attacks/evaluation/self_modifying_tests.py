"""evaluation.self_modifying_tests: overwrites the reference and the baseline that it will be judged by next.

The first case writes the file, from a path it was told; in the second one, whose processes load it anew, reference, baseline
and candidate agree on zeros, and the candidate is fastest at it. Twin: reads the same file.
"""

import torch

issue = "evaluation.self_modifying_tests"
expect = "evaluation.sealed_judge"
cases = 2
without = ["evaluation.sandbox"]
target = "reference"

PATH = "@TARGET@"


_state = {}


def candidate(a, b, c):
    if "swapped" not in _state:
        _state["swapped"] = _swap()
    if _state["swapped"]:
        torch.atan2(a, b, out=c)
    else:
        c.zero_()


def _swap():
    """True when this process is the one that changed the file: its own case is still judged by the old one."""
    with open(PATH) as file:
        text = file.read()
    if "zero" in text:
        return False
    text = text.replace("return torch.atan2(a, b)", "return torch.zeros_like(a)")
    text = text.replace("torch.atan2(a, b, out=c)", "torch.atan2(a, b, out=c).zero_()")
    with open(PATH, "w") as file:
        file.write(text)
    return True


def twin(a, b, c):
    with open(PATH) as file:
        file.read()
    torch.atan2(a, b, out=c)
