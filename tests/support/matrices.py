"""Matrices of which factors, inverses and vectors are well determined, whatever was drawn.

Elements are small, and a diagonal is added: so that a record's values may be permuted, repeated in
memory and rounded to 16 bits. The same is said of PyTorch's tensors and of ours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tinygrad_cupy import Tensor
from tinygrad_cupy.ops.matrices import on_diagonal

from .sampling import Case, Draw, normal, rng_of

SIDES = st.integers(1, 4)


def small(draw: Draw, shape: tuple[int, ...]) -> np.ndarray:
    """Sixteenths from -3 to 3: sums with the diagonal below are exact in 16 bits."""
    return rng_of(draw).integers(-3, 4, shape) / 16


def lead(draw: Draw) -> tuple[int, ...]:
    """Leading axes of a stack, sometimes of no matrix."""
    return tuple(draw(st.lists(st.integers(0, 3), max_size=2)))


def square(draw: Draw) -> Case:
    """A stack of square matrices."""
    n = draw(SIDES)
    return Case((small(draw, (*lead(draw), n, n)),))


def several(draw: Draw) -> Case:
    """A stack of matrices with two rows and columns at least: the condition of others is 1."""
    sides = draw(st.tuples(st.integers(2, 4), st.integers(2, 4)))
    return Case((small(draw, (*lead(draw), *sides)),))


def oblong(draw: Draw) -> Case:
    """A stack of matrices of any shape."""
    sides = draw(st.tuples(SIDES, SIDES))
    return Case((small(draw, (*lead(draw), *sides)),))


def system(draw: Draw) -> Case:
    """Square matrices and right sides, whose leading axes broadcast."""
    n, right = draw(SIDES), draw(st.integers(0, 3))
    axes = lead(draw)
    left = tuple([draw(st.sampled_from([1, n])) for n in axes])
    own = axes[draw(st.integers(0, len(axes))) :]
    b = draw(st.sampled_from([(n,), (*own, n, right)]))
    a = draw(st.sampled_from([(n, n), (*left, n, n)]))
    return Case((small(draw, a), normal(draw, b)))


def with_options(cases: Callable[[Draw], Case], **options: Any) -> Callable[[Draw], Case]:
    """``cases``, and keyword arguments drawn from strategies."""

    def drawn(draw: Draw) -> Case:
        return Case(cases(draw).values, {k: draw(v) for k, v in options.items()})

    return drawn


def regular(x: Any) -> Any:
    """x (…, M, N) and 1, 2, … on its diagonal: far from singular, its singular values apart."""
    rows, columns = x.shape[-2:]
    if not isinstance(x, Tensor):
        return x + x.new_tensor(np.eye(rows, columns) * np.arange(1, columns + 1))
    one = on_diagonal(x).astype(x.dtype)  # made where x is, also in a capture
    return x + one * one.cumsum(-1).sum(-2)


def symmetric(x: Any) -> Any:
    """Symmetric and positive definite; its eigenvalues lie apart."""
    y = regular(x)
    return (y + y.swapaxes(-1, -2)) * 0.5
