"""Einstein's summation, and the products that are special cases of it.

An equation is taken apart into diagonals and sums of single operands and products of two. Each is
an operation whose gradients are of the same kind, so that derivatives of every order are as fast.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import kernels
from ..autograd import Op, TensorBase
from ..autograd.autocast import in_widest
from ..backend import Array
from ..backend.dtypes import common_dtype, is_inexact, is_narrow
from ..kernels.einsum import Pair
from .axes import normalize_axis
from .matmul import widened
from .promotion import in_single, single
from .reduce import Sum
from .shape import Permute, Reshape
from .subscripts import LETTERS, Plan, planned

if TYPE_CHECKING:
    from ..autograd.batching import BatchLevel
    from ..autograd.typing import Tensor


class Contract(Op):
    """The product of two tensors of one dtype with labelled axes, as ``how`` says."""

    autocast = "narrow"
    saves = ("a", "b")
    saved_for = (1, 0)
    linear = ("a", "b")

    def __init__(self, how: Pair) -> None:
        self.how = how

    def forward(self, a: Array, b: Array) -> Array:
        return kernels.einsum.contract(a, b, self.how)

    def backward(self, grad: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor | None, Tensor | None]:
        return (
            Contract(self.how.by_a)(grad, b) if self.needs[0] else None,
            Contract(self.how.by_b)(a, grad) if self.needs[1] else None,
        )

    def batch(self, b: BatchLevel, x: Tensor, y: Tensor) -> Tensor:
        there = b.has(x), b.has(y)
        inputs = [b.whole(one) if has else one for one, has in zip((x, y), there, strict=True)]
        return Contract(self.how.of_batch(b.size, *there))(*inputs)


class Diagonal(Op):
    """The view of x, its axes labelled ``given``, that has each label once: axes ``made``."""

    view = True
    linear = ("x",)

    def __init__(self, given: str, made: str) -> None:
        self.given, self.made = given, made

    def forward(self, x: Array) -> Array:
        return kernels.einsum.diagonal(x, self.given, self.made)

    def backward(self, grad: Tensor) -> Tensor:
        return FromDiagonal(self.made, self.given)(grad)

    def batch(self, b: BatchLevel, x: Tensor) -> Tensor:
        new = _unused(self.given)
        return Diagonal(new + self.given, new + self.made)(b.whole(x))


class FromDiagonal(Op):
    """Zeros with the values on a diagonal: the adjoint of `Diagonal`."""

    linear = ("values",)

    def __init__(self, given: str, made: str) -> None:
        self.given, self.made = given, made

    def forward(self, values: Array) -> Array:
        return kernels.einsum.from_diagonal(values, self.given, self.made)

    def backward(self, grad: Tensor) -> Tensor:
        return Diagonal(self.made, self.given)(grad)

    def batch(self, b: BatchLevel, values: Tensor) -> Tensor:
        new = _unused(self.given)
        return FromDiagonal(new + self.given, new + self.made)(b.whole(values))


def _unused(labels: str) -> str:
    return chr(max(map(ord, labels)) + 1)


class Cross(Op):
    """The cross products of 3-vectors along the last axis; other axes are broadcast."""

    broadcasts = True
    saves = ("a", "b")
    saved_for = (1, 0)
    linear = ("a", "b")

    def forward(self, a: Array, b: Array) -> Array:
        return kernels.einsum.cross(a, b)

    def backward(self, grad: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor | None, Tensor | None]:
        grad = single(grad)  # it may be summed, and is rounded after that
        return (
            Cross()(single(b), grad) if self.needs[0] else None,
            Cross()(grad, single(a)) if self.needs[1] else None,
        )

    def batch(self, b: BatchLevel, x: Tensor, y: Tensor) -> Tensor:
        most = max(len(x.shape), len(y.shape))
        return Cross()(*[widened(b, one, most) for one in (x, y)])


# --- functions ----------------------------------------------------------------------------------


def einsum(equation: str, *tensors: Tensor, optimize: Any = True) -> Tensor:
    """The products of all elements with the labels of the result, the others added up.

    NumPy's equations: implicit results, ellipses, repeated labels (diagonals), axes of one element
    that are broadcast. The result is of the operands' common dtype, but of integers int64, which do
    not wrap around; of booleans it is whether a product holds. 16-bit floats are added up in
    float32 and rounded once. More than two tensors are multiplied two by two, in the order that
    ``optimize`` says: True, the name of an optimizer, or a path, tuples of positions. Raises
    ``ValueError`` where equation and shapes do not fit.
    """
    plan = planned(equation, tuple([x.data.shape for x in tensors]), optimize)
    dtypes = [x.data.dtype for x in tensors]
    dtype = dtypes[0] if dtypes.count(dtypes[0]) == len(dtypes) else common_dtype(*dtypes)
    inside = _computed_in(dtype, plan)
    result = _run(plan, [x.astype(inside) for x in tensors])
    return result if dtype == inside else result.astype(product_dtype(dtype))


def product_dtype(dtype: Any) -> Any:
    """Of a sum of products: int64 for integers that are shorter, whose products may be longer."""
    return _INT64 if dtype.kind in "iu" and dtype.itemsize < 8 else dtype


def _computed_in(dtype: Any, plan: Plan) -> Any:
    if not is_inexact(dtype):
        return _INT64
    return _SINGLE if is_narrow(dtype) and plan.roundings > 1 else dtype


_INT64, _SINGLE = np.dtype(np.int64), np.dtype(np.float32)


def _run(plan: Plan, tensors: list[Tensor]) -> Tensor:
    values: list[Any] = []
    for x, one in zip(tensors, plan.operands, strict=True):
        if one.diagonal is not None:
            x = Diagonal(*one.diagonal)(x)
        if one.reshaped is not None:
            x = Reshape(one.reshaped)(x)
        values.append(x if one.summed is None else Sum(one.summed, False)(x))
    for step in plan.steps:
        values.append(Contract(step.how)(values[step.first], values[step.second]))
    return values[-1] if plan.permuted is None else Permute(plan.permuted)(values[-1])


def tensordot(
    a: Tensor, b: Tensor, axes_a: tuple[int, ...], axes_b: tuple[int, ...], name: str = "tensordot"
) -> Tensor:
    """Sums of products over these axes, pair by pair: (…of a, …of b), their other axes.

    Raises ``ValueError`` by ``name`` where an axis is not there or comes twice, or sizes differ.
    """
    pairs = axes_a, axes_b
    places = [normal_axes(axes, x.ndim, name) for axes, x in zip(pairs, (a, b), strict=True)]
    sizes = [[x.shape[i] for i in place] for place, x in zip(places, (a, b), strict=True)]
    if sizes[0] != sizes[1]:
        raise ValueError(
            f"[{name}] expected axes {axes_a} of {a.shape} to match axes {axes_b} of {b.shape}"
        )
    return einsum(_equation(a.ndim, b.ndim, *places), a, b)


@functools.lru_cache(4096)
def _equation(ndim_a: int, ndim_b: int, axes_a: tuple[int, ...], axes_b: tuple[int, ...]) -> str:
    if ndim_a + ndim_b > len(LETTERS):
        raise ValueError(f"[tensordot] expected at most {len(LETTERS)} axes together")
    a, b = LETTERS[:ndim_a], [*LETTERS[ndim_a : ndim_a + ndim_b]]
    for i, j in zip(axes_a, axes_b, strict=True):
        b[j] = a[i]
    summed = {a[i] for i in axes_a}
    result = "".join([c for c in (*a, *b) if c not in summed])
    return f"{a},{''.join(b)}->{result}"


def normal_axes(axes: tuple[int, ...], ndim: int, name: str) -> tuple[int, ...]:
    """``axes`` counted from the first one, in their order."""
    normalize_axis(axes, ndim, name)  # they are there, and distinct
    return tuple([axis % ndim for axis in axes])


_in_widest = in_widest(tensordot)


def dot(a: Any, b: Any) -> Tensor:
    """NumPy's ``dot`` of tensors, or a tensor and a number."""
    if not hasattr(a, "shape") or not hasattr(b, "shape"):
        return a * b  # type: ignore[no-any-return]
    if not (a.shape and b.shape):
        return _in_widest(a, b, (), ())
    if len(a.shape) == len(b.shape) == 1:
        return _in_widest(a, b, (0,), (0,), "dot")
    return tensordot(a, b, (-1,), (-2 if len(b.shape) > 1 else 0,), "dot")


class DotMixin(TensorBase):
    """Products that NumPy's arrays have as methods."""

    __slots__ = ()

    def dot(self, other: Any, out: Any = None) -> Tensor:
        """NumPy's: sums over self's last axis and other's next-to-last, or only, axis.

        (…, K) by (…, K, N) is (…, …, N); of vectors a number, of matrices their product; with a
        number, each element's product. Of integers int64. Raises ``TypeError`` when other is
        neither a tensor, an array nor a number, ``ValueError`` when sizes differ.
        """
        given, other = other, self._operand(other, kept=True)  # type: ignore[attr-defined]
        if other is NotImplemented:
            kind = type(given).__name__
            raise TypeError(f"[dot] expected a tensor, an array or a number, got {kind}")
        result = dot(self, other)
        if out is None:
            return result
        out[...] = result
        return out  # type: ignore[no-any-return]

    @in_widest
    def bilinear(self, other: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """y_o = self @ weight_o @ other + bias_o of self (…, I) and other (…, J): (…, O).

        ``weight`` is (O, I, J), ``bias`` (O,). Raises ``ValueError`` where shapes do not fit.
        """
        x: Any = self
        ends = (x.shape[-1:], other.shape[-1:])
        fits = len(weight.shape) == 3 and ends == (weight.shape[1:2], weight.shape[2:])
        if not fits or x.shape[:-1] != other.shape[:-1]:
            raise ValueError(
                "[bilinear] expected inputs (…, I) and (…, J) and a weight (O, I, J), got "
                f"{x.shape}, {other.shape} and {weight.shape}"
            )
        if bias is not None and bias.shape != weight.shape[:1]:
            raise ValueError(f"[bilinear] expected bias {weight.shape[:1]}, got {bias.shape}")

        def compute(x: Tensor) -> Tensor:
            y = einsum("...i,oij,...j->...o", x, weight, other)
            return y if bias is None else y + bias

        dtypes = {t.dtype for t in (x, weight, other, bias) if t is not None}
        return in_single(x, compute) if len(dtypes) == 1 else compute(x)
