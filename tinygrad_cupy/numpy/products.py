"""Products of vectors, matrices and tensors, and `einsum`.

Sums of products of integers are int64, where NumPy's wrap around in shorter ones; of booleans they
are booleans. Products of float16 and bfloat16 are added up in float32 and rounded once.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from ..autograd import TensorBase
from ..autograd.autocast import in_widest
from ..backend.dtypes import common_dtype, is_float, is_inexact, resolve_dtype
from ..ops import einsum as ops
from ..ops.axes import normalize_axis
from ..ops.promotion import in_one_dtype
from ..ops.protocols import implements
from ..ops.subscripts import LETTERS, equation_of
from .arrays import finished, terms

__all__ = [
    *("cross", "dot", "einsum", "einsum_path", "inner", "kron", "matmul", "matvec", "outer"),
    *("tensordot", "vdot", "vecdot", "vecmat"),
]


def factors(*values: Any) -> list[Any]:
    """All as tensors; numbers take the dtype of tensors beside them, which they do not widen."""
    found = terms(*values)
    numbers = [isinstance(x, bool | int | float | complex | np.generic) for x in values]
    if all(numbers) or not any(numbers):
        return found
    dtype = common_dtype(*[x.dtype for x, one in zip(found, numbers, strict=True) if not one])
    if not is_inexact(dtype) and any(is_float(x.dtype) for x in found):  # integers by a float
        return [x.astype(x._float) for x in found]
    return [x.astype(dtype) if one else x for x, one in zip(found, numbers, strict=True)]


@implements(np.dot)
def dot(a: Any, b: Any, out: Any = None) -> Any:
    """Sums over a's last axis and b's next-to-last, or only, one; see `Tensor.dot`."""
    return finished(ops.dot(*factors(a, b)), None, out)


@implements(np.vdot)
@in_widest
def vdot(a: Any, b: Any, /) -> Any:
    """The sum of all products of the conjugate of an element of a and the one at its place in b."""
    a, b = (x.reshape(-1) for x in factors(a, b))
    a = a.conj()
    return ops.tensordot(a, b, (0,), (0,), "vdot")


@implements(np.inner)
@in_widest
def inner(a: Any, b: Any, /) -> Any:
    """Sums of products over the last axes: (…of a, …of b)."""
    a, b = factors(a, b)
    axes = (-1,) if a.shape and b.shape else ()
    return ops.tensordot(a, b, axes, axes, "inner")


@implements(np.outer)
@in_widest
def outer(a: Any, b: Any, out: Any = None) -> Any:
    """Every element of a by every element of b: (size of a, size of b)."""
    return finished(ops.einsum("i,j->ij", *[x.reshape(-1) for x in factors(a, b)]), None, out)


@implements(np.kron)
@in_widest
def kron(a: Any, b: Any) -> Any:
    """Kronecker's product: every element of a times all of b, the blocks put together."""
    a, b = factors(a, b)
    ndim = max(a.ndim, b.ndim)
    a, b = (x.reshape(*[1] * (ndim - x.ndim), *x.shape) for x in (a, b))
    letters = LETTERS[:ndim], LETTERS[ndim : 2 * ndim]
    result = "".join([x + y for x, y in zip(*letters, strict=True)])
    blocks = ops.einsum(f"{letters[0]},{letters[1]}->{result}", a, b)
    return blocks.reshape(*[m * n for m, n in zip(a.shape, b.shape, strict=True)])


@implements(np.tensordot)
@in_widest
def tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    """Sums of products over ``axes``: so many last ones of a and first ones of b, or two lists."""
    a, b = factors(a, b)
    try:
        count = operator.index(axes)
    except TypeError:
        pair = [_several(some) for some in axes]
        if len(pair) != 2 or len(pair[0]) != len(pair[1]):
            raise ValueError(
                f"[tensordot] expected a number of axes, or as many of a as of b, got {axes!r}"
            ) from None
        return ops.tensordot(a, b, pair[0], pair[1])
    return ops.tensordot(a, b, tuple(range(-count, 0)), tuple(range(count)))


def _several(axes: Any) -> tuple[int, ...]:
    return tuple(axes) if hasattr(axes, "__len__") else (operator.index(axes),)


@implements(np.cross)
def cross(
    a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None
) -> Any:
    """Vectors at right angles to those of a and b, which have 3 elements along an axis.

    Of vectors of 2 elements the third is 0; of two such the third of the result alone.
    """
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = factors(a, b)
    a, b = in_one_dtype(_moved(a, axisa, -1, "cross"), _moved(b, axisb, -1, "cross"))
    sides = a.shape[-1], b.shape[-1]
    if not {*sides} <= {2, 3} or a.dtype == bool:
        raise ValueError(
            f"[cross] expected vectors of 2 or 3 numbers, got {a.shape} and {b.shape} of {a.dtype}"
        )
    a, b = (x if x.shape[-1] == 3 else x.pad((*((0, 0),) * (x.ndim - 1), (0, 1))) for x in (a, b))
    product = ops.Cross()(a, b)
    return product[..., 2] if sides == (2, 2) else _moved(product, -1, axisc, "cross")


def _moved(x: Any, source: int, target: int, name: str) -> Any:
    """x with one axis at another place."""
    (source,), (target,) = (normalize_axis(i, x.ndim, name) for i in (source, target))
    order = [i for i in range(x.ndim) if i != source]
    order.insert(target, source)
    return x if order == [*range(x.ndim)] else x.permute(*order)


# --- einsum -------------------------------------------------------------------------------------


@implements(np.einsum)
def einsum(*operands: Any, out: Any = None, optimize: Any = False, **options: Any) -> Any:
    """Einstein's summation by an equation, ``einsum("ij,jk->ik", a, b)``, or by lists of labels.

    Ellipses broadcast, a label twice in one operand is its diagonal, and a result of one operand is
    a view where it can be. Operands are always multiplied two by two. ``optimize`` says in which
    order: "greedy" or "optimal" as NumPy finds it, a path of `einsum_path`, or else opt_einsum's
    order where that is installed, NumPy's where not. Options: ``dtype``, to which the operands are
    cast, by the rule ``casting`` ("safe"); ``order`` says nothing here.
    """
    equation, given = equation_of(operands)
    xs = _cast("einsum", factors(*given), **options)
    return finished(ops.einsum(equation, *xs, optimize=_optimizer(optimize)), None, out)


def _cast(
    name: str, xs: list[Any], dtype: Any = None, casting: Any = "safe", order: str = "K"
) -> list[Any]:
    if dtype is None:
        return xs
    wanted = resolve_dtype(dtype)
    for i, x in enumerate(xs):
        if not np.can_cast(x.dtype, wanted, casting):
            raise TypeError(
                f"[{name}] expected operands that can be cast to {wanted} by the rule "
                f"{casting!r}, got {x.dtype} for operand {i}"
            )
    return [x.astype(wanted) for x in xs]


def _optimizer(optimize: Any) -> Any:
    """``optimize`` of NumPy's as `ops.subscripts.planned` takes it."""
    if optimize in (True, False, None) and not isinstance(optimize, list | tuple):
        return True
    if isinstance(optimize, str):
        return optimize
    if optimize and optimize[0] == "einsum_path":
        return tuple([tuple(positions) for positions in optimize[1:]])
    return optimize[0]  # with the memory that it may use


@implements(np.einsum_path)
def einsum_path(*operands: Any, optimize: Any = "greedy", einsum_call: bool = False) -> Any:
    """In which order NumPy would multiply, as `einsum` takes it, and a text about it."""
    equation, given = equation_of(operands)
    shapes = [x.shape if isinstance(x, TensorBase) else np.shape(x) for x in given]
    arrays = [np.broadcast_to(np.float64(0), shape) for shape in shapes]
    found: Any = np.einsum_path(equation, *arrays, optimize=optimize)
    return found


# --- products of stacks -------------------------------------------------------------------------


def _stacked(like: Any, equation: str, does: str) -> Any:
    """NumPy's ``like``, a product of the last axes of which leading ones are broadcast."""
    terms = equation.replace("->", ",").replace("...", "").split(",")
    name = like.__name__

    def product(
        x1: Any,
        x2: Any,
        /,
        out: Any = None,
        *,
        axes: Any = None,
        axis: int | None = None,
        keepdims: bool = False,
        casting: str = "same_kind",
        order: str = "K",
        dtype: Any = None,
        subok: bool = True,
    ) -> Any:
        xs = _cast(name, factors(x1, x2), dtype, casting)
        if axis is not None:
            axes = [axis, axis, axis][: 2 + keepdims]
        cores = [len(term) for term in terms]
        if name == "matmul":  # of vectors and matrices
            one = [x.ndim == 1 for x in xs]
            cores = [2 - one[0], 2 - one[1], 2 - sum(one)]
        places = _core_axes(name, cores, axes, keepdims)
        xs = [_from(x, place, name) for x, place in zip(xs, places, strict=False)]
        if name == "matmul":
            result = xs[0].matmul(xs[1])
            result = result.astype(bool) if all(x.dtype == bool for x in xs) else result
        else:
            _expect_cores(name, terms, xs)
            xs[0] = xs[0].conj() if name in ("vecdot", "vecmat") else xs[0]
            result = ops.einsum(equation, *xs)
        result = result.unsqueeze(-1) if keepdims else result
        return finished(_to(result, places[2], name), None, out)

    product.__name__ = product.__qualname__ = name
    product.__doc__ = does
    return implements(like)(product)


def _core_axes(name: str, cores: list[int], axes: Any, keepdims: bool) -> list[tuple[int, ...]]:
    """Which axes of both operands and of the result are multiplied or made."""
    if keepdims and cores != [1, 1, 0]:
        raise TypeError(f"[{name}] does not take keepdims=")
    cores[2] += keepdims
    given = [*map(_several, axes)] if axes is not None else []
    given += [tuple(range(-n, 0)) for n in cores[len(given) :]]
    if [len(place) for place in given] != cores:
        raise ValueError(f"[{name}] expected {cores} axes of operands and result, got {axes}")
    return given


def _expect_cores(name: str, terms: list[str], xs: list[Any]) -> None:
    """Raise where sizes differ: there is no broadcasting among the axes that are multiplied."""
    sizes: dict[str, int] = {}
    for x, term in zip(xs, terms, strict=False):
        core = x.shape[-len(term) :]
        same = [n == sizes.setdefault(c, n) for c, n in zip(term, core, strict=False)]
        if len(core) < len(term) or not all(same):
            raise ValueError(
                f"[{name}] expected shapes (…, {', '.join(terms[0])}) and "
                f"(…, {', '.join(terms[1])}), got {xs[0].shape} and {xs[1].shape}"
            )


def _from(x: Any, axes: tuple[int, ...], name: str) -> Any:
    """x with these axes behind the others."""
    if axes == tuple(range(-len(axes), 0)):
        return x
    last = ops.normal_axes(axes, x.ndim, name)
    return x.permute(*[i for i in range(x.ndim) if i not in last], *last)


def _to(x: Any, axes: tuple[int, ...], name: str) -> Any:
    """x with its last axes at these places: the reverse of `_from`."""
    if axes == tuple(range(-len(axes), 0)):
        return x
    last = ops.normal_axes(axes, x.ndim, name)
    order = [*[i for i in range(x.ndim) if i not in last], *last]
    return x.permute(*[order.index(i) for i in range(x.ndim)])


matmul = _stacked(
    np.matmul,
    "...ij,...jk->...ik",
    "The matrix product; vectors and stacks as `Tensor.matmul` takes them.",
)
vecdot = _stacked(
    np.vecdot,
    "...i,...i->...",
    "Sums of products of x1's conjugate and x2 over the last axis, or ``axis``.",
)
if hasattr(np, "matvec"):  # since NumPy 2.2
    matvec = _stacked(np.matvec, "...ij,...j->...i", "Matrices by vectors: (…, M, K) by (…, K).")
    vecmat = _stacked(
        np.vecmat, "...i,...ij->...j", "Conjugated vectors by matrices: (…, K) by (…, K, N)."
    )
else:
    __all__ = [name for name in __all__ if name not in ("matvec", "vecmat")]
