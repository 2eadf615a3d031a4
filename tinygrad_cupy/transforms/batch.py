"""A function of one element, for a batch of them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..autograd.batching import BatchLevel, Randomness
from ..pytree import Branch, Constant, TreeDef
from .tree import Tree, expect_function


def vmap(
    fn: Callable[..., Any],
    in_axes: Any = 0,
    out_axes: Any = 0,
    randomness: Randomness = "different",
) -> Callable[..., Any]:
    """A function that does for a batch at once what ``fn`` does for one element.

    in_axes:
        along which axis each positional argument holds the elements: an integer for all, or a
        tuple of one for each argument, where None stands for an argument that is the same for all
        elements. In the place of an integer may stand a list, tuple or dict of the argument's own
        structure. Keyword arguments hold the elements along axis 0.
    out_axes:
        along which axis the results hold them; structured likewise.
    randomness:
        "different": what an operation draws is for element b what the b-th of as many calls would
        draw; "same": all elements get what the first would.

    Operations that have no rule for batches are done one element after the other, and say so once.
    Inside of ``fn`` there are no values to look at: ``.item()``, ``.numpy()`` and ``if x > 0`` are
    errors. Batch norm in training moves its statistics element by element.

    >>> tg.vmap(lambda a, b: a @ b)(Tensor.ones(5, 3), Tensor.ones(5, 3)).shape
    (5,)
    """
    expect_function("vmap", fn)
    if randomness not in ("different", "same"):
        raise ValueError(f'[vmap] expected randomness "different" or "same", got {randomness!r}')

    @functools.wraps(fn, updated=())
    def transformed(*args: Any, **kwargs: Any) -> Any:
        given = Tree((args, kwargs), "[vmap] the arguments")
        axes = _axes_in(in_axes, args, kwargs, given)
        size = _batch_size(given.leaves, axes)
        level = BatchLevel(size, randomness)
        with level.entered():
            inner = [
                x if axis is None else level.batched(_moved(x, axis, 0))
                for x, axis in zip(given.leaves, axes, strict=True)
            ]
            inner_args, inner_kwargs = given.with_leaves(inner)
            found = Tree(fn(*inner_args, **inner_kwargs), "[vmap] the result")
            places = _prefix("out_axes", out_axes, found.shape, len(found.leaves))
            outer = []
            for y, axis in zip(found.leaves, places, strict=True):
                if axis is None:
                    if level.has(y):
                        raise ValueError(
                            "[vmap] out_axes is None for a result that differs from element to "
                            "element"
                        )
                    outer.append(y)
                else:
                    outer.append(_moved(level.whole(y), 0, axis))
            return found.with_leaves(outer)

    return transformed


def _axes_in(in_axes: Any, args: Any, kwargs: Any, given: Tree) -> list[int | None]:
    if isinstance(in_axes, list):
        in_axes = tuple(in_axes)
    if isinstance(in_axes, tuple) and len(in_axes) != len(args):
        raise ValueError(
            f"[vmap] expected in_axes for {len(args)} arguments, got {len(in_axes)}: {in_axes}"
        )
    for_args = in_axes if isinstance(in_axes, tuple) else (in_axes,) * len(args)
    assert isinstance(given.shape, Branch)
    places = _prefix("in_axes", (for_args, 0), given.shape, len(given.leaves))
    return [
        None if axis is None else _axis("in_axes", axis, x)
        for x, axis in zip(given.leaves, places, strict=True)
    ]


def _prefix(name: str, axes: Any, shape: TreeDef, count: int) -> list[Any]:
    """An axis, or None, for each leaf of a structure, of which ``axes`` is the upper part."""
    found: list[Any] = []

    def walk(axes: Any, shape: TreeDef) -> None:
        if isinstance(shape, Branch):
            if isinstance(axes, list | tuple | dict):
                keys = list(shape.keys) if isinstance(axes, dict) else range(len(shape.children))
                if len(axes) != len(shape.children) or (
                    isinstance(axes, dict) and set(axes) != set(shape.keys)
                ):
                    raise ValueError(f"[vmap] {name} {axes}: expected the structure of the values")
                for key, child in zip(keys, shape.children, strict=True):
                    walk(axes[key], child)
            else:
                for child in shape.children:
                    walk(axes, child)
        elif not isinstance(shape, Constant):
            if axes is not None and (
                not isinstance(axes, int | np.integer) or isinstance(axes, bool)
            ):
                raise ValueError(f"[vmap] {name}: expected an integer or None, got {axes!r}")
            found.append(axes)

    walk(axes, shape)
    assert len(found) == count
    return found


def _axis(name: str, axis: int, x: Any) -> int:
    if not -len(x.shape) <= axis < len(x.shape):
        raise ValueError(f"[vmap] {name}: there is no axis {axis} in shape {x.shape}")
    return int(axis) % len(x.shape)


def _batch_size(leaves: Sequence[Any], axes: Sequence[int | None]) -> int:
    sizes = {x.shape[a] for x, a in zip(leaves, axes, strict=True) if a is not None}
    if len(sizes) != 1 or 0 in sizes:
        shapes = [x.shape for x in leaves]
        raise ValueError(
            "[vmap] expected arguments that hold the same number of elements, at least 1, along "
            f"their axes {list(axes)}, got shapes {shapes}"
        )
    return int(sizes.pop())


def _moved(x: Any, source: int, target: int) -> Any:
    """x with one axis in another place."""
    if source == target:
        return x
    ndim = len(x.shape)
    order = [i for i in range(ndim) if i != source]
    order.insert(target % ndim, source)
    return x.permute(order)
