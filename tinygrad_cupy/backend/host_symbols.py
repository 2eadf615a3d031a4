"""What an elementwise function computes on a CPU, found by calling it on symbols.

NumPy's and SciPy's functions ask their arguments for ``__array_ufunc__``. A `HostSymbol` answers
with another symbol, and notes as a `Step` what `block_machine` will do in its place: the step's
``code`` is the function's name. NumPy itself says in which dtypes it would have computed. What the
machine does not know raises `NotElementwise`, and runs through NumPy as it is.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from .block_machine import BOOL, FILES, has
from .symbols import Making, NotElementwise, Step

_PYTHONS = (bool, int, float)
# NumPy's names of steps that are the machine's under another name, and of those of booleans.
_CALLED = {"true_divide": "divide", "conjugate": "positive", "fabs": "absolute"}
_OF_BOOLS = {
    "logical_and": "bitwise_and",
    "logical_or": "bitwise_or",
    "logical_xor": "bitwise_xor",
    "logical_not": "invert",
    "not_equal": "bitwise_xor",
    **{name: name for name in ("bitwise_and", "bitwise_or", "bitwise_xor", "invert")},
}


class HostSymbol(NDArrayOperatorsMixin):
    """An array of the host of which the dtype alone is known."""

    __slots__ = ("dtype", "made", "number")

    def __init__(self, made: Making, number: int, dtype: Any) -> None:
        self.made, self.number, self.dtype = made, number, np.dtype(dtype)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        given = {name: x for name, x in options.items() if x is not None}
        if given.pop("casting", "same_kind") not in ("same_kind", "unsafe"):
            raise NotElementwise(f"{ufunc.__name__} with a rule of casting")
        dtype = given.pop("dtype", None)
        if method != "__call__" or given or ufunc.nout != 1:
            raise NotElementwise(f"{ufunc.__name__} with more than arguments")
        return _called(self.made, ufunc, inputs, dtype)

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        known: Any = {np.where: _where, np.clip: _clip}.get(function)
        if known is None:
            raise NotElementwise(function.__name__)
        return known(self.made, *args, **options)

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise NotElementwise("values")

    def __bool__(self) -> bool:
        raise NotElementwise("a decision by values")

    def __len__(self) -> int:
        raise NotElementwise("a size")

    def __pow__(self, other: Any) -> Any:
        if type(other) in (int, float) and self.dtype.kind == "f":  # as NumPy's arrays do
            if other in (2, 1):
                return np.square(self) if other == 2 else np.positive(self)
            if other in (0.5, -1):
                return np.sqrt(self) if other == 0.5 else np.reciprocal(self)
        return np.power(self, other)

    # Of what is bound to the name again; a function that is told to write into an array is refused.
    __iadd__ = NDArrayOperatorsMixin.__add__
    __isub__ = NDArrayOperatorsMixin.__sub__
    __imul__ = NDArrayOperatorsMixin.__mul__
    __itruediv__ = NDArrayOperatorsMixin.__truediv__
    __iand__ = NDArrayOperatorsMixin.__and__
    __ior__ = NDArrayOperatorsMixin.__or__
    __ixor__ = NDArrayOperatorsMixin.__xor__

    def astype(self, dtype: Any, copy: bool = True) -> Any:
        dtype = np.dtype(dtype)
        return self if dtype == self.dtype else _as(self.made, self, dtype)

    def clip(self, low: Any = None, high: Any = None) -> Any:
        return _clip(self.made, self, low, high)

    def conj(self) -> Any:
        return self

    def copy(self) -> Any:
        raise NotElementwise("a copy, which lies in C order")


def _called(made: Making, ufunc: Any, inputs: Any, dtype: Any) -> HostSymbol:
    kinds = [_kind_of(x) for x in inputs]
    options = {} if dtype is None else {"signature": (*[None] * len(inputs), np.dtype(dtype))}
    *wanted, out = ufunc.resolve_dtypes((*kinds, None), casting="unsafe", **options)
    name = ufunc.__name__
    if set(wanted) == {BOOL}:
        name = _OF_BOOLS.get(name, "")
        return _step(made, name, [_as(made, x, BOOL) for x in inputs], BOOL, _number(made))
    (number,) = set(wanted) if len(set(wanted)) == 1 else {None}
    if number not in FILES or out not in (number, BOOL):
        raise NotElementwise(f"{name} of {wanted}")
    arguments = [_as(made, x, number) for x in inputs]
    return _step(made, _CALLED.get(name, name), arguments, out, number)


def _where(made: Making, condition: Any, a: Any, b: Any) -> HostSymbol:
    if type(condition) is not HostSymbol or condition.dtype != BOOL:
        raise NotElementwise("where of no booleans")
    dtype = np.result_type(*[_example(x) for x in (a, b)])
    if dtype not in FILES:
        raise NotElementwise(f"where of {dtype}")
    arguments = [condition, _as(made, a, dtype), _as(made, b, dtype)]
    return _step(made, "where", arguments, dtype, dtype)


def _clip(made: Making, x: Any, low: Any = None, high: Any = None) -> HostSymbol:
    limits = [v for v in (low, high) if v is not None]
    if type(x) is not HostSymbol or any(type(v) not in _PYTHONS or math.isnan(v) for v in limits):
        raise NotElementwise("clip to other than numbers")
    number = np.result_type(x.dtype, *map(_example, limits))
    if number != x.dtype or number not in FILES:
        raise NotElementwise(f"clip of {x.dtype}")
    names = ("at_least", "at_most") if len(limits) == 2 else ("maximum", "minimum")  # of -0 and 0
    for name, v in zip(names, (low, high), strict=True):
        if v is not None:
            x = _step(made, name, [x, _as(made, v, number)], number, number)
    return x  # type: ignore[no-any-return]


def _kind_of(x: Any) -> Any:
    if type(x) is HostSymbol or isinstance(x, np.generic):
        return x.dtype
    if type(x) in _PYTHONS:
        return BOOL if type(x) is bool else type(x)
    raise NotElementwise(f"an argument of type {type(x).__name__}")


def _example(x: Any) -> Any:
    """What stands for x where NumPy promotes."""
    return _kind_of(x) if isinstance(x, (HostSymbol, np.generic)) else x


def _number(made: Making) -> Any:
    """The dtype of the numbers of a program, of which there must be one."""
    kinds = {d for d in made.inputs if d != BOOL}
    if len(kinds) != 1 or not kinds <= FILES.keys():
        raise NotElementwise(f"arrays of {sorted(map(str, kinds))}")
    return kinds.pop()


def _as(made: Making, x: Any, dtype: Any) -> Any:
    """x, a symbol or a number, as this dtype."""
    if type(x) is not HostSymbol:
        with np.errstate(all="ignore"):
            value = np.asarray(x).astype(dtype)
        if dtype == BOOL or (math.isfinite(x) and not np.isfinite(value)):
            raise NotElementwise(f"the number {x}")
        return value
    if x.made is not made:
        raise NotElementwise("a symbol of another function")
    if x.dtype == dtype:
        return x
    if x.dtype == BOOL and dtype in FILES:
        return _step(made, "number", [x], dtype, dtype)
    raise NotElementwise(f"{x.dtype} as {dtype}")


def _step(made: Making, name: str, arguments: Any, out: Any, number: Any) -> HostSymbol:
    if number != _number(made) or not has(number, name, len(arguments)):
        raise NotElementwise(name)
    types = tuple([x.dtype for x in arguments])
    numbers = tuple([_numbered(made, x) for x in arguments])
    made.steps.append(Step(name, "", (), (), types, numbers, "", out))
    return HostSymbol(made, len(made.inputs) + len(made.steps) - 1, out)


def _numbered(made: Making, x: Any) -> int:
    if type(x) is HostSymbol:
        return x.number
    made.constants.append(x)
    made.constant_types.append(x.dtype)
    return -len(made.constants)
