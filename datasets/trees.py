"""Arrays inside of tuples, lists and dicts: the several inputs of a model, or a sample's parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any


def mapped(function: Callable[[Any], Any], tree: Any) -> Any:
    """`tree` with each leaf, that is each value in no tuple, list or dict, replaced."""
    if isinstance(tree, dict):
        return {key: mapped(function, child) for key, child in tree.items()}
    if isinstance(tree, tuple | list):
        return like(tree, [mapped(function, child) for child in tree])
    return function(tree)


def like(tree: Sequence[Any], children: list[Any]) -> Any:
    """A tuple, named tuple or list as `tree` is, of other children."""
    kind: Any = type(tree)
    return kind._make(children) if hasattr(kind, "_make") else kind(children)


def leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves, each with where it stands, such as "[1]['mask']"."""
    if isinstance(tree, dict):
        for key, child in tree.items():
            yield from leaves(child, f"{path}[{key!r}]")
    elif isinstance(tree, tuple | list):
        for position, child in enumerate(tree):
            yield from leaves(child, f"{path}[{position}]")
    else:
        yield path, tree
