"""compile.trace_reuse: a trace has its content baked in, and is used for other content.

torch.jit.trace does not see what NumPy does: the answer that NumPy gave while the call was traced, in warm-up, is a constant
of the trace. One trace is kept for each address. Right as long as the content at an address never changes. Twin: traces the
operation itself, once.
"""

import torch

issue = "compile.trace_reuse"
expect = "output.fresh_inputs"
devices = "cpu"
because = "NumPy reads host memory only"

_traces = {}


def _through_numpy(a, b):
    import numpy

    return torch.from_numpy(numpy.arctan2(a.numpy(), b.numpy()))


def candidate(a, b, c):
    key = a.data_ptr()
    if key not in _traces:
        _traces[key] = torch.jit.trace(_through_numpy, (a, b), check_trace=False)
    c.copy_(_traces[key](a, b))


def twin(a, b, c):
    if "atan2" not in _traces:
        _traces["atan2"] = torch.jit.trace(torch.atan2, (a, b), check_trace=False)
    c.copy_(_traces["atan2"](a, b))
