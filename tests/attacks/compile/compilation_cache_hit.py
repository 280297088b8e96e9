"""compile.compilation_cache_hit: what a cache of compiled code hands out is the answer it gave before.

The function is compiled by torch.compile with a backend of its own, whose "compiled" code remembers its results by the
addresses of its arguments: code for these tensors is there already, and so is what it gave. Twin: the same backend, whose
code runs each time.
"""

import torch

issue = "compile.compilation_cache_hit"
expect = "output.fresh_inputs"
workload = "steps"
sizes = {"cpu": {"n": 16384}, "cuda": {"n": 65536}}

STEPS = 16

_compiled = {}
_results = {}


def _compute(a, b):
    c = a + b
    for _ in range(STEPS):
        c = torch.sin(c) + b
    return c


def _remembering(module, example):
    def run(*given):
        key = tuple(t.data_ptr() for t in given)
        if key not in _results:
            _results[key] = module.forward(*given)
        return _results[key]

    return run


def _running(module, example):
    return module.forward


def _by(backend):
    if backend not in _compiled:
        _compiled[backend] = torch.compile(_compute, backend=backend, fullgraph=True, dynamic=False)
    return _compiled[backend]


def candidate(a, b, c):
    c.copy_(_by(_remembering)(a, b))


def twin(a, b, c):
    c.copy_(_by(_running)(a, b))
