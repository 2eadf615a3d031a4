"""Division that leaves a remainder, and what integers have in common.

Of floats divided by 0, quotients are infinite or NaN and remainders NaN; of integers both are 0,
as NumPy's are, which on the CPU warns of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import kernels
from ..autograd import TensorBase
from .functions import flat, infix, pair, reflected, relation
from .rounding import Rint

if TYPE_CHECKING:
    from ..autograd.typing import Tensor

FloorDivide = pair(
    "floor_divide",
    "The quotient a / b, rounded down; the gradient is 0.",
    flat,
    flat,
    kernels.division.floor_divide,
    keeps=True,
)
Remainder = pair(
    "remainder",
    "a - b · ⌊a / b⌋, of the sign of b, as Python's %.",
    lambda grad: grad,
    lambda grad, a, b: -(grad * FloorDivide.of(a, b)),
    kernels.division.remainder,
    keeps=True,
)
Fmod = pair(
    "fmod",
    "The remainder of a / b rounded towards 0, of the sign of a, as C's fmod.",
    lambda grad: grad,
    lambda grad, a, b, y: -(grad * Rint.of((a - y) / b)),
    kernels.division.fmod,
    keeps=True,
)

Gcd = relation("gcd", "The greatest common divisor, ≥ 0.", kinds="iu")
Lcm = relation("lcm", "The least common multiple, ≥ 0.", kernels.division.lcm, kinds="iu")


def divmod(a: Any, b: Any) -> tuple[Tensor, Tensor]:
    """The quotient rounded down, and the remainder."""
    return FloorDivide.of(a, b), Remainder.of(a, b)


class DivisionMixin(TensorBase):
    """Quotients and remainders as operators."""

    __slots__ = ()

    __floordiv__, __rfloordiv__ = infix(FloorDivide), reflected(FloorDivide)
    __mod__, __rmod__ = infix(Remainder), reflected(Remainder)

    def __divmod__(self, other: Any) -> tuple[Tensor, Tensor]:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> tuple[Tensor, Tensor]:
        return other // self, other % self
