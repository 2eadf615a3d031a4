"""The largest and the smallest elements along axes, and where they are."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import kernels
from ..autograd import Op, TensorBase
from ..backend import Array
from ..backend.dtypes import choose, is_float, narrow_scalar, quietly
from .axes import Axis, behind_batch, nonempty_axes, reduced_axes
from .masked import delivered, mask_of

if TYPE_CHECKING:
    from ..autograd.batching import BatchLevel
    from ..autograd.typing import Tensor


class Extremum(Op):
    """The largest ("max") or smallest ("min") element; equal ones share the gradient equally."""

    saves = ("x", "y")

    def __init__(self, name: str, axes: tuple[int, ...]) -> None:
        self.name, self.axes = name, axes

    def forward(self, x: Array) -> Array:
        return _extremum(self.xp, self.name, self.axes, x)

    def backward(self, grad: Tensor, x: Tensor, y: Tensor) -> Tensor:
        hits = (x.data == y.data) | (x.data != x.data)  # where there is NaN, it is the extremum
        share = hits / hits.sum(axis=self.axes, keepdims=True)
        return grad * grad._wrap(share.astype(grad.dtype))

    def batch(self, b: BatchLevel, x: Tensor) -> Tensor:
        return Extremum(self.name, behind_batch(self.axes))(b.whole(x))


class MaskedExtremum(Op):
    """`Extremum` of those elements alone where ``mask`` holds; of none it is -∞, or ∞."""

    only_real = True
    saves = ("x", "mask", "y")

    def __init__(self, name: str, axes: tuple[int, ...]) -> None:
        self.name, self.axes = name, axes

    def forward(self, x: Array, mask: Array) -> Array:
        worst = _worst(self.name, x.dtype)
        return _extremum(self.xp, self.name, self.axes, choose(mask, x, worst))

    def backward(self, grad: Tensor, x: Tensor, mask: Tensor, y: Tensor) -> tuple[Tensor, None]:
        hits = ((x.data == y.data) | (x.data != x.data)) & mask.data
        count = self.xp.maximum(hits.sum(axis=self.axes, keepdims=True), 1)
        return grad * grad._wrap((hits / count).astype(grad.dtype)), None

    def batch(self, b: BatchLevel, x: Tensor, mask: Tensor) -> Tensor:
        return MaskedExtremum(self.name, behind_batch(self.axes))(b.whole(x), b.whole(mask))


def _extremum(xp: Any, name: str, axes: tuple[int, ...], x: Array) -> Array:
    return quietly(functools.partial(getattr(xp, name), axis=axes, keepdims=True), x)


def _worst(name: str, dtype: Any) -> Any:
    """What no element is beyond, as the largest ("max") or smallest ("min") of none."""
    if is_float(dtype):
        return narrow_scalar(-math.inf if name == "max" else math.inf, dtype)
    if dtype.kind == "b":
        return np.bool_(name == "min")
    limits = np.iinfo(dtype)
    return dtype.type(limits.min if name == "max" else limits.max)


class ArgExtremum(Op):
    """The position of the first largest ("argmax") or smallest ("argmin") element, as int64."""

    differentiable = False

    def __init__(self, name: str, axis: int | None, keepdims: bool) -> None:
        self.name, self.axis, self.keepdims = name, axis, keepdims

    def forward(self, x: Array) -> Array:
        found = self.xp.asarray(kernels.reduce.arg_extremum(x, self.name, self.axis))
        if not self.keepdims:
            return found
        axes = range(x.ndim) if self.axis is None else [self.axis]
        return self.xp.expand_dims(found, tuple(axes))

    def batch(self, b: BatchLevel, x: Tensor) -> Tensor:
        whole = b.whole(x)
        if self.axis is not None:
            return ArgExtremum(
                self.name, self.axis + 1 if self.axis >= 0 else self.axis, self.keepdims
            )(whole)
        found = ArgExtremum(self.name, 1, False)(whole.reshape(b.size, -1))
        return found.reshape(b.size, *[1] * len(x.shape)) if self.keepdims else found


# --- the methods --------------------------------------------------------------------------------


class ExtremaMixin(TensorBase):
    """Extrema as methods; ``out``, ``initial`` and ``where`` as in `ReduceMixin`."""

    __slots__ = ()

    def max(
        self,
        axis: Axis = None,
        keepdims: bool = False,
        *,
        out: Any = None,
        initial: Any = None,
        where: Any = True,
    ) -> Tensor:
        """Largest element along ``axis``; equal ones share the gradient equally."""
        return self._extremum("max", axis, keepdims, out, initial, where)

    def min(
        self,
        axis: Axis = None,
        keepdims: bool = False,
        *,
        out: Any = None,
        initial: Any = None,
        where: Any = True,
    ) -> Tensor:
        """Smallest element along ``axis``; equal ones share the gradient equally."""
        return self._extremum("min", axis, keepdims, out, initial, where)

    def _extremum(
        self, name: str, axis: Axis, keepdims: bool, out: Any, initial: Any, where: Any
    ) -> Tensor:
        if initial is None:
            if where is not True:
                raise ValueError(f"[{name}] expected initial= beside where=: it may choose nothing")
            axes = nonempty_axes(self.shape, axis, name)
            found = Extremum(name, axes)(self)
        else:
            axes = reduced_axes(axis, len(self.shape), name)
            found = _with_initial(self, name, axes, initial, where)
        return delivered(found if keepdims else found.squeeze(axes), None, out)

    def argmax(self, axis: int | None = None, keepdims: bool = False, *, out: Any = None) -> Tensor:
        """Position of the first largest element along ``axis`` (int64); of all when None."""
        axis = self._one_axis(axis, "argmax")
        return delivered(ArgExtremum("argmax", axis, keepdims)(self), None, out)

    def argmin(self, axis: int | None = None, keepdims: bool = False, *, out: Any = None) -> Tensor:
        """Position of the first smallest element along ``axis`` (int64); of all when None."""
        axis = self._one_axis(axis, "argmin")
        return delivered(ArgExtremum("argmin", axis, keepdims)(self), None, out)

    def _one_axis(self, axis: int | None, name: str) -> int | None:
        if isinstance(axis, tuple | list):
            raise TypeError(f"[{name}] expected one axis or None, got {axis!r}")
        nonempty_axes(self.shape, axis, name)
        return axis if self.shape else None


def _with_initial(x: Any, name: str, axes: tuple[int, ...], initial: Any, where: Any) -> Any:
    """The extremum of the elements where ``where`` holds, and of ``initial``; axes kept."""
    if 0 in [x.shape[axis] for axis in axes]:
        return x.sum(axes, True).astype(x.dtype) + initial
    if where is True:
        found = Extremum(name, axes)(x)
    else:
        found = MaskedExtremum(name, axes)(x, mask_of(x, where, name))
    return found.maximum(initial) if name == "max" else found.minimum(initial)
