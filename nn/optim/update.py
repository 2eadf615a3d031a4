"""The updates of one parameter, in place: plain array operations, and what they stand for in C.

On the CPU float32 goes through `native`, where the machine has a C compiler. Otherwise an update
runs over blocks that stay in the cache: a dozen passes over a block of 256 kB cost little more than
one pass over memory. Two threads gain nothing there: the passes are so short that handing Python's
lock to and fro eats it up.

On a GPU the optimizers step all parameters in one launch (`cuda`); what is here is for subclasses
with an update or coefficients of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from tinygrad_cupy.backend import Array, array_module, is_cuda, on_device_of
from tinygrad_cupy.backend.cpu_threads import spans, workspace
from tinygrad_cupy.backend.dtypes import as_real_numbers

from . import native
from .checks import check_sizes

BLOCK = 1 << 16


def sgd_update(grad: Array, param: Array, *, lr: float, weight_decay: float) -> None:
    """param -= lr * (grad + weight_decay * param)."""

    def plain(grad: Array, param: Array) -> None:
        xp, scratch = array_module(param), _scratch("optimizer step", param)
        xp.multiply(_decayed(grad, weight_decay, param), lr, out=scratch)
        xp.subtract(param, scratch, out=param)

    _write(native.Sgd(lr=lr, weight_decay=weight_decay), plain, grad, param)


def momentum_update(
    grad: Array,
    param: Array,
    buffer: Array,
    *,
    lr: float,
    gain: float,
    momentum: float,
    weight_decay: float,
    nesterov: bool,
) -> None:
    """g = grad + weight_decay * param; buffer = momentum * buffer + gain * g.

    param -= lr * buffer, or with ``nesterov`` param -= lr * (g + momentum * buffer).
    """

    def plain(grad: Array, param: Array, buffer: Array) -> None:
        xp, scratch = array_module(param), _scratch("optimizer step", param)
        grad = _decayed(grad, weight_decay, param)
        xp.multiply(buffer, momentum, out=buffer)
        xp.multiply(grad, gain, out=scratch)
        xp.add(buffer, scratch, out=buffer)
        if nesterov:
            xp.multiply(buffer, momentum, out=scratch)
            xp.add(scratch, grad, out=scratch)
            xp.multiply(scratch, lr, out=scratch)
        else:
            xp.multiply(buffer, lr, out=scratch)
        xp.subtract(param, scratch, out=param)

    numbers = native.Momentum(
        lr=lr, gain=gain, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov
    )
    _write(numbers, plain, grad, param, buffer)


def adam_update(
    grad: Array,
    param: Array,
    first: Array,
    second: Array,
    *,
    step_size: float,
    epsilon: float,
    keep: float,
    beta1: float,
    beta2: float,
    weight_decay: float,
) -> None:
    """g = grad + weight_decay * param; first and second move towards g and g * g by 1 - beta.

    param = keep * param - step_size * first / (sqrt(second) + epsilon).
    """

    def plain(grad: Array, param: Array, first: Array, second: Array) -> None:
        xp, scratch = array_module(param), _scratch("optimizer step", param)
        grad = _decayed(grad, weight_decay, param)
        if beta1 < 0.5:  # start from whichever weighs more, or the other's rounding stays behind
            xp.subtract(first, grad, out=scratch)
            xp.multiply(scratch, beta1, out=scratch)
            xp.add(grad, scratch, out=first)
        else:
            xp.subtract(grad, first, out=scratch)
            xp.multiply(scratch, 1 - beta1, out=scratch)
            xp.add(first, scratch, out=first)
        xp.multiply(grad, grad, out=scratch)
        xp.multiply(scratch, 1 - beta2, out=scratch)
        xp.multiply(second, beta2, out=second)
        xp.add(second, scratch, out=second)
        xp.sqrt(second, out=scratch)
        xp.add(scratch, epsilon, out=scratch)
        xp.divide(first, scratch, out=scratch)
        xp.multiply(scratch, step_size, out=scratch)
        if keep != 1:
            xp.multiply(param, keep, out=param)
        xp.subtract(param, scratch, out=param)

    numbers = native.Adam(
        step_size=step_size, epsilon=epsilon, keep=keep, weight_decay=weight_decay,
        beta1=beta1, rest1=1 - beta1, beta2=beta2, rest2=1 - beta2,
    )  # fmt: skip
    _write(numbers, plain, grad, param, first, second)


def _write(
    numbers: native.Numbers, plain: Callable[..., None], grad: Array, *written: Array
) -> None:
    """Update ``written`` by the C function of ``numbers`` or, where that does not suit, ``plain``.

    16-bit floats are computed in float32 and rounded when they are stored, as in update.cu.
    """

    def in_c(grad: Array, *written: Array) -> bool:
        if not native.suits(*written):
            return False
        native.update(numbers, grad, *written)
        return True

    write(type(numbers).__name__.lower(), in_c, plain, grad, *written)


def write(
    name: str,
    in_c: Callable[..., bool],
    plain: Callable[..., None],
    grad: Array,
    *written: Array,
) -> None:
    """Update ``written`` along ``grad`` by ``in_c``, or where that says no by ``plain``.

    Both write in place and are given the gradient first; ``plain`` gets blocks that stay in the
    cache, and 16-bit floats in float32.
    """
    grad = grad if is_cuda(grad) else np.asarray(grad)
    check_sizes(name, grad, written)
    if grad.dtype.kind == "c":  # each part by itself, as PyTorch does: moments are of real numbers
        if all(array.flags.c_contiguous for array in (grad, *written)):
            parts = [as_real_numbers(array) for array in (grad, *written)]
            write(name, in_c, plain, *parts)
            return
        for part in ("real", "imag"):
            parts = [getattr(array, part) for array in (grad, *written)]
            write(name, in_c, plain, *parts)
        return
    if in_c(grad, *written):
        return
    with on_device_of(grad):
        for piece in _pieces(grad, *written):
            if piece[1].dtype.itemsize > 2:
                plain(*piece)
                continue
            wide = [array.astype(np.float32) for array in piece]
            plain(*wide)
            for array, result in zip(piece[1:], wide[1:], strict=True):
                array[...] = result


def _pieces(grad: Array, *written: Array) -> Iterable[Sequence[Array]]:
    """Matching flat blocks of arrays on the CPU; the arrays themselves where that gains nothing."""
    if is_cuda(grad) or not all(array.flags.c_contiguous for array in written):
        return [(grad, *written)]
    flat = [array.reshape(-1) for array in (np.ascontiguousarray(grad), *written)]
    return ([array[span] for array in flat] for span in spans(flat[0].size, BLOCK))


def _scratch(name: str, like: Array) -> Array:
    """Memory for a step's intermediate results; on the CPU what the last one left."""
    if is_cuda(like):
        return array_module(like).empty_like(like)
    return workspace(name, like.shape, like.dtype)


def _decayed(grad: Array, weight_decay: float, param: Array) -> Array:
    """grad + weight_decay * param in scratch memory."""
    if not weight_decay:
        return grad
    xp, sum_ = array_module(param), _scratch("optimizer gradient", param)
    xp.multiply(param, weight_decay, out=sum_)
    return xp.add(sum_, grad, out=sum_)
