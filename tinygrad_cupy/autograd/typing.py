"""`Tensor` as engine and rules name it: the one arrow up, which only type checkers follow.

Whoever imports it does so under TYPE_CHECKING.
"""

from ..tensor import Tensor

__all__ = ["Tensor"]
