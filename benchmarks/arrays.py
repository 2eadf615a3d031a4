"""NumPy's operations on arrays of n elements: what `benchmarks.ops --arrays` measures."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor

SIZES = (1e3, 1e4, 1e5, 1e6, 1e7)
ROW = 32  # elements of a row, where rows are taken or written
MATRIX = 32  # rows and columns of a matrix of a stack
LARGEST = 1000  # rows of a matrix that is factored

Call = Callable[..., Any]


class Case(NamedTuple):
    """An operation on inputs of these shapes in both libraries.

    ``integers``: the last input is row numbers below so many, without a gradient; where they are
    ``distinct``, no two alike. ``apart``: no two elements of an input are alike, for it is not said
    which of them a gradient goes to.
    """

    name: str
    shapes: list[tuple[int, ...]]
    ours: Call
    torch: Call
    integers: int = 0
    distinct: bool = False
    apart: bool = False


def cases(n: int) -> Iterator[Case]:
    """On arrays of about n elements."""
    import torch

    yield from _equations(n, torch)
    yield from _convolutions(n, torch)
    yield _resized(n, torch)
    yield from _linalg(n, torch)
    yield from _transforms(n, torch)
    rows = max(1, n // ROW)
    for name, shape, axis in (
        ("", (n,), 0),
        (" of rows", (rows, ROW), 1),
        (" of columns", (rows, ROW), 0),
    ):
        yield from _along(name, shape, axis, torch)
    table = (rows, ROW)
    yield Case("take rows", [table, (rows,)], _taken, lambda x, k: x.index_select(0, k), rows)
    yield Case("take elements", [(n,), (n,)], _taken, lambda x, k: x.index_select(0, k), n)
    yield Case("x[rows]", [table, (rows,)], lambda x, k: x[k], lambda x, k: x[k], rows)
    yield Case("x[elements]", [(n,), (n,)], lambda x, k: x[k], lambda x, k: x[k], n)
    yield Case("x[:, columns]", [table, (ROW,)], lambda x, k: x[:, k], lambda x, k: x[:, k], ROW)
    half = max(1, rows // 2)
    given = [table, (half, ROW), (half,)]
    yield Case("x[rows] = y", given, _our_write, _their_write, rows, distinct=True)
    given = [(n,), (n // 2,), (n // 2,)]
    yield Case("x[elements] = y", given, _our_write, _their_write, n, distinct=True)


def _resized(n: int, torch: Any) -> Case:
    """Images of n pixels together, to twice their size."""
    side = max(2, int((n / 16) ** 0.5)) if n < 1 << 20 else 256
    images = (max(1, n // (16 * side * side)), 16, side, side)
    ours = functools.partial(Tensor.interpolate, scale_factor=2, mode="bilinear")
    theirs = functools.partial(torch.nn.functional.interpolate, scale_factor=2, mode="bilinear")
    return Case("interpolate bilinear x2", [images], ours, theirs)


def _equations(n: int, torch: Any) -> Iterator[Case]:
    side = max(1, int(n**0.5))
    stack, small = max(1, n // MATRIX**2), (MATRIX, MATRIX)
    length = 64 if n >= 1 << 15 else 16
    heads = (max(1, n // (4 * length * MATRIX)), 4, length, MATRIX)
    equations: dict[str, list[tuple[int, ...]]] = {
        "ij,jk->ik": [(side, side)] * 2,
        "bij,bjk->bik": [(stack, *small)] * 2,
        "bhqd,bhkd->bhqk": [heads, heads],
        "i,i->": [(n,)] * 2,
        "i,j->ij": [(side,)] * 2,
        "bi,bi->b": [(max(1, n // ROW), ROW)] * 2,
        "ijk,k->ij": [(stack, *small), (MATRIX,)],
        "ij,ij->": [(side, side)] * 2,
        "ii->i": [(side, side)],
        "abc,cd,de->abe": [(stack, *small), small, small],
    }
    for equation, shapes in equations.items():
        ours = functools.partial(tg.numpy.einsum, equation)
        yield Case(f"einsum {equation}", shapes, ours, functools.partial(torch.einsum, equation))


def _convolutions(n: int, torch: Any) -> Iterator[Case]:
    """Over sequences and volumes, of a size that stays; the weight has as many channels."""
    for channels in (8, 32):
        for ndim, side in ((1, 5), (3, 3)):
            images = 4 if n >= 1e4 else 1
            size = max(side, round((n / channels / images) ** (1 / ndim)))
            shapes = [(images, channels, *[size] * ndim), (channels, channels, *[side] * ndim)]
            theirs = getattr(torch.nn.functional, f"conv{ndim}d")
            yield Case(
                f"conv{ndim}d of {channels} channels",
                shapes,
                functools.partial(_convolved, f"conv{ndim}d", padding=side // 2),
                functools.partial(theirs, padding=side // 2),
            )


def _transforms(n: int, torch: Any) -> Iterator[Case]:
    """Fourier's: of one line, of many, of a picture; what comes out is complex but for the last."""
    rows, side = max(1, n // 1024), max(1, round(n**0.5))
    for name, shape in (
        ("rfft", (n,)),
        ("rfft", (rows, 1024)),
        ("rfft2", (side, side)),
        ("fft2", (side, side)),
    ):
        ours, theirs = getattr(tg.fft, name), getattr(torch.fft, name)
        what = " of rows" if shape == (rows, 1024) else ""
        yield Case(
            f"abs {name}{what}",
            [shape],
            lambda x, f=ours: abs(f(x)),
            lambda x, f=theirs: f(x).abs(),
        )


def _convolved(name: str, x: Tensor, weight: Tensor, **options: Any) -> Any:
    return getattr(x, name)(weight, **options)


def _linalg(n: int, torch: Any) -> Iterator[Case]:
    """Of one matrix of up to 1,000 rows, or a stack of those, and of a stack of small ones.

    Inputs are normal: a diagonal makes them regular. Without one eigenvalues lie further apart, as
    counted in units of the largest one's rounding, which the gradient is divided by.
    """
    side = min(LARGEST, max(1, int(n**0.5)))
    one = (max(1, n // side**2), side, side)
    few = (max(1, n // MATRIX**2), MATRIX, MATRIX)
    for shape in dict.fromkeys((one, few)):
        name = " of small" if shape == few else ""
        right = (*shape[:-1], 4)
        ours, theirs = functools.partial(_regular, _our_eye), functools.partial(_regular, _eye)
        yield Case(
            f"solve{name}",
            [shape, right],
            lambda a, b, regular=ours: tg.linalg.solve(regular(a), b),
            lambda a, b, regular=theirs: torch.linalg.solve(regular(a), b),
        )
        yield Case(
            f"cholesky{name}",
            [shape],
            lambda a, regular=ours: tg.linalg.cholesky(_symmetric(regular(a))),
            lambda a, regular=theirs: torch.linalg.cholesky(_symmetric(regular(a))),
        )
        yield Case(
            f"eigh{name}",
            [shape],
            lambda a: _squared(tg.linalg.eigh(_symmetric(a))),
            lambda a: _squared(torch.linalg.eigh(_symmetric(a))),
        )


def _our_eye(x: Any) -> Any:
    return tg.Tensor.eye(x.shape[-1], dtype=x.dtype, device=x.device)


def _eye(x: Any) -> Any:
    return x.new_ones(x.shape[-1]).diag()


def _regular(eye: Call, x: Any) -> Any:
    return x + eye(x) * (2 * x.shape[-1])


def _symmetric(x: Any) -> Any:
    return x + x.mT


def _squared(found: Any) -> Any:
    """Of values and vectors both; signs do not matter."""
    values, vectors = found
    return vectors * vectors * values[..., None, :]


def _along(name: str, shape: tuple[int, ...], axis: int, torch: Any) -> Iterator[Case]:
    """Scans and sorting."""
    for function in ("cumsum", "sort"):
        theirs = getattr(torch, function)
        yield Case(
            f"{function}{name}",
            [shape],
            functools.partial(getattr(tg.numpy, function), axis=axis),
            lambda x, theirs=theirs: _values(theirs(x, axis)),
            apart=function == "sort",
        )


def _values(found: Any) -> Any:
    """Of PyTorch's sort, which gives the indices too."""
    return found if hasattr(found, "shape") else found[0]


def _taken(x: Tensor, k: Tensor) -> Any:
    return tg.numpy.take(x, k, axis=0)


def _their_write(x: Any, y: Any, k: Any) -> Any:
    z = x.clone()
    z[k] = y
    return z


def _our_write(x: Tensor, y: Tensor, k: Tensor) -> Any:
    z = x.clone()
    z[k] = y
    return z
