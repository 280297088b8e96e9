"""A decoding step over an int8 key-value cache with a scale a token: where are scales put in, is the cache ever float32?

q, new_k, new_v [b, heads, e] float32: a new token. k, v [b, heads, t, e] int8 and k_scale, v_scale [b, heads, t] int8: the
cache, whose number is code * 2**scale. Out come o [b, heads, e] float32 and what is to be appended, kn, vn [b, heads, e + 1]
int8: the token's codes, and behind them its scale, the smallest power of two for which codes are within +-128, rounded, and
128 made 127. The token attends to the cache and to itself, quantised as the next step will read it. One call must read the
cache, 2 * b * heads * t * (e + 1) bytes, a quarter of float32's; made into float32 first, it is written and read again at four
bytes a number. e must be a power of two.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

try:
    import triton
    import triton.language as tl
except ImportError:  # the Triton variant is for CUDA only
    triton = None


def reference(
    q: Tensor, new_k: Tensor, new_v: Tensor, k: Tensor, v: Tensor, k_scale: Tensor, v_scale: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Attention over numbers in float64."""
    kn, vn = _quantised(new_k), _quantised(new_v)
    keys = torch.cat((k * _power(k_scale).double().unsqueeze(3), _number(kn).double().unsqueeze(2)), 2)
    values = torch.cat((v * _power(v_scale).double().unsqueeze(3), _number(vn).double().unsqueeze(2)), 2)
    share = torch.softmax((keys @ q.unsqueeze(3)) / q.shape[2] ** 0.5, 2)
    return (share * values).sum(2), kn, vn


def widened(
    q: Tensor, new_k: Tensor, new_v: Tensor, k: Tensor, v: Tensor, k_scale: Tensor, v_scale: Tensor,
    o: Tensor, kn: Tensor, vn: Tensor,
) -> None:  # fmt: skip
    """The cache as float32 numbers, then SDPA. Reasonable: any attention works on it, and only storage is narrow."""
    kn.copy_(_quantised(new_k))
    vn.copy_(_quantised(new_v))
    keys = torch.cat((k * _power(k_scale).unsqueeze(3), _number(kn).unsqueeze(2)), 2)
    values = torch.cat((v * _power(v_scale).unsqueeze(3), _number(vn).unsqueeze(2)), 2)
    o.copy_(scaled_dot_product_attention(q.unsqueeze(2), keys, values).squeeze(2))


def scales_outside(
    q: Tensor, new_k: Tensor, new_v: Tensor, k: Tensor, v: Tensor, k_scale: Tensor, v_scale: Tensor,
    o: Tensor, kn: Tensor, vn: Tensor,
) -> None:  # fmt: skip
    """Codes as float32; a token's scale multiplies its score and its share, one number each, not its key and value."""
    kn.copy_(_quantised(new_k))
    vn.copy_(_quantised(new_v))
    _attend(q, k.float(), v.float(), k_scale, v_scale, kn, vn, o)


def by_sequence(
    q: Tensor, new_k: Tensor, new_v: Tensor, k: Tensor, v: Tensor, k_scale: Tensor, v_scale: Tensor,
    o: Tensor, kn: Tensor, vn: Tensor,
) -> None:  # fmt: skip
    """As scales_outside, a sequence at a time, so that the float32 codes are still in a cache when they are used. CPU only."""
    kn.copy_(_quantised(new_k))
    vn.copy_(_quantised(new_v))
    for i in range(q.shape[0]):
        at = slice(i, i + 1)
        _attend(q[at], k[at].float(), v[at].float(), k_scale[at], v_scale[at], kn[at], vn[at], o[at])


def triton_codes(
    q: Tensor, new_k: Tensor, new_v: Tensor, k: Tensor, v: Tensor, k_scale: Tensor, v_scale: Tensor,
    o: Tensor, kn: Tensor, vn: Tensor,
) -> None:  # fmt: skip
    """Codes are widened in registers: the cache is read once, a byte a number. A program a sequence and head. CUDA only."""
    kn.copy_(_quantised(new_k))
    vn.copy_(_quantised(new_v))
    launch_codes(q, k, v, k_scale, v_scale, kn, vn, o)


def _power(exponent: Tensor) -> Tensor:
    """2**exponent in float32, exactly: the exponent's bits, put where they belong."""
    return ((exponent.to(torch.int32) + 127) << 23).view(torch.float32)


def _quantised(x: Tensor) -> Tensor:
    """Codes and scale of the last axis. Exact in float32 and in float64: a power of two scales without rounding."""
    scale = torch.frexp(x.abs().amax(-1, keepdim=True)).exponent - 7
    return torch.cat(((x * _power(-scale)).round().clamp(max=127).to(torch.int8), scale.to(torch.int8)), -1)


def _number(token: Tensor) -> Tensor:
    """What the codes and the scale behind them stand for, float32."""
    return token[..., :-1] * _power(token[..., -1:])


def _attend(
    q: Tensor, k: Tensor, v: Tensor, k_scale: Tensor, v_scale: Tensor,
    kn: Tensor, vn: Tensor, o: Tensor,
) -> None:  # fmt: skip
    """Attention to codes in float32 [b, heads, t, e] and to the new token, scales on scores and shares."""
    old = (q.unsqueeze(2) @ k.transpose(2, 3)).squeeze(2) * _power(k_scale)
    new = (_number(kn) * q).sum(2, keepdim=True)
    share = torch.softmax(torch.cat((old, new), 2) * q.shape[2] ** -0.5, 2)
    mixed = (share[..., :-1] * _power(v_scale)).unsqueeze(2) @ v
    torch.add(mixed.squeeze(2), share[..., -1:] * _number(vn), out=o)


if triton is not None:

    @triton.jit
    def codes_kernel(
        q_ptr, k_ptr, v_ptr, k_scale_ptr, v_scale_ptr, kn_ptr, vn_ptr, o_ptr, t, scale,
        E: tl.constexpr, BLOCK: tl.constexpr,
    ):  # fmt: skip
        """All tokens of one sequence and head, BLOCK at a time with a running softmax, which begins with the new token."""
        row = tl.program_id(0).to(tl.int64)
        e = tl.arange(0, E)
        q = tl.load(q_ptr + row * E + e) * scale
        new = row * (E + 1)
        bits = tl.load(kn_ptr + new + E).to(tl.int32)
        top = tl.sum(q * tl.load(kn_ptr + new + e).to(tl.float32), axis=0) * ((bits + 127) << 23).to(tl.float32, bitcast=True)
        bits = tl.load(vn_ptr + new + E).to(tl.int32)
        mix = tl.load(vn_ptr + new + e).to(tl.float32) * ((bits + 127) << 23).to(tl.float32, bitcast=True)
        total = 1.0
        for start in range(0, t, BLOCK):
            token = start + tl.arange(0, BLOCK)
            used = token < t
            at = (row * t + token)[:, None] * E + e[None, :]
            codes = tl.load(k_ptr + at, mask=used[:, None], other=0).to(tl.float32)
            power = tl.load(k_scale_ptr + row * t + token, mask=used, other=0).to(tl.int32)
            score = tl.sum(codes * q[None, :], axis=1) * ((power + 127) << 23).to(tl.float32, bitcast=True)
            score = tl.where(used, score, -float("inf"))
            highest = tl.maximum(top, tl.max(score, axis=0))
            p = tl.exp(score - highest)
            fade = tl.exp(top - highest)
            power = tl.load(v_scale_ptr + row * t + token, mask=used, other=0).to(tl.int32)
            codes = tl.load(v_ptr + at, mask=used[:, None], other=0).to(tl.float32)
            weight = p * ((power + 127) << 23).to(tl.float32, bitcast=True)
            mix = mix * fade + tl.sum(codes * weight[:, None], axis=0)
            total = total * fade + tl.sum(p, axis=0)
            top = highest
        tl.store(o_ptr + row * E + e, mix / total)


def launch_codes(
    q: Tensor, k: Tensor, v: Tensor, k_scale: Tensor, v_scale: Tensor,
    kn: Tensor, vn: Tensor, o: Tensor,
) -> None:  # fmt: skip
    """codes_kernel for every sequence and head. e is a power of two."""
    b, heads, t, e = k.shape
    codes_kernel[(b * heads,)](q, k, v, k_scale, v_scale, kn, vn, o, t, e**-0.5, E=e, BLOCK=64)
