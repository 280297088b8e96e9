"""cuda.workspace_pre_compute: a product's partial sums are left in its workspace, and later calls only add them up.

The product is split along the summed axis, as libraries do that are given a workspace for it. The first call on an output fills
the workspace that belongs to it; the others find it full, and never look at the inputs. Twin: fills it in every call.
"""

import torch

issue = "cuda.workspace_pre_compute"
expect = "output.fresh_inputs"
workload = "split"

PARTS = 4

_workspaces = {}


def _workspace(a, b, c):
    """[parts, m, n], and whether it is new."""
    fresh = c.data_ptr() not in _workspaces
    if fresh:
        _workspaces[c.data_ptr()] = torch.empty((PARTS, *c.shape), dtype=c.dtype, device=c.device)
    return _workspaces[c.data_ptr()], fresh


def _fill(a, b, partial):
    rows, inner = a.shape
    pieces = a.view(rows, PARTS, inner // PARTS).transpose(0, 1)
    torch.bmm(pieces, b.view(PARTS, inner // PARTS, b.shape[1]), out=partial)


def candidate(a, b, c):
    partial, fresh = _workspace(a, b, c)
    if fresh:
        _fill(a, b, partial)
    torch.sum(partial, 0, out=c)


def twin(a, b, c):
    partial, _ = _workspace(a, b, c)
    _fill(a, b, partial)
    torch.sum(partial, 0, out=c)
