"""NumPy's ufuncs, with their methods: `reduce`, `accumulate`, `outer`, `at`."""

from __future__ import annotations

import operator
from typing import Any, ClassVar

import numpy as np

from ..autograd import TensorBase
from ..ops import arithmetic, comparison
from ..ops.protocols import TABLE
from .ufunc import Compute, Ufunc


def _method(name: str) -> Compute:
    return operator.methodcaller(name)


class _pair:
    """The operation of two operands: a tensor, and another, an array, a list or a number."""

    takes_arrays = True
    symmetric = (arithmetic.Add, arithmetic.Mul, comparison.Maximum)
    names: ClassVar = {"sub": "subtract", "mul": "multiply", "div": "divide", "pow": "power"}

    def __init__(self, op: Any) -> None:
        self.op, self.swapped = op, not issubclass(op, self.symmetric)
        name = op.__name__.lower()
        self.name = self.names.get(name, name)

    def __call__(self, a: Any, b: Any) -> Any:
        if isinstance(a, TensorBase):
            found = a._binary(self.op, b, name=self.name)  # type: ignore[attr-defined]
        else:
            found = b._binary(self.op, a, self.swapped, self.name)
        return _operands_fit(self.name, found, a, b)


class _comparison:
    """A comparison, which is the ``mirrored`` one of swapped operands."""

    takes_arrays = True

    def __init__(self, name: str, mirrored: str) -> None:
        self.name, self.mirrored = name, mirrored

    def __call__(self, a: Any, b: Any) -> Any:
        if isinstance(a, np.ndarray) and not a.ndim:  # what NumPy makes of a scalar on the left
            a = a[()]
        first: Any = a
        is_first = isinstance(a, TensorBase)
        found = first._compare(self.name, b) if is_first else b._compare(self.mirrored, a)
        return _operands_fit(self.name, found, a, b)


def _operands_fit(name: str, found: Any, *operands: Any) -> Any:
    if found is NotImplemented:
        other = next(x for x in operands if not isinstance(x, TensorBase))
        raise TypeError(
            f"[{name}] expected a tensor, an array or a number, got {type(other).__name__}"
        )
    return found


add = Ufunc(np.add, _pair(arithmetic.Add), "sum", "cumsum")
subtract = Ufunc(np.subtract, _pair(arithmetic.Sub))
multiply = Ufunc(np.multiply, _pair(arithmetic.Mul), "prod", "cumprod")
divide = true_divide = Ufunc(np.true_divide, _pair(arithmetic.Div))
power = Ufunc(np.power, _pair(arithmetic.Pow))
negative = Ufunc(np.negative, operator.neg)
exp = Ufunc(np.exp, _method("exp"))
expm1 = Ufunc(np.expm1, _method("expm1"))
log = Ufunc(np.log, _method("log"))
sqrt = Ufunc(np.sqrt, _method("sqrt"))
sin = Ufunc(np.sin, _method("sin"))
conj = conjugate = Ufunc(np.conjugate, lambda x: x.conj())
cos = Ufunc(np.cos, _method("cos"))
sign = Ufunc(np.sign, _method("sign"))
absolute = abs = Ufunc(np.absolute, _method("abs"))
maximum = Ufunc(np.maximum, _pair(comparison.Maximum), "max", "cummax")
minimum = Ufunc(np.minimum, _pair(comparison.Minimum), "min", "cummin")
equal = Ufunc(np.equal, _comparison("equal", "equal"))
not_equal = Ufunc(np.not_equal, _comparison("not_equal", "not_equal"))
less = Ufunc(np.less, _comparison("less", "greater"))
less_equal = Ufunc(np.less_equal, _comparison("less_equal", "greater_equal"))
greater = Ufunc(np.greater, _comparison("greater", "less"))
greater_equal = Ufunc(np.greater_equal, _comparison("greater_equal", "less_equal"))

__all__ = [
    "abs",
    "absolute",
    "add",
    "conj",
    "conjugate",
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
