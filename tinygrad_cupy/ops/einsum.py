"""Einstein's summation, and the products that are special cases of it.

An equation is taken apart into diagonals and sums of single operands and products of two. Each is
an operation whose gradients are of the same kind, so that derivatives of every order are as fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import kernels
from ..autograd import Op
from ..backend import Array
from ..backend.dtypes import common_dtype, is_float, is_narrow
from ..kernels.einsum import Pair
from .reduce import Sum
from .shape import Permute, Reshape
from .subscripts import Plan, planned

if TYPE_CHECKING:
    from ..autograd.batching import BatchLevel
    from ..autograd.typing import Tensor


class Contract(Op):
    """The product of two tensors of one dtype with labelled axes, as ``how`` says."""

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


# --- functions ----------------------------------------------------------------------------------


def einsum(equation: str, *tensors: Tensor, optimize: Any = True) -> Tensor:
    """The products of all elements with the labels of the result, the others added up.

    NumPy's equations: implicit results, ellipses, repeated labels (diagonals), axes of one element
    that are broadcast. Integers and booleans are int64. 16-bit floats are multiplied in float32
    and rounded once. More than two tensors are multiplied two by two, in the order that
    ``optimize`` says: True, the name of an optimizer, or a path, tuples of positions.
    """
    plan = planned(equation, tuple([x.shape for x in tensors]), optimize)
    dtype = common_dtype(*[x.dtype for x in tensors])
    inside = _computed_in(dtype, plan)
    result = _run(plan, [x.astype(inside) for x in tensors])
    return result.astype(dtype) if is_narrow(dtype) else result


def _computed_in(dtype: Any, plan: Plan) -> Any:
    if not is_float(dtype):
        return np.int64
    return np.float32 if is_narrow(dtype) and plan.roundings > 1 else dtype


def _run(plan: Plan, tensors: list[Tensor]) -> Tensor:
    values: list[Any] = []
    for x, one in zip(tensors, plan.operands, strict=True):
        if one.diagonal is not None:
            x = Diagonal(*one.diagonal)(x)
        if one.reshaped is not None:
            x = Reshape(one.reshaped)(x)
        values.append(x if one.summed is None else Sum(one.summed, False)(x))
    for step in plan.steps:
        a, b = values[step.first], values[step.second]
        values.append(Contract(step.how)(a, b))
    return values[-1] if plan.permuted is None else Permute(plan.permuted)(values[-1])


def contract(a: Tensor, b: Tensor, labels: tuple[str, str, str]) -> Tensor:
    """The product of two with the labels of a, b and the result, each once, all sizes alike."""
    return einsum(f"{labels[0]},{labels[1]}->{labels[2]}", a, b)
