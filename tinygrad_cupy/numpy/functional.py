"""Functions of functions: `piecewise`, `vectorize`, and functions of one axis for several."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ..autograd import TensorBase
from ..ops.promotion import in_one_dtype
from ..ops.protocols import implements
from ..ops.shape import stack
from .arrays import tensor, tensors

__all__ = ["apply_along_axis", "apply_over_axes", "ndenumerate", "piecewise", "vectorize"]


@implements(np.piecewise)
def piecewise(x: Any, condlist: Any, funclist: Sequence[Any], *args: Any, **kw: Any) -> Any:
    """What the function of the last condition that holds gives of those elements of x.

    Numbers stand for themselves; one more function than conditions is for where none holds, else
    that is 0. Where a condition holds is looked for on the host.
    """
    x = tensor(x)
    conditions = _conditions(condlist, x)
    if len(funclist) == len(conditions) + 1:
        none = conditions[0]
        for condition in conditions[1:]:
            none = none + condition  # booleans: either
        conditions.append(none == False)  # noqa: E712  # a tensor
    if len(funclist) != len(conditions):
        raise ValueError(
            f"[piecewise] expected {len(conditions)} functions, or one more, got {len(funclist)}"
        )
    result = x._zeros()
    for condition, function in zip(conditions, funclist, strict=True):
        result = result.where(condition == False, _of_those(x, condition, function, args, kw))  # noqa: E712
    return result


def _conditions(condlist: Any, x: Any) -> list[Any]:
    """The conditions as tensors of x's shape."""
    alone = isinstance(condlist, bool) or (
        not isinstance(condlist, TensorBase)
        and (_axes(condlist) == 0 or _axes(condlist[0]) < x.ndim)
    )
    alone = alone or (isinstance(condlist, TensorBase) and condlist.data.ndim <= x.ndim)
    listed = [condlist] if alone else list(condlist)
    return [tensor(c, x).astype(bool).broadcast_to(x.shape) for c in listed]


def _axes(x: Any) -> int:
    """`numpy.ndim`, of lists of tensors and of CuPy's arrays too, which NumPy would convert."""
    if isinstance(x, list | tuple) and x:
        return 1 + _axes(x[0])
    return int(x.ndim if hasattr(x, "ndim") else np.ndim(x))


def _of_those(x: Any, condition: Any, function: Any, args: Any, kw: Any) -> Any:
    """What the function gives of the elements where the condition holds, at their places."""
    if not callable(function):
        return function
    values = tensor(function(x[condition], *args, **kw), x).astype(x.dtype)
    made = x._zeros()
    made[condition] = values
    return made


@implements(np.apply_along_axis)
def apply_along_axis(
    func1d: Callable[..., Any], axis: int, arr: Any, *args: Any, **kwargs: Any
) -> Any:
    """``func1d`` of every line along ``axis``; what it gives lies along that axis, or in its place.

    It is called once for each line; `tinygrad_cupy.vmap` calls it once for all.
    """
    x = tensor(arr)
    if not -x.ndim <= axis < x.ndim:
        raise np.exceptions.AxisError(
            f"[apply_along_axis] axis {axis} is out of range for {x.ndim} axes"
        )
    axis %= x.ndim
    others = [i for i in range(x.ndim) if i != axis]
    lines = x.permute(*others, axis).reshape(-1, x.shape[axis])
    if not len(lines):
        raise ValueError("[apply_along_axis] expected lines, got none: an axis has no elements")
    parts = tensors(*[func1d(line, *args, **kwargs) for line in lines], x)[:-1]
    found = stack(parts).reshape(*[x.shape[i] for i in others], *parts[0].shape)
    inner = list(range(len(others), found.ndim))  # the axes of what one line gives
    outer = list(range(len(others)))
    return found.permute(*outer[:axis], *inner, *outer[axis:])


@implements(np.apply_over_axes)
def apply_over_axes(func: Callable[..., Any], a: Any, axes: Any) -> Any:
    """``func(a, axis)`` for one axis after the other; axes that it takes away are put back."""
    x = tensor(a)
    for axis in axes if hasattr(axes, "__len__") else (axes,):
        found = func(x, axis % x.ndim)
        if found.ndim == x.ndim - 1:
            found = found.unsqueeze(axis % x.ndim)
        if found.ndim != x.ndim:
            raise ValueError(
                f"[apply_over_axes] expected a result of {x.ndim} axes, or one less, got "
                f"{found.ndim}"
            )
        x = found
    return x


def ndenumerate(arr: Any) -> Iterator[tuple[tuple[int, ...], Any]]:
    """Index and value of each element, in the graph."""
    x = tensor(arr)
    return ((place, x[place]) for place in np.ndindex(x.shape))


class vectorize:
    """A function of numbers as one of arrays, which broadcast; NumPy's class, differentiable.

    It is called once for each element; `tinygrad_cupy.vmap` calls it once for all. ``excluded``
    arguments are given as they are; ``otypes`` are the results' dtypes, needed without elements.
    """

    def __init__(
        self,
        pyfunc: Callable[..., Any] | None = None,
        otypes: Any = None,
        doc: str | None = None,
        excluded: Any = None,
        cache: bool = False,
        signature: str | None = None,
    ) -> None:
        if signature is not None:
            raise TypeError("[vectorize] takes no signature=: use tg.vmap(function)")
        self.pyfunc, self.otypes, self.excluded = pyfunc, otypes, frozenset(excluded or ())
        self.__doc__ = doc or getattr(pyfunc, "__doc__", None)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.pyfunc is None:  # a decorator with options
            return vectorize(args[0], self.otypes, excluded=self.excluded)
        given = dict(enumerate(args)) | kwargs
        varied = [k for k in given if k not in self.excluded]
        arrays = dict(zip(varied, tensors(*[given[k] for k in varied]), strict=True))
        shape = np.broadcast_shapes(*[x.shape for x in arrays.values()])
        arrays = {k: x.broadcast_to(shape) for k, x in arrays.items()}
        results = []
        for place in np.ndindex(shape):
            now: dict[Any, Any] = given | {k: x[place] for k, x in arrays.items()}
            named = {k: now[k] for k in kwargs}
            results.append(self.pyfunc(*[now[i] for i in range(len(args))], **named))
        if not results and self.otypes is None:
            raise ValueError("[vectorize] expected elements, or otypes= for what there would be")
        like = next(iter(arrays.values()), None)
        several = isinstance(results[0], tuple) if results else len(self.otypes) > 1
        columns = list(zip(*results, strict=True)) if several else [results]
        if not results:
            columns = [[]] * len(self.otypes)
        found = [self._joined(i, list(c), shape, like) for i, c in enumerate(columns)]
        return tuple(found) if several else found[0]

    def _joined(self, number: int, values: list[Any], shape: tuple[int, ...], like: Any) -> Any:
        if values:
            parts = in_one_dtype(*[tensor(v, like) for v in values])
            joined: Any = stack(list(parts)).reshape(shape)
        else:
            joined = tensor(np.zeros(shape), like)
        return joined if self.otypes is None else joined.astype(self.otypes[number])
