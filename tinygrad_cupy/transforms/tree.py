"""Values that hold tensors, taken apart and put together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..autograd import TensorBase
from ..autograd.views import refresh_all
from ..pytree import Branch, Constant, TreeDef, flatten, rebuild
from ..tensor import Tensor


class Tree:
    """The tensors of a value, and its structure without them."""

    def __init__(self, value: Any, what: str) -> None:
        leaves: list[Any] = []
        try:
            self.shape: TreeDef = flatten(value, leaves, once=False)
        except TypeError as error:
            raise TypeError(f"{what}: {error}") from None
        self.leaves: list[Any] = [x if isinstance(x, TensorBase) else Tensor(x) for x in leaves]
        refresh_all(self.leaves)

    def with_leaves(self, leaves: Sequence[Any]) -> Any:
        """The value with others in their places."""
        return rebuild(self.shape, leaves)

    @property
    def only(self) -> Any:
        """The value's one tensor, where it is one itself; else None."""
        one = len(self.leaves) == 1 and not isinstance(self.shape, Branch | Constant)
        return self.leaves[0] if one else None


def matching(name: str, what: str, tree: Tree, given: Any) -> list[Any]:
    """The tensors of ``given``, which must be like those of ``tree``."""
    other = Tree(given, f"[{name}] {what}")
    if other.shape != tree.shape:
        raise ValueError(f"[{name}] expected the structure of {what}, got another")
    for x, t in zip(tree.leaves, other.leaves, strict=True):
        if (t.shape, t.dtype, t.device) != (x.shape, x.dtype, x.device):
            raise ValueError(
                f"[{name}] expected shape {x.shape}, dtype {x.dtype} on {x.device}, as {what} has, "
                f"got shape {t.shape}, dtype {t.dtype} on {t.device}"
            )
    return other.leaves


def as_tuple(value: Any) -> tuple[Any, ...]:
    """Several arguments, or the one that was given without a tuple."""
    return tuple(value) if isinstance(value, tuple | list) else (value,)


def expect_function(name: str, fn: Any) -> None:
    """Raise ``TypeError`` unless ``fn`` can be called."""
    if not callable(fn):
        raise TypeError(f"[{name}] expected a function, got {type(fn).__name__}")
