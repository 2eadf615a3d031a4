"""Softmax cross-entropy on a GPU, one kernel each way (loss.cu). Letters: R rows, C classes."""

from __future__ import annotations

import numpy as np

from ...backend import Array, CudaSource, array_module, float64s, int32s, int64s
from ...backend.block_counter import ticket_of
from ...backend.cuda_source import dtype_macros
from ..common.headers import LAST_BLOCK
from ..common.layout import empties
from . import reference
from .reference import IGNORED, ILLEGAL, Target

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


def forward(
    logits: Array, labels: Array, smoothing: float, ignore_index: int, reduction: str
) -> tuple[Array, Target]:
    """The loss of logits (R, C) for labels (R,), and what it made of these."""
    if not logits.size:
        return reference.forward(logits, labels, smoothing, ignore_index, reduction)
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


def backward(logits: Array, grad: Array, target: Target, smoothing: float) -> Array:
    """The gradient by the logits, (R, C)."""
    if not logits.size:
        return reference.backward(logits, grad, target, smoothing)
    cupy = array_module(logits)
    defines, blocks = _shape_of_launch(logits, "sum" if grad.ndim == 0 else "none", "i64")
    logits, grad = cupy.ascontiguousarray(logits), cupy.ascontiguousarray(grad)
    dx = cupy.empty_like(logits)
    numbers = (*int64s(logits.shape[0]), *int32s(logits.shape[1]), *float64s(smoothing))
    arguments = (logits, target.place, target.divisor, grad, dx, *numbers)
    blocks = min(blocks, 2**31 - 1)  # they walk
    _kernels.launch("cross_entropy_backward", blocks, arguments, defines=defines)
    return dx
