"""Images of any number of axes, with SciPy's names and arguments (`scipy.ndimage`)."""

from __future__ import annotations

from typing import Any

from .numpy.arrays import terms
from .ops.grid_sample import map_coordinates as _map_coordinates
from .tensor import Tensor

__all__ = ["map_coordinates"]


def map_coordinates(
    input: Any,
    coordinates: Any,
    output: Any = None,
    order: int = 1,
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
        0, the nearest element (of two the later one), or 1, linear (the default; SciPy's is 3,
        which is not there).
    mode:
        what lies outside of the elements: "constant" (``cval`` beyond the first and the last
        element), "grid-constant" (``cval`` at every place that has no element, with slopes towards
        it), "nearest" (the last element), "mirror" (d c b | a b c d | c b a), "reflect" or
        "grid-mirror" (c b a | a b c d | d c b), "wrap" (as SciPy has it, of period n - 1) or
        "grid-wrap" (b c d | a b c d | a b c). JAX's "constant" and "wrap" are SciPy's
        "grid-constant" and "grid-wrap".
    prefilter:
        for orders that are not there.

    Returns (…). Differentiable in input and coordinates, to any order; where a coordinate is a
    whole number the slope jumps, and is that towards the next element. Raises ``ValueError`` for
    shapes, orders and modes that do not fit.

    >>> image = Tensor([[0.0, 1.0], [2.0, 3.0]])
    >>> tg.ndimage.map_coordinates(image, [[0.5], [0.25]])
    Tensor([1.25])
    """
    x, at = terms(input, coordinates)
    found = _map_coordinates(x, at, order, mode, cval)
    return found if output is None else found.astype(output)
