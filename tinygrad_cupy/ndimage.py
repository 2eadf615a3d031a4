"""Images of any number of axes, with SciPy's names and arguments (`scipy.ndimage`)."""

from __future__ import annotations

from typing import Any

from .numpy.arrays import terms
from .ops.grid_sample import map_coordinates as _map_coordinates
from .ops.spline import spline_filter as _spline_filter
from .tensor import Tensor

__all__ = ["map_coordinates", "spline_filter", "spline_filter1d"]


def map_coordinates(
    input: Any,
    coordinates: Any,
    output: Any = None,
    order: int = 3,
    mode: str = "constant",
    cval: float = 0.0,
    prefilter: bool = True,
) -> Tensor:
    """The values of an array at coordinates between its elements.

    Parameters
    ----------
    input:
        an array of D axes.
    coordinates:
        (D, …), or D arrays (…): for each axis a row of coordinates, in elements.
    output:
        the dtype of the result; defaults to the one that both meet in.
    order:
        of the spline through the elements, 0 to 5: 0 takes the nearest element (of two the later
        one), 1 is linear, 3, the default, has continuous second derivatives.
    mode:
        what lies outside of the elements: "constant" (``cval`` beyond the first and the last
        element), "grid-constant" (``cval`` at every place that has no element, with slopes towards
        it), "nearest" (the last element), "mirror" (d c b | a b c d | c b a), "reflect" or
        "grid-mirror" (c b a | a b c d | d c b), "wrap" (as SciPy has it, of period n - 1) or
        "grid-wrap" (b c d | a b c d | a b c). JAX's "constant" and "wrap" are SciPy's
        "grid-constant" and "grid-wrap".
    prefilter:
        of orders from 2: False where ``input`` is what `spline_filter` gave, with this mode.
        Otherwise the result is a blurred one.

    Returns (…). Differentiable in input and coordinates, to any order. The derivative of order
    ``order`` by a coordinate jumps, at whole numbers if ``order`` is odd and half-way between them
    if it is even, and is that towards the next element there. Raises ``ValueError`` for shapes,
    orders and modes that do not fit.

    >>> image = Tensor([[0.0, 1.0], [2.0, 3.0]])
    >>> tg.ndimage.map_coordinates(image, [[0.5], [0.25]], order=1)
    Tensor([1.25])
    """
    x, at = terms(input, coordinates)
    found = _map_coordinates(x, at, order, mode, cval, prefilter)
    return found if output is None else found.astype(output)


def spline_filter(input: Any, order: int = 3, output: Any = None, mode: str = "mirror") -> Tensor:
    """The coefficients of the spline of an ``order`` from 2 to 5 that goes through the elements.

    What `map_coordinates` computes first: once here serves for many calls with
    ``prefilter=False``. ``mode`` says how the elements go on beyond the ends: "mirror" (also as
    "constant", "grid-constant" and "wrap"), "reflect" (also as "grid-mirror" and "nearest") or
    "grid-wrap". ``output`` is the dtype of the result; defaults to the input's (SciPy's is
    float64). Linear in the input. Raises ``ValueError`` for other orders and modes. Source: Unser,
    Aldroubi and Eden 1993, "B-spline signal processing".

    >>> tg.ndimage.spline_filter(Tensor([1.0, 1.0, 1.0])).numpy().round(5)
    array([1., 1., 1.], dtype=float32)
    """
    (x,) = terms(input)
    found = _spline_filter(x, order, mode)
    return found if output is None else found.astype(output)


def spline_filter1d(
    input: Any, order: int = 3, axis: int = -1, output: Any = None, mode: str = "mirror"
) -> Tensor:
    """`spline_filter` along one axis; orders 0 and 1 give the input.

    >>> tg.ndimage.spline_filter1d(Tensor([0.0, 1.0, 0.0])).numpy().round(5)
    array([-1.,  2., -1.], dtype=float32)
    """
    (x,) = terms(input)
    found = _spline_filter(x, order, mode, axis)
    return found if output is None else found.astype(output)
