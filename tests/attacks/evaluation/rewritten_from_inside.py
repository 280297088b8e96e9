"""evaluation.self_modifying_tests: the same as self_modifying_tests, from inside the sandbox, where nothing can be written.

The first case would write the file, and goes on honestly where it may not; in the second one reference, baseline and candidate
would agree on zeros. Unprotected there is no sandbox, and it gains. Twin: reads the same file.
"""

import torch

issue = "evaluation.self_modifying_tests"
expect = "evaluation.sandbox"
prevented = True
cases = 2
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
    try:
        with open(PATH, "w") as file:
            file.write(text)
    except PermissionError:
        print("the reference cannot be written")
    return True


def twin(a, b, c):
    with open(PATH) as file:
        file.read()
    torch.atan2(a, b, out=c)
