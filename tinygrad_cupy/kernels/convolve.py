"""Convolution of sequences."""

from __future__ import annotations

import numpy as np

from ..backend import Array, array_module, kernel, strides_of
from ..backend.dtypes import common_dtype, is_narrow
from .common import sums

MOST = 1 << 22  # products that lie in memory at a time


def _by_windows(a: Array, v: Array) -> Array:
    """Each element of the result is a window of the longer, times the shorter turned round."""
    if a.shape[-1] < v.shape[-1]:
        a, v = v, a
    xp, (n, m) = array_module(a), (a.shape[-1], v.shape[-1])
    lead = np.broadcast_shapes(a.shape[:-1], v.shape[:-1])
    padded = xp.zeros((*a.shape[:-1], n + 2 * (m - 1)), a.dtype)
    padded[..., m - 1 : m - 1 + n] = a
    out = xp.zeros((*lead, n + m - 1), a.dtype)
    taps = max(MOST // max(out.size, 1), 1)
    for start in range(0, m, taps):
        count = min(taps, m - start)
        shape = (*padded.shape[:-1], n + m - 1, count)
        strides = (*strides_of(padded)[:-1], padded.itemsize, padded.itemsize)
        part = padded[..., start:]
        windows = xp.lib.stride_tricks.as_strided(part, shape, strides)
        turned = v[..., ::-1][..., None, start : start + count]
        products = windows * turned
        out += sums.total(products, (products.ndim - 1,)).astype(out.dtype, copy=False)
    return out


def _cpu(a: Array, v: Array) -> Array:
    dtype = common_dtype(a.dtype, v.dtype)
    wide = np.dtype(np.float32) if is_narrow(dtype) else dtype
    a, v = a.astype(wide, copy=False), v.astype(wide, copy=False)
    found = np.convolve(a, v) if a.ndim == v.ndim == 1 else _by_windows(a, v)
    return found.astype(dtype, copy=False)


def _cuda(a: Array, v: Array) -> Array:
    dtype = common_dtype(a.dtype, v.dtype)
    wide = np.dtype(np.float32) if is_narrow(dtype) else dtype
    found = _by_windows(a.astype(wide, copy=False), v.astype(wide, copy=False))
    return found.astype(dtype, copy=False)


@kernel(cpu=_cpu, cuda=_cuda)
def convolve(a: Array, v: Array) -> Array:
    """Σ a[…, k] v[…, n - k] of sequences (…, A) and (…, V): (…, A + V - 1)."""
