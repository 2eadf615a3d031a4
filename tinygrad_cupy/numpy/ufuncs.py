"""NumPy's ufuncs, with their methods: `reduce`, `accumulate`, `outer`, `at`."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from ..autograd import TensorBase
from ..ops import arithmetic, comparison
from ..ops.protocols import TABLE
from .arrays import tensor
from .ufunc import Compute, Ufunc, one_tensor


def _method(name: str) -> Compute:
    return operator.methodcaller(name)


SYMMETRIC = (arithmetic.Add, arithmetic.Mul, comparison.Maximum, comparison.Minimum)


def _pair(like: np.ufunc, op: Any, *methods: Any) -> Ufunc:
    """A ufunc that is an operation of two operands: a tensor, and another, an array or a number."""
    name, swapped = like.__name__, op not in SYMMETRIC

    def compute(a: Any, b: Any) -> Any:
        if isinstance(a, TensorBase):
            found = a._binary(op, b, name=name)  # type: ignore[attr-defined]
        else:
            found = b._binary(op, a, swapped, name)
        return _operands_fit(name, found, a, b)

    return Ufunc(like, compute, *methods, ready=one_tensor)


def _comparison(like: np.ufunc, mirrored: str) -> Ufunc:
    """A comparison, which is the ``mirrored`` one of swapped operands."""
    name = like.__name__

    def compute(a: Any, b: Any) -> Any:
        if isinstance(a, np.ndarray) and not a.ndim:  # what NumPy makes of a scalar on the left
            a = a[()]
        first: Any = a
        is_first = isinstance(a, TensorBase)
        found = first._compare(name, b) if is_first else b._compare(mirrored, a)
        return _operands_fit(name, found, a, b)

    return Ufunc(like, compute, ready=one_tensor)


def _operands_fit(name: str, found: Any, *operands: Any) -> Any:
    if found is NotImplemented:
        other = next(x for x in operands if not isinstance(x, TensorBase))
        raise TypeError(
            f"[{name}] expected a tensor, an array or a number, got {type(other).__name__}"
        )
    return found


add = _pair(np.add, arithmetic.Add, "sum", "cumsum")
subtract = _pair(np.subtract, arithmetic.Sub)
multiply = _pair(np.multiply, arithmetic.Mul, "prod", "cumprod")
divide = true_divide = _pair(np.true_divide, arithmetic.Div)
power = _pair(np.power, arithmetic.Pow)
negative = Ufunc(np.negative, operator.neg)
exp = Ufunc(np.exp, _method("exp"))
expm1 = Ufunc(np.expm1, _method("expm1"))
log = Ufunc(np.log, _method("log"))
sqrt = Ufunc(np.sqrt, _method("sqrt"))
sin = Ufunc(np.sin, _method("sin"))
cos = Ufunc(np.cos, _method("cos"))
sign = Ufunc(np.sign, _method("sign"))
absolute = abs = Ufunc(np.absolute, _method("abs"))
maximum = _pair(np.maximum, comparison.Maximum, "max", "cummax")
minimum = _pair(np.minimum, comparison.Minimum, "min", "cummin")
equal = _comparison(np.equal, "equal")
not_equal = _comparison(np.not_equal, "not_equal")
less = _comparison(np.less, "greater")
less_equal = _comparison(np.less_equal, "greater_equal")
greater = _comparison(np.greater, "less")
greater_equal = _comparison(np.greater_equal, "less_equal")
matmul = Ufunc(np.matmul, lambda a, b: tensor(a, b) @ tensor(b, a))

__all__ = [
    "abs",
    "absolute",
    "add",
    "cos",
    "divide",
    "equal",
    "exp",
    "expm1",
    "greater",
    "greater_equal",
    "less",
    "less_equal",
    "log",
    "matmul",
    "maximum",
    "minimum",
    "multiply",
    "negative",
    "not_equal",
    "power",
    "sign",
    "sin",
    "sqrt",
    "subtract",
    "true_divide",
]

TABLE.update({value.like: value for value in list(globals().values()) if isinstance(value, Ufunc)})
