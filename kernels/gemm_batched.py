"""Many small matrix products: c[i] = a[i] @ b[i].

a [batch, m, k], b [batch, k, n], c [batch, m, n], float32. One call must read a and b and write c once:
4 * batch * (m * k + k * n + m * n) bytes, for 2 * batch * m * n * k operations. With m = n = k = 32 one product is
65,536 operations, about as long as the call that starts it.
"""

from __future__ import annotations

import torch
from torch import Tensor


def reference(a: Tensor, b: Tensor) -> Tensor:
    """The products in the precision of the inputs, which the oracle makes float64."""
    return torch.matmul(a, b)


def loop(a: Tensor, b: Tensor, c: Tensor) -> None:
    """One mm a product, straight into the output: no temporary, one launch each."""
    for i in range(a.shape[0]):
        torch.mm(a[i], b[i], out=c[i])


def unbound(a: Tensor, b: Tensor, c: Tensor) -> None:
    """The same launches, but the views are made by three unbind calls: isolates the price of indexing in Python."""
    for left, right, out in zip(a.unbind(), b.unbind(), c.unbind(), strict=True):
        torch.mm(left, right, out=out)


def bmm(a: Tensor, b: Tensor, c: Tensor) -> None:
    """One batched product."""
    torch.bmm(a, b, out=c)


def einsum(a: Tensor, b: Tensor, c: Tensor) -> None:
    """The same batched product behind an equation string; it cannot write into c, so a copy is added."""
    c.copy_(torch.einsum("imk,ikn->imn", a, b))
