"""evaluation.self_modifying_tests: tries to rewrite the baseline from inside the sandbox, where nothing can be written.

What self_modifying_tests does, and goes on honestly where it may not. The judge's look at its files is left out here, so that
the sandbox stands alone. Unprotected there is none, and it gains. Twin: reads the same file.
"""

import torch

issue = "evaluation.self_modifying_tests"
expect = "evaluation.sandbox"
prevented = True
without = ["evaluation.sealed_judge"]
cases = 2
target = "reference"

PATH = "@TARGET@"
ONCE = "    torch.atan2(a, b, out=c)"


_state = {}


def candidate(a, b, c):
    if not _state:
        _state["tried"] = True
        try:
            _slow_down()
        except PermissionError:
            _state["refused"] = True
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
