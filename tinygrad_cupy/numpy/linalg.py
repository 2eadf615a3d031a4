"""`numpy.linalg`: products of matrices, equations, decompositions and norms."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ..autograd.autocast import as_of_products, in_widest
from ..backend import array_module, on_device_of
from ..backend.dtypes import is_narrow
from ..ops import einsum as ops
from ..ops.promotion import as_float, in_one_dtype, in_single
from ..ops.protocols import implements
from ..ops.solve import Inverse
from . import products
from .arrays import finished
from .decompositions import (
    cholesky,
    cond,
    diagonal,
    eig,
    eigh,
    eigvals,
    eigvalsh,
    matrix_rank,
    matrix_transpose,
    qr,
    svd,
    svdvals,
    trace,
)
from .equations import det, inv, lstsq, pinv, slogdet, solve, tensorinv, tensorsolve
from .norms import matrix_norm, norm, vector_norm
from .products import factors

__all__ = [
    "LinAlgError",
    "cholesky",
    "cond",
    "cross",
    "det",
    "diagonal",
    "eig",
    "eigh",
    "eigvals",
    "eigvalsh",
    "inv",
    "lstsq",
    "matmul",
    "matrix_norm",
    "matrix_power",
    "matrix_rank",
    "matrix_transpose",
    "multi_dot",
    "norm",
    "outer",
    "pinv",
    "qr",
    "slogdet",
    "solve",
    "svd",
    "svdvals",
    "tensordot",
    "tensorinv",
    "tensorsolve",
    "trace",
    "vecdot",
    "vector_norm",
]

LinAlgError = np.linalg.LinAlgError


@implements(np.linalg.cross)
def cross(x1: Any, x2: Any, /, *, axis: int = -1) -> Any:
    """Vectors at right angles to those of x1 and x2, which have 3 elements along ``axis``."""
    x1, x2 = factors(x1, x2)
    if any(not -x.ndim <= axis < x.ndim or x.shape[axis] != 3 for x in (x1, x2)):
        raise ValueError(
            f"[cross] expected vectors of 3 numbers along axis {axis}, got {x1.shape} and "
            f"{x2.shape}"
        )
    return products.cross(x1, x2, axis=axis)


@implements(np.linalg.matmul)
def matmul(x1: Any, x2: Any, /) -> Any:
    """The matrix product; vectors and stacks as `Tensor.matmul` takes them."""
    return products.matmul(x1, x2)


@implements(np.linalg.outer)
def outer(x1: Any, x2: Any, /) -> Any:
    """Every element of the vector x1 by every element of the vector x2."""
    x1, x2 = factors(x1, x2)
    if x1.ndim != 1 or x2.ndim != 1:
        raise ValueError(f"[outer] expected vectors, got {x1.shape} and {x2.shape}")
    return products.outer(x1, x2)


@implements(np.linalg.tensordot)
def tensordot(x1: Any, x2: Any, /, *, axes: Any = 2) -> Any:
    """Sums of products over ``axes``: so many of x1 from its end and of x2, or two lists."""
    return products.tensordot(x1, x2, axes)


@implements(np.linalg.vecdot)
def vecdot(x1: Any, x2: Any, /, *, axis: int = -1) -> Any:
    """Sums of products over ``axis``."""
    return products.vecdot(x1, x2, axis=axis)


@implements(np.linalg.matrix_power)
def matrix_power(a: Any, n: int) -> Any:
    """The n-th power of square matrices (…, M, M), by squaring; of their inverse where n < 0.

    16-bit floats are rounded once.
    """
    (a,) = factors(a)
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        raise ValueError(f"[matrix_power] expected square matrices, got shape {a.shape}")
    try:
        n = operator.index(n)
    except TypeError:
        raise TypeError(f"[matrix_power] expected an integer exponent, got {n!r}") from None
    if n < 0:
        return in_single(as_float(a), lambda x: _power(Inverse("matrix_power")(x), -n))
    return in_single(a, lambda x: _power(x, n))


def _power(x: Any, n: int) -> Any:
    if n == 0:  # of no slope, but a gradient may be asked for
        with on_device_of(x.data):
            xp = array_module(x.data)
            return x.where(xp.zeros((), bool), x._wrap(xp.eye(x.shape[-1], dtype=x.dtype)))
    result = None
    while True:
        if n % 2:
            result = x if result is None else products.matmul(result, x)
        n //= 2
        if not n:
            return result
        x = products.matmul(x, x)


@implements(np.linalg.multi_dot)
def multi_dot(arrays: Sequence[Any], *, out: Any = None) -> Any:
    """The product of matrices, in the order that takes the fewest multiplications.

    The first and the last may be vectors. 16-bit floats are rounded once.
    """
    xs = in_one_dtype(*as_of_products(*factors(*arrays)))
    shapes = [x.shape for x in xs]
    if len(xs) < 2 or not _fit(shapes):
        raise ValueError(
            "[multi_dot] expected two or more matrices that can be multiplied, the first and the "
            f"last may be vectors, got shapes {', '.join(map(str, shapes))}"
        )
    # Matrix i is (sizes[i], sizes[i + 1]).
    sizes = (1, *shapes[0])[-2:] + tuple([(*shape, 1)[1] for shape in shapes[1:]])
    where = _splits(sizes)

    @in_widest  # 16 bits are rounded at the end
    def product(first: int, last: int) -> Any:
        if first == last:
            return xs[first]
        middle = where[first, last]
        return ops.dot(product(first, middle), product(middle + 1, last))

    dtype = xs[0].dtype
    if is_narrow(dtype) and len(xs) > 2:
        xs = tuple([x.astype(np.float32) for x in xs])
    return finished(product(0, len(xs) - 1).astype(dtype), None, out)


def _fit(shapes: list[tuple[int, ...]]) -> bool:
    inner = all(len(shape) == 2 for shape in shapes[1:-1])
    ends = all(len(shape) in (1, 2) for shape in (shapes[0], shapes[-1]))
    return inner and ends and all(a[-1] == b[0] for a, b in pairwise(shapes))


@functools.lru_cache(1024)
def _splits(sizes: tuple[int, ...]) -> dict[tuple[int, int], int]:
    """Behind which matrix the product of those from one to another is cut (Godbole 1973)."""
    count = len(sizes) - 1
    cost: dict[tuple[int, int], int] = {(i, i): 0 for i in range(count)}
    where = {}
    for length in range(1, count):
        for i in range(count - length):
            j = i + length
            costs = [
                cost[i, k] + cost[k + 1, j] + sizes[i] * sizes[k + 1] * sizes[j + 1]
                for k in range(i, j)
            ]
            cost[i, j] = min(costs)
            where[i, j] = i + costs.index(cost[i, j])
    return where
