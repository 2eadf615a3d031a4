"""How points lie in a grid, and which of its elements count for one of them.

Letters: N batches, C channels, P points of D coordinates each, a grid of D axes.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from ..common import splines

CUBIC = -0.75  # Keys' parameter, as PyTorch has it
# By kind: the weight of each neighbour as a polynomial of how far the point is beyond the one that
# it is counted from, from the constant term on.
WEIGHTS: dict[str, tuple[tuple[float, ...], ...]] = {
    "nearest": ((1.0,),),
    "linear": ((1.0, -1.0), (0.0, 1.0)),
    "cubic": (
        (0.0, CUBIC, -2 * CUBIC, CUBIC),
        (1.0, 0.0, -(CUBIC + 3), CUBIC + 2),
        (0.0, -CUBIC, 2 * CUBIC + 3, -(CUBIC + 2)),
        (0.0, 0.0, CUBIC, -CUBIC),
    ),
    **{f"spline{order}": splines.pieces(order) for order in splines.ORDERS},
}
# How many neighbours come before the one that a point is counted from.
LEADS = {"cubic": 1, **{f"spline{order}": order // 2 for order in splines.ORDERS}}
NEAREST = ("nearest", "spline2", "spline4")  # count from the nearest element, not from that below
# What stands outside of an axis: zeros, its ends, it mirrored at the middle ("mirror") or at the
# border ("reflect") of the elements at its ends, or it again.
RULES = ("zeros", "clip", "mirror", "reflect", "wrap")


class Points(NamedTuple):
    """Coordinate ``axis`` of a point p lies at scale · p + shift, in elements of that axis.

    order:
        the derivative, by the coordinates along each axis, of what is found there.
    backwards:
        whether a point's last coordinate is that of the first axis.
    even:
        whether the nearest of two is the even one; else it is the later.
    """

    kind: str
    rule: str
    scale: tuple[float, ...]
    shift: tuple[float, ...]
    order: tuple[int, ...]
    backwards: bool = False
    even: bool = False

    def by(self, column: int) -> Points | None:
        """The derivative by the points' coordinates in this column; None where it is 0."""
        axis = len(self.order) - 1 - column if self.backwards else column
        if self.order[axis] + 2 > len(WEIGHTS[self.kind][0]):
            return None
        order = [n + (i == axis) for i, n in enumerate(self.order)]
        return self._replace(order=tuple(order))

    @property
    def factor(self) -> float:
        """What the chain rule multiplies by."""
        return math.prod([s**n for s, n in zip(self.scale, self.order, strict=True)])

    def weights(self, axis: int) -> list[list[float]]:
        """The polynomials of the neighbours along an axis, differentiated."""
        return [_derivative(list(w), self.order[axis]) for w in WEIGHTS[self.kind]]

    @property
    def taps(self) -> int:
        """How many neighbours a point has along an axis."""
        return len(WEIGHTS[self.kind])

    @property
    def lead(self) -> int:
        """How many neighbours come before the one that a point is counted from."""
        return LEADS.get(self.kind, 0)

    @property
    def round(self) -> int:
        """Which that is: 0, the one below; 1, the nearest, of two the even one; 2, the later."""
        return 0 if self.kind not in NEAREST else 1 if self.even else 2


def _derivative(polynomial: list[float], order: int) -> list[float]:
    for _ in range(order):
        polynomial = [k * c for k, c in enumerate(polynomial)][1:] or [0.0]
    return polynomial
