"""The backward rule in progress, and what it is handed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..backend import Array, may_share_memory

if TYPE_CHECKING:
    from .op import Op
    from .typing import Tensor


class Rule:
    """The backward rule that a walk is at: its node, and the gradient that it is handed."""

    __slots__ = ("fills", "grad", "node", "outer")

    node: Op | None  # None in a hook
    grad: Tensor

    def __init__(self, outer: Rule | None, fills: bool) -> None:
        self.outer = outer  # the rule that this walk was begun in
        # Whether it, or one around it, adds to the ``.grad`` of all leaves.
        self.fills: bool = fills or (outer is not None and outer.fills)

    @property
    def name(self) -> str:
        """What is running, for an error."""
        return f"the backward of {type(self.node).__name__}" if self.node else "a hook"

    def hands(self, array: Array) -> bool:
        """Whether ``array`` is memory of what the rule, or one around it, was handed."""
        kept = (self.node and self.node._saved) or ()
        saved = [value for value, _, version, _ in kept if version is not None]
        handed = any(may_share_memory(array, one) for one in (self.grad.data, *saved))
        return handed or (self.outer is not None and self.outer.hands(array))
