"""Products with Jacobians: forward mode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..autograd.forward import ForwardLevel, tangents_of
from ..backend.dtypes import is_inexact
from .tree import Tree, as_tuple, expect_function, matching


def jvp(
    fn: Callable[..., Any], primals: Any, tangents: Any, has_aux: bool = False
) -> tuple[Any, ...]:
    """``fn(*primals)`` and the derivative along ``tangents``, in one pass forward.

    primals, tangents:
        tuples of arguments, and of directions of the same structure, shapes and dtypes.

    Returns ``(result, J t)``, with ``has_aux`` ``(result, J t, aux)``. An operation of yours whose
    backward works on arrays has no forward mode but by a ``jvp`` of its own, and raises.

    >>> tg.jvp(lambda x: x.sin(), (Tensor([0.0]),), (Tensor([2.0]),))
    (Tensor([0.]), Tensor([2.]))
    """
    expect_function("jvp", fn)
    primals, tangents = as_tuple(primals), as_tuple(tangents)
    if len(primals) != len(tangents):
        raise ValueError(
            f"[jvp] expected a tangent for each of {len(primals)} primals, got {len(tangents)}"
        )
    tree = Tree(primals, "[jvp] the primals")
    along = matching("jvp", "the primals", tree, tangents)
    for x in tree.leaves:
        if not is_inexact(x.dtype):
            raise TypeError(f"[jvp] expected floating-point primals, got dtype {x.dtype}")
    level = ForwardLevel()
    with level.entered():
        result = fn(*tree.with_leaves([level.dual(x, t) for x, t in zip(tree.leaves, along, strict=True)]))  # fmt: skip  # noqa: E501
        result, aux = result if has_aux else (result, None)
        found = Tree(result, "[jvp] the result")
        pairs = list(tangents_of(level, found.leaves))
        moved = tuple(found.with_leaves([pair[i] for pair in pairs]) for i in (0, 1))
        if has_aux:
            rest = Tree(aux, "[jvp] aux")
            return (*moved, rest.with_leaves([level.split(x)[0] for x in rest.leaves]))
    return moved
