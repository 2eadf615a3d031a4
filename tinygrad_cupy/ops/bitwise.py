"""Bits of integers and booleans: nothing to differentiate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..autograd import TensorBase
from .functions import infix, question, reflected, relation

if TYPE_CHECKING:
    from ..autograd.typing import Tensor

BitwiseAnd = relation("bitwise_and", "Bits that both have.", kinds="biu")
BitwiseOr = relation("bitwise_or", "Bits that one of the two has, or both.", kinds="biu")
BitwiseXor = relation("bitwise_xor", "Bits that one of the two has, not both.", kinds="biu")
Invert = question("invert", "Bits that x has not; of booleans, not x.", kinds="biu")
LeftShift = relation("left_shift", "The bits of a moved up by b places: a · 2ᵇ.", kinds="biu")
RightShift = relation("right_shift", "The bits of a moved down by b places: ⌊a / 2ᵇ⌋.", kinds="biu")
BitwiseCount = question("bitwise_count", "How many bits |x| has, as uint8.", kinds="biu")


class BitwiseMixin(TensorBase):
    """Bits as operators."""

    __slots__ = ()

    __and__, __rand__ = infix(BitwiseAnd), reflected(BitwiseAnd)
    __or__, __ror__ = infix(BitwiseOr), reflected(BitwiseOr)
    __xor__, __rxor__ = infix(BitwiseXor), reflected(BitwiseXor)
    __lshift__, __rlshift__ = infix(LeftShift), reflected(LeftShift)
    __rshift__, __rrshift__ = infix(RightShift), reflected(RightShift)

    def __invert__(self) -> Tensor:
        return Invert.of(self)
