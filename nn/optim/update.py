"""The arithmetic of the optimizers on arrays, in place: a NumPy and a CUDA body of each.

On the CPU float32 goes through `native`, where the machine has a C compiler. Through NumPy an
update runs over blocks that stay in the cache: a dozen passes over a block of 256 kB cost little
more than one pass over memory. Two threads gain nothing there: the passes are so short that handing
Python's lock to and fro eats it up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from tinygrad_cupy.backend import Elementwise, Kernel
from tinygrad_cupy.backend.cpu_threads import spans, workspace

from . import native as optim_native

BLOCK = 1 << 16


def _in_blocks(block: Callable[..., None], grad: Any, *written: Any) -> None:
    """Call `block` on matching flat pieces of the arrays; it writes all of them but `grad`.

    16-bit floats are computed in float32 and rounded when they are stored, as on a GPU.
    """
    pieces: Iterable[Sequence[Any]] = [(grad, *written)]
    if all(array.flags.c_contiguous for array in written):
        flat = [array.reshape(-1) for array in (np.ascontiguousarray(grad), *written)]
        pieces = ([array[span] for array in flat] for span in spans(flat[0].size, BLOCK))
    for piece in pieces:
        if piece[1].dtype.itemsize > 2:
            block(*piece)
            continue
        wide = [array.astype(np.float32) for array in piece]
        block(*wide)
        for array, result in zip(piece[1:], wide[1:], strict=True):
            array[...] = result


def _decayed(grad: Any, weight_decay: float, param: Any) -> Any:
    """grad + weight_decay * param in scratch memory."""
    if not weight_decay:
        return grad
    sum_ = workspace("optimizer gradient", param.shape, param.dtype)
    np.multiply(param, weight_decay, out=sum_)
    return np.add(sum_, grad, out=sum_)


def _sgd(grad: Any, lr: float, weight_decay: float, param: Any) -> None:
    if optim_native.suits(param):
        optim_native.update(optim_native.Sgd(lr=lr, weight_decay=weight_decay), grad, param)
        return

    def block(grad: Any, param: Any) -> None:
        scratch = workspace("optimizer step", param.shape, param.dtype)
        np.multiply(_decayed(grad, weight_decay, param), lr, out=scratch)
        np.subtract(param, scratch, out=param)

    _in_blocks(block, grad, param)


def _momentum(
    grad: Any,
    lr: float,
    gain: float,
    momentum: float,
    weight_decay: float,
    nesterov: bool,
    param: Any,
    buffer: Any,
) -> None:
    if optim_native.suits(param, buffer):
        numbers = optim_native.Momentum(
            lr=lr, gain=gain, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov
        )
        optim_native.update(numbers, grad, param, buffer)
        return

    def block(grad: Any, param: Any, buffer: Any) -> None:
        scratch = workspace("optimizer step", param.shape, param.dtype)
        grad = _decayed(grad, weight_decay, param)
        np.multiply(buffer, momentum, out=buffer)
        np.multiply(grad, gain, out=scratch)
        np.add(buffer, scratch, out=buffer)
        if nesterov:
            np.multiply(buffer, momentum, out=scratch)
            np.add(scratch, grad, out=scratch)
            np.multiply(scratch, lr, out=scratch)
        else:
            np.multiply(buffer, lr, out=scratch)
        np.subtract(param, scratch, out=param)

    _in_blocks(block, grad, param, buffer)


def _adam(
    grad: Any,
    step_size: float,
    epsilon: float,
    keep: float,
    beta1: float,
    beta2: float,
    weight_decay: float,
    param: Any,
    first: Any,
    second: Any,
) -> None:
    if optim_native.suits(param, first, second):
        numbers = optim_native.Adam(
            step_size=step_size, epsilon=epsilon, keep=keep, weight_decay=weight_decay,
            beta1=beta1, rest1=1 - beta1, beta2=beta2, rest2=1 - beta2,
        )  # fmt: skip
        optim_native.update(numbers, grad, param, first, second)
        return

    def block(grad: Any, param: Any, first: Any, second: Any) -> None:
        scratch = workspace("optimizer step", param.shape, param.dtype)
        grad = _decayed(grad, weight_decay, param)
        if beta1 < 0.5:  # start from whichever weighs more, or the other's rounding stays behind
            np.subtract(first, grad, out=scratch)
            np.multiply(scratch, beta1, out=scratch)
            np.add(grad, scratch, out=first)
        else:
            np.subtract(grad, first, out=scratch)
            np.multiply(scratch, 1 - beta1, out=scratch)
            np.add(first, scratch, out=first)
        np.multiply(grad, grad, out=scratch)
        np.multiply(scratch, 1 - beta2, out=scratch)
        np.multiply(second, beta2, out=second)
        np.add(second, scratch, out=second)
        np.sqrt(second, out=scratch)
        np.add(scratch, epsilon, out=scratch)
        np.divide(first, scratch, out=scratch)
        np.multiply(scratch, step_size, out=scratch)
        if keep != 1:
            np.multiply(param, keep, out=param)
        np.subtract(param, scratch, out=param)

    _in_blocks(block, grad, param, first, second)


# param -= lr * (grad + weight_decay * param)
sgd_update = Kernel(
    cpu=_sgd,
    cuda=Elementwise(
        "T grad, float64 lr, float64 weight_decay",
        "T param",
        "param = param - T(lr) * (grad + T(weight_decay) * param)",
        name="tinygrad_sgd",
    ),
)

# g = grad + weight_decay * param; buffer = momentum * buffer + gain * g;
# param -= lr * (nesterov ? g + momentum * buffer : buffer)
momentum_update = Kernel(
    cpu=_momentum,
    cuda=Elementwise(
        "T grad, float64 lr, float64 gain, float64 momentum, float64 weight_decay, bool nesterov",
        "T param, T buffer",
        """
        const T g = grad + T(weight_decay) * param;
        const T b = T(momentum) * buffer + T(gain) * g;
        buffer = b;
        param = param - T(lr) * (nesterov ? T(g + T(momentum) * b) : b);
        """,
        name="tinygrad_sgd_momentum",
    ),
)

# g = grad + weight_decay * param; first and second move towards g and g * g by 1 - beta;
# param = keep * param - step_size * first / (sqrt(second) + epsilon)
adam_update = Kernel(
    cpu=_adam,
    cuda=Elementwise(
        "T grad, float64 step_size, float64 epsilon, float64 keep, "
        "float64 beta1, float64 beta2, float64 weight_decay",
        "T param, T first, T second",
        """
        const T g = grad + T(weight_decay) * param;
        const T m = beta1 < 0.5 ? T(g + T(beta1) * (first - g))
                                : T(first + T(1 - beta1) * (g - first));
        const T v = T(beta2) * second + T(1 - beta2) * g * g;
        first = m;
        second = v;
        param = T(keep) * param - T(step_size) * m / (sqrt(v) + T(epsilon));
        """,
        name="tinygrad_adam",
    ),
)
