"""One run of a function that is differentiated, and what comes of it.

What is differentiated by is wrapped anew, so that transforms nest; and nothing is hidden: a
gradient of which somebody outside may want a graph has one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..autograd import TensorBase
from ..autograd.backward import grad_of, topological
from ..autograd.batching import lifted
from ..autograd.fused import Alias
from ..autograd.levels import as_leaf, bottoms, without_graph
from ..autograd.mode import mode, set_grad_enabled
from ..backend.dtypes import is_float, is_inexact
from .tree import Tree

Argnums = int | Sequence[int]


class Run:
    """One run of a function whose result is differentiated by some of its arguments."""

    def __init__(
        self, name: str, fn: Callable[..., Any], args: Sequence[Any], argnums: Sequence[int],
        kwargs: dict[str, Any], has_aux: bool,
    ) -> None:  # fmt: skip
        self.name = name
        self.trees = [Tree(args[i], f"[{name}] argument {i}") for i in argnums]
        given = list(args)
        self.fresh: list[Any] = []
        recording = mode.recording
        with set_grad_enabled(True):
            for i, tree in zip(argnums, self.trees, strict=True):
                leaves = [self._leaf(x, i, recording) for x in tree.leaves]
                self.fresh += leaves
                given[i] = tree.with_leaves(leaves)
            result = fn(*given, **kwargs)
        if has_aux and not (isinstance(result, tuple) and len(result) == 2):
            raise TypeError(
                f"[{name}] expected the function to return (result, aux), as has_aux says, got "
                f"{type(result).__name__}"
            )
        result, aux = result if has_aux else (result, None)
        self.result = Tree(result, f"[{name}] the result")
        self.keeps = recording and self._is_seen_from_outside()
        self.aux = self._shown(Tree(aux, f"[{name}] aux")) if has_aux else None

    def _leaf(self, x: Any, argument: int, recording: bool) -> Any:
        if not is_inexact(x.dtype):
            raise TypeError(
                f"[{self.name}] expected floating-point tensors to differentiate by, got dtype "
                f"{x.dtype} in argument {argument}"
            )
        wide = lifted(x)
        return Alias()(wide) if recording and wide.requires_grad else as_leaf(wide)

    def _is_seen_from_outside(self) -> bool:
        """Whether somebody else may want to differentiate what comes of this."""
        own = {id(part) for x in self.fresh for part in bottoms(x)}
        roots = [part._edge() for y in self.result.leaves for part in bottoms(y)]
        return any(
            isinstance(edge, TensorBase) and id(edge) not in own for edge in topological(roots)
        )

    def gradients(self, seeds: Sequence[Any], retain_graph: bool = False) -> list[Any]:
        """Jᵀ seeds by each tensor of the arguments, one after the other."""
        pairs = [(y, u) for y, u in zip(self.result.leaves, seeds, strict=True) if y.requires_grad]
        found: list[Any] = [None] * len(self.fresh)
        if pairs:
            found = grad_of(
                [y for y, _ in pairs], self.fresh, [u for _, u in pairs], self.keeps,
                retain_graph or self.keeps, allow_unused=True,
            )  # fmt: skip
        return [x._zeros() if g is None else g for x, g in zip(self.fresh, found, strict=True)]

    def in_trees(self, by_leaf: Sequence[Any]) -> list[Any]:
        """One value for each differentiated argument, in its structure."""
        found, start = [], 0
        for tree in self.trees:
            found.append(tree.with_leaves(by_leaf[start : start + len(tree.leaves)]))
            start += len(tree.leaves)
        return found

    def _shown(self, tree: Tree) -> Any:
        return tree.with_leaves([x if self.keeps else without_graph(x) for x in tree.leaves])

    def value(self) -> Any:
        """The function's result, for the caller."""
        return self._shown(self.result)

    def loss(self) -> Any:
        """The one element that a gradient is of."""
        y = self.result.only
        if y is None or y._facts.size != 1 or not is_float(y.dtype):
            got = "no single tensor" if y is None else f"shape {y.shape}, dtype {y.dtype}"
            raise TypeError(
                f"[{self.name}] expected the function to return one floating-point tensor of one "
                f"element, got {got}"
            )
        return y


def argument_numbers(name: str, argnums: Argnums, args: Sequence[Any]) -> tuple[int, ...]:
    """The places among ``args`` that ``argnums`` names, counted from 0."""
    numbers = (argnums,) if isinstance(argnums, int | np.integer) else tuple(argnums)
    for i in numbers:
        if not isinstance(i, int | np.integer) or not -len(args) <= i < len(args):
            raise ValueError(f"[{name}] argnums {argnums}: there are {len(args)} arguments")
    places = tuple([int(i) % len(args) for i in numbers])
    if len(set(places)) < len(places):
        raise ValueError(f"[{name}] argnums {argnums}: expected each argument once")
    return places
