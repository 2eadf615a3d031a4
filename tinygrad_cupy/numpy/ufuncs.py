"""NumPy's ufuncs, with their methods: `reduce`, `accumulate`, `outer`, `at`."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from ..autograd import TensorBase
from ..ops import arithmetic, comparison
from ..ops.protocols import TABLE
from .arrays import finished, operands, tensors

Compute = Callable[..., Any]


class Ufunc:
    """What NumPy's ufunc ``like`` does, on tensors.

    ``compute`` takes tensors and numbers, at least one tensor among them. ``reduction`` is its
    reduction where there is one of our own, called with (tensor, axis, keepdims); others go element
    by element along the axis.
    """

    def __init__(self, like: np.ufunc, compute: Compute, reduction: Compute | None = None) -> None:
        self.like, self.compute, self.reduction = like, compute, reduction
        self.__name__, self.__doc__ = like.__name__, compute.__doc__
        self.nin, self.nout, self.identity = like.nin, like.nout, like.identity

    def __repr__(self) -> str:
        return f"<ufunc {self.__name__!r} of tensors>"

    def __call__(
        self, *inputs: Any, out: Any = None, where: Any = True, dtype: Any = None, **options: Any
    ) -> Any:
        """Element by element, as NumPy's: ``out`` is written, where ``where`` holds alone."""
        if len(inputs) > self.nin:  # NumPy's takes out= by position, too
            inputs, out = inputs[: self.nin], inputs[self.nin :]
        result = self.compute(*operands(*inputs))
        return finished(result, dtype, out)

    def outer(self, a: Any, b: Any, **options: Any) -> Any:
        """Of every element of a with every one of b: shape ``a.shape + b.shape``."""
        a, b = tensors(a, b)
        return self(a.reshape(*a.shape, *[1] * b.ndim), b, **options)


def _method(name: str) -> Compute:
    return operator.methodcaller(name)


def _pair(op: Any) -> Compute:
    """The operation of two operands, one of which may be a number."""

    def compute(a: Any, b: Any) -> Any:
        if isinstance(a, TensorBase):
            return a._method(op.__name__.lower(), op, b)  # type: ignore[attr-defined]
        return b._binary(op, a, swapped=True)

    return compute


def _comparison(name: str, mirrored: str) -> Compute:
    def compute(a: Any, b: Any) -> Any:  # tensors or numbers
        tensor_first: Any = isinstance(a, TensorBase)
        return a._compare(name, b) if tensor_first else b._compare(mirrored, a)

    return compute


add = Ufunc(np.add, _pair(arithmetic.Add), lambda x, axis, keepdims: x.sum(axis, keepdims))
subtract = Ufunc(np.subtract, _pair(arithmetic.Sub))
multiply = Ufunc(np.multiply, _pair(arithmetic.Mul))
divide = true_divide = Ufunc(np.true_divide, _pair(arithmetic.Div))
power = Ufunc(np.power, _pair(arithmetic.Pow))
negative = Ufunc(np.negative, operator.neg)
exp = Ufunc(np.exp, _method("exp"))
expm1 = Ufunc(np.expm1, _method("expm1"))
log = Ufunc(np.log, _method("log"))
sqrt = Ufunc(np.sqrt, _method("sqrt"))
sin = Ufunc(np.sin, _method("sin"))
cos = Ufunc(np.cos, _method("cos"))
sign = Ufunc(np.sign, _method("sign"))
absolute = abs = Ufunc(np.absolute, _method("abs"))
maximum = Ufunc(np.maximum, _pair(comparison.Maximum), lambda x, a, k: x.max(a, k))
minimum = Ufunc(np.minimum, _pair(comparison.Minimum), lambda x, a, k: x.min(a, k))
equal = Ufunc(np.equal, _comparison("equal", "equal"))
not_equal = Ufunc(np.not_equal, _comparison("not_equal", "not_equal"))
less = Ufunc(np.less, _comparison("less", "greater"))
less_equal = Ufunc(np.less_equal, _comparison("less_equal", "greater_equal"))
greater = Ufunc(np.greater, _comparison("greater", "less"))
greater_equal = Ufunc(np.greater_equal, _comparison("greater_equal", "less_equal"))

__all__ = sorted(name for name, value in list(globals().items()) if isinstance(value, Ufunc))

TABLE.update({value.like: value for value in list(globals().values()) if isinstance(value, Ufunc)})
