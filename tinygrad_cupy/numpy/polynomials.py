"""Polynomials as sequences of coefficients, the highest power first."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import TensorBase
from ..autograd.levels import Tracer
from ..backend import array_module, on_device_of, to_numpy
from ..backend.dtypes import is_narrow
from ..ops.convolve import Convolve
from ..ops.promotion import as_float, single
from ..ops.protocols import implements
from ..ops.shape import concat
from .arrays import first_tensor, tensor, term, terms

__all__ = [
    *("poly", "polyadd", "polyder", "polyint", "polymul", "polysub", "polyval"),
]


def expect_coefficients(name: str, *values: Any) -> list[Any]:
    found = [x.reshape(1) if x.ndim == 0 else x for x in terms(*values)]
    for x in found:
        if x.ndim != 1:
            raise ValueError(f"[{name}] expected coefficients of one axis, got shape {x.shape}")
    return found


@implements(np.polyadd)
def polyadd(a1: Any, a2: Any) -> Any:
    """The sum of two polynomials."""
    a, b = _as_long("polyadd", a1, a2)
    return a + b


@implements(np.polysub)
def polysub(a1: Any, a2: Any) -> Any:
    """The difference of two polynomials."""
    a, b = _as_long("polysub", a1, a2)
    return a - b


def _as_long(name: str, a1: Any, a2: Any) -> list[Any]:
    """Both with as many coefficients as the longer has."""
    a, b = expect_coefficients(name, a1, a2)
    most = max(len(a), len(b))
    return [x.pad(((most - len(x), 0),)) for x in (a, b)]


@implements(np.polymul)
def polymul(a1: Any, a2: Any) -> Any:
    """The product of two polynomials. Zeros that lead are dropped: they are looked for."""
    a, b = (_without_leading_zeros(x) for x in expect_coefficients("polymul", a1, a2))
    return Convolve()(a, b)


def _without_leading_zeros(p: Any, tolerance: float = 0) -> Any:
    if isinstance(p, Tracer):  # one shape for all elements of a batch
        return p
    there = np.flatnonzero(~(np.abs(to_numpy(p.detach().data)) <= tolerance))
    return p[int(there[0]) if there.size else max(len(p) - 1, 0) :]


@implements(np.polyder)
def polyder(p: Any, m: int = 1) -> Any:
    """The m-th derivative."""
    if m < 0:
        raise ValueError(f"[polyder] expected an order of 0 or more, got {m}")
    (p,) = expect_coefficients("polyder", p)
    for _ in range(m):
        p = p[:-1] * _counted_down(p, len(p) - 1)
    return p


def _counted_down(p: Any, first: int) -> Any:
    """first, first - 1, … 1, in the dtype of p and where it is."""
    with on_device_of(p.data):
        return p._wrap(array_module(p.data).arange(first, 0, -1).astype(p.dtype))


@implements(np.polyint)
def polyint(p: Any, m: int = 1, k: Any = None) -> Any:
    """The m-th antiderivative, with ``k``, one number for all or one for each, as constants."""
    if m < 0:
        raise ValueError(f"[polyint] expected an order of 0 or more, got {m}")
    (p,) = expect_coefficients("polyint", p)
    constants: Any = [0.0] * m if k is None else k
    if not hasattr(constants, "__len__") or getattr(constants, "ndim", 1) == 0:
        constants = [constants] * m
    constants = list(constants) * m if len(constants) == 1 else list(constants)
    if len(constants) < m:
        raise ValueError(f"[polyint] expected {m} constants, got {len(constants)}")
    p = as_float(p)
    for constant in constants[:m]:
        p = concat([p / _counted_down(p, len(p)), _single(p, constant)])
    return p


def _single(like: Any, value: Any) -> Any:
    """A sequence of the one ``value``, a number in the dtype of ``like`` and where it is."""
    if isinstance(value, TensorBase):
        return tensor(value).reshape(1)
    with on_device_of(like.data):
        return like._wrap(array_module(like.data).full(1, value).astype(like.dtype))


@implements(np.polyval)
def polyval(p: Any, x: Any) -> Any:
    """The polynomial p at x, by Horner's rule."""
    x = term(x, first_tensor((p, x)))
    p = p if isinstance(p, TensorBase | list | tuple) else tensor(p, x)
    if isinstance(p, TensorBase) and p.dtype == x.dtype and is_narrow(p.dtype):
        return polyval(single(tensor(p)), single(x)).astype(x.dtype)  # rounded once
    found = x * 0
    for coefficient in p:
        found = found * x + coefficient
    return found


@implements(np.poly)
def poly(seq_of_zeros: Any) -> Any:
    """The coefficients of the polynomial with these zeros, the first of which is 1."""
    (zeros,) = expect_coefficients("poly", seq_of_zeros)
    zeros = as_float(zeros)
    if is_narrow(zeros.dtype):
        return poly(single(zeros)).astype(zeros.dtype)  # rounded once
    found, none = _single(zeros, 1), _single(zeros, 0)
    for zero in zeros:
        found = concat([found, none]) - concat([none, found * zero])
    return found if len(zeros) else found[0]
