"""Joining and cutting, putting in and leaving out."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..autograd import TensorBase
from ..autograd.batching import BatchLevel
from ..autograd.levels import innermost
from ..backend import is_cuda, to_numpy
from ..ops import arrange, choose, shape
from ..ops.protocols import implements
from ..ops.take import Take, index_tensor
from .arrays import finished, first_tensor, tensor, terms
from .shaping import atleast_1d, atleast_2d, atleast_3d

__all__ = [
    "append",
    "array_split",
    "block",
    "column_stack",
    "concat",
    "concatenate",
    "delete",
    "dsplit",
    "dstack",
    "hsplit",
    "hstack",
    "insert",
    "split",
    "stack",
    "trim_zeros",
    "unstack",
    "vsplit",
    "vstack",
]


def _cast(name: str, parts: Sequence[Any], dtype: Any, casting: str) -> list[Any]:
    """The parts in ``dtype``, where there is one and NumPy's rule of ``casting`` lets them."""
    if dtype is None:
        return list(parts)
    for part in parts:
        known = "V" not in (np.dtype(dtype).kind, part.dtype.kind)
        if known and not np.can_cast(part.dtype, dtype, casting):  # type: ignore[arg-type]
            raise TypeError(
                f"[{name}] expected what can be cast to {np.dtype(dtype)} by the rule {casting!r}, "
                f"got {part.dtype}"
            )
    return [part.astype(dtype) for part in parts]


@implements(np.concatenate, np.concat)
def concatenate(
    arrays: Sequence[Any],
    /,
    axis: int | None = 0,
    out: Any = None,
    *,
    dtype: Any = None,
    casting: str = "same_kind",
) -> Any:
    """Arrays joined along an existing axis; flattened first where ``axis`` is None."""
    parts = terms(*arrays)
    if axis is None:
        parts, axis = [part.reshape(-1) for part in parts], 0
    parts = _cast("concatenate", parts, dtype, casting)
    return finished(shape.concat(parts, axis), None, out)


concat = concatenate


@implements(np.stack)
def stack(
    arrays: Sequence[Any],
    axis: int = 0,
    out: Any = None,
    *,
    dtype: Any = None,
    casting: str = "same_kind",
) -> Any:
    """Arrays of one shape joined along a new axis."""
    parts = _cast("stack", terms(*arrays), dtype, casting)
    return finished(shape.stack(parts, axis), None, out)


@implements(getattr(np, "unstack", "unstack"))
def unstack(x: Any, /, *, axis: int = 0) -> tuple[Any, ...]:
    """The slices along an axis, as views."""
    x = tensor(x)
    place = arrange.one_axis(axis, x.ndim, "unstack")
    before = (slice(None),) * place
    return tuple([x[(*before, i)] for i in range(x.shape[place])])


def _listed(arrays: Any) -> list[Any]:
    """The arrays of a sequence; the rows of one array."""
    return list(unstack(arrays)) if isinstance(arrays, TensorBase) else terms(*arrays)


@implements(np.hstack)
def hstack(tup: Any, *, dtype: Any = None, casting: str = "same_kind") -> Any:
    """Arrays joined along axis 1, those of one axis along it."""
    parts = _cast("hstack", [atleast_1d(a) for a in _listed(tup)], dtype, casting)
    return shape.concat(parts, 0 if parts and parts[0].ndim == 1 else 1)


@implements(np.vstack)
def vstack(tup: Any, *, dtype: Any = None, casting: str = "same_kind") -> Any:
    """Arrays joined along axis 0, those of one axis as rows."""
    parts = [atleast_2d(a) for a in _listed(tup)]
    return shape.concat(_cast("vstack", parts, dtype, casting), 0)


@implements(np.dstack)
def dstack(tup: Any) -> Any:
    """Arrays joined along axis 2; see `atleast_3d`."""
    return shape.concat([atleast_3d(a) for a in _listed(tup)], 2)


@implements(np.column_stack)
def column_stack(tup: Any) -> Any:
    """Arrays of one axis as columns, beside matrices, joined along axis 1."""
    parts = [a if a.ndim > 1 else a.reshape(a.size, 1) for a in _listed(tup)]
    return shape.concat(parts, 1)


@implements(np.block)
def block(arrays: Any) -> Any:
    """Nested lists of blocks joined: the innermost lists along the last axis, outer ones before."""
    depth = _depth(arrays)
    like = first_tensor(arrays if isinstance(arrays, list) else [arrays])
    leaves = [tensor(leaf, like) for leaf in _leaves(arrays)]
    most = max([depth, *[leaf.ndim for leaf in leaves]])
    queue = iter(leaves)

    def joined(level: Any, at: int) -> Any:
        if not isinstance(level, list):
            leaf = next(queue)
            whole = leaf.reshape((1,) * (most - leaf.ndim) + leaf.shape)
            return whole if depth else whole.clone()
        return shape.concat([joined(inner, at + 1) for inner in level], at - depth)

    return joined(arrays, 0)


def _depth(arrays: Any) -> int:
    """How deep the lists are nested, everywhere."""
    if isinstance(arrays, tuple):
        raise TypeError("[block] expected lists of arrays, got a tuple among them")
    if not isinstance(arrays, list):
        return 0
    depths = {_depth(inner) for inner in arrays}
    if len(depths) != 1:
        raise ValueError(
            "[block] expected lists that are nested equally deep, none empty, got "
            f"{'an empty one' if not depths else f'depths {sorted(depths)}'}"
        )
    return depths.pop() + 1


def _leaves(arrays: Any) -> list[Any]:
    if not isinstance(arrays, list):
        return [arrays]
    return [leaf for inner in arrays for leaf in _leaves(inner)]


# --- cutting --------------------------------------------------------------------------------------


def _cuts(name: str, ary: Any, indices_or_sections: Any, axis: int, equal: bool) -> list[Any]:
    """Views between the indices, or that many of equal or nearly equal length."""
    a = tensor(ary)
    place = arrange.one_axis(axis, a.ndim, name)
    length = a.shape[place]
    if np.ndim(indices_or_sections) == 0:
        count = operator.index(indices_or_sections)
        if count < 1 or (equal and length % count):
            raise ValueError(
                f"[{name}] cannot cut axis {axis} of shape {a.shape} into {count} parts"
                + (" of equal length" if equal else "")
            )
        each, longer = divmod(length, count)
        ends = np.cumsum([each + 1] * longer + [each] * (count - longer)).tolist()[:-1]
    else:
        ends = [operator.index(i) for i in indices_or_sections]
    before = (slice(None),) * place
    bounds = zip([0, *ends], [*ends, None], strict=True)
    return [a[(*before, slice(low, high))] for low, high in bounds]


@implements(np.split)
def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    """Views between the indices along an axis, or that many of equal length."""
    return _cuts("split", ary, indices_or_sections, axis, True)


@implements(np.array_split)
def array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    """As `split`, the first parts by one longer where the length does not divide."""
    return _cuts("array_split", ary, indices_or_sections, axis, False)


@implements(np.hsplit)
def hsplit(ary: Any, indices_or_sections: Any) -> list[Any]:
    """`split` along axis 1, of one axis along it."""
    a = tensor(ary)
    return _cuts("hsplit", a, indices_or_sections, 1 if a.ndim > 1 else 0, True)


@implements(np.vsplit)
def vsplit(ary: Any, indices_or_sections: Any) -> list[Any]:
    """`split` along axis 0 of at least two."""
    a = tensor(ary)
    if a.ndim < 2:
        raise ValueError(f"[vsplit] expected at least 2 axes, got shape {a.shape}")
    return _cuts("vsplit", a, indices_or_sections, 0, True)


@implements(np.dsplit)
def dsplit(ary: Any, indices_or_sections: Any) -> list[Any]:
    """`split` along axis 2."""
    a = tensor(ary)
    if a.ndim < 3:
        raise ValueError(f"[dsplit] expected at least 3 axes, got shape {a.shape}")
    return _cuts("dsplit", a, indices_or_sections, 2, True)


# --- putting in and leaving out -------------------------------------------------------------------


@implements(np.append)
def append(arr: Any, values: Any, axis: int | None = None) -> Any:
    """``values`` behind the elements of ``arr``; both flattened where there is no axis."""
    return concatenate([arr, values], axis)


def _host(obj: Any) -> Any:
    """A key of `delete` and `insert`, of which the size of the result depends, on the host."""
    if isinstance(obj, TensorBase):
        return obj.detach().numpy()  # type: ignore[attr-defined]
    return to_numpy(obj) if is_cuda(obj) else obj


def _along(name: str, arr: Any, axis: int | None) -> tuple[Any, int]:
    a = tensor(arr)
    return (a.reshape(-1), 0) if axis is None else (a, arrange.one_axis(axis, a.ndim, name))


@implements(np.delete)
def delete(arr: Any, obj: Any, axis: int | None = None) -> Any:
    """Without the elements at ``obj``: an index, several, a slice or booleans, along an axis."""
    a, place = _along("delete", arr, axis)
    length = a.shape[place]
    obj = _host(obj)
    before = (slice(None),) * place
    if isinstance(obj, int | np.integer) and not isinstance(obj, bool):
        at = _position("delete", obj, length)
        return shape.concat([a[(*before, slice(at))], a[(*before, slice(at + 1, None))]], place)
    kept, made = np.ones(length, bool), not hasattr(obj, "dtype")
    if not isinstance(obj, slice):
        obj = np.asarray(obj)
        if obj.dtype == bool and obj.shape != (length,):
            raise ValueError(
                f"[delete] expected booleans of shape {(length,)}, got shape {obj.shape}"
            )
        obj = obj.astype(np.int64) if not obj.size else obj
    try:
        kept[obj] = False
    except IndexError as error:
        raise IndexError(f"[delete] {error} (tensor of shape {a.shape})") from error
    return Take(place)(a, index_tensor("delete", a, np.flatnonzero(kept), made))


def _position(name: str, index: Any, length: int, last: int = 0) -> int:
    if not -length <= index < length + last:
        raise IndexError(
            f"[{name}] index {index} is out of bounds for an axis of {length} elements"
        )
    return int(index) + (length if index < 0 else 0)


@implements(np.insert)
def insert(arr: Any, obj: Any, values: Any, axis: int | None = None) -> Any:
    """With ``values`` put in before the elements at ``obj``, which count in what was there."""
    a, place = _along("insert", arr, axis)
    length = a.shape[place]
    obj = _host(obj)
    made = not hasattr(obj, "dtype")
    new = tensor(values, a).astype(a.dtype)
    if isinstance(obj, slice):
        obj = np.arange(*obj.indices(length))
    keys = np.asarray(obj)
    if keys.dtype == bool:
        keys = np.flatnonzero(keys)
    if keys.size and keys.dtype.kind not in "iu":
        raise IndexError(f"[insert] expected whole numbers as places, got {keys.dtype}")
    if keys.ndim > 1:
        raise ValueError(f"[insert] expected places of one axis, got shape {keys.shape}")
    at = [_position("insert", key, length, 1) for key in keys.reshape(-1)]
    if len(at) == 1:
        return _insert_one(a, new, at[0], place, keys.ndim == 0)
    sizes = (*a.shape[:place], len(at), *a.shape[place + 1 :])
    both = shape.concat([a, _stretched("insert", new, sizes)], place)
    # Where each of the joined elements goes: a stable sort of the places that they stand before.
    order = np.argsort(
        np.concatenate([np.arange(length) * 2 + 1, np.asarray(at) * 2]), kind="stable"
    )
    return Take(place)(both, index_tensor("insert", both, order, made))


def _insert_one(a: Any, new: Any, at: int, place: int, alone: bool) -> Any:
    """Values at one place: as many as they have along the axis (the first, if it stands alone)."""
    if alone and new.ndim:
        new = arrange.moveaxis(new.reshape((1,) * (a.ndim - new.ndim) + new.shape), 0, place)
    new = new.reshape((1,) * (a.ndim - new.ndim) + new.shape)
    sizes = (*a.shape[:place], new.shape[place], *a.shape[place + 1 :])
    before = (slice(None),) * place
    parts = [a[(*before, slice(at))], _stretched("insert", new, sizes)]
    return shape.concat([*parts, a[(*before, slice(at, None))]], place)


def _stretched(name: str, values: Any, sizes: tuple[int, ...]) -> Any:
    try:
        return values.broadcast_to(sizes)
    except ValueError as error:
        raise ValueError(
            f"[{name}] values of shape {values.shape} do not broadcast to {sizes}"
        ) from error


@implements(np.trim_zeros)
def trim_zeros(filt: Any, trim: str = "fb", axis: Any = None) -> Any:
    """Without zeros at the front ("f") and at the back ("b"), along all axes or those given.

    How much is left depends on the values, which are read.
    """
    a = tensor(filt)
    if trim.lower() not in ("f", "b", "fb", "bf"):
        raise ValueError(f'[trim_zeros] expected trim "f", "b" or "fb", got {trim!r}')
    level = innermost([a])
    if isinstance(level, BatchLevel):  # which reads the values of one element after the other
        return level.batched(level.one_by_one(lambda x: trim_zeros(x, trim, axis), [a]))
    axes = range(a.ndim) if axis is None else arrange.each_axis(axis, a.ndim, "trim_zeros")
    found = choose.argwhere(a).numpy()
    key = [slice(None)] * a.ndim
    for place in axes:
        at = found[:, place]
        if not len(at):
            key[place] = slice(0, 0)
            continue
        low = int(at.min()) if "f" in trim.lower() else 0
        high = int(at.max()) + 1 if "b" in trim.lower() else a.shape[place]
        key[place] = slice(low, high)
    return a[tuple(key)]
