"""Jacobians and Hessians as a whole."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..autograd.backward import grad_of
from ..autograd.forward import ForwardLevel, tangents_of
from ..backend.dtypes import is_complex
from ..ops.shape import concat
from ..tensor import Tensor
from .batch import vmap
from .reverse import differentiating
from .run import Argnums, Run, argument_numbers
from .tree import Tree, expect_function

CHUNK = 256  # rows or columns that are computed at once


def jacobian(
    fn: Callable[..., Any],
    argnums: Argnums = 0,
    mode: str = "auto",
    has_aux: bool = False,
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    """A function that returns the Jacobian of ``fn``: ∂ result / ∂ argument.

    For a tensor result of shape R and a tensor argument of shape A it has shape (*R, *A); for
    results and arguments that hold several, one for each pair, in the structure of the result and,
    in that, of the argument (of a tuple of arguments for several ``argnums``).

    mode:
        "reverse" computes it by rows, a pass back for each element of the result, "forward" by
        columns, a pass forward for each element of the argument; "auto" whichever are fewer.
    chunk_size:
        how many rows or columns are computed at once (by `vmap`), 256 when None: memory is that
        many times what one takes.

    Of complex arguments it is the complex derivative ∂y/∂z, which holomorphic functions alone have:
    a real result of a complex argument is a ``TypeError``. It is found by columns.

    >>> tg.jacobian(lambda x: x**2)(Tensor([1.0, 2.0]))
    Tensor([[2., 0.],
            [0., 4.]])
    """
    expect_function("jacobian", fn)
    if mode not in ("auto", "forward", "reverse"):
        raise ValueError(f'[jacobian] expected mode "auto", "forward" or "reverse", got {mode!r}')
    chunk = CHUNK if chunk_size is None else chunk_size
    if not isinstance(chunk, int | np.integer) or chunk < 1:
        raise ValueError(f"[jacobian] expected chunk_size of at least 1, got {chunk_size!r}")

    @functools.wraps(fn, updated=())
    def transformed(*args: Any, **kwargs: Any) -> Any:
        numbers = argument_numbers("jacobian", argnums, args)
        single = isinstance(argnums, int | np.integer)
        trees = [Tree(args[i], f"[jacobian] argument {i}") for i in numbers]
        columns = sum(x.data.size for tree in trees for x in tree.leaves)
        way = mode
        if any(is_complex(x.dtype) for tree in trees for x in tree.leaves):
            if mode == "reverse":
                raise TypeError(
                    '[jacobian] expected real arguments for mode "reverse": of complex ones the '
                    'derivative is found by columns, mode "forward"'
                )
            way = "forward"
        if way != "forward":
            run = Run("jacobian", fn, args, numbers, kwargs, has_aux)
            rows = sum(y.data.size for y in run.result.leaves)
            way = "reverse" if way == "reverse" or rows <= columns else "forward"
        if way == "reverse":
            if any(is_complex(y.dtype) for y in run.result.leaves):
                raise TypeError(
                    '[jacobian] expected a real result for mode "reverse", got complex numbers: '
                    'use mode="forward"'
                )
            blocks = _by_rows(run, chunk)
            result, aux, arguments = run.result, run.aux, run.trees
        else:
            result, aux, blocks = _by_columns(fn, args, numbers, trees, kwargs, has_aux, chunk)
            arguments = trees
        found = result.with_leaves([_nested(arguments, row, single) for row in blocks])
        return (found, aux) if has_aux else found

    return transformed


def _nested(trees: Sequence[Tree], row: Sequence[Any], single: bool) -> Any:
    """The blocks of one tensor of the result, in the structure of the arguments."""
    found, start = [], 0
    for tree in trees:
        found.append(tree.with_leaves(row[start : start + len(tree.leaves)]))
        start += len(tree.leaves)
    return found[0] if single else tuple(found)


def _by_rows(run: Run, chunk: int) -> list[list[Any]]:
    """Of each tensor of the result, the derivatives by each of the arguments."""
    blocks = []
    for k, y in enumerate(run.result.leaves):

        def pull(seed: Any, k: int = k) -> Any:
            seeds = [seed if i == k else None for i in range(len(run.result.leaves))]
            pairs = [(y, u) for y, u in zip(run.result.leaves, seeds, strict=True) if u is not None]
            if not pairs[0][0].requires_grad:
                return [x._zeros() for x in run.fresh]
            found = grad_of([pairs[0][0]], run.fresh, [seed], run.keeps, True, allow_unused=True)
            return [x._zeros() if g is None else g for x, g in zip(run.fresh, found, strict=True)]

        rows = _over_units(pull, y, chunk)
        blocks.append(
            [part.reshape(*y.shape, *x.shape) for part, x in zip(rows, run.fresh, strict=True)]
        )
    return blocks


def _over_units(fn: Callable[[Any], list[Any]], like: Any, chunk: int) -> list[Any]:
    """``fn`` of each unit vector of the space of ``like``, results stacked."""
    size = like.data.size
    parts: list[list[Any]] = []
    for start in range(0, size, chunk):
        stop = min(start + chunk, size)
        units = _units(like, start, stop)
        parts.append(vmap(fn)(units))
    if not parts:
        return [part._zeros() for part in vmap(fn)(_units(like, 0, 1, empty=True))]
    return [_joined(column) for column in zip(*parts, strict=True)]


def _units(like: Any, start: int, stop: int, empty: bool = False) -> Tensor:
    """Unit vectors ``start`` … ``stop`` - 1 of the space of ``like``, (n, *shape)."""
    size = max(like.data.size, 1)
    rows = np.zeros((stop - start, size))
    rows[np.arange(stop - start), np.arange(start, stop)] = 1
    shape = like.shape
    return Tensor(rows.astype(like.dtype), device=like.device).reshape(stop - start, *shape)


def _joined(parts: Sequence[Any]) -> Any:
    return parts[0] if len(parts) == 1 else concat(list(parts))


def _by_columns(
    fn: Callable[..., Any], args: Sequence[Any], numbers: Sequence[int], trees: Sequence[Tree],
    kwargs: dict[str, Any], has_aux: bool, chunk: int,
) -> tuple[Tree, Any, list[list[Any]]]:  # fmt: skip
    """The result's structure, aux, and the derivatives by each tensor of the arguments."""
    leaves = [x for tree in trees for x in tree.leaves]
    shown: dict[str, Any] = {}  # structures and shapes: no tensor leaves its transform so

    def along(k: int, direction: Any) -> list[Any]:
        level = ForwardLevel()
        with level.entered():
            duals = [level.dual(x, direction if i == k else None) for i, x in enumerate(leaves)]
            given, start = list(args), 0
            for i, tree in zip(numbers, trees, strict=True):
                given[i] = tree.with_leaves(duals[start : start + len(tree.leaves)])
                start += len(tree.leaves)
            result = fn(*given, **kwargs)
            result, aux = result if has_aux else (result, None)
            tree, rest = Tree(result, "[jacobian] the result"), Tree(aux, "[jacobian] aux")
            shown.update(result=tree, aux=rest, shapes=[y.shape for y in tree.leaves])
            shown["dtypes"] = [y.dtype for y in tree.leaves]
            tangents = [tangent for _, tangent in tangents_of(level, tree.leaves)]
            return tangents + [level.split(x)[0] for x in rest.leaves]

    by_argument = [_over_units(functools.partial(along, k), x, chunk) for k, x in enumerate(leaves)]
    result, rest, shapes = shown["result"], shown["aux"], shown["shapes"]
    if any(is_complex(x.dtype) for x in leaves) and not all(map(is_complex, shown["dtypes"])):
        raise TypeError(
            "[jacobian] expected complex results of complex arguments, got real ones, which have "
            "no complex derivative: use tg.grad, or take the argument's parts apart"
        )
    blocks = []
    for j, shape in enumerate(shapes):
        row = []
        for x, columns in zip(leaves, by_argument, strict=True):
            part = columns[j]  # (A, *R)
            axes = (*range(1, len(part.shape)), 0)
            row.append(part.permute(axes).reshape(*shape, *x.shape))
        blocks.append(row)
    aux = rest.with_leaves([part[0] for part in by_argument[0][len(shapes) :]])
    return result, aux, blocks


def hessian(
    fn: Callable[..., Any], argnums: Argnums = 0, chunk_size: int | None = None
) -> Callable[..., Any]:
    """A function that returns the second derivatives of ``fn``, whose result has one element.

    For a tensor argument of shape A they have shape (*A, *A); for several, they are nested as
    `jacobian` of the gradient is. ``chunk_size`` is that of `jacobian`.

    >>> tg.hessian(lambda x: (x**3).sum())(Tensor([1.0, 2.0]))
    Tensor([[ 6.,  0.],
            [ 0., 12.]])
    """
    expect_function("hessian", fn)
    gradient = differentiating("hessian", fn, argnums, False, with_value=False)
    return jacobian(gradient, argnums, "reverse", chunk_size=chunk_size)
