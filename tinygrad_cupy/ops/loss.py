"""Softmax cross-entropy, forward and backward in one step each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..autograd import TensorBase
from ..autograd.fused import FusedOp
from ..backend import (
    Array,
    CudaFile,
    Kernel,
    array_module,
    device_of,
    float64s,
    int32s,
    int64s,
    is_cuda,
    plain_array,
)
from ..backend.block_counter import ticket_of
from ..backend.capture import use
from ..kernels.common import sums
from ..kernels.common.layout import empties
from .arithmetic import as_float, in_single

if TYPE_CHECKING:
    from ..tensor import Tensor

REDUCTIONS = ("mean", "sum", "none")
IGNORED, ILLEGAL = -1, -2  # in the place of a class


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


def _forward_arrays(
    logits: Array, labels: Array, smoothing: float, ignore_index: int, reduction: str
) -> tuple[Array, Target]:
    xp, dtype = array_module(logits), logits.dtype
    rows, classes = logits.shape
    counted = labels != ignore_index
    legal = (labels >= 0) & (labels < classes)
    place = xp.where(legal, labels.astype(np.int64), ILLEGAL)
    place = xp.where(counted, place, IGNORED).astype(np.int32)
    divisor = xp.maximum(counted.sum(), 1) if reduction == "mean" else xp.ones(())
    target = Target(place, divisor.astype(dtype))
    shifted, _, total = _softmax(logits)
    smooth = dtype.type(smoothing)
    losses = xp.log(total)[:, 0] - (1 - smooth) * shifted[xp.arange(rows), xp.maximum(place, 0)]
    if smoothing:
        losses -= smooth * sums.mean(shifted, (1,))
    losses = xp.where(counted, losses * target.weight(dtype), dtype.type(0))
    if reduction == "none":
        return losses, target
    loss = sums.total(losses, (0,)) / target.divisor
    if reduction == "mean":
        loss = xp.where(counted.any(), loss, dtype.type(np.nan))  # over nothing, as in PyTorch
    return loss, target


def _backward_arrays(logits: Array, grad: Array, target: Target, smoothing: float) -> Array:
    _, exp, total = _softmax(logits)
    exp /= total
    exp -= target.expected(logits.shape[1], smoothing, logits.dtype)
    exp *= (grad / target.divisor * target.weight(logits.dtype))[:, None]
    return exp


_kernels = CudaFile(__file__, "../kernels/loss.cu")

THREADS = 256
PLACE = np.dtype(np.int32)
LABELS = {"int64": "i64", "int32": "int", "uint8": "u8"}  # others are converted
MOST_PARTIALS = 1024  # blocks that add up


def _shape_of_launch(logits: Array, reduction: int, label: str) -> tuple[tuple[str, ...], int]:
    """The macros, and in how many blocks each row has its threads."""
    rows, classes = logits.shape
    lanes = min(32, 1 << (classes - 1).bit_length())
    name = "float" if logits.dtype == np.float32 else "double"
    defines = (f"TYPE={name}", f"LABEL={label}", f"LANES={lanes}", f"REDUCTION={reduction}")
    return defines, _kernels.blocks(rows * lanes, THREADS)


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
    number = ("none", "sum", "mean").index(reduction)
    defines, blocks = _shape_of_launch(logits, number, LABELS[labels.dtype.name])
    blocks = min(blocks, MOST_PARTIALS)
    losses = cupy.empty((rows,) if reduction == "none" else (), logits.dtype)
    target = Target(*empties(((rows,), PLACE), ((), logits.dtype)))
    partials = cupy.empty((blocks, 2), np.float64)
    arguments = (
        *(logits, labels, target.place, losses, target.divisor, partials, ticket_of(partials)),
        *(*int64s(rows), *int32s(classes), *float64s(smoothing), *int64s(ignore_index)),
    )
    _kernels.launch("cross_entropy", blocks, arguments, THREADS, defines=defines)
    return losses, target


def _backward_cuda(logits: Array, grad: Array, target: Target, smoothing: float) -> Array:
    if not logits.size:
        return _backward_arrays(logits, grad, target, smoothing)
    cupy = array_module(logits)
    defines, blocks = _shape_of_launch(logits, 1 if grad.ndim == 0 else 0, "i64")
    logits, grad = cupy.ascontiguousarray(logits), cupy.ascontiguousarray(grad)
    found = cupy.empty_like(logits)
    numbers = (*int64s(logits.shape[0]), *int32s(logits.shape[1]), *float64s(smoothing))
    arguments = (logits, target.place, target.divisor, grad, found, *numbers)
    blocks = min(blocks, 2**31 - 1)  # they walk
    _kernels.launch("cross_entropy_gradient", blocks, arguments, THREADS, defines=defines)
    return found


# (logits, labels, smoothing, ignore_index, reduction) → (loss, Target)
_forward = Kernel(cpu=_forward_arrays, cuda=_forward_cuda)
# (logits, grad, Target, smoothing) → the gradient by the logits
_backward = Kernel(cpu=_backward_arrays, cuda=_backward_cuda)


class CrossEntropy(FusedOp):
    """-Σ_c q_c · log softmax(x)_c of each row of logits (R, C).

    q is (1 - s) · onehot(target) + s / C for label smoothing s; rows whose target is ignore_index
    count nothing. The gradient is softmax(x) - q. Targets were checked on the CPU; on the GPU a
    target out of range gives NaN.
    """

    def __init__(self, target: Array, smoothing: float, ignore_index: int, reduction: str) -> None:
        self.labels, self.smoothing = target, smoothing
        self.ignore_index, self.reduction = ignore_index, reduction

    def forward(self, logits: Array) -> Array:
        how = (self.smoothing, self.ignore_index, self.reduction)
        loss, self.target = _forward(logits, self.labels, *how)
        del self.labels  # everything after works on copies: the caller may write into it
        return loss

    def backward_arrays(self, grad: Array, logits: Array) -> Any:
        return (_backward(logits, grad, self.target, self.smoothing),)

    def reference(self, logits: Tensor) -> Tensor:
        dtype = logits.dtype
        expected = self.target.expected(logits.shape[1], self.smoothing, dtype)
        q = logits._wrap(expected * self.target.weight(dtype)[:, None])
        losses = -(logits.log_softmax(axis=1) * q).sum(axis=1)
        if self.reduction == "none":
            return losses
        return losses.sum() / logits._wrap(self.target.divisor)


class LossMixin(TensorBase):
    """Losses as methods."""

    __slots__ = ()

    def cross_entropy(
        self,
        target: Any,
        label_smoothing: float = 0.0,
        ignore_index: int = -100,
        reduction: str = "mean",
    ) -> Tensor:
        """Softmax cross-entropy of logits (N, C, …) against class indices (N, …).

        Label smoothing s replaces the one-hot target by (1 - s) · onehot + s / C (Szegedy et al.
        2016). Positions whose target is ``ignore_index`` are left out, of the mean's divisor too.
        ``reduction`` is "mean", "sum" or "none". An index out of range is an error on the CPU; on a
        GPU, where looking would stall it, the loss becomes NaN.
        """
        logits = as_float(self)
        if isinstance(target, TensorBase):
            use(target)
        labels = target.data if isinstance(target, TensorBase) else target
        labels = array_module(logits.data).asarray(labels) if isinstance(labels, list) else labels
        labels = plain_array(labels)
        if reduction not in REDUCTIONS:
            raise ValueError(f"[cross_entropy] expected reduction in {REDUCTIONS}, got {reduction}")
        if not 0 <= label_smoothing <= 1:
            raise ValueError(
                f"[cross_entropy] expected label_smoothing from 0 to 1, got {label_smoothing}"
            )
        shape = logits.shape
        place, device = device_of(labels), device_of(logits.data)
        if place != device:
            raise ValueError(
                f"[cross_entropy] expected the classes on {device} like the logits, got {place}; "
                "move them with .to(device)"
            )
        if labels.dtype.kind not in "iu":
            raise TypeError(f"[cross_entropy] expected integer classes, got dtype {labels.dtype}")
        if len(shape) < 2 or tuple(labels.shape) != (shape[0], *shape[2:]):
            raise ValueError(
                f"[cross_entropy] expected logits (N, C, …) and classes (N, …), got {shape} and "
                f"{tuple(labels.shape)}"
            )
        _check_classes(labels, shape[1], ignore_index)
        rows = logits
        if len(shape) > 2:  # classes last, then (R, C)
            rows = logits.permute(0, *range(2, len(shape)), 1).reshape(-1, shape[1])
        labels = labels if labels.ndim == 1 else labels.reshape(-1)
        op = CrossEntropy(labels, label_smoothing, ignore_index, reduction)
        loss = in_single(rows, op)
        return loss.reshape(shape[0], *shape[2:]) if reduction == "none" else loss


def _check_classes(labels: Array, classes: int, ignore_index: int) -> None:
    if is_cuda(labels):
        return
    wrong = (labels != ignore_index) & ((labels < 0) | (labels >= classes))
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise ValueError(
            f"[cross_entropy] expected classes from 0 to {classes - 1}, got {labels[place]} at "
            f"position {place[0] if len(place) == 1 else place}"
        )
