"""Tensors and arrays inside of lists, tuples and dicts: taken out, and put back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from .autograd import TensorBase
from .backend import is_cuda


class Leaf(NamedTuple):
    """The place of a tensor or array: its position in the list of leaves."""

    position: int


@dataclass(frozen=True, slots=True)
class Constant:
    """Anything else, compared by its `key_of`."""

    kind: type
    key: Any
    value: Any = field(compare=False)


class Branch(NamedTuple):
    """A list, tuple or dict."""

    kind: type
    keys: tuple[Any, ...]  # of a dict
    children: tuple[Any, ...]


TreeDef = Leaf | Constant | Branch  # hashable


def flatten(value: Any, leaves: list[Any], once: bool = True) -> TreeDef:
    """The structure of ``value``; its tensors and arrays are appended to ``leaves``.

    ``once``: one that stands in several places is one leaf. Raises ``TypeError`` for a value that
    is neither of these nor hashable.
    """
    known = {id(leaf): i for i, leaf in enumerate(leaves)} if once else None
    return _flatten(value, leaves, known)


def _flatten(value: Any, leaves: list[Any], known: dict[int, int] | None) -> TreeDef:
    if isinstance(value, TensorBase | np.ndarray) or is_cuda(value):
        position = len(leaves) if known is None else known.setdefault(id(value), len(leaves))
        if position == len(leaves):
            leaves.append(value)
        return Leaf(position)
    kind = type(value)
    if isinstance(value, list | tuple):
        return Branch(kind, (), tuple([_flatten(child, leaves, known) for child in value]))
    if isinstance(value, dict):
        children = tuple([_flatten(child, leaves, known) for child in value.values()])
        return Branch(kind, tuple(value), children)
    try:
        hash(value)
    except TypeError:
        raise TypeError(
            f"expected tensors, arrays, hashable values, or lists, tuples and dicts of them, got "
            f"{kind.__name__}"
        ) from None
    return Constant(kind, key_of(value), value)


def key_of(value: Any) -> Any:
    """What tells a value from others of its type: of numbers the bits, for 0.0 == -0.0 != nan."""
    if isinstance(value, np.generic):
        return value.tobytes()
    if isinstance(value, float):
        return value.hex()
    return (value.real.hex(), value.imag.hex()) if isinstance(value, complex) else value


def rebuild(structure: TreeDef, leaves: Sequence[Any]) -> Any:
    """The value of this structure with other leaves."""
    if isinstance(structure, Leaf):
        return leaves[structure.position]
    if isinstance(structure, Constant):
        return structure.value
    children = [rebuild(child, leaves) for child in structure.children]
    if issubclass(structure.kind, dict):
        return dict(zip(structure.keys, children, strict=True))
    kind: Any = structure.kind
    return kind._make(children) if hasattr(kind, "_make") else kind(children)  # a named tuple
