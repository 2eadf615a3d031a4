"""Softmax cross-entropy on arrays, forward and backward in one step each."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..backend import Array, CudaSource, array_module, float64s, int32s, int64s, kernel
from ..backend.block_counter import ticket_of
from ..backend.cuda_source import dtype_macros
from . import loss_native
from .common import sums
from .common.headers import LAST_BLOCK
from .common.layout import empties
from .loss_native import IGNORED, ILLEGAL


class Target(NamedTuple):
    """What a loss makes of its target."""

    place: Array  # (R,): the class of each row, or IGNORED, or ILLEGAL
    divisor: Array  # (): what the summed loss is divided by; for a mean the rows counted, or 1

    def weight(self, dtype: Any) -> Array:
        """(R,): 1, 0 where ignored, NaN where the target is no class."""
        xp = array_module(self.place)
        counted = xp.where(self.place == ILLEGAL, np.nan, self.place != IGNORED)
        return counted.astype(dtype)

    def expected(self, classes: int, smoothing: float, dtype: Any) -> Array:
        """q, (R, C), for class 0 where the target is no class."""
        xp, rows = array_module(self.place), len(self.place)
        smooth = np.dtype(dtype).type(smoothing)
        q = xp.full((rows, classes), smooth / classes, dtype)
        q[xp.arange(rows), xp.maximum(self.place, 0)] += 1 - smooth
        return q


def _softmax(logits: Array) -> tuple[Array, Array, Array]:
    """Logits less their row's largest, exp of that, and its sums: (R, C), (R, C), (R, 1)."""
    xp = array_module(logits)
    shifted = logits - logits.max(axis=1, keepdims=True)
    exp = xp.exp(shifted)
    return shifted, exp, sums.total(exp, (1,), keepdims=True)


def _losses(logits: Array, target: Target, smoothing: float) -> Array:
    """The loss (R,) of each row of logits (R, C), 0 where it is ignored."""
    xp, dtype, place = array_module(logits), logits.dtype, target.place
    shifted, _, total = _softmax(logits)
    smooth, rows = dtype.type(smoothing), xp.arange(len(logits))
    losses = xp.log(total)[:, 0] - (1 - smooth) * shifted[rows, xp.maximum(place, 0)]
    if smoothing:
        losses -= smooth * sums.mean(shifted, (1,))
    return xp.where(place != IGNORED, losses * target.weight(dtype), dtype.type(0))


def _forward_arrays(
    logits: Array, labels: Array, smoothing: float, ignore_index: int, reduction: str
) -> tuple[Array, Target]:
    xp, dtype = array_module(logits), logits.dtype
    classes = logits.shape[1]
    counted = labels != ignore_index
    legal = (labels >= 0) & (labels < classes)
    place = xp.where(legal, labels.astype(np.int64), ILLEGAL)
    place = xp.where(counted, place, IGNORED).astype(np.int32)
    divisor = xp.maximum(counted.sum(), 1) if reduction == "mean" else xp.ones(())
    target = Target(place, divisor.astype(dtype))
    if loss_native.suits(logits):
        losses = loss_native.losses(logits, place, smoothing)
    else:
        losses = _losses(logits, target, smoothing)
    if reduction == "none":
        return losses, target
    loss = sums.total(losses, (0,)) / target.divisor
    if reduction == "mean":
        loss = xp.where(counted.any(), loss, dtype.type(np.nan))  # over nothing, as in PyTorch
    return loss, target


def _backward_arrays(logits: Array, grad: Array, target: Target, smoothing: float) -> Array:
    if loss_native.suits(logits):
        return loss_native.gradient(logits, target.place, grad / target.divisor, smoothing)
    _, exp, total = _softmax(logits)
    exp /= total
    exp -= target.expected(logits.shape[1], smoothing, logits.dtype)
    exp *= (grad / target.divisor * target.weight(logits.dtype))[:, None]
    return exp


_kernels = CudaSource(
    *(__file__, LAST_BLOCK, "loss.cu"),
    defines=(f"IGNORED={IGNORED}", f"ILLEGAL={ILLEGAL}"),
)

PLACE = np.dtype(np.int32)
LABELS = {"int64": "i64", "int32": "int", "uint8": "u8"}  # others are converted
MOST_PARTIALS = 1024  # blocks that add up


def _shape_of_launch(logits: Array, reduction: str, label: str) -> tuple[tuple[str, ...], int]:
    """The macros, and in how many blocks each row has its threads."""
    rows, classes = logits.shape
    lanes = min(32, 1 << (classes - 1).bit_length())
    how = (f"LABEL={label}", f"LANES={lanes}", f"REDUCTION={reduction.upper()}")
    return (*dtype_macros(logits.dtype), *how), _kernels.blocks(rows * lanes)


def _forward_cuda(
    logits: Array, labels: Array, smoothing: float, ignore_index: int, reduction: str
) -> tuple[Array, Target]:
    if not logits.size:
        return _forward_arrays(logits, labels, smoothing, ignore_index, reduction)
    cupy = array_module(logits)
    if labels.dtype.name not in LABELS:
        labels = labels.astype(np.int64)
    logits, labels = cupy.ascontiguousarray(logits), cupy.ascontiguousarray(labels)
    rows, classes = logits.shape
    defines, blocks = _shape_of_launch(logits, reduction, LABELS[labels.dtype.name])
    blocks = min(blocks, MOST_PARTIALS)
    losses = cupy.empty((rows,) if reduction == "none" else (), logits.dtype)
    target = Target(*empties(((rows,), PLACE), ((), logits.dtype)))
    partials = cupy.empty((blocks, 2), np.float64)
    arguments = (
        *(logits, labels, target.place, losses, target.divisor, partials, ticket_of(partials)),
        *(*int64s(rows), *int32s(classes), *float64s(smoothing), *int64s(ignore_index)),
    )
    _kernels.launch("cross_entropy", blocks, arguments, defines=defines)
    return losses, target


def _backward_cuda(logits: Array, grad: Array, target: Target, smoothing: float) -> Array:
    if not logits.size:
        return _backward_arrays(logits, grad, target, smoothing)
    cupy = array_module(logits)
    defines, blocks = _shape_of_launch(logits, "sum" if grad.ndim == 0 else "none", "i64")
    logits, grad = cupy.ascontiguousarray(logits), cupy.ascontiguousarray(grad)
    dx = cupy.empty_like(logits)
    numbers = (*int64s(logits.shape[0]), *int32s(logits.shape[1]), *float64s(smoothing))
    arguments = (logits, target.place, target.divisor, grad, dx, *numbers)
    blocks = min(blocks, 2**31 - 1)  # they walk
    _kernels.launch("cross_entropy_backward", blocks, arguments, defines=defines)
    return dx


@kernel(cpu=_forward_arrays, cuda=_forward_cuda)
def cross_entropy(
    logits: Array, labels: Array, smoothing: float, ignore_index: int, reduction: str
) -> tuple[Array, Target]:
    """The loss of logits (R, C) for labels (R,), and what it made of these.

    The loss is (R,) for the reduction "none", else ().
    """


@kernel(cpu=_backward_arrays, cuda=_backward_cuda)
def cross_entropy_backward(logits: Array, grad: Array, target: Target, smoothing: float) -> Array:
    """The gradient by the logits, (R, C)."""
