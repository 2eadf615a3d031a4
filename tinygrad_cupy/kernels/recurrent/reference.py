"""Recurrent layers on either kind of array: all steps forward, and all steps back.

The input's part of the gates, a product over all steps at once, is made before. Forward a step is
a product with the state and what makes a state of the gates. Backward the gates are computed again,
of all steps at once; a step is then a product and a few elementwise operations, and the weight's
gradient is one product of all steps.

Letters are explained in `kernels.recurrent`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ...backend import Array, array_module, blas, special_functions

Saved = Sequence[Any]
Found = tuple[Array | None, ...]


def rnn(
    gates: Array, h: Array, weight: Array, seen: Array | None, relu: bool, reverse: bool
) -> Array:
    """The states (T, N, H): tanh, or max(·, 0), of gates (T, N, H) + h @ weight (H, H) ᵀ."""
    xp = array_module(gates)
    y = xp.empty((gates.shape[0], *h.shape), gates.dtype)
    for t in _times(y.shape[0], reverse):
        z = gates[t] + blas.matmul(h, weight.T)
        new = xp.maximum(z, 0) if relu else xp.tanh(z)
        y[t] = new if seen is None else xp.where(seen[t], new, h)
        h = y[t]
    return y


def rnn_backward(grad: Array, saved: Saved, relu: bool, reverse: bool, needs_weight: bool) -> Found:
    """The gradients by gates, h and weight of that by the states y.

    Of ``saved``: what `rnn` took, and y.
    """
    _, h, weight, seen, y = saved
    xp = array_module(grad)
    slope = (y > 0).astype(y.dtype) if relu else 1 - y * y
    slope, stays = _where(seen, slope, 0), None if seen is None else ~seen
    dz = xp.empty_like(slope)
    dh = xp.zeros_like(h)
    for t in _times(y.shape[0], not reverse):
        dh = dh + grad[t]
        xp.multiply(dh, slope[t], out=dz[t])
        dh = _kept(blas.matmul(dz[t], weight), dh, stays, t)
    return dz, dh, by_weight(dz, y, h, reverse) if needs_weight else None


def lstm(
    gates: Array, h: Array, c: Array, weight: Array, seen: Array | None, reverse: bool
) -> tuple[Array, None]:
    """The states and the cells, (2, T, N, H), of gates (T, N, 4 H): i, f, g, o; weight (4 H, H).

    Nothing is kept beside them.
    """
    xp, sigmoid, size = array_module(gates), special_functions(gates).expit, h.shape[1]
    y = xp.empty((2, gates.shape[0], *h.shape), gates.dtype)
    for t in _times(y.shape[1], reverse):
        z = gates[t] + blas.matmul(h, weight.T)
        both = sigmoid(z[:, : 2 * size])  # i, f
        new_c = both[:, size:] * c + both[:, :size] * xp.tanh(z[:, 2 * size : 3 * size])
        new_h = sigmoid(z[:, 3 * size :]) * xp.tanh(new_c)
        y[0, t] = new_h if seen is None else xp.where(seen[t], new_h, h)
        y[1, t] = new_c if seen is None else xp.where(seen[t], new_c, c)
        h, c = y[0, t], y[1, t]
    return y, None


def lstm_backward(
    grad: Array, saved: Saved, kept: None, reverse: bool, needs_weight: bool
) -> Found:
    """The gradients by gates, h, c and weight of that, (2, T, N, H), by states and cells y.

    Of ``saved``: what `lstm` took, and y.
    """
    gates, h, c, weight, seen, y = saved
    xp, sigmoid = array_module(gates), special_functions(gates).expit
    steps, (rows, size) = gates.shape[0], h.shape
    h_before, c_before = _before(y[0], h, reverse), _before(y[1], c, reverse)
    z = _all_gates(gates, h_before, weight)  # (T, N, 4 H)
    both = sigmoid(z[..., : 2 * size])
    i, f = both[..., :size], both[..., size:]
    g, o = xp.tanh(z[..., 2 * size : 3 * size]), sigmoid(z[..., 3 * size :])
    of_c = xp.tanh(y[1])
    # What each gate's z is multiplied with: i, f, g by the cell's gradient, o by the state's.
    slopes = xp.empty((steps, rows, 3, size), y.dtype)
    xp.multiply(g, i * (1 - i), out=slopes[:, :, 0])
    xp.multiply(c_before, f * (1 - f), out=slopes[:, :, 1])
    xp.multiply(i, 1 - g * g, out=slopes[:, :, 2])
    o_slope, into_c, through = of_c * (o * (1 - o)), o * (1 - of_c * of_c), f
    stays = None
    if seen is not None:
        slopes, o_slope = _where(seen[:, :, None], slopes, 0), _where(seen, o_slope, 0)
        into_c, through, stays = _where(seen, into_c, 0), _where(seen, f, 1), ~seen
    dz = xp.empty((steps, rows, 4, size), y.dtype)
    dh, dc = xp.zeros_like(h), xp.zeros_like(c)
    for t in _times(steps, not reverse):
        dh = dh + grad[0, t]
        dc = dc + grad[1, t] + dh * into_c[t]
        xp.multiply(dc[:, None], slopes[t], out=dz[t, :, :3])
        xp.multiply(dh, o_slope[t], out=dz[t, :, 3])
        dh = _kept(blas.matmul(dz[t].reshape(rows, 4 * size), weight), dh, stays, t)
        dc = dc * through[t]
    dz = dz.reshape(steps, rows, 4 * size)
    return dz, dh, dc, by_weight(dz, y[0], h, reverse) if needs_weight else None


def gru(
    gates: Array,
    h: Array,
    weight: Array,
    bias: Array | None,
    seen: Array | None,
    reverse: bool,
) -> tuple[Array, None]:
    """The states (T, N, H) of gates (T, N, 3 H): r, z, n; weight (3 H, H), bias (3 H,).

    Nothing is kept beside them.
    """
    xp, sigmoid, size = array_module(gates), special_functions(gates).expit, h.shape[1]
    y = xp.empty((gates.shape[0], *h.shape), gates.dtype)
    for t in _times(y.shape[0], reverse):
        own = blas.matmul(h, weight.T)
        own = own if bias is None else own + bias
        both = sigmoid(gates[t, :, : 2 * size] + own[:, : 2 * size])  # r, z
        n = xp.tanh(gates[t, :, 2 * size :] + both[:, :size] * own[:, 2 * size :])
        new = n + both[:, size:] * (h - n)
        y[t] = new if seen is None else xp.where(seen[t], new, h)
        h = y[t]
    return y, None


def gru_backward(grad: Array, saved: Saved, kept: None, reverse: bool, needs_weight: bool) -> Found:
    """The gradients by gates, h, weight and bias of that by the states y.

    Of ``saved``: what `gru` took, and y.
    """
    gates, h, weight, bias, seen, y = saved
    xp, sigmoid = array_module(gates), special_functions(gates).expit
    steps, (rows, size) = gates.shape[0], h.shape
    before = _before(y, h, reverse)
    own = blas.matmul(before.reshape(-1, size), weight.T).reshape(steps, rows, -1)
    own = own if bias is None else own + bias
    both = sigmoid(gates[..., : 2 * size] + own[..., : 2 * size])
    r, z, own_n = both[..., :size], both[..., size:], own[..., 2 * size :]
    n = xp.tanh(gates[..., 2 * size :] + r * own_n)
    n_slope = (1 - z) * (1 - n * n)
    # What the state's gradient is multiplied with to give that by each part of the product.
    slopes = xp.empty((steps, rows, 3, size), y.dtype)
    xp.multiply(n_slope * own_n, r * (1 - r), out=slopes[:, :, 0])
    xp.multiply(before - n, z * (1 - z), out=slopes[:, :, 1])
    xp.multiply(n_slope, r, out=slopes[:, :, 2])
    through = z
    if seen is not None:
        slopes, n_slope = _where(seen[:, :, None], slopes, 0), _where(seen, n_slope, 0)
        through = _where(seen, z, 1)
    d_own, dhs = xp.empty_like(slopes), xp.empty_like(y)
    dh = xp.zeros_like(h)
    for t in _times(steps, not reverse):
        xp.add(dh, grad[t], out=dhs[t])
        xp.multiply(dhs[t][:, None], slopes[t], out=d_own[t])
        dh = dhs[t] * through[t] + blas.matmul(d_own[t].reshape(rows, 3 * size), weight)
    d_own = d_own.reshape(steps, rows, 3 * size)
    dz = d_own.copy()
    xp.multiply(dhs, n_slope, out=dz[..., 2 * size :])
    by_bias = None if bias is None else d_own.sum((0, 1))
    return dz, dh, by_weight(d_own, y, h, reverse) if needs_weight else None, by_bias


def _times(steps: int, reverse: bool) -> Iterator[int]:
    return reversed(range(steps)) if reverse else iter(range(steps))


def _before(y: Array, h: Array, reverse: bool) -> Array:
    """The state that each step began with, (T, N, H)."""
    xp, first = array_module(y), h[None]
    return xp.concatenate([y[1:], first] if reverse else [first, y[:-1]])


def _all_gates(gates: Array, before: Array, weight: Array) -> Array:
    rows = blas.matmul(before.reshape(-1, before.shape[2]), weight.T)  # (T · N, G)
    return gates + rows.reshape(gates.shape)


def _where(seen: Array | None, slope: Array, otherwise: int) -> Array:
    """The slope where a row has a step: what was computed elsewhere may be NaN."""
    if seen is None:
        return slope
    return array_module(slope).where(seen, slope, slope.dtype.type(otherwise))


def _kept(dh: Array, stayed: Array, stays: Any, t: int) -> Array:
    return dh if stays is None else dh + stayed * stays[t]


def by_weight(dz: Array, y: Array, h: Array, reverse: bool) -> Array:
    """The weight's gradient (G, H): of all steps but the first in one product."""
    first, later = (dz[-1], dz[:-1]) if reverse else (dz[0], dz[1:])
    total = blas.matmul(first.T, h)
    if len(later):
        before = (y[1:] if reverse else y[:-1]).reshape(-1, h.shape[1])
        total += blas.matmul(later.reshape(-1, dz.shape[2]).T, before)
    return total
