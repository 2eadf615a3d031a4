"""Dropout: the mask comes from the words of its random stream, the same on every device."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import random
from ..autograd import Op, TensorBase
from ..backend import Array, Elementwise, Kernel, device_of, import_cupy, int32s, int64s
from ..backend.cpu_threads import by_parts
from ..kernels.activation import PARALLEL_SIZE
from ..kernels.common.layout import contiguous, empty_last
from ..kernels.dropout import native as dropout_native
from .arithmetic import as_float

if TYPE_CHECKING:
    from ..tensor import Tensor


def _least(p: float) -> int:
    """The smallest word of an element that is kept: u ≥ p ⟺ word >> 40 ≥ p · 2²⁴."""
    return math.ceil(p * 2**24) << 40


def _scale(x: Array, p: float) -> Any:
    return x.dtype.type(1 / (1 - p)) if p < 1 else x.dtype.type(0)


def _drop(x: Array, p: float) -> tuple[Array, Array]:
    """x · mask / (1 - p) and the mask, both in C order, told from the words alone."""
    raw, least = random.words(x.size, random.STREAM_DROPOUT, device_of(x)), _least(p)
    mask = raw >= np.uint64(least) if least < 2**64 else raw != raw  # p = 1 keeps nothing
    mask = mask.reshape(x.shape)
    return _keep(x, mask, p, False), mask


def _drop_cpu(x: Array, p: float, last: bool) -> tuple[Array, Array]:
    """`_drop` by parts of a batch: a counter may start anywhere in the stream."""
    least = _least(p)
    if not x.ndim or not x.size or least >= 2**64:
        return _drop(x, p)
    counter = random.advance(x.size, random.STREAM_DROPOUT)
    if dropout_native.suits(x):
        key = random.generator.seed, random.STREAM_DROPOUT
        return dropout_native.draw(x, _scale(x, p), least, counter, key)
    each = x.size // len(x)  # elements of an image; a block has 4 words
    y, mask = np.empty(x.shape, x.dtype), np.empty(x.shape, np.bool_)

    def task(part: slice) -> None:
        count = (part.stop - part.start) * each
        raw = random.words_at(counter + part.start * each // 4, count, random.STREAM_DROPOUT)
        np.greater_equal(raw.reshape(mask[part].shape), np.uint64(least), out=mask[part])
        np.multiply(x[part], mask[part], out=y[part])
        y[part] *= _scale(x, p)

    if each % 4 or x.size < PARALLEL_SIZE:
        task(slice(0, len(x)))
    else:
        by_parts(np, task, len(x))
    return y, mask


def _keep_cpu(x: Array, mask: Array, p: float, last: bool) -> Array:
    x = np.asarray(x, order="C")  # as the mask
    if dropout_native.suits(x):
        return dropout_native.keep(x, mask, _scale(x, p))
    y: Array = np.multiply(x, mask)
    y *= _scale(x, p)
    return y


def _drop_cuda(x: Array, p: float, last: bool) -> tuple[Array, Array]:
    """`_drop` in one launch, with ``last`` of images stored N, H, W, C."""
    least = _least(p)
    if x.dtype != np.float32 or x.size == 0 or least >= 2**64:
        return _drop(x, p)
    source = x if last else contiguous(x)
    cupy = import_cupy()
    y, mask = cupy.empty(x.shape, x.dtype), cupy.empty(x.shape, np.bool_)
    state = random.generator.state(random.STREAM_DROPOUT, device_of(x))
    sizes = _sizes(x) if last else int64s(x.size)
    arguments = (source, y, mask, *sizes, _scale(x, p), np.uint32(least >> 32), state)
    if last:
        random.kernels.launch("drop_channels_last", random.walking_images(x), arguments)
    else:
        random.kernels.launch("drop", random.walking(x), arguments)
    return y, mask


def _keep_cuda(x: Array, mask: Array, p: float, last: bool) -> Array:
    """x · mask / (1 - p), with ``last`` stored N, H, W, C."""
    if not last or x.dtype != np.float32 or x.size == 0:
        return _multiply(x, mask, _scale(x, p))
    y = empty_last(x.shape, x.dtype)
    arguments = (contiguous(x), mask, y, *_sizes(x), _scale(x, p))
    random.kernels.launch("keep_channels_last", random.kernels.blocks(x.size // 4), arguments)
    return y


def _sizes(x: Array) -> tuple[Any, ...]:
    """Images, channels and pixels of x (N, C, H, W), as arguments of a launch."""
    n, channels, height, width = x.shape
    return (*int64s(n), *int32s(channels, height * width))


def _channels_last(x: Array) -> bool:
    """Whether x is images stored N, H, W, C that `random.cu` takes four pixels at a time."""
    return bool(
        x.ndim == 4
        and not x.flags.c_contiguous
        and x.shape[2] * x.shape[3] % 4 == 0
        and math.prod(x.shape[1:]) < 2**31
        and x.transpose(0, 2, 3, 1).flags.c_contiguous
    )


_multiply = Elementwise("T x, bool mask, T scale", "T y", "y = x * T(mask) * scale", "dropout_keep")
_draw = Kernel(cpu=_drop_cpu, cuda=_drop_cuda)
_keep = Kernel(cpu=_keep_cpu, cuda=_keep_cuda)


class Dropout(Op):
    """x · mask / (1 - p), the mask drawn once: linear in x, so it is its own backward.

    ``last``: give the result stored N, H, W, C (on a GPU), as the input of the forward was.
    """

    def __init__(self, p: float, mask: Array | None = None, last: bool = False) -> None:
        self.p, self.mask, self.last = p, mask, last

    def forward(self, x: Array) -> Array:
        if self.mask is not None:
            return _keep(x, self.mask, self.p, self.last)
        self.last = _channels_last(x)
        y, self.mask = _draw(x, self.p, self.last)
        return y

    def backward(self, grad: Tensor) -> Tensor:
        return Dropout(self.p, self.mask, self.last)(grad)


class DropoutMixin(TensorBase):
    """Dropout as a method."""

    __slots__ = ()

    def dropout(self, p: float = 0.5, training: bool = True) -> Tensor:
        """Each element zeroed with probability p, the others divided by 1 - p (Srivastava 2014).

        The identity when not ``training``. Element i in C order is kept where the i-th uniform
        number of the dropout stream is ≥ p, so a seed gives one mask on every device.
        """
        if not 0 <= p <= 1:
            raise ValueError(f"[dropout] expected a probability p from 0 to 1, got {p}")
        if not training or p == 0:
            return self  # type: ignore[return-value]
        return Dropout(p)(as_float(self))
